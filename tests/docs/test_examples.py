"""The examples of docs/plugins and CONTRIBUTING, written as a user's module and held to their family's contract."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from tests.contracts import test_measures as measures_contract
from tests.contracts import test_plugins as contract
from tests.contracts import test_rules as rules_contract
from tests.docs.pages import ROOT, blocks
from tests.search.rule_contexts import rule_context
from tutelage import plugins
from tutelage.data import SPLITS, fingerprint
from tutelage.networks import cost
from tutelage.objectives import objective
from tutelage.policies import NEVER, SelectionContext
from tutelage.search.sampler import Sampler
from tutelage.spec import loading, spec
from tutelage.spec.distributions import parse
from tutelage.spec.space import Space
from tutelage.tasks import LabelSequence

Write = Callable[[str, str], None]
BIN = Path(sys.executable).parent
EXAMPLES = [(name, code) for name in sorted(ROOT.glob("docs/plugins/*.md")) for code in blocks(str(name), "python")]


def module_of(code: str) -> str:
    """Return the module's name that an example's first line tells: `# my_losses.py`."""
    return re.match(r"# (\w+)\.py", code)[1]  # type: ignore[index]


def written(user_module: Write, page: str) -> list[str]:
    """Write the examples of a page of docs/plugins as modules, and return their names."""
    found = blocks(f"docs/plugins/{page}.md", "python")
    for code in found:
        user_module(module_of(code), code)
    return [module_of(code) for code in found]


def spec_of(page: str, **changes: Any) -> spec.Spec:
    """Return the spec that a page of docs/plugins shows."""
    (code,) = blocks(f"docs/plugins/{page}.md", "yaml")
    return loading.from_dict({**yaml.safe_load(code), **changes})


def test_the_models_example_is_sized_and_gives_logits(user_module: Write) -> None:
    written(user_module, "models")
    contract.test_a_model_outputs_logits_and_is_sized_without_weights("my_networks:Tiny")
    contract.test_a_model_in_evaluation_mode_processes_examples_independently("my_networks:Tiny")
    assert plugins.summary("models", "my_networks:Tiny").startswith("A perceptron")
    assert cost.size(contract.build("my_networks:Tiny", hidden=8))["params"] == 65 * 8 + 9 * 10
    assert spec_of("models").name == "tiny"


def test_the_losses_example_keeps_the_contract(user_module: Write) -> None:
    written(user_module, "losses")
    check_loss("my_losses:Mse")
    assert spec_of("losses").name == "with-my-loss"


def check_loss(name: str) -> None:
    """Hold a loss to its family's contract."""
    contract.test_a_loss_is_positive_and_finite_and_minimising_it_reduces_it(name)
    contract.test_a_loss_has_no_gradient_where_the_student_equals_its_teacher(name)
    contract.test_a_losss_gradient_is_its_numerical_slope(name)
    for masked_by in ("sequence", "input"):
        contract.test_padding_changes_neither_a_loss_nor_its_gradients(name=name, options={}, masked_by=masked_by)
    contract.test_a_loss_is_finite_for_the_largest_logits_of_half_precision(name)


def test_the_policies_examples_choose(user_module: Write, make_record: Callable[..., Any]) -> None:
    written(user_module, "policies")
    front = [
        make_record(0, accuracy=0.80, params=10.0, size_bytes=40.0),
        make_record(1, accuracy=0.93, params=90.0, size_bytes=360.0),
        make_record(2, accuracy=0.97, params=500.0, size_bytes=2000.0),
    ]
    accuracy = objective("accuracy")
    about = SelectionContext(
        objectives=(accuracy, objective("params")), primary=accuracy.measure, teacher={"accuracy": 0.99}, quality="accuracy"
    )
    _, short, config = plugins.configure("policies", "my_policies:accuracy_per_kilobyte")
    assert list(short.scores(config, front, about)) == [0.02, 0.93 / 360, 0.97 / 2000]
    _, long, config = plugins.configure("policies", {"my_goal:ShareOfTeacher": {"share": 0.9}})
    assert list(long.scores(config, front, about)) == [NEVER, -90.0, -500.0]
    assert "90%" in long.reason(config, front[1], front, about)


def test_the_samplers_example_suggests_and_learns(user_module: Write) -> None:
    written(user_module, "samplers")
    suggested = {"x": [0.0], "joint": [0.0]}
    for name, reference in (("x", "random"), ("joint", {"my_samplers:JointTPE": {"startup": 12}})):
        own = Sampler(Space(parse({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})), 2, reference, 0)
        for _ in range(40):
            suggestion = own.ask()
            suggested[name].append(suggestion.params["x"])
            own.tell_finished(suggestion.number, [suggestion.params["x"], suggestion.params["y"]], {})
    assert suggested["x"][:12] == suggested["joint"][:12]
    assert sum(suggested["joint"][20:]) < 0.7 * sum(suggested["x"][20:])


def test_the_rules_example_stops_by_the_median(user_module: Write, make_record: Callable[..., Any]) -> None:
    written(user_module, "rules")
    rules_contract.test_a_rule_decides_the_same_after_a_resume("my_rules:Median", make_record)
    rules_contract.test_a_rule_never_ends_a_student_of_unknown_size("my_rules:Median")
    _, plugin, config = plugins.configure("rules", {"my_rules:Median": {"startup": 2}})
    judge = plugin.build(config, rule_context())
    rows = [(10, 0.5), (20, 0.7), (5, 0.1), (30, 0.6), (30, 0.4)]  # parameters, accuracy after the first epoch
    decisions = [
        judge.judge(rules_contract.suggestion(n, size), {"epoch": 1, "accuracy": a}) for n, (size, a) in enumerate(rows)
    ]
    assert decisions == ["continue", "continue", "continue", "continue", "stop"]


def test_the_measures_example_keeps_the_contract(user_module: Write) -> None:
    written(user_module, "measures")
    found = plugins.measure("my_measures:ACTIVATION_BYTES")
    measures_contract.test_a_measure_has_a_label_and_a_meaning(found)
    measures_contract.test_an_even_loss_falls_wherever_the_value_gets_better(found)
    measures_contract.test_a_measure_round_trips_through_its_document(found)
    assert found.of_network is not None
    batch = SimpleNamespace(inputs={"image": torch.zeros(1, *contract.IMAGES)})
    assert found.of_network(contract.build("mlp", hidden=70), batch) == 4 * 70
    assert spec_of("measures").search.objectives[1].measure == found


def test_the_sparsity_example_keeps_what_it_removed_at_zero(user_module: Write) -> None:
    written(user_module, "sparsity")
    name, example = "my_sparsity:Magnitude", torch.randn(2, *contract.IMAGES)
    for epochs in (1, 2):
        contract.test_a_student_has_the_size_predicted_before_its_training(name, epochs)
    _, plugin, config = plugins.configure("sparsity", name)
    model, method = contract.build("mlp"), plugin.build(config, 0.75)
    assert method.recoveries(1) == () and method.recoveries(10) == (5,)
    method.remove(model, example)
    resumed = plugin.build(config, 0.75)
    resumed.restore(model, method.state())
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    resumed.after_step(model, 0.1)
    (point,) = resumed.finish(model, example)
    matrices = [weight for weight in point.model.parameters() if weight.ndim > 1]
    assert [int((weight == 0).sum()) for weight in matrices] == [int(0.75 * weight.numel()) for weight in matrices]
    assert spec_of("sparsity").name == "with-my-sparsity"


def test_the_data_and_tasks_examples_measure_a_perfect_output_as_perfect(user_module: Write) -> None:
    """The splits are disjoint and reproducible; values in padding change neither loss nor measure."""
    written(user_module, "data")
    written(user_module, "tasks")
    _, source, options = plugins.configure("data", "my_data:Rows")
    _, plugin, config = plugins.configure("tasks", "my_tasks:ReadShades")
    task, splits = plugin.build(config), {split: source.read(options, 0, split) for split in SPLITS}
    assert sum(map(len, splits.values())) == 1797
    assert fingerprint(*splits.values()) == fingerprint(*(source.read(options, 0, split) for split in SPLITS))
    (measure,), (output,) = task.measures, task.outputs(splits["train"])
    for check in (
        measures_contract.test_a_measure_has_a_label_and_a_meaning,
        measures_contract.test_a_measure_round_trips_through_its_document,
    ):  # fmt: skip
        check(measure)
    batch = splits["validation"].take(slice(0, 50))
    mask, labels = batch.masks["shades"], batch.targets["shades"]
    assert output.num_classes == 3 and not mask.all(), "some are padded"
    logits = 20.0 * torch.nn.functional.one_hot(labels.clamp(min=0), 3)
    for filling in (0.0, float("nan")):
        padded = logits.where(mask.unsqueeze(-1), filling)
        right, wrong = ({"shades": LabelSequence(logits=sign * padded, mask=mask)} for sign in (1, -1))
        assert measure.aggregate(task.evaluate(right, batch)[measure.name].numpy()) == 0.0
        assert measure.aggregate(task.evaluate(wrong, batch)[measure.name].numpy()) > 0.5
        assert task.loss(right, batch).max() < 1e-6 < task.loss(wrong, batch).min()
    assert 0.3 < task.baseline(splits["train"], splits["validation"]) < 1.5


def printed_in_contributing(tmp_path: Path) -> ModuleType:
    """Write the loss that CONTRIBUTING prints as a package of its own, and return its module."""
    (code,) = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "their_losses").mkdir()
    (tmp_path / "their_losses" / "__init__.py").write_text('"""Their losses."""\n\nfrom their_losses import mse as mse\n')
    (tmp_path / "their_losses" / "mse.py").write_text(code)
    return importlib.import_module("their_losses.mse")


def test_the_loss_in_contributing_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    plugin = printed_in_contributing(tmp_path)
    assert plugins.summary("losses", "their_losses:mse").endswith((".", ")"))
    assert set(plugin.SPACE) <= set(plugin.Config.model_fields)
    check_loss("their_losses:mse")


def test_examples_are_formatted_and_linted(tmp_path: Path) -> None:
    for page, code in EXAMPLES:
        (tmp_path / page.stem).mkdir(exist_ok=True)
        (tmp_path / page.stem / f"{module_of(code)}.py").write_text(code)
    assert style_errors(tmp_path, "--ignore", "D1,RUF012") == ""


def style_errors(folder: Path, *options: str) -> str:
    """Return what ruff reports of a folder with the project's settings."""
    settings = ("--config", str(ROOT / "pyproject.toml"), "--no-cache", "--quiet", str(folder))
    runs = [
        subprocess.run([BIN / "ruff", *arguments, *settings], capture_output=True, text=True, check=False)
        for arguments in (("format", "--diff"), ("check", *options))
    ]
    return "".join(done.stdout + done.stderr for done in runs if done.returncode)


@pytest.mark.slow
def test_the_loss_in_contributing_passes_make_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make check` would find it in the package: formatted, linted and strictly typed."""
    monkeypatch.syspath_prepend(tmp_path)
    printed_in_contributing(tmp_path)
    assert style_errors(tmp_path) == ""
    command = [BIN / "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "their_losses" / "mse.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
