"""What the tests of the explorer's page look at: two real sweeps in one store, and the page in a browser with what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import requests

from tutelage.records.sweep_dir import SweepDir

WAIT_MS = 30_000  # on a busy machine
LAYERS = ("dominated", "infeasible", "stopped", "baselines", "bars", "ladders", "choices")

# Some students are stopped, the others give three each; more than half of those miss a constraint.
SPEC: dict[str, Any] = {
    "name": "explored", "data": "digits",
    "teacher": {"model": {"mlp": {"hidden": 64}}, "epochs": 5, "accept_weak": True},
    "student": {
        "epochs": 4, "model": {"mlp": {"hidden": {"int": [6, 60]}}}, "optimizer": {"choice": ["adamw", "sgd"]},
    },
    "distillation": {"temperature": {"float": [1, 8]}, "weight": {"float": [0, 0.9]}},
    "sparsity": {"amount": {"float": [0.5, 0.75]}, "method": "channels", "ladder": {"rungs": 2, "recovery_epochs": 1}},
    "search": {
        "trials": 12, "concurrency": 1, "objectives": ["accuracy", "params", "macs"],
        "constraints": {"max": {"params": 4000}, "min": {"accuracy": 0.6}}, "stopping": {"first_epoch": 1, "factor": 2},
    },
    "resources": {"latency": {"runtime": "torch"}},
}  # fmt: skip
OTHER: dict[str, Any] = {
    **SPEC, "name": "other", "seed": 1, "sparsity": {},
    "search": {"trials": 3, "concurrency": 1, "objectives": ["accuracy", "params", "macs"]},
}  # fmt: skip


@contextmanager
def opened(browser: Any, **options: Any) -> Iterator[Any]:
    """Give a page in a context of its own; an uncaught error of its script fails the test."""
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 950}, "reduced_motion": "reduce", **options})
    page, failures = context.new_page(), list[str]()
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.set_default_timeout(WAIT_MS)
    yield page
    context.close()
    assert failures == []


@dataclass(frozen=True)
class Explorer:
    """The explorer's page at `url`, showing the sweep of a run; `document` is the sweep's snapshot as the server has it."""

    page: Any
    url: str
    run_id: str
    document: dict[str, Any]

    @classmethod
    def at(cls, page: Any, url: str, run_id: str) -> Explorer:
        base = url.partition("#")[0].partition("?")[0]
        document = requests.get(f"{base}api/sweeps/{run_id}/snapshot", timeout=60).json()
        return cls(page, base, run_id, document)

    def open(self, *, reload: bool = False, **view: str) -> None:
        """Show a view, by the keys of the address; a page that is open is not loaded again unless it is to `reload`."""
        from playwright.sync_api import expect

        self.page.goto(f"{self.url}#{urlencode({'sweep': self.run_id, **view})}")
        if reload:
            self.page.reload()
        expect(self.page.locator("figcaption").first).to_contain_text("candidates")
        self.settle()

    def settle(self) -> None:
        """Wait until what was changed is drawn: the parts beside the picture follow one frame later."""
        self.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30))))"
        )

    def rows(self) -> list[str]:
        """Return the candidates of the table's lines in sight."""
        self.settle()
        return [str(row.locator("td").first.inner_text()) for row in self.page.locator("tr[data-row]").all()]

    def count(self) -> str:
        self.settle()
        return str(self.page.locator("#table-title + .summary").inner_text())

    def taken(self) -> dict[str, str | list[str]]:
        """Return by policy the candidate that it takes, or the nearest ones where none fits."""
        self.settle()
        found: dict[str, str | list[str]] = {}
        for row in self.page.locator(".choices > li").all():
            nearest = row.locator("ol strong").all_inner_texts()
            found[row.locator(".policy").inner_text()] = nearest or row.locator("strong").first.inner_text()
        return found

    def saved(self, kind: str) -> bytes:
        self.settle()
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=kind, exact=True).click()
        return Path(download.value.path()).read_bytes()

    def picture(self) -> Picture:
        return Picture(self.saved("SVG").decode())

    def values(self, measure: str) -> dict[str, float | None]:
        return dict(zip(self.document["id"], self.document["values"][measure], strict=True))

    def ids(self, keep: Callable[[int], bool]) -> list[str]:
        return [name for row, name in enumerate(self.document["id"]) if keep(row)]

    def is_missing_a_limit(self, row: int) -> bool:
        return self.document["state"][row] == "finished" and not self.document["is_feasible"][row]


class Picture:
    """The picture as its SVG file has it: places in pixels."""

    def __init__(self, text: str) -> None:
        root = ElementTree.fromstring(text)
        marks = root.findall(".//{*}circle")
        named = [(one, title) for one in root.findall(".//{*}circle") if (title := one.findtext("{*}title")) is not None]
        self.marks = {title: (float(one.get("cx", "")), float(one.get("cy", ""))) for one, title in named}
        self.is_open = {title: one.get("fill") == root.find("{*}rect").get("fill") for one, title in named}  # type: ignore[union-attr]
        self.dominated = [(float(one.get("cx", "")), float(one.get("cy", ""))) for one in marks if one.get("r") == "2.5"]
        paths = [str(one.get("d")) for one in root.findall(".//{*}path")]
        self.crosses = [_start(one) for one in paths if one.endswith("l6 6m0-6l-6 6")]
        self.triangles = [_start(one) for one in paths if one.endswith("l4 7h-8z")]
        self.polygons = [_middle(str(one.get("points"))) for one in root.findall(".//{*}polygon")]
        self.texts = [str(one.text) for one in root.findall(".//{*}text")]
        self.lines = [tuple(float(one.get(key, "")) for key in ("x1", "y1", "x2", "y2")) for one in root.findall(".//{*}line")]
        self.has_dashed_stairs = any(one.get("stroke-dasharray") for one in root.findall(".//{*}polyline"))

    def has_line(self, start: Any, end: Any, pixels: float = 0.25) -> bool:
        return any(near(one[:2], start, pixels) and near(one[2:], end, pixels) for one in self.lines)

    def axis(self, place: int, values: dict[str, float | None], *, is_log: bool = False) -> Callable[[float], float]:
        """Return the function from values to pixels that the marks lie on, along x (0) or y (1); it fails if there is none."""
        shape = np.log10 if is_log else np.asarray
        given = shape(np.array([values[name] for name in self.marks], dtype=float))
        pixels = np.array([mark[place] for mark in self.marks.values()])
        slope, start = np.polyfit(given, pixels, 1)
        assert np.abs(slope * given + start - pixels).max() < 0.15, "the marks do not lie on such an axis"
        return lambda value: float(slope * shape(np.array(float(value))) + start)


def _start(path: str) -> tuple[float, float]:
    x, y = re.findall(r"-?[\d.]+", path)[:2]
    return float(x), float(y)


def _middle(points: str) -> tuple[float, float]:
    corners = np.array([[float(end) for end in corner.split(",")] for corner in points.split()])
    middle = corners.mean(axis=0)
    return float(middle[0]), float(middle[1])


def near(one: Any, other: Any, pixels: float = 0.25) -> bool:
    return bool(np.abs(np.asarray(one) - np.asarray(other)).max() <= pixels)


def sweep_both(storage: Path) -> tuple[SweepDir, SweepDir]:
    """Return two finished sweeps of one storage, the first with a selected student and fresh seeds of its rivals."""
    from tutelage.selection import select
    from tutelage.spec import loading
    from tutelage.sweep import pipeline

    home = pipeline.sweep(loading.from_dict({**SPEC, "storage": str(storage)}))
    select.select(home, policy="knee", confirm=2, rivals=3)
    return home, pipeline.sweep(loading.from_dict({**OTHER, "storage": str(storage)}))
