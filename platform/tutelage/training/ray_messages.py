"""What Ray prints in the driver's process about its cluster: on stderr, and without what a sweep reports itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from tutelage import worker_loss


@contextmanager
def on_stderr() -> Iterator[None]:
    """Have Ray print messages about its cluster on stderr within the block; losses of workers are left out.

    By itself Ray prints them on stdout, which has a command's result.
    """
    module: Any = ray._private.worker
    printed = module.print_to_stdstream

    def print_to_stderr(data: dict[str, Any], **options: Any) -> None:
        lines = [line for line in data["lines"] if not worker_loss.is_repeated(line)]
        if lines:
            printed({**data, "lines": lines, "is_err": True}, **options)

    module.print_to_stdstream = print_to_stderr
    try:
        yield
    finally:
        module.print_to_stdstream = printed
