"""The words for the loss of a worker, from what Ray says of it."""

from __future__ import annotations

import pytest
import ray
from ray.core.generated.common_pb2 import ActorDiedErrorContext  # type: ignore[attr-defined]

from tutelage import worker_loss
from tutelage.training import ray_messages

PARAGRAPH = "Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop"


def died(message: str) -> str:
    return str(ray.exceptions.ActorDiedError(ActorDiedErrorContext(error_message=message, actor_id=b"0" * 16)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (died(f"The actor is dead because its worker process has died. {PARAGRAPH}"), "its worker was killed or has crashed"),
        (str(ray.exceptions.WorkerCrashedError()), "its worker was killed or has crashed"),
        (died("The actor died because its node has died. Node Id: 17"), "its node was lost"),
        (died("1 worker was killed due to the node running low on memory"), "its worker was ended: its node is low on memory"),
        ("Traceback (most recent call last):\n  File\nValueError: no\n", "ValueError: no"),
        ("", "its worker was lost"),
    ],
)  # fmt: skip
def test_the_loss_of_a_worker_has_words_and_another_error_keeps_its_own(text: str, words: str) -> None:
    assert worker_loss.reason(text) == words


def test_what_ray_prints_goes_to_stderr_without_the_losses_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    def print_lines(*lines: str) -> None:
        module = ray._private.worker
        module.print_to_stdstream({"lines": list(lines), "pid": "raylet", "is_err": False}, ignore_prefix=False)

    lost = "A worker died or was killed while executing a task by an unexpected system error. To troubleshoot"
    with ray_messages.on_stderr():
        print_lines(lost)
        assert capsys.readouterr() == ("", "")
        print_lines(lost, "The disk of this node is over 95% full.")
        out, err = capsys.readouterr()
        assert out == "" and "95% full" in err and "A worker died" not in err
    print_lines("again")
    assert "again" in capsys.readouterr().out
