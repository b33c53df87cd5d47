"""What makes two trainings the same: a hash of all that can change their result."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from tutelage import files
from tutelage.spec.loading import Spec
from tutelage.training.context import TrainingContext


def identity(spec: Spec, context: TrainingContext, teacher_address: str, config: dict[str, Any]) -> str:
    """Return the content address of a student: its config, its seed, the data, the teacher and how it answers, the code."""
    answering = spec.knowledge.model_dump(exclude={"local_dir", "max_bytes", "fill"})
    return files.content_address(
        kind="student", config=config, seed=spec.seed, data=context.fingerprint, task=spec.task, teacher=teacher_address,
        augmentation=spec.augmentation.model_dump(), knowledge=answering,
        code=code_address(),
    )  # fmt: skip


@cache
def code_address() -> str:
    """Return the SHA-256 of the package's own source files, hex."""
    home, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(f"{path.relative_to(home).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()
