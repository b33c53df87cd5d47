"""How fast is the explorer's page? `python tests/benchmarks/explorer.py`

Snapshots of synthetic sweeps lie in a real MLflow store (SQLite, artifacts in files), served by `mlflow server
--app-name tutelage` and by `tutelage dashboard`, and are drawn by a headless Chromium without a GPU:

* from the navigation to the first picture, for `--small` candidates: with a server that has answered nothing but `/health`
  (cold), and again in a browser without a cache (warm);
* for `--large` candidates from the data, as JavaScript has parsed them, to the first picture; steps of a slider, half a second
  apart; and from the reply to the picture of a live refresh that brings 10 candidates;
* for comparison, `--small` runs by MLflow's `search_runs`.

A picture is there when the frame after it was drawn has ended. Each number is wall time: measure on an idle machine.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.benchmarks import machine, smoke
from tests.benchmarks.explorer_store import GROWTH, Store, growing
from tests.mlflow_server import MlflowServer
from tests.requirements import CHROMIUM
from tutelage.records import mlflow_runs

STEP_PAUSE_MS = 500
WAIT_MS = 300_000
# Before the page's own scripts: when each mark was set, and when the first frame after the first picture had ended.
WATCH = """
window.shown = new Promise((done, fail) => {
  const marks = {};
  setTimeout(() => fail(new Error(document.body.innerText)), %d);
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) {
      if (one.name in marks) continue;
      marks[one.name] = one.startTime;
      if (one.name === 'explorer:picture')
        requestAnimationFrame(() => setTimeout(() => done({...marks, shown: performance.now()})));
    }
  }).observe({type: 'mark'});
});
""".replace("%d", str(WAIT_MS))
STEP = """(slider, place) => new Promise((done) => {
  const before = performance.now();
  slider.value = place;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - before)));
})"""
# Until the sentence below the picture has changed and the frame after that has ended; the reply is the last one of a snapshot.
REFRESH = """(caption) => new Promise((done) => {
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => {
      const replies = performance.getEntriesByType('resource').filter((one) => one.name.includes('since='));
      const reply = replies.at(-1);
      done([reply.responseEnd - reply.requestStart, performance.now() - reply.responseEnd]);
    }));
  }).observe(caption, {childList: true, characterData: true, subtree: true});
})"""
Row = dict[str, Any]


@contextmanager
def served_by_mlflow(store: Store) -> Iterator[str]:
    """Run `mlflow server --app-name tutelage`; give its address."""
    with tempfile.TemporaryDirectory() as folder:
        server = MlflowServer(store.uri, Path(folder), "--app-name", "tutelage")
        try:
            yield server.uri
        finally:
            server.kill()


@contextmanager
def served_by_dashboard(store: Store) -> Iterator[str]:
    """Run `tutelage dashboard` over the store; give its address."""
    options = ("--tracking-uri", store.uri, "--port", "0", "--no-browser")
    process = subprocess.Popen(
        [sys.executable, "-m", "tutelage", "dashboard", *options], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("explorer: "), said
        yield said.split()[-1].partition("/tutelage/")[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


SERVERS = {"mlflow": served_by_mlflow, "dashboard": served_by_dashboard}


@contextmanager
def opened(browser: Any, address: str, run_id: str) -> Iterator[tuple[Any, dict[str, float]]]:
    """Open a sweep in a browser without a cache; give the page once its first picture is shown, and the seconds of that."""
    context = browser.new_context(viewport={"width": 1400, "height": 950})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(WATCH)
    page.goto(f"{address}/tutelage/#sweep={run_id}")
    yield page, {name: at_ms / 1000 for name, at_ms in page.evaluate("window.shown").items()}
    context.close()


def row(what: str, count: int, values: Sequence[float], goal: str = "-", unit: str = "s") -> Row:
    """Return a row of the table: median, least and greatest of the values."""
    found = {"median": statistics.median(values), "least": min(values), "greatest": max(values)}
    return {"what": what, "candidates": count, **found, "unit": unit, "n": len(values), "goal": goal}


def first_pictures(browser: Any, store: Store, run_id: str, options: Any) -> Iterator[Row]:
    """Give the rows from the navigation to the first picture, of each server cold and warm."""
    for name in options.servers:
        times_s: dict[str, list[float]] = {"cold": [], "warm": []}
        for _ in range(options.repeats):
            with SERVERS[name](store) as address:
                for state in times_s:
                    with opened(browser, address, run_id) as (_, at_s):
                        times_s[state].append(at_s["shown"])
        for state, found in times_s.items():
            yield row(f"navigation to first picture, {name}, {state}", options.small, found, "2")


def large_sweep(browser: Any, address: str, store: Store, options: Any) -> Iterator[Row]:
    """Give the rows of a large running sweep: first picture, slider and live refresh."""
    before, after = growing(options.large)
    run_id = store.add_sweep(before, "large")
    with opened(browser, address, run_id) as (page, at_s):
        yield row("navigation to first picture, mlflow", options.large, [at_s["shown"]])
        firsts_s = [at_s["shown"] - at_s["explorer:data"]]
        for _ in range(options.repeats - 1):
            with opened(browser, address, run_id) as (_, again_s):
                firsts_s.append(again_s["shown"] - again_s["explorer:data"])
        yield row("data to first picture", options.large, firsts_s, "0.5")
        yield row("slider step", options.large, slider_steps(page, options.steps), "0.1")
        page.evaluate(f"() => {{ window.refreshed = ({REFRESH})(document.querySelector('figcaption')); }}")
        num_bytes = store.write_snapshot(after, run_id)
        reply_ms, drawn_ms = page.evaluate("window.refreshed")
        yield row(f"live refresh: the server's reply with {GROWTH} more", options.large, [reply_ms / 1000])
        yield row("live refresh: from the reply to the picture", options.large, [drawn_ms / 1000])
        yield row("snapshot", options.large, [num_bytes / 1e6], unit="MB")


def slider_steps(page: Any, count: int) -> list[float]:
    """Return the seconds of each step of a slider, which leaves fewer and fewer candidates."""
    slider, found_s = page.get_by_label("size, at most", exact=True), []
    page.wait_for_timeout(3 * STEP_PAUSE_MS)
    for step in range(count):
        found_s.append(slider.evaluate(STEP, 390 - 10 * step) / 1000)
        page.wait_for_timeout(STEP_PAUSE_MS)
    return found_s


def seconds_of_runs(address: str, store: Store, parent: str, count: int) -> float:
    """Return the seconds in which MLflow's client reads that many runs from its server."""
    store.add_runs(parent, count)
    client, query = MlflowClient(tracking_uri=address), f"tags.`mlflow.parentRunId` = '{parent}'"
    started_s = time.perf_counter()
    found = list(mlflow_runs.runs(client, [store.experiment_id], query, ViewType.ACTIVE_ONLY))
    elapsed_s = time.perf_counter() - started_s
    assert len(found) == count
    return elapsed_s


def measured(options: Any, directory: Path) -> Iterator[Row]:
    """Give the rows of the table, in the order in which they are measured."""
    from playwright.sync_api import sync_playwright

    store = Store(directory)
    document, _ = growing(options.small)
    document["sweep"]["state"] = "finished"
    run_id = store.add_sweep(document, "small")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield from first_pictures(browser, store, run_id, options)
            with served_by_mlflow(store) as address:
                yield from large_sweep(browser, address, store, options)
                found_s = seconds_of_runs(address, store, run_id, options.small)
                yield row("`search_runs` of MLflow's client", options.small, [found_s])
        finally:
            browser.close()


def main() -> None:
    parser = smoke.Parser(__doc__, small=50, large=200, repeats=1, steps=2, servers=["mlflow"])
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of the slider")
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("error: there is no Chromium on this machine: apt-get install chromium")
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(measured(options, Path(scratch)))
    machine.show("The explorer's page", rows, as_json=options.json)


if __name__ == "__main__":
    main()
