"""What a narrower or an int8 network is worth in ONNX Runtime: steps of widths, fewer multiply–accumulates, bits.

    python tests/benchmarks/runtime.py [--json] [--repeats 7]

Networks of 3×3 convolutions on 32×32 pixels, on one thread. In every measurement all networks of a table take turns with a
reference network; a ratio is taken measurement by measurement, and its median and range over the repeats are shown. Run it on
a quiet machine: `busy` is the reference's 90th percentile over its median, 1 where nothing else runs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage.networks import onnx_format, onnx_int8, runtime, staircase, timing

WIDTHS = (15, 16, 17, 23, 24, 25, 28, 31, 32, 33, 47, 48, 49, 63, 64, 65)
HALVED = ((16, 8), (32, 16), (64, 32), (96, 48), (128, 64))  # about 4 times fewer multiply–accumulates
QUANTISED = (8, 16, 32, 64, 96)
Times = Mapping[str, float]  # milliseconds of one measurement by name


def file_of(width: int, side_px: int) -> bytes:
    model, signature = staircase.convolutions(width, side_px)
    return runtime.onnx_bytes(model, signature)


def int8_of(file: bytes, width: int, side_px: int) -> bytes:
    """Return the file quantised, its ranges from noise: neither size nor time depends on them."""
    with tempfile.TemporaryDirectory() as scratch:
        source, path = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        source.write_bytes(file)
        noise = np.random.default_rng(0).normal(size=(4, 8, width, side_px, side_px)).astype("float32")
        onnx_int8.quantise_static(source, path, ({"inputs": batch} for batch in noise))
        return path.read_bytes()


def bytes_of(file: bytes) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        (path := Path(scratch) / "model.onnx").write_bytes(file)
        return onnx_format.size_bytes(path)


def measured(files: Mapping[str, tuple[bytes, int]], side_px: int, repeats: int) -> Iterator[Times]:
    """Give the times of every network, and `busy`, once a repeat; a network is its file and its width."""
    ready = {name: staircase.Widened(runtime.opened(file), (width, side_px, side_px)) for name, (file, width) in files.items()}
    reference = torch.nn.Conv2d(16, 16, 3, padding=1)
    for _ in range(repeats):
        found = timing.latencies_ms({**ready, "reference": reference}, (torch.zeros(1, 16, 32, 32),))
        busy = found["reference"]["latency_p90_ms"] / found["reference"]["latency_ms"]
        yield {**{name: found[name]["latency_ms"] for name in files}, "busy": busy}


def ratio(runs: list[Times], over: str, under: str) -> dict[str, Any]:
    """Return the median of a ratio of times and its range."""
    each = [run[over] / run[under] for run in runs]
    return {"ratio": statistics.median(each), "range": f"{min(each):.2f} to {max(each):.2f}"}


def median(runs: list[Times], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def steps(widths: tuple[int, ...], side_px: int, repeats: int) -> list[dict[str, Any]]:
    runs = list(measured({str(width): (file_of(width, side_px), width) for width in widths}, side_px, repeats))
    rows = []
    for width in widths:
        above = next((str(one) for one in widths if one >= width and one % 8 == 0), str(width))
        rows.append({
            "width": width, "ms": median(runs, str(width)), "÷ next multiple of 8": ratio(runs, str(width), above)["ratio"],
            "busy": median(runs, "busy"),
        })  # fmt: skip
    return rows


def halved(pairs: tuple[tuple[int, int], ...], side_px: int, repeats: int) -> list[dict[str, Any]]:
    rows = []
    for wide, narrow in pairs:
        files = {str(width): (file_of(width, side_px), width) for width in (wide, narrow)}
        runs = list(measured(files, side_px, repeats))
        rows.append({
            "widths": f"{wide} → {narrow}", "fewer multiply–accumulates": (wide / narrow) ** 2,
            "ms before": median(runs, str(wide)), "ms after": median(runs, str(narrow)),
            **ratio(runs, str(wide), str(narrow)), "busy": median(runs, "busy"),
        })  # fmt: skip
    return rows


def quantised(widths: tuple[int, ...], side_px: int, repeats: int) -> list[dict[str, Any]]:
    rows = []
    for width in widths:
        file = file_of(width, side_px)
        files = {"float": (file, width), "int8": (int8_of(file, width, side_px), width)}
        runs = list(measured(files, side_px, repeats))
        rows.append({
            "width": width, "float bytes": bytes_of(file), "fewer bytes": bytes_of(file) / bytes_of(files["int8"][0]),
            "float ms": median(runs, "float"), "int8 ms": median(runs, "int8"), **ratio(runs, "float", "int8"),
            "busy": median(runs, "busy"),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = smoke.Parser(__doc__, repeats=1, side_px=4)
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each network")
    parser.add_argument("--side-px", type=int, default=32, help="side of the images")
    options = parser.parse_args()
    few = 2 if options.smoke else len(WIDTHS)
    about = (options.side_px, options.repeats)
    machine.show("Widths", steps(WIDTHS[:few], *about), as_json=options.json)
    machine.show("Halved widths", halved(HALVED[:few], *about), as_json=options.json)
    machine.show("int8", quantised(QUANTISED[:few], *about), as_json=options.json)


if __name__ == "__main__":
    main()
