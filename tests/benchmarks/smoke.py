"""What `--smoke` of a benchmark stands on: options that take seconds, and tiny data. The figures mean nothing."""

from __future__ import annotations

import argparse
import atexit
import pickle
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
CLASSES, PER_CLASS = 100, 10
# One epoch each, one at a time; the teacher may be worse than a linear model.
SHORT = (
    "teacher.epochs=1",
    "teacher.accept_weak=true",
    "student.epochs=1",
    "search.concurrency=1",
    "resources.latency.runtime=torch",
)


class Parser(argparse.ArgumentParser):
    """A benchmark's options with `--json` and `--smoke`; with the latter, options that are not given are those of `tiny`.

    A value of `tiny` may be a function that returns it, called only where it is needed.
    """

    def __init__(self, description: str | None, **tiny: Any) -> None:
        self._tiny = tiny if "--smoke" in sys.argv else {}
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--json", action="store_true")
        self.add_argument("--smoke", action="store_true", help="run everything in seconds, on tiny data")

    def add_argument(self, *names: str, **how: Any) -> argparse.Action:
        """Add an option, with its tiny value as the default and, if it is positional, not asked for."""
        name = how.get("dest", names[-1].lstrip("-").replace("-", "_"))
        if name in self._tiny:
            value = self._tiny[name]
            how["default"] = value() if callable(value) else value
            if not names[-1].startswith("-"):
                how["nargs"] = "?"
        return super().add_argument(*names, **how)


def is_shared() -> bool:
    """Return whether this process has a cluster already, whose owner runs several benchmarks with `--smoke`."""
    import ray

    return "--smoke" in sys.argv and ray.is_initialized()


@cache
def scratch() -> Path:
    """Return a directory of this process, removed at its end."""
    home = tempfile.TemporaryDirectory(prefix="tutelage-smoke-")
    atexit.register(home.cleanup)
    return Path(home.name)


@cache
def cifar() -> str:
    """Return a folder like CIFAR-100's, with random photographs: ten of each class to learn from, one to judge by."""
    folder, random = scratch() / "cifar", np.random.default_rng(0)
    folder.mkdir()
    names = [f"class {number}".encode() for number in range(CLASSES)]
    documents: dict[str, Any] = {"meta": {b"fine_label_names": names, b"coarse_label_names": names[:20]}}
    for split, each in (("train", PER_CLASS), ("test", 1)):
        labels = list(range(CLASSES)) * each
        pixels = random.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        coarse = [label // 5 for label in labels]
        documents[split] = {b"data": pixels, b"fine_labels": labels, b"coarse_labels": coarse}
    for name, document in documents.items():
        (folder / name).write_bytes(pickle.dumps(document, 2))
    return str(folder)


@cache
def text() -> str:
    """Return a file of words in a random order."""
    path, random = scratch() / "text.txt", np.random.default_rng(0)
    path.write_text(" ".join(random.choice(["to", "be", "or", "not", "that", "is\n"], 1500)))
    return str(path)


@cache
def teacher() -> str:
    """Return the directory of a network for 100 classes of photographs that nobody trained."""
    from tests.benchmarks.outputs import signature_of_images
    from tutelage.networks import checkpoint

    about = {"model": {"resnet": {"blocks": 1, "width": 4}}, "signature": signature_of_images(CLASSES).document()}
    checkpoint.write(scratch() / "teacher", checkpoint.seeded(about, 0), about)
    return str(scratch() / "teacher")


@cache
def sweep() -> str:
    """Return the name of a finished sweep of three students in the storage `scratch()`."""
    from tutelage.spec import loading
    from tutelage.sweep import pipeline

    overrides = [*SHORT, f"storage={scratch()}", "search.trials=3", "search.constraints={}"]
    return pipeline.sweep(loading.load(ROOT / "search_spaces" / "digits.yaml", overrides)).name


@cache
def sentences_spec() -> str:
    """Return a spec over a few made sentences with slots and intents, whose teacher and students take seconds."""
    folder = scratch() / "sentences" / "train"
    folder.mkdir(parents=True)
    lines = [(f"play song {number}", "O O B-song", "Play") for number in range(40)]
    lines += [("rain in rome", "O O B-city", "Weather")] * 40
    for name, part in zip(("seq.in", "seq.out", "label"), zip(*lines, strict=True), strict=True):
        (folder / name).write_text("\n".join(part))
    spec = scratch() / "sentences.yaml"
    spec.write_text(
        f"name: sentences\ndata: {{slots: {{path: {folder.parent}}}}}\ntask: tagging\n"
        "teacher: {model: {bigru: {hidden: 8}}, epochs: 1}\nmore_teachers: [{model: text_cnn, epochs: 1}]\n"
        "student: {model: {choice: {text_cnn: {width: {int: [8, 16]}, depth: 1}, bigru: {hidden: 8}}}, epochs: 1}\n"
    )
    return str(spec)
