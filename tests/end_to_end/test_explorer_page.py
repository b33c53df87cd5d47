"""The explorer in a headless Chromium: each interaction on a real sweep, from MLflow's own server and `tutelage dashboard`."""

from __future__ import annotations

import csv
import io
import re
import shlex
import statistics
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from playwright.sync_api import expect
from typer.testing import CliRunner

from tests.browser import chromium
from tests.dashboard.test_servers import dashboard
from tests.end_to_end.explored import LAYERS, WAIT_MS, Explorer, near, opened, sweep_both
from tests.mlflow_server import MlflowServer
from tests.requirements import needs_chromium
from tutelage import plugins
from tutelage.cli import app
from tutelage.dashboard.settings import STORAGE
from tutelage.errors import NoStudentFits
from tutelage.objectives import Limits, losses, objective
from tutelage.pareto import non_dominated_mask
from tutelage.records import fronts
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views
from tutelage.selection.query import SelectionQuery
from tutelage.spec import loading

pytestmark = [pytest.mark.browser, pytest.mark.ray, needs_chromium]
ALL = ",".join(LAYERS)


@dataclass(frozen=True)
class Served:
    """Two sweeps in one store; `mlflow` is the explorer in MLflow's own server, `dashboard` that which may promote."""

    home: SweepDir
    other: SweepDir
    mlflow: str
    dashboard: str
    browser: Any

    @property
    def run_id(self) -> str:
        return str(self.home.facts()["run_id"])


@pytest.fixture(scope="module")
def served(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home, other = sweep_both(tmp_path_factory.mktemp("explored"))
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack, ThreadPoolExecutor() as pool, pytest.MonkeyPatch.context() as environment:
        environment.setenv(STORAGE, home.storage.uri)
        starting = pool.submit(MlflowServer, home.tracking_uri, folder, "--app-name", "tutelage")
        started = dashboard("explored", "--storage", home.storage.uri, "--allow-promote")
        explorer, _ = stack.enter_context(started)
        server = starting.result()
        stack.callback(server.kill)
        browser = stack.enter_context(chromium(WAIT_MS))
        yield Served(home, other, f"{server.uri}/tutelage/", explorer, browser)


@pytest.fixture(scope="module")
def shared(served: Served) -> Iterator[Explorer]:
    """The page that the tests share: each opens its own view, which does not load the page again."""
    with opened(served.browser) as page:
        yield Explorer.at(page, served.mlflow, served.run_id)


@pytest.fixture
def explorer(shared: Explorer) -> Explorer:
    shared.page.mouse.move(0, 0)
    return shared


def choice(explorer: Explorer, label: str) -> Any:
    """Return the list that a label names: an exact look-up would compare the text of its options too."""
    return explorer.page.locator("label", has=explorer.page.locator(f"span:text-is('{label}')")).locator("select")


def non_dominated(explorer: Explorer, *measures: str) -> set[str]:
    """Return the package's front over some measures, under the sweep's constraints."""
    rows = [row for row, is_feasible in enumerate(explorer.document["is_feasible"]) if is_feasible]
    values = [{name: explorer.document["values"][name][row] for name in measures} for row in rows]
    mask = non_dominated_mask(losses(values, [objective(name) for name in measures]))
    return {explorer.document["id"][row] for row, keep in zip(rows, mask, strict=True) if keep}


@pytest.mark.parametrize("axes", [("params", "accuracy", ""), ("accuracy", "macs", ""), ("params", "accuracy", "macs")])
def test_two_or_three_objectives_are_chosen_and_their_axes_may_be_logarithmic(
    explorer: Explorer, axes: tuple[str, str, str]
) -> None:  # fmt: skip
    explorer.open()
    for name, measure in zip(("Across", "Up", "Colour"), axes, strict=True):
        choice(explorer, name).select_option(measure)
    front = non_dominated(explorer, *(one for one in axes if one))
    for is_log in (True, False):
        explorer.page.get_by_label("Log across").set_checked(is_log and axes[0] != "accuracy")
        explorer.page.get_by_label("Log up").set_checked(is_log and axes[1] != "accuracy")
        picture = explorer.picture()
        assert set(picture.marks) == front
        picture.axis(0, explorer.values(axes[0]), is_log=is_log and axes[0] != "accuracy")
        picture.axis(1, explorer.values(axes[1]), is_log=is_log and axes[1] != "accuracy")
    assert f"front ({len(front)})" in explorer.page.locator(".legend").inner_text()
    is_servers = {one for one in axes if one} == set(explorer.document["sweep"]["objectives"])
    assert ("the sweep’s own front" in explorer.page.locator("figcaption").first.inner_text()) == is_servers


def test_the_bars_of_the_front_are_the_intervals_of_fresh_seeds(explorer: Explorer) -> None:
    explorer.open(colour="", show="bars")
    picture, document = explorer.picture(), explorer.document
    to_pixel = picture.axis(1, explorer.values("accuracy"))
    confirmed = [name for name in picture.marks if document["seeds"][document["id"].index(name)]]
    assert confirmed, "the front has students with fresh seeds"
    for name in picture.marks:
        row, (x, _) = document["id"].index(name), picture.marks[name]
        low, high = to_pixel(document["low"]["accuracy"][row]), to_pixel(document["high"]["accuracy"][row])
        assert picture.has_line((x, low), (x, high))
        if name in confirmed:
            mean = to_pixel(document["mean"]["accuracy"][row])
            assert picture.has_line((x - 6, mean), (x + 6, mean))
    num_lines = len(picture.lines)
    explorer.page.get_by_label("Error bars").uncheck()
    assert len(explorer.picture().lines) == num_lines - 3 * len(picture.marks) - len(confirmed)


def test_dominated_infeasible_and_stopped_candidates_are_drawn_on_demand(explorer: Explorer) -> None:
    explorer.open(colour="", show="")
    document = explorer.document
    stopped = explorer.ids(lambda row: document["state"][row] == "stopped")
    missing = explorer.ids(explorer.is_missing_a_limit)
    front = non_dominated(explorer, "params", "accuracy")
    dominated = explorer.ids(lambda row: document["is_feasible"][row] and document["id"][row] not in front)
    assert stopped and missing and dominated
    shown = [explorer.picture()]
    for label in ("Dominated", "Outside the limits", "Stopped and failed"):
        explorer.page.get_by_label(label).check()
        shown.append(explorer.picture())
    counts = [(len(one.marks), len(one.dominated), len(one.crosses), len(one.triangles)) for one in shown]
    numbers = (len(front), len(dominated), len(missing), len(stopped))
    assert counts == [(*numbers[:end], *[0] * (4 - end)) for end in (1, 2, 3, 4)]
    assert explorer.count().startswith(f"{document['n']} of {document['n']}")
    assert {*stopped, *missing} <= {*everything(explorer)}
    x, y = shown[-1].triangles[0]
    drawn = (
        "([x, y]) => [...document.querySelector('.stage canvas').getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"
    )
    inside, outside = (explorer.page.evaluate(drawn, [x, y + down]) for down in (5, -25))
    assert inside != outside, "the canvas has what the file has"


def everything(explorer: Explorer) -> list[str]:
    """Return the candidates of the CSV file."""
    return [row["candidate"] for row in csv.DictReader(io.StringIO(explorer.saved("CSV").decode()))]


def test_teacher_and_label_only_baseline_stand_at_their_values(explorer: Explorer) -> None:
    explorer.open(colour="", show="baselines")
    picture = explorer.picture()
    x, y = picture.axis(0, explorer.values("params"), is_log=True), picture.axis(1, explorer.values("accuracy"))
    baselines = {one["kind"]: one["values"] for one in explorer.document["baselines"]}
    assert set(baselines) == {"teacher", "label_only"}
    for place, values in zip(picture.polygons, baselines.values(), strict=True):
        assert near(place, (x(values["params"]), y(values["accuracy"])), pixels=1)
    assert {"teacher", "label-only baseline"} <= set(picture.texts)
    explorer.page.get_by_label("Baselines").uncheck()
    assert not explorer.picture().polygons


def test_hypervolume_is_that_of_the_package_after_candidates_and_over_time(explorer: Explorer, served: Served) -> None:
    explorer.open()
    card = explorer.page.locator("section", has=explorer.page.locator("#history-title"))
    card.scroll_into_view_if_needed()
    expected = fronts.hypervolume_of(fronts.candidates(served.home), served.home.objectives())
    expect(card).to_contain_text("Now")
    assert quantity(re.search(r"Now ([\d.]+\w?):", card.inner_text())[1]) == pytest.approx(expected, rel=0.01)  # type: ignore[index]
    assert card.get_by_role("img").get_attribute("aria-label").endswith(f"after {explorer.document['n']} candidates")
    card.get_by_label("Over time").check()
    explorer.settle()
    assert re.search(r"after \d+ (s|min)$", card.get_by_role("img").get_attribute("aria-label"))
    card.get_by_label("Over time").uncheck()


def quantity(text: str) -> float:
    """Return the number of a text such as 13.3M."""
    return float(text.rstrip("kMG")) * {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1)


def test_limits_show_what_select_takes_under_them_and_else_the_nearest(explorer: Explorer, served: Served) -> None:
    explorer.open()
    records, bounds = served.home.records(), Limits(max={"params": 4000.0}, min={"accuracy": 0.6})
    places = {"params": "parameters, at most, exact", "accuracy": "accuracy, at least, exact"}
    small = min(record.measures["params"] for record in fronts.candidates(served.home))
    for limits in (bounds, Limits(max={"params": small + 1}, min=bounds.min), Limits(max=bounds.max, min={"accuracy": 0.999})):
        for name, value in {**limits.max, **limits.min}.items():
            explorer.page.get_by_label(places[name]).fill(str(value))
            explorer.page.get_by_label(places[name]).press("Enter")
        assert explorer.taken() == {name: taken(served.home, name, limits, records) for name in plugins.names("policies")}
    assert "too little" in explorer.page.locator(".choices ol li").first.inner_text()
    explorer.page.get_by_role("button", name="Back to the spec’s limits").click()
    assert explorer.page.locator(".choices ol").count() == 0


def taken(home: SweepDir, policy: str, limits: Limits, records: Any) -> str | list[str]:
    """Return the student that `tutelage select` takes under limits, or the nearest ones that its error names."""
    query = SelectionQuery(
        policy=policy, objectives=home.objectives(), primary=home.primary(), limits=limits, teacher=home.facts()["teacher"]
    )
    try:
        return query.select(records).record.trial_id
    except NoStudentFits as none:
        return re.findall(r"(t[\d.]+), which has", str(none))


def test_a_slider_moves_front_policies_and_table_at_once(explorer: Explorer) -> None:
    explorer.open(show="dominated")
    before, count = explorer.taken(), explorer.count()
    slider = explorer.page.get_by_label("parameters, at most", exact=True)
    slider.focus()
    for _ in range(4):
        slider.press("PageDown")
    explorer.settle()
    assert explorer.taken() != before and explorer.count() != count
    limit = float(re.search(r"params%3C%3D([\d.]+)", explorer.page.url)[1])  # type: ignore[index]
    shown = {name for name in everything(explorer) if (explorer.values("params")[name] or 0) > limit}
    assert not shown, "the table is in step"
    assert slider.get_attribute("aria-valuetext").endswith("parameters")


def test_a_dragged_rectangle_filters_table_and_parallel_coordinates(explorer: Explorer) -> None:
    explorer.open(colour="", show="dominated")
    picture, box = explorer.picture(), explorer.page.locator(".stage").bounding_box()
    name, (x, y) = max(picture.marks.items(), key=lambda one: one[1])
    drag(explorer, (box["x"] + x - 15, box["y"] + y - 15), (box["x"] + x + 15, box["y"] + y + 15))
    assert name in explorer.rows() and len(explorer.rows()) < explorer.document["n"]
    assert set(explorer.rows()) == inside(explorer)
    assert explorer.picture().is_open[min(picture.marks)] or min(picture.marks) in explorer.rows()
    num_front = len(set(explorer.rows()) & set(picture.marks))
    note = explorer.page.locator("#parallel-note").inner_text()
    assert f"{num_front} lines of the front and {len(explorer.rows()) - num_front} of the other" in note
    explorer.page.get_by_role("button", name="Reset zoom and filter").click()
    assert len(explorer.rows()) == sum(explorer.document["is_feasible"])


def inside(explorer: Explorer) -> set[str]:
    """Return the candidates that the limits and the ranges of the page's fields let through."""
    found = set(explorer.ids(lambda row: explorer.document["is_feasible"][row]))
    for measure in ("params", "accuracy"):
        fields = explorer.page.locator(f"input[data-focus^='{measure} ']")
        low, high = (float(one.input_value()) for one in fields.all())
        found &= {name for name, value in explorer.values(measure).items() if value is not None and low <= value <= high}
    return found


def drag(explorer: Explorer, start: tuple[float, float], end: tuple[float, float]) -> None:
    explorer.page.mouse.move(*start)
    explorer.page.mouse.down()
    explorer.page.mouse.move(*end, steps=3)
    explorer.page.mouse.up()


def test_a_range_on_parallel_coordinates_and_one_of_fields_filter_the_table(explorer: Explorer) -> None:
    explorer.open(show=ALL)
    canvas = explorer.page.locator("canvas[aria-labelledby=parallel-title]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box["width"] > 8 * 100, "five settings and three objectives have an axis each"
    drag(explorer, (box["x"] + 12, box["y"] + 36), (box["x"] + 12, box["y"] + 60))
    optimizers = explorer.document["config"]["student.optimizer"]
    chosen = [place for place, value in enumerate(optimizers["values"]) if optimizers["choices"][value] == "sgd"]
    assert explorer.count().startswith(f"{len(chosen)} of ")
    assert set(everything(explorer)) == {explorer.document["id"][place] for place in chosen}
    explorer.page.get_by_label("Filter by").select_option("distillation.temperature")
    field = explorer.page.get_by_label("distillation.temperature, from")
    assert field.evaluate("(one) => one === document.activeElement")
    field.fill("4")
    field.press("Enter")
    values = explorer.document["config"]["distillation.temperature"]["values"]
    assert set(everything(explorer)) == {explorer.document["id"][place] for place in chosen if values[place] >= 4}


def test_slices_show_an_objective_by_each_setting(explorer: Explorer) -> None:
    explorer.open()
    explorer.page.locator("#slices-title").scroll_into_view_if_needed()
    choice(explorer, "Objective").select_option("accuracy")
    figure = explorer.page.locator("figure.slice", has_text="student.optimizer")
    document = explorer.document
    finished = [row for row in range(document["n"]) if document["state"][row] == "finished"]
    for place, name in enumerate(document["config"]["student.optimizer"]["choices"]):
        own = [row for row in finished if document["config"]["student.optimizer"]["values"][row] == place]
        said = f"{name}: median {statistics.median(document['values']['accuracy'][row] for row in own):.4f} ("
        assert said in figure.locator("svg").get_attribute("aria-label")
    assert explorer.page.locator("figure.slice").count() == len(document["config"])
    choice(explorer, "Objective").select_option("macs")
    explorer.settle()
    expect(explorer.page).to_have_url(re.compile("slices=macs"))


def test_learning_curves_of_compared_candidates_are_those_on_record(explorer: Explorer, served: Served) -> None:
    first, second = (record for record in served.home.records() if record.trial_id in ("t0000.2", "t0002.0"))
    explorer.open(focus=first.trial_id, show=ALL)
    card = explorer.page.locator(".candidate-card")
    card.get_by_role("heading", name="Command").wait_for()  # the card is drawn again when its details arrive
    card.get_by_role("button", name="Compare").click()
    card.get_by_role("button", name="Compared").wait_for()
    explorer.page.locator("tr[data-row]", has_text=second.trial_id).first.focus()
    explorer.page.keyboard.press("Space")
    chart = explorer.page.locator("section", has=explorer.page.locator("#curves-title")).get_by_role("img")
    said = "; ".join(f"{one.trial_id}: accuracy ends at {one.curve[-1]['accuracy']:.4f}" for one in (first, second))
    expect(chart).to_have_attribute("aria-label", said)
    assert chart.locator("canvas").count() == 1
    expect(explorer.page).to_have_url(re.compile(f"chosen={re.escape(first.trial_id)}&chosen={re.escape(second.trial_id)}"))


def test_the_rungs_of_a_ladder_are_joined_to_their_parents(explorer: Explorer) -> None:
    explorer.open(colour="", show="dominated,infeasible,ladders")
    picture, document = explorer.picture(), explorer.document
    x, y = picture.axis(0, explorer.values("params"), is_log=True), picture.axis(1, explorer.values("accuracy"))
    places = [None if value is None else (x(size), y(value)) for size, value in
              zip(document["values"]["params"], document["values"]["accuracy"], strict=True)]  # fmt: skip
    pairs = [(parent, row) for row, parent in enumerate(document["parent"]) if parent >= 0]
    assert len(pairs) >= 2, "a ladder has three rungs"
    for parent, row in pairs:
        assert picture.has_line(places[parent], places[row], pixels=2)
    child = next(name for name in picture.marks if picture.is_open[name])
    explorer.open(focus=child)
    explorer.page.get_by_role("button", name=f"Parent {child[:-1]}").click()
    expect(explorer.page.locator("#card-title")).to_have_text(f"{child[:-1]}{int(child[-1]) - 1}")


def test_the_card_has_layers_settings_lineage_and_a_command_that_runs(
    explorer: Explorer, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = explorer.document
    name = explorer.ids(lambda row: bool(document["seeds"][row]) and document["provenance"][row] == "inherited")[0]
    explorer.open(focus=name)
    card = explorer.page.locator(".candidate-card")
    layers = card.locator("table tbody tr")
    layers.first.wait_for()
    record = next(one for one in served.home.records() if one.trial_id == name)
    shapes = [row.locator("td").all_inner_texts() for row in layers.all()]
    hidden = record.config["student"]["model"]["mlp"]["hidden"]
    left = int(shapes[0][1].split(" × ")[0])
    assert shapes == [
        [f"{hidden} × 64", f"{left} × 64"],
        [f"{hidden}", f"{left}"],
        [f"10 × {hidden}", f"10 × {left}"],
        ["10"] * 2,
    ]
    sizes = [np.prod([int(side) for side in after.split(" × ")]) for _, after in shapes]
    assert sum(sizes) == record.measures["params"], "what is left after the removal is what was measured"
    text = card.inner_text()
    assert f"{record.config['student']['optimizer']}" in text and f"parent_trial\n{record.parent}" in text
    assert re.search(r"accuracy\n[\d.]+ 2 fresh seeds: 0\.\d+, 0\.\d+ to 0\.\d+", text)
    run_in_a_shell(card.locator("code").inner_text(), served, tmp_path, monkeypatch)


def run_in_a_shell(command: str, served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command of a card: the file is downloaded by MLflow from its server, and the sweep of it is planned."""
    download, again = (shlex.split(part) for part in command.split("&&"))
    name, _, address = download.pop(0).partition("=")
    assert (name, address) == ("MLFLOW_TRACKING_URI", served.mlflow.removesuffix("/tutelage/"))
    assert download[:3] == ["mlflow", "artifacts", "download"]
    options = dict(pairwise(download[3:]))
    mlflow.artifacts.download_artifacts(
        run_id=options["--run-id"], artifact_path=options["--artifact-path"], dst_path=str(folder), tracking_uri=address
    )
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, [*again[1:], "--dry-run"])
    assert done.exit_code == 0, done.output
    assert loading.load(folder / "spec.yaml").seed == served.home.spec().seed and "explored-again" in done.output


def test_a_second_sweep_is_drawn_over_the_first(explorer: Explorer, served: Served) -> None:
    explorer.open(colour="", show="bars")
    explorer.page.get_by_label("Compare with").select_option("other")
    explorer.page.locator(".legend", has_text="other (").wait_for()
    picture = explorer.picture()
    second = {record.trial_id for record in fronts.front_of(fronts.candidates(served.other), served.other.objectives()[:2])}
    assert second <= set(picture.marks) and picture.has_dashed_stairs
    explorer.open(colour="", show="bars", **{"with": str(served.other.facts()["run_id"])}, reload=True)
    explorer.page.locator(".legend", has_text="other (").wait_for()
    assert explorer.picture().marks == picture.marks
    explorer.page.get_by_label("Compare with").select_option("")
    explorer.settle()
    assert "other (" not in explorer.page.locator(".legend").inner_text()


def test_the_address_holds_the_whole_view(explorer: Explorer) -> None:
    view = {"x": "macs", "colour": "", "logx": "false", "show": "dominated,infeasible,stopped,bars,ladders", "focus": "t0002.1",
            "limits": "params<=3500,accuracy>=0.3", "brush": "accuracy~0.1~0.93", "chosen": "t0000.0,t0002.2", "sort": "params",
            "slices": "macs", "theme": "dark"}  # fmt: skip
    explorer.open(**view)
    before = seen(explorer)
    assert before[2:4] == ("t0002.1", "dark")
    explorer.page.reload()
    explorer.page.locator("#card-title", has_text="t0002.1").wait_for()
    assert seen(explorer) == before
    for key, value in view.items():
        assert key in explorer.page.url, (key, value)


def seen(explorer: Explorer) -> tuple[Any, ...]:
    picture, page = explorer.picture(), explorer.page
    return (
        picture.marks, explorer.rows(), page.locator("#card-title").inner_text(), page.get_by_label("Theme").input_value(),
        picture.lines, explorer.taken(), page.locator(".chips").all_inner_texts(),
    )  # fmt: skip


def test_the_downloads_hold_the_numbers_of_the_snapshot(explorer: Explorer) -> None:
    explorer.open(show=ALL)
    document = explorer.document
    rows = list(csv.DictReader(io.StringIO(explorer.saved("CSV").decode())))
    assert [one["candidate"] for one in rows] == document["id"]
    for place, row in enumerate(rows):
        assert (row["state"], row["run_id"]) == (document["state"][place], document["run_id"][place])
        for name, column in document["values"].items():
            assert (float(row[name]) if row[name] else None) == column[place]
        temperature = document["config"]["distillation.temperature"]["values"][place]
        assert float(row["distillation.temperature"]) == temperature
    picture = explorer.saved("PNG")
    box = explorer.page.locator(".stage").bounding_box()
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (2 * int(box["width"]), 2 * int(box["height"]))


def test_light_and_dark_follow_the_system_or_the_choice(explorer: Explorer) -> None:
    explorer.open()
    background = "getComputedStyle(document.body.parentElement).backgroundColor"
    explorer.page.emulate_media(color_scheme="light")
    light = explorer.page.evaluate(background)
    picture = explorer.saved("SVG")
    explorer.page.emulate_media(color_scheme="dark")
    dark = explorer.page.evaluate(background)
    assert dark != light and explorer.saved("SVG") != picture, "the picture has the page's colours"
    explorer.page.get_by_label("Theme").select_option("light")
    assert explorer.page.evaluate(background) == light and explorer.saved("SVG") == picture
    explorer.page.emulate_media(color_scheme="light")


def test_arrow_keys_walk_the_front_which_is_said_and_stands_in_the_table(explorer: Explorer, served: Served) -> None:
    explorer.open()
    front = json_views.front(served.home)["students"]
    by_size = sorted(front, key=lambda one: one["measures"]["params"])
    stage, live = explorer.page.locator(".stage"), explorer.page.locator("#live")
    stage.focus()
    stage.press("Home")
    for place, one in enumerate(by_size, start=1):
        said = rf"^point {place} of {len(front)}: [\d.]+k? parameters, {one['measures']['accuracy']:.3f}"
        expect(live).to_have_text(re.compile(said))
        expect(explorer.page.locator("#card-title")).to_have_text(one["trial"])
        expect(explorer.page.locator("tr[aria-selected=true] td").first).to_have_text(one["trial"])
        stage.press("ArrowRight")
    assert "± 0." in live.inner_text() and explorer.page.evaluate("document.activeElement.className") == "stage"
    explorer.page.locator("tr[data-row]").first.focus()
    explorer.page.keyboard.press("ArrowDown")
    explorer.page.keyboard.press("Enter")
    explorer.settle()
    assert (
        explorer.page.evaluate("document.activeElement.cells[0].textContent")
        == explorer.page.locator("#card-title").inner_text()
    )


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (700, "dark")])
def test_it_fits_a_narrow_window_at_twice_the_size_and_axe_finds_nothing(served: Served, width: int, scheme: str) -> None:
    """A window of 700 pixels is one of 1400 at 200 % zoom."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(served.browser, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True) as page:
        explorer = Explorer.at(page, served.mlflow, served.run_id)
        explorer.open(focus="t0000.2", chosen="t0000.2", show=ALL)
        page.locator(".candidate-card table").wait_for()
        page.locator("#slices-title").scroll_into_view_if_needed()
        explorer.settle()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.getAnimations().length") == 0, "the system asks for reduced motion"
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


def test_a_point_leads_to_its_run_in_mlflow(served: Served) -> None:
    with opened(served.browser) as page:
        explorer = Explorer.at(page, served.mlflow, served.run_id)
        explorer.open(focus="t0000.2")
        page.locator(".candidate-card").get_by_role("link", name="Run in MLflow").click()
        page.get_by_text("accuracy").first.wait_for()
        assert explorer.document["run_id"][explorer.document["id"].index("t0000.2")] in page.url


def test_a_student_is_promoted_with_the_token_and_after_a_confirmation_only(served: Served) -> None:
    client, model = mlflow.MlflowClient(tracking_uri=served.home.tracking_uri), "explored-students"
    student = json_views.front(served.home)["students"][-1]["trial"]
    promotion = {"id": student, "model": model, "force": False}
    for url, status in ((served.mlflow, 403), (served.dashboard.partition("?")[0], 401)):
        refused = requests.post(f"{url}api/sweeps/{served.run_id}/promote", json=promotion, timeout=60)
        assert refused.status_code == status
    with opened(served.browser) as page:
        page.goto(f"{served.mlflow}#sweep={served.run_id}&focus={student}")
        page.get_by_role("button", name="Compare").wait_for()
        assert page.get_by_role("button", name="Promote…").count() == 0
        page.goto(f"{served.dashboard}&focus={student}")
        page.get_by_role("heading", name="Command").wait_for()  # the card is drawn again when its details arrive
        page.get_by_role("button", name="Promote…").click()
        assert "token" not in page.url
        page.get_by_role("button", name="Cancel").click()
        assert page.get_by_role("dialog").count() == 0 and not client.search_registered_models()
        page.get_by_role("button", name="Promote…").click()
        page.get_by_label("Registered model").fill(model)
        page.get_by_role("button", name="Promote", exact=True).click()
        page.get_by_role("dialog").get_by_text(f"Version 1 of {model} is the champion").wait_for(timeout=600_000)
    version, chosen = client.get_model_version_by_alias(model, "champion"), served.home.selection()
    assert chosen and chosen["student"]["trial"] == student and "a person chose it" in chosen["reason"]
    assert (chosen["model"]["version"], chosen["model"]["promoted"]) == (str(version.version), True)
