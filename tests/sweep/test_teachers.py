"""Teachers that two sweeps need at the same time, and those whose files are damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contexts import with_teacher
from tutelage.files import write_json
from tutelage.networks import checkpoint
from tutelage.sweep import identity, teachers
from tutelage.training.context import context_of

HOLDER = """
import sys
from tutelage.storage import open_storage
with open_storage(sys.argv[1]).lease(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_teacher_that_another_sweep_trains_is_waited_for_and_reused(tmp_path: Path) -> None:
    spec = with_teacher(tmp_path, teacher={"accept_weak": True})
    context = context_of(spec)
    address = identity.teacher_address(spec, spec.teacher, context.fingerprint)
    said: list[str] = []
    command = [sys.executable, "-c", HOLDER, spec.storage, f"teachers/{address}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"

        def finish(words: str) -> None:
            if not said:
                architecture = context.architecture(spec.teacher.model)  # type: ignore[arg-type]
                model = checkpoint.seeded(architecture, 0)
                about = {"measures": teachers._measures(model, context), "curve": []}
                teachers._keep(Path(spec.storage) / "teachers" / address, model, architecture, about)
                other.kill()
            said.append(words)

        found = teachers.ensure_teacher(spec, context, finish)
    assert found.reused and found.address == address
    assert f"process {other.pid} on" in said[0] and f"the same teacher, {address}; waiting for it" in said[0]


@pytest.mark.parametrize("content", [b"", b'{"measures": {"acc', b"\xff\xfe", b"[]", b"{}"])
def test_a_teacher_whose_description_is_damaged_counts_as_not_there(tmp_path: Path, content: bytes) -> None:
    write_json(tmp_path / teachers.ABOUT, {"measures": {"accuracy": 0.5}, "curve": []})
    assert teachers._kept(tmp_path) is not None
    (tmp_path / teachers.ABOUT).write_bytes(content)
    assert teachers._kept(tmp_path) is None
