"""A golden record: every ready spec, shortened, and the very bits of the networks that it ends in.

    PYTHONPATH=CODE/platform python tests/benchmarks/golden.py record FILE [--data DIR] [--only NAME …] [--smoke]
    PYTHONPATH=CODE/platform python tests/benchmarks/golden.py check FILE  [--data DIR] [--only NAME …] [--smoke]

It knows the code by its command line alone, so that the same script judges the code before a change and after it. `check`
runs the same again, prints for each network whether it is the same, and ends with 1 where one differs. A network is its
tensors: their bytes, types and shapes. That a tensor, a measure or a setting has another name, and that a measure differs
by a hundred-thousandth of itself at most, is told, and no difference.

Without --only all are run but `smoke`, which is what --smoke runs; `record` keeps what FILE holds of the others. DIR (by
default the variable TUTELAGE_DATA) is the folder that holds `cifar-100-python`, for the specs of photographs. One student
is trained at a time, on one thread. Sums depend on the processor and on torch's version too: `check` says where they differ.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

SPECS = Path(__file__).resolve().parents[2] / "search_spaces"
STORAGE = "storage"  # below the folder that a case runs in
CIFAR = "cifar-100-python"
MAX_SIDE_IMAGES = 30  # images a class in the folder that is written for image-folder
UNKEPT = re.compile(r"(^|_)(s|ms)$|^(run_id|identity|error|config)$")  # seconds, what is drawn anew or of the source, the key
PACKAGES = ("torch", "numpy", "ray", "optuna", "scikit-learn", "torch-pruning", "pillow")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
TUTELAGE = "from tutelage.cli import main; main()"  # as the installed script has it
COMMON = ("resources.teacher.cpus=1", "search.concurrency=1", "teacher.accept_weak=true", f"storage={STORAGE}")
FEW_IMAGES = ("data.cifar.per_class=10", "data.cifar.validation_share=0.02")
SMALL_TEACHER = ("teacher.model.resnet.width=32", "teacher.epochs=3")


class Case(NamedTuple):
    """A ready spec and what shortens it."""

    spec: str
    sets: Sequence[str]


CASES = {
    "smoke": Case("digits", (
        "teacher.model.convnet.width=8", "teacher.epochs=1", "student.epochs=2", "search.trials=2",
        "search.constraints.min.accuracy=0.01",
    )),
    "digits": Case("digits", (
        "teacher.model.convnet.width=16", "teacher.epochs=3", "student.epochs=3", "search.trials=14",
        "search.constraints.min.accuracy=0.01",
    )),
    "digits-size-aware": Case("digits", (
        "teacher.model.convnet.width=16", "teacher.epochs=3", "student.epochs=4", "search.trials=18",
        "search.sampler=size-aware", "search.stopping={rule: {promotion: {share: 0.7}}}",
        "search.constraints.min.accuracy=0.01",
    )),
    "tabular": Case("tabular", ("teacher.epochs=6", "student.epochs=6", "search.trials=5")),
    "image-folder": Case("image-folder", (
        "data.image_folder.side_px=16", "augmentation.pad_px=2", "teacher.model.resnet.width=16", "teacher.epochs=3",
        "student.epochs=3", "search.trials=5",
    )),
    "cifar100-small": Case("cifar100-small", (*FEW_IMAGES, *SMALL_TEACHER, "student.epochs=3", "search.trials=4")),
    "attention-distillation": Case("attention-distillation", (
        *FEW_IMAGES, *SMALL_TEACHER, "knowledge.views=2", "student.epochs=4", "student.pretrain_epochs=1", "search.trials=4",
        "search.initial_design=false",
    )),
    "transfer": Case("transfer", (
        *FEW_IMAGES, *SMALL_TEACHER, f"data.cifar.path=data/{CIFAR}", "data.cifar.labels=coarse",
        "teacher.source.data.cifar.per_class=10", "teacher.source.data.cifar.validation_share=0.02", "teacher.source.epochs=3",
        "student.epochs=3", "search.trials=4",
    )),
    "cifar100-gpu": Case("cifar100-gpu", (
        "data.cifar.per_class=2", "data.cifar.validation_share=0.01", "resources.teacher.gpus=0", "resources.trial.gpus=0",
        "resources.trial.cpus=1", "teacher.model.resnet.blocks=1", "teacher.model.resnet.width=16", "teacher.epochs=2",
        "teacher.batch_size=64", "knowledge.views=2", "student.epochs=2", "student.batch_size=64",
        "student.execution.bfloat16=false", "student.model.choice.resnet.width={int: [8, 16]}", "search.trials=5",
        "search.initial_design=false",
    )),
}  # fmt: skip


def main() -> None:
    """Record or check; the exit code is 1 where a network differs."""
    options = _options()
    asked = ["smoke"] if options.smoke else options.only or [name for name in CASES if name != "smoke"]
    known: dict[str, Any] = json.loads(options.file.read_text(encoding="utf-8")) if options.file.exists() else {}
    if options.command == "record":
        made = dict(known.get("cases", {}))
        for name in asked:
            made[name] = run(name, options.specs, options.data)
            cases = {name: made[name] for name in CASES if name in made}
            document = {"version": 1, "machine": about_machine(), "cases": cases}
            options.file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return
    if missing := [name for name in asked if name not in known.get("cases", {})]:
        sys.exit(f"{options.file} holds no record of {', '.join(missing)}.")
    for what, here in about_machine().items():
        if known["machine"].get(what) != here:
            print(f"recorded with {what} {known['machine'].get(what)}, and here is {here}: bits may differ for that alone")
    rows = [(name, *row) for name in asked for row in compared(known["cases"][name], run(name, options.specs, options.data))]
    show(rows)
    differing = sum(found.startswith("different") for _, _, found in rows)
    print(f"{len(rows) - differing} of {len(rows)} the same")
    sys.exit(1 if differing else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("record", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), help="these alone")
    parser.add_argument("--smoke", action="store_true", help="the shortest one alone")
    parser.add_argument("--specs", type=Path, default=SPECS, help="the folder of the ready specs")
    parser.add_argument("--data", type=Path, default=os.environ.get("TUTELAGE_DATA"), help=f"the folder that holds {CIFAR}")
    return parser.parse_args()


def about_machine() -> dict[str, str]:
    """Return what bits depend on beside the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def run(name: str, specs: Path, data: Path | None) -> dict[str, Any]:
    """Run a case in a folder of its own and return what is kept of it: its teachers, its students and its front."""
    case, started_s = CASES[name], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        home = Path(scratch)
        (home / "data").mkdir()
        sets = [*COMMON, *case.sets, *_data_for(case.spec, home / "data", data)]
        asked = [one for each in sets for one in ("--set", each)]
        front = json.loads(_command(home, "sweep", str(specs.resolve() / f"{case.spec}.yaml"), *asked, "--json"))
        kept = {"teachers": _teachers(home / STORAGE), "students": _students(home / STORAGE), "front": stripped(front)}
    print(f"{name}: {len(kept['students'])} students in {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    return kept


def _data_for(spec: str, folder: Path, data: Path | None) -> list[str]:
    """Put a spec's data where the spec looks for it; return what must be set beside."""
    if spec == "tabular":
        _write_rows(folder / "rows.csv")
    elif spec == "image-folder":
        _write_images(folder / "images")
        return [f"data.image_folder.cache={folder.parent / 'cache'}"]
    elif spec != "digits":
        if data is None or not (Path(data) / CIFAR).is_dir():
            sys.exit(f"{spec} needs photographs: give --data DIR, or set TUTELAGE_DATA, the folder that holds {CIFAR}.")
        (folder / CIFAR).symlink_to((Path(data) / CIFAR).resolve())
    return []


def _write_rows(path: Path) -> None:
    """Write 569 real tumours with thirty measurements each (Wolberg, Street and Mangasarian, 1993), and a column of words."""
    found = load_breast_cancer()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(name.replace(" ", "_") for name in found.feature_names), "size", "class"])
        for row, label in zip(found.data, found.target, strict=True):
            writer.writerow([*map(float, row), "large" if row[0] > 15 else "small", found.target_names[label]])


def _write_images(folder: Path) -> None:
    """Write real scans of handwritten digits, a folder for each."""
    scans = load_digits()
    for digit in range(10):
        inside = folder / str(digit)
        inside.mkdir(parents=True)
        for number, row in enumerate(np.flatnonzero(scans.target == digit)[:MAX_SIDE_IMAGES]):
            Image.fromarray((scans.images[row] * 15).astype(np.uint8)).save(inside / f"{number:03}.png")


def _command(home: Path, *arguments: str) -> str:
    """Run the command line in `home` and return its stdout; the script ends with what it said if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | ONE_THREAD
    command = [sys.executable, "-c", TUTELAGE, *arguments]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\nended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def _teachers(storage: Path) -> dict[str, Any]:
    """Return the teachers' weights in the order in which they were made: a source comes before what was tuned from it."""
    found = [path for path in storage.rglob("*.safetensors") if "teachers" in path.parts]
    ordered = sorted(found, key=lambda path: path.stat().st_mtime_ns)
    return {
        f"teacher {number}": {"address": path.parent.name, **digests(path)} for number, path in enumerate(ordered, 1)
    }  # fmt: skip


def _students(storage: Path) -> dict[str, Any]:
    """Return each trial's last record and its weights (None if it has none), keyed by its config."""
    (ledger,) = storage.rglob("trials.jsonl")
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    latest = {line["number"]: line for line in lines}
    found: dict[str, Any] = {}
    for _, record in sorted(latest.items()):
        key = json.dumps(record["config"], sort_keys=True)
        while key in found:
            key += " again"
        weights = next(ledger.parent.rglob(f"{record['trial_id']}/*.safetensors"), None)
        found[key] = {"weights": digests(weights) if weights else None, "record": stripped(record)}
    return found


def digests(path: Path) -> dict[str, Any]:
    """Return two hashes of the tensors in a safetensors file: of what they hold, in no order, and with their names."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    each: dict[str, str] = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            each[name] = _sha256(f"{about['dtype']} {about['shape']} ".encode() + body[start:end])
    return {
        "tensors": len(each),
        "held": _sha256(" ".join(sorted(each.values())).encode()),
        "named": _sha256(json.dumps(sorted(each.items())).encode()),
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stripped(value: Any) -> Any:
    """Return a document without what differs from one run to the next: seconds, latencies, names that are drawn anew."""
    if isinstance(value, Mapping):
        return {key: stripped(one) for key, one in value.items() if not UNKEPT.search(key)}
    return [stripped(one) for one in value] if isinstance(value, list) else value


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give for every recorded network, and the front, its name and what became of it."""
    for name, teacher in before["teachers"].items():
        yield name, _weights_verdict(teacher, now["teachers"].get(name))
    for key, one in before["students"].items():
        other = now["students"].get(key) or _twin(one, before, now)
        name = str(one["record"].get("trial_id", one["record"].get("number")))
        if other is None:
            yield name, "different: no student has this config, or these weights"
        else:
            notes = [] if key in now["students"] else ["other names in its config"]
            yield name, _verdict(one, other, notes)
    more = len(now["students"]) - len(before["students"])
    yield "front", f"different: {more:+} students" if more else _document_verdict(before["front"], now["front"])


def _twin(one: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> Any:
    """Return a student of the same weights under a config that was not recorded; None if there is none."""
    strange = [other for key, other in now["students"].items() if key not in before["students"]]
    return next(
        (o for o in strange if o["weights"] and one["weights"] and o["weights"]["held"] == one["weights"]["held"]), None
    )


def _verdict(one: Mapping[str, Any], other: Mapping[str, Any], notes: Sequence[str]) -> str:
    found = [_weights_verdict(one["weights"], other["weights"]), _document_verdict(one["record"], other["record"])]
    differences = [each for each in found if each.startswith("different")]
    said = [*notes, *(each.partition(": ")[2] for each in found)]
    return differences[0] if differences else _same([each for each in said if each])


def _weights_verdict(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    if one is None or other is None:
        return "same" if one == other else "different: weights on one side only"
    if one["held"] != other["held"]:
        return "different: weights"
    notes = [] if one["named"] == other["named"] else ["other names of tensors"]
    return _same([*notes, *(["another address"] if one.get("address") != other.get("address") else [])])


def _document_verdict(one: Any, other: Any) -> str:
    """Return whether all values of a recorded document are in the new one, whatever they are called there."""
    if one == other:
        return "same"
    lost, new = Counter(_values(one)) - Counter(_values(other)), Counter(_values(other)) - Counter(_values(one))
    missing = [value for value in lost if not any(_is_close(value, found) for found in new)]
    return f"different: {', '.join(missing[:3])} not in the record" if missing else "same: other names, last digits, or more"


def _is_close(one: str, other: str) -> bool:
    """Return whether two numbers differ by a hundred-thousandth at most: measures may be summed in another order."""
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-5, abs_tol=1e-7)
    except ValueError:
        return False


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _values(one)
    elif isinstance(value, list):
        for one in value:
            yield from _values(one)
    else:
        yield json.dumps(value)


def _same(notes: Sequence[str]) -> str:
    return f"same: {', '.join(notes)}" if notes else "same"


def show(rows: Sequence[tuple[str, str, str]]) -> None:
    """Print rows under their heads."""
    table = [("spec", "network", "same or different"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(2)]
    for row in table:
        print(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}")


if __name__ == "__main__":
    main()
