from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import SMALL_SPEC
from tutelage.errors import InputError, SpecError
from tutelage.search.first_trials import first_suggestions
from tutelage.spec import loading
from tutelage.spec.json_schema import json_schema
from tutelage.spec.yaml_lines import Document, dump

SEARCH_SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


def problems_of(tree: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        loading.from_dict(tree)
    return {problem.path: problem.why for problem in caught.value.problems}


def test_all_problems_are_reported_at_once_with_line_and_nearest_word(tmp_path: Path) -> None:
    text = """\
name: two words
data: digit
teacher: {model: convnet, epochs: 0}
student:
  epoch: 3
  model:
    choice:
      convnet: {widht: 4}
      mlp: {hidden: {int: [0, 8]}}
distillation:
  temperature: {float: [20, 1]}
search:
  samplr: tpe
  objectives: [accuracy, latency]
"""
    with pytest.raises(SpecError) as caught:
        loading.load(write(tmp_path, text))
    found = {problem.path: problem for problem in caught.value.problems}
    lines = {path: problem.line for path, problem in found.items()}
    assert lines == {
        "name": 1, "data": 2, "teacher.epochs": 3, "student.epoch": 5, "student.model.convnet.widht": 8,
        "student.model.mlp.hidden": 9, "distillation.temperature": 11, "search.samplr": 13, "search.objectives.1": 14,
    }  # fmt: skip
    assert "Did you mean 'epochs'" in found["student.epoch"].why
    assert "Did you mean 'width'" in found["student.model.convnet.widht"].why
    assert "Did you mean 'sampler'" in found["search.samplr"].why
    assert "Did you mean 'digits'" in found["data"].why
    assert "Did you mean 'latency_ms'" in found["search.objectives.1"].why
    assert "sweep.yaml:5  student.epoch = 3" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        ({"student": {"model": "convnt"}}, "student.model", "Did you mean 'convnet'"),
        ({"student": {"model": "mlp", "epochs": True}}, "student.epochs", "must be a whole number"),
        ({"student": {"model": "mlp", "epochs": "search"}}, "student.epochs", "no range of its own"),
        ({"student": {"model": {"mlp": {"units": "search"}}}}, "student.model.mlp.units", "declares no range for 'units'"),
        ({"student": {}}, "student.model", "is missing"),
        ({"distillation": {"weight": {"float": [0, 2]}}}, "distillation.weight", "less than or equal to 1"),
        ({"distillation": {"method": "kdd"}}, "distillation.method", "Did you mean 'kd'"),
        ({"teacher": {"model": "mlp", "path": "there"}}, "teacher", "either `model`"),
        ({"teacher": {"model": "mlp", "trust": ["mine:Net"]}}, "teacher.trust", "belongs to a `path`"),
        ({"teacher": {"model": "mlp", "epochs": {"int": [1, 2]}}}, "teacher.epochs", "may stand only under"),
        ({"data": {"choice": ["digits"]}}, "data", "may stand only under"),
        ({"search": {"trials": None}}, "search.trials", "a search must end"),
        ({"search": {"constraints": {"max": {"parms": 3}}}}, "search.constraints.max.parms", "Did you mean 'params'"),
        (
            {"search": {"constraints": {"max": {"params": 3}, "min": {"params": 4}}}},
            "search.constraints",
            "no student can meet",
        ),
        ({"search": {"objectives": []}}, "search.objectives", "at least one"),
        ({"search": {"objectives": ["params", "params"]}}, "search.objectives", "is listed twice"),
        ({"select": {"max": {"size_bytes": "big"}}}, "select.max.size_bytes", "not a quantity"),
        (
            {"search": {"objectives": ["accuracy", "latency_ms"], "stopping": {}}},
            "search.stopping",
            "the objective latency_ms is measured after training",
        ),
        (
            {"search": {"objectives": ["params"], "stopping": {}}},
            "search.stopping",
            "compares students by accuracy, which is not an objective",
        ),
        (
            {
                "sparsity": {"amount": 0.5, "method": {"channels": {"allocation": "sensitivity", "cost": "latency_ms"}}},
                "resources": {"trial": {"workers": 2}},
            },
            "resources.trial.workers",
            "Take cost: macs or size_bytes",
        ),
        ({"search": {"stopping": {"rule": "dominanc"}}}, "search.stopping.rule", "Did you mean 'dominance'"),
        ({"search": {"sampler": "tpee"}}, "search.sampler", "Did you mean 'tpe'"),
        ({"select": {"policy": "kne"}}, "select.policy", "Did you mean 'knee'"),
        ({"search": {"constraints": {"mx": {"params": 3}}}}, "search.constraints.mx", "Did you mean 'max'"),
        ({"student": {"model": {"mlp": {"hidden": True}}}}, "student.model.mlp.hidden", "must be a whole number"),
        ({"student": {"model": {"mlp": {"hidden": "32"}}}}, "student.model.mlp.hidden", "must be a whole number"),
        (
            {"student": {"model": {"mlp": {"hidden": {"int": [0, 8]}}}}},
            "student.model.mlp.hidden",
            "at least 1 and at most 65,536",
        ),
        ({"student": {"model": {"choice": {3: "search"}}}}, "student.model.3", "no models plugin"),
        ({"student": {"model": 3}}, "student.model", "names no plugin"),
        ({"data": None}, "data", "names no plugin"),
        ({"student": None}, "student", "must be a mapping"),
        ({"search": None}, "search", "must be a mapping"),
        ({"sparsity": {"amount": {"float": [0, 0.99]}}}, "sparsity.amount", "at least 0 and at most 0.95"),
        ({"distillation": {"temperature": {"float": [1, 2], "lgo": True}}}, "distillation.temperature", "Did you mean 'log'"),
        ({"resources": {"trial": {"cpuss": 1}}}, "resources.trial.cpuss", "Did you mean 'cpus'"),
        ({"teacher": {"model": {"mlp": {"hidden": {"int": [1, 2]}}}}}, "teacher.model.mlp.hidden", "may stand only under"),
        ({"more_teachers": [{"model": "mlp", "epochs": 0}]}, "more_teachers.0.epochs", "at least 1 epoch"),
        ({"more_teachers": [{"model": "mlp"}, {"model": "convnt"}]}, "more_teachers.1.model", "Did you mean 'convnet'"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"seed": float("nan")}, "seed", "whole number"),
    ],
)
def test_an_error_names_the_place_and_the_reason(changes: dict[str, Any], path: str, why: str) -> None:
    problems = problems_of({**SMALL_SPEC, **changes})
    assert why in problems[path], problems


@pytest.mark.parametrize(
    ("teacher", "paths"),
    [
        ({"model": "mlp", "epochs": 0}, {"teacher.epochs"}),
        ({"model": {"mlp": {"hiden": 3}}, "epochs": 0}, {"teacher.model.mlp.hiden"}),
        ({"model": {"onnx": {"mean": [1], "std": [0]}}, "epochs": 0}, {"teacher.model.onnx"}),
        ({"model": "mlp", "weights": "teacher.safetensors", "epochs": 0}, set()),
        ({"path": "exports/big", "epochs": 0}, set()),
    ],
)
def test_no_epochs_are_an_error_only_of_a_model_that_is_certainly_not_trained(teacher: Any, paths: set[str]) -> None:
    found = problems_of({**SMALL_SPEC, "teacher": teacher, "seed": -1})  # of which one is expected in any case
    assert set(found) == {"seed", *paths}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "holds a list"),
        ("a: [1\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        loading.load(write(tmp_path, text))


def test_a_duplicate_key_is_an_error_with_its_line(tmp_path: Path) -> None:
    text = yaml.safe_dump({**SMALL_SPEC, "name": "two words"}, sort_keys=False) + "seed: 1\nseed: 2\n"
    with pytest.raises(SpecError) as caught:
        loading.load(write(tmp_path, text))
    last = text.count("\n")
    assert [(p.path, p.line) for p in caught.value.problems] == [("name", 1), ("seed", last)], "beside all else that is wrong"


def test_every_impossible_distribution_of_a_choice_is_reported() -> None:
    model = {"choice": {"mlp": {"hidden": {"int": [9, 1]}}, "convnet": {"width": {"int": [0, 8], "log": True}, "dept": 2}}}
    problems = problems_of({**SMALL_SPEC, "student": {"model": model}})
    assert set(problems) == {"student.model.mlp.hidden", "student.model.convnet.width", "student.model.convnet.dept"}


def test_a_part_that_contains_itself_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="yaml:2: not YAML that can be read: an alias stands for a part that contains it"):
        loading.load(write(tmp_path, "name: a\nstudent: &a {model: *a}\n"))


LAUGHS = "name: a\na0: &a0 [x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGED = "name: a\nm0: &m0 {x: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 40))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "more than 100,000 values"), (MERGED, "more than 100,000 values"),
        pytest.param("a: " + "[" * 5000, "nested too deeply", marks=pytest.mark.slow),
        ("a: " + "1" * 5000, "a value cannot be read"), ("a: !!int x", "a value cannot be read"),
        ("a: !!bool maybe", "a value cannot be read"), ("a: " + "x" * 2_000_001, "2,000,004 characters"),
        ("{[1]: 2}", "unhashable"), ("a: !!python/object:os.system x", "could not determine a constructor"),
    ],
    ids=["aliases", "merges", "nested", "digits", "tag", "truth", "long", "key", "object"],
)  # fmt: skip
def test_text_that_is_no_spec_is_an_error_within_a_second(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=f"not YAML that can be read: .*{why}"):
        loading.load(write(tmp_path, text))
    with pytest.raises(InputError, match=f"(?s)--set seed=.* is not YAML: .*{why}"):
        loading.load(write(tmp_path, yaml.safe_dump(SMALL_SPEC)), [f"seed={text}"])


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("distillation.raw", "yes", "must be true or false. Write true."),
        ("teacher.accept_weak", "TRUE", "must be true or false. Write true."),
        ("augmentation.flip", "off", "must be true or false. Write false."),
        ("student.epochs", "1e2", "must be a whole number. Write 100."),
        ("search.trials", "1_000", "must be a whole number. Write 1000."),
        ("seed", "010", "must be a whole number. Write 10."), ("seed", "0x10", "must be a whole number. Write 16."),
        ("seed", "1.5", "must be a whole number."), ("seed", "many", "must be a whole number."),
        ("teacher.learning_rate", "'0.01'", "must be a number. Write 0.01."),
        ("teacher.learning_rate", "50%", "must be a number. Write 0.5."),
        ("name", "2026", 'must be a word. Write it in quotes: "2026".'),
        ("teacher.classes", "[true, b]", 'must be a word. Write it in quotes: "true".'),
        ("student.model.mlp.hidden", "{int: [1e1, 64]}", "10.0 is not a whole number. Write 10."),
        ("distillation.temperature", "{float: [1, 8], log: yes}", "log is true or false. Write true."),
    ],
)  # fmt: skip
def test_the_error_for_a_value_of_another_type_shows_how_to_write_it(path: str, text: str, why: str) -> None:
    overrides = ["student.model={mlp: {}}", f"{path}={text}"] if "mlp" in path else [f"{path}={text}"]
    with pytest.raises(SpecError) as caught:
        loading.load(SEARCH_SPACES[0].parent / "digits.yaml", overrides)
    assert [problem.why for problem in caught.value.problems] == [why]


def test_a_missing_file_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        loading.load(tmp_path / "none.yaml")


def test_exponents_are_numbers_and_yes_is_a_word(tmp_path: Path) -> None:
    text = yaml.safe_dump({**SMALL_SPEC, "name": "PLACE"}).replace("PLACE", "no") + "seed: 7\n"
    text = text.replace("epochs: 6", "epochs: 6\n  learning_rate: 1e-3")
    loaded = loading.load(write(tmp_path, text))
    assert loaded.teacher.learning_rate == 0.001
    assert loaded.name == "no"


def test_set_overrides_the_file_and_its_errors_name_it(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(SMALL_SPEC))
    loaded = loading.load(path, ["search.trials=50", "distillation.weight={float: [0.1, 0.2]}", "resources.trial.cpus=0.5"])
    assert loaded.search.trials == 50
    assert loaded.resources.trial.cpus == 0.5
    with pytest.raises(SpecError) as caught:
        loading.load(path, ["search.trails=50"])
    assert "--set search.trails" in str(caught.value)
    assert "Did you mean 'trials'" in str(caught.value)
    with pytest.raises(SpecError, match=r"--set serch = .*\n.*Did you mean 'search'"):
        loading.load(path, ["serch.trials=50"])
    for wrong in ("search.trials", "=3", "name.first=x", "seed=[1"):
        with pytest.raises(InputError, match=re.escape(f"--set {wrong}")):
            loading.load(path, [wrong])
    path.write_text(yaml.safe_dump({**SMALL_SPEC, "tracking": {"uri": None}}))
    assert loading.load(path, ["tracking.uri=http://there"]).tracking.uri == "http://there"


def test_a_resolved_spec_loads_as_the_same_spec(tmp_path: Path) -> None:
    first = loading.from_dict(SMALL_SPEC)
    path = write(tmp_path, dump(first.resolved()))
    assert loading.load(path) == first
    assert first.resolved()["student"]["batch_size"] == 64


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="ascii"))


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1), st.recursive(VALUES, lambda inner: st.lists(inner), max_leaves=8), min_size=1))
@example(
    {"name": "1e3", "a": "1:30", "b": "010", "c": "yes", "d": "2026-01-01", "e": "0x1F", "f": 1e-05, "g": "1_000", "h": "08"}
)
def test_a_dumped_document_is_read_unchanged(tree: dict[str, Any]) -> None:
    assert Document(dump(tree), "dumped").tree == tree


@pytest.mark.slow
@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True),
    weight=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
@example("1e3", 1e-7, 0)
def test_a_resolved_spec_round_trips_with_any_name(name: str, weight: float, seed: int) -> None:
    first = loading.from_dict({**SMALL_SPEC, "name": name, "seed": seed, "distillation": {"weight": weight}})
    assert loading.from_dict(Document(dump(first.resolved()), "dumped").tree) == first


def test_a_users_plugin_without_ranges_cannot_be_searched(user_module: Callable[[str, str], None]) -> None:
    user_module(
        "plain_network",
        "from tutelage.plugins import PluginConfig\n"
        "class Net:\n    class Config(PluginConfig):\n        width: int = 3\n    build = print\n",
    )
    problems = problems_of({**SMALL_SPEC, "student": {"model": {"plain_network:Net": "search"}}})
    assert "has no SPACE" in problems["student.model.plain_network:Net"]


def test_the_value_search_is_replaced_by_the_plugins_search_space() -> None:
    loaded = loading.from_dict(
        {**SMALL_SPEC, "student": {"model": {"choice": {"convnet": "search", "mlp": {"hidden": "search"}}}}}
    )
    assert "student.model.convnet.width" in loaded.space.names()
    assert "student.model.mlp.hidden" in loaded.space.names()
    assert "student.model.mlp.depth" not in loaded.space.names()


def test_the_schema_accepts_the_shipped_specs_and_rejects_a_wrong_key() -> None:
    schema = json_schema()
    validator = jsonschema.Draft7Validator(schema)
    for path in SEARCH_SPACES:
        validator.validate(yaml.safe_load(path.read_text()))
    validator.validate(SMALL_SPEC)
    assert list(validator.iter_errors({**SMALL_SPEC, "sed": 3}))
    assert list(validator.iter_errors({**SMALL_SPEC, "teacher": {"model": "convnt"}}))
    assert list(validator.iter_errors({**SMALL_SPEC, "distillation": {"weight": {"flt": [0, 1]}}}))


def test_the_size_aware_sampler_takes_only_objectives_that_are_known_before_training() -> None:
    tree = {"name": "a", "data": "digits", "teacher": {"model": "mlp"}, "student": {"model": "mlp"}}
    loading.from_dict({**tree, "search": {"sampler": "size-aware", "objectives": ["accuracy", "macs", "size_bytes", "params"]}})
    with pytest.raises(SpecError, match="latency_ms is measured after training"):
        loading.from_dict({**tree, "search": {"sampler": "size-aware", "objectives": ["accuracy", "latency_ms"]}})


@pytest.mark.parametrize("path", SEARCH_SPACES, ids=lambda path: path.stem)
def test_the_first_suggestions_of_a_shipped_spec_are_valid_configs(path: Path) -> None:
    """A mixture's terms are settings two levels below the plugin: they have no default of their own."""
    loaded = loading.load(path)
    suggested = first_suggestions(loaded.space, loaded.default_of, lambda config: 0.0, 8)
    assert suggested
    assert loaded.default_of("distillation.method.mixture.terms.attention") is None
    assert loaded.default_of("distillation.method.kd.standardise") is False


def test_a_mapping_is_not_changed_by_reading_it() -> None:
    given = {"name": "a", "data": "digits", "teacher": {"model": "mlp"}, "student": {"model": "mlp"}, "search": {"trials": 3}}
    before = deepcopy(given)
    loading.from_dict(given)
    assert given == before


def test_an_objective_may_have_a_reference_and_a_direction_of_its_own() -> None:
    objectives = ["accuracy", {"name": "params", "reference": "20k"}, {"name": "macs", "direction": "maximise"}]
    found = loading.from_dict({**TREE, "search": {"objectives": objectives}}).search.objectives
    assert [one.reference for one in found] == [0.0, 20e3, None]
    assert [one.direction for one in found] == ["maximise", "minimise", "maximise"]


def test_bounds_may_leave_one_value_and_no_less() -> None:
    bounds = {"min": {"params": 100}, "max": {"params": 100}}
    assert loading.from_dict({**TREE, "search": {"constraints": bounds}}).search.constraints.min == {"params": 100.0}
    with pytest.raises(SpecError, match="no student can meet these"):
        loading.from_dict({**TREE, "search": {"constraints": {**bounds, "min": {"params": 101}}}})


TREE = {"name": "a", "data": "digits", "teacher": {"model": "mlp"}, "student": {"model": "mlp"}}
