"""Why a worker of the cluster was lost, in the words that a user reads; Ray has a paragraph or a traceback for it. Pure."""

from __future__ import annotations

KINDS = {  # a part of Ray's text, and the words that stand for it; the first that fits
    "node running low on memory": "its worker was ended: its node is low on memory",
    "node has died": "its node was lost",
    "node it was running on": "its node was lost",
    "worker process has died": "its worker was killed or has crashed",
    "worker died": "its worker was killed or has crashed",
}
PRINTED = ("A worker died or was killed while executing a task",)  # the beginnings of what Ray prints for each loss of a worker


def reason(text: str) -> str:
    """Return the loss that an error's text describes in words; of another error, the last line."""
    lines = text.strip().splitlines() or ["its worker was lost"]
    return next((words for part, words in KINDS.items() if part in text), lines[-1].strip())


def is_repeated(line: str) -> bool:
    """Return whether a line of Ray's is about the loss of a worker, which a sweep reports itself."""
    return line.lstrip().startswith(PRINTED)
