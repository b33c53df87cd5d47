from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.objectives import Limits, objective
from tutelage.records.trial import Sizes, State, Suggestion, TrialRecord
from tutelage.search import suggest
from tutelage.search.first_trials import first_suggestions
from tutelage.search.sampler import Sampler, _distribution, check
from tutelage.search.size_aware import SizeAware
from tutelage.search.suggest import MAX_REJECTIONS, Callbacks, Goal, SeededSuggestion, Suggester, size_losses
from tutelage.spec.distributions import parse
from tutelage.spec.domains import Choice, Float, Int, nearest_value
from tutelage.spec.space import Space

OBJECTIVES = (objective("accuracy"), objective("params"))
SPACE = Space(parse({"x": {"choice": {"a": {"n": {"int": [1, 50]}}, "b": {"w": {"float": [0, 1]}}}}, "fixed": 3}))


KINDS = [kind for kind in plugins.names("samplers") if kind != "botorch"]
WITH_SLOW = [pytest.param(kind, marks=[pytest.mark.slow] if kind == "gp" else []) for kind in KINDS]
STARTUP = 6  # random suggestions before those of a model, in tests of all samplers; `size-aware` always has as many


def early(kind: str) -> Any:
    """Return a reference to a sampler whose model is used after `STARTUP` students."""
    has_startup = "startup" in plugins.load("samplers", kind).Config.model_fields
    return {kind: {"startup": STARTUP}} if has_startup else kind


def sampler(path: Path, kind: Any = "tpe", space: Space = SPACE, rungs: Sequence[int] = ()) -> Sampler:
    return Sampler(space, len(OBJECTIVES), kind, 0, rungs, path / "study.journal")


def states(path: Path) -> list[optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(path / "study.journal")))
    return optuna.load_study(study_name="search", storage=storage).get_trials()


def measures_of(suggestion: Suggestion) -> dict[str, float]:
    size = suggestion.params.get("x.a.n", 25)
    return {"accuracy": 1 - 1 / float(size), "params": float(size)}


def record(suggestion: Suggestion, state: State = "finished") -> TrialRecord:
    return suggestion.record(state, measures=measures_of(suggestion) if state == "finished" else {}, started_s=1.0)


def goal(limits: Limits) -> Goal:
    return Goal(objectives=OBJECTIVES, limits=limits, learned=OBJECTIVES[0].measure)


def suggester(path: Path, refused: list[TrialRecord], num_trials: int | None = None, **options: Any) -> Suggester:
    settings: dict[str, Any] = {"constraints": Limits(), "presize": lambda config: Sizes(), "started": [], **options}
    callbacks = Callbacks(presize=settings["presize"], on_started=settings["started"].append, on_ended=refused.append)
    kind, space = settings.pop("kind", "random"), settings.pop("space", SPACE)

    def known(params: Mapping[str, Any]) -> Any:
        try:
            sizes = settings["presize"](space.resolve(lambda name, domain: params[name])[0]).final
        except InputError:
            return None
        return size_losses(sizes, OBJECTIVES, OBJECTIVES[0].measure)

    return Suggester(
        sampler(path, kind, space), goal(settings["constraints"]), callbacks, num_trials, seeded=settings.get("seeded", ()),
        chooser=SizeAware(space, known, 0, np.array([4.0, 0.0])) if kind == "size-aware" else None,
    )  # fmt: skip


def sizes_of(config: dict[str, Any]) -> Sizes:
    return Sizes(final={"params": float(config["x"].get("a", {"n": 25})["n"])})


@pytest.mark.parametrize("kind", KINDS)
def test_every_sampler_suggests_from_a_conditional_space_and_stores_its_study_on_disk(tmp_path: Path, kind: str) -> None:
    drawn = sampler(tmp_path, early(kind))
    for _ in range(STARTUP + 2):
        suggestion = drawn.ask()
        branch = suggestion.params["x"]
        assert suggestion.config == {
            "x": {branch: {"n" if branch == "a" else "w": next(reversed(suggestion.params.values()))}},
            "fixed": 3,
        }
        assert set(suggestion.params) == {"x", "x.a.n"} if branch == "a" else {"x", "x.b.w"}
        values = measures_of(suggestion)
        drawn.tell_finished(suggestion.number, [-values["accuracy"], values["params"]], {})
    assert [t.state.name for t in states(tmp_path)] == ["COMPLETE"] * (STARTUP + 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_results_give_the_same_suggestions(tmp_path: Path, kind: str) -> None:
    def suggestions(path: Path) -> list[dict[str, Any]]:
        path.mkdir()
        drawn, found = sampler(path, early(kind)), []
        for _ in range(STARTUP + 2):
            suggestion = drawn.ask()
            found.append(suggestion.params)
            values = measures_of(suggestion)
            drawn.tell_finished(suggestion.number, [-values["accuracy"], values["params"]], {})
        return found

    assert suggestions(tmp_path / "one") == suggestions(tmp_path / "two")


def test_optuna_gets_the_states_of_trials(tmp_path: Path) -> None:
    drawn = sampler(tmp_path)
    finished, violating, infeasible, stopped, failed, _left_open = (drawn.ask() for _ in range(6))
    drawn.tell_finished(finished.number, [-0.9, 10.0], {"params": -5.0})
    drawn.tell_finished(violating.number, [-0.99, 1.0], {"params": 5.0})
    drawn.tell_infeasible(infeasible.number, {"params": 7.0})
    drawn.tell_stopped(stopped.number)
    drawn.tell_failed(failed.number)
    found = states(tmp_path)
    assert [t.state.name for t in found] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "FAIL", "RUNNING"]
    assert found[2].constraints == {"params": 7.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
        best = optuna.load_study(study_name="search", storage=storage).best_trials
    assert [t.number for t in best] == [finished.number], "what misses a constraint is not among the best"


def test_losses_that_are_not_finite_are_an_assertion_error(tmp_path: Path) -> None:
    drawn = sampler(tmp_path)
    suggestion = drawn.ask()
    with pytest.raises(AssertionError):
        drawn.tell_finished(suggestion.number, [float("nan"), 1.0], {})


@pytest.mark.slow
def test_tpe_learns_and_random_does_not(tmp_path: Path) -> None:
    def mean_size(kind: str) -> float:
        home = tmp_path / kind
        home.mkdir()
        drawn = sampler(home, kind, Space(parse({"n": {"int": [1, 1000]}})))
        sizes = []
        for _ in range(60):
            suggestion = drawn.ask()
            sizes.append(suggestion.params["n"])
            drawn.tell_finished(suggestion.number, [float(suggestion.params["n"])] * 2, {})
        return sum(sizes[30:]) / 30

    assert mean_size("tpe") < 0.5 * mean_size("random")


def test_trials_end_after_their_number(tmp_path: Path) -> None:
    asked = suggester(tmp_path, [], num_trials=3)
    assert [asked.next() is None for _ in range(5)] == [False, False, False, True, True]
    assert not asked.exhausted


def test_no_config_is_suggested_twice_and_an_exhausted_space_ends_the_search(tmp_path: Path) -> None:
    asked = suggester(tmp_path, [], space=Space(parse({"n": {"int": [1, 4]}})))
    configs = []
    while (suggestion := asked.next()) is not None:
        configs.append(suggestion.config["n"])
        asked.learn(record(suggestion))
    assert sorted(configs) == [1, 2, 3, 4]
    assert asked.exhausted


def test_a_student_that_is_too_large_is_rejected_before_training_and_recorded(tmp_path: Path) -> None:
    refused: list[TrialRecord] = []
    asked = suggester(
        tmp_path, refused, num_trials=5, space=Space(parse({"n": {"int": [1, 100]}})),
        constraints=Limits(max={"params": 30}), presize=lambda config: Sizes(final={"params": float(config["n"])}),
    )  # fmt: skip
    given = [suggestion for suggestion in (asked.next() for _ in range(5)) if suggestion is not None]
    assert len(given) == 5
    assert all(suggestion.config["n"] <= 30 for suggestion in given)
    assert refused
    for trial in refused:
        assert trial.state == "infeasible"
        assert trial.measures["params"] > 30
        assert "the constraints are params ≤ 30" in trial.error
    assert {t.state.name for t in states(tmp_path) if t.number in {r.number for r in refused}} == {"PRUNED"}


def test_a_constraint_that_no_student_can_meet_ends_the_search(tmp_path: Path) -> None:
    refused: list[TrialRecord] = []
    asked = suggester(
        tmp_path, refused, constraints=Limits(max={"params": 0}), presize=lambda config: Sizes(final={"params": 1.0}),
        space=Space(parse({"w": {"float": [0, 1]}})),
    )  # fmt: skip
    assert asked.next() is None
    assert asked.exhausted
    assert len(refused) == MAX_REJECTIONS


def test_failed_and_stopped_trials_are_never_complete_for_optuna(tmp_path: Path) -> None:
    asked = suggester(tmp_path, [])
    suggestions = [asked.next() for _ in range(3)]
    for suggestion, state in zip(suggestions, ("failed", "stopped", "finished"), strict=True):
        assert suggestion is not None
        asked.learn(record(suggestion, state))
    assert [t.state.name for t in states(tmp_path)] == ["FAIL", "PRUNED", "COMPLETE"]


@pytest.mark.parametrize("kind", WITH_SLOW)
def test_a_restarted_driver_gets_the_same_suggestions(tmp_path: Path, kind: str) -> None:
    """A suggestion depends on the record and its number alone, in any process and with any dropped suggestions before it."""
    begun: list[TrialRecord] = []
    ended: dict[int, TrialRecord] = {}
    first = suggester(tmp_path, [], kind=early(kind), started=begun, presize=sizes_of)
    for number in range(STARTUP + 4):
        suggestion = first.next()
        assert suggestion is not None
        if number < STARTUP + 2:
            ended[suggestion.number] = record(suggestion, "failed" if number == 5 else "finished")
            first.learn(ended[suggestion.number])
    expected = first.next()
    (tmp_path / "again").mkdir()
    asked_again: list[TrialRecord] = []
    second = suggester(tmp_path / "again", [], kind=early(kind), started=asked_again, presize=sizes_of)
    second.resume([ended.get(one.number, one) for one in reversed(begun[: STARTUP + 4])])
    assert second.num_accepted == STARTUP + 4
    pending = [second.next(), second.next()]
    assert [suggestion and suggestion.config for suggestion in pending] == [
        one.config for one in begun[STARTUP + 2 : STARTUP + 4]
    ], "what was handed out comes first"
    assert asked_again == [], "and is not put on record again"
    following = second.next()
    assert following is not None and expected is not None
    assert (following.number, following.params) == (expected.number, expected.params)


def test_a_restarted_driver_suggests_no_config_again(tmp_path: Path) -> None:
    space = Space(parse({"n": {"int": [1, 4]}}))
    first, ended = suggester(tmp_path, [], space=space), list[TrialRecord]()
    for _ in range(3):
        suggestion = first.next()
        assert suggestion is not None
        ended.append(record(suggestion))
        first.learn(ended[-1])
    (tmp_path / "again").mkdir()
    second = suggester(tmp_path / "again", [], space=space)
    second.resume(ended)
    last = second.next()
    assert last is not None and {last.config["n"], *(one.config["n"] for one in ended)} == {1, 2, 3, 4}
    assert second.next() is None


def test_seeded_suggestions_come_first_and_once(tmp_path: Path) -> None:
    seeded = [
        SeededSuggestion(params={"x": "a", "x.a.n": 7}, origin="default"),
        SeededSuggestion(params={"x": "b"}, origin="largest"),
    ]
    begun: list[TrialRecord] = []
    asked = suggester(tmp_path, [], seeded=seeded, started=begun)
    suggestions = [asked.next() for _ in range(3)]
    assert [suggestion and suggestion.origin for suggestion in suggestions] == ["default", "largest", "sampler"]
    assert suggestions[0] and suggestions[0].params == {"x": "a", "x.a.n": 7}
    assert suggestions[1] and set(suggestions[1].params) == {"x", "x.b.w"}, "what a seed_suggestion leaves open is drawn"
    (tmp_path / "again").mkdir()
    again = suggester(tmp_path / "again", [], seeded=seeded)
    again.resume(begun[:1])
    assert [suggestion and suggestion.origin for suggestion in (again.next(), again.next(), again.next())] == [
        "default",
        "largest",
        "sampler",
    ]


def test_a_student_that_another_sweep_trained_is_taken_from_its_record(tmp_path: Path) -> None:
    answered: list[TrialRecord] = []

    def recall(suggestion: Suggestion) -> TrialRecord | None:
        return suggestion.record("finished", measures=measures_of(suggestion)) if suggestion.params["x"] == "a" else None

    callbacks = Callbacks(presize=lambda config: Sizes(), on_started=lambda one: None, on_ended=answered.append, recall=recall)
    asked = Suggester(sampler(tmp_path, "random"), goal(Limits()), callbacks, 10)
    trained = []
    while (suggestion := asked.next()) is not None:
        trained.append(suggestion)
        asked.learn(record(suggestion))
    assert {suggestion.params["x"] for suggestion in trained} == {"b"} and {one.params["x"] for one in answered} == {"a"}
    assert len(trained) + len(answered) == 10


@pytest.mark.slow
def test_the_sampler_learns_from_the_highest_rung_with_enough_students(tmp_path: Path) -> None:
    """Small numbers are best at the rung, large ones at the end: the sampler learns from the end once enough have finished."""
    space = Space(parse({"n": {"int": [1, 1000]}}))

    def mean_after(num_ends: int) -> float:
        home = tmp_path / str(num_ends)
        home.mkdir()
        drawn, sizes = sampler(home, "tpe", space, rungs=[3]), []
        for number in range(90):
            suggestion = drawn.ask()
            sizes.append(suggestion.params["n"])
            drawn.observe(suggestion.number, 3, [float(suggestion.params["n"])] * 2)
            drawn.observe(suggestion.number, 3, [0.0, 0.0])
            if number < num_ends:
                drawn.tell_finished(suggestion.number, [-float(suggestion.params["n"])] * 2, {})
            else:
                drawn.tell_stopped(suggestion.number)
        return sum(sizes[60:]) / 30

    assert mean_after(5) < 300, "five ends are too few: the rung guides"
    assert mean_after(60) > 700, "sixty are enough"


def test_results_of_another_search_are_learned_from_and_are_no_trials_of_this_one(tmp_path: Path) -> None:
    space = Space(parse({"n": {"int": [1, 1000]}}))
    drawn = sampler(tmp_path, "tpe", space)
    for n in range(1, 1000, 20):
        drawn.add_finished({"n": n}, [float(n)] * 2)
    suggestions = [drawn.ask() for _ in range(10)]
    assert [suggestion.number for suggestion in suggestions] == list(range(10))
    assert sum(suggestion.params["n"] for suggestion in suggestions) / 10 < 300
    assert len(states(tmp_path)) == 10


RANGES = st.one_of(
    st.builds(lambda low, width, step: {"float": [low / 10, (low + width) / 10], "step": step / 10},
              st.integers(-5, 20), st.integers(0, 30), st.integers(1, 9)),
    st.builds(lambda low, width, step: {"int": [low, low + width], "step": step},
              st.integers(-5, 20), st.integers(0, 60), st.integers(1, 9)),
    st.builds(lambda low, factor: {"float": [low, low * factor], "log": True}, st.floats(1e-9, 1e3), st.floats(1, 1e6)),
    st.builds(lambda low, width: {"int": [low, low + width], "log": True}, st.integers(1, 20), st.integers(0, 500)),
)  # fmt: skip


def soon(source: Suggester) -> Suggestion | None:
    """Return the next suggestion; None where the next five have been made before."""
    with mock.patch.object(suggest, "MAX_REJECTIONS", 5):
        return source.next()


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_SLOW)
@settings(max_examples=3, deadline=None)
@given(ranges=st.lists(RANGES, min_size=1, max_size=3), defaults=st.lists(st.floats(-10, 1000), min_size=3, max_size=3))
def test_every_sampler_suggests_values_on_the_grids_of_ranges(
    tmp_path_factory: pytest.TempPathFactory, kind: str, ranges: list[dict[str, Any]], defaults: list[float]
) -> None:
    """The sampler's own suggestions and the initial ones are on the grid; a new driver that reads them suggests the same."""
    space = Space(parse({f"x{i}": node for i, node in enumerate(ranges)}))
    initial = first_suggestions(space, lambda name: defaults[int(name[1:])], lambda config: float(config["x0"]), 4)
    presize = lambda config: Sizes(final={"params": 1.0 + abs(config["x0"])})  # noqa: E731
    started: list[TrialRecord] = []
    home = tmp_path_factory.mktemp("grid")
    first = suggester(home, [], kind=early(kind), space=space, seeded=initial, started=started, presize=presize)
    ended: list[TrialRecord] = []
    for number in range(STARTUP + 2):
        suggestion = soon(first)
        if suggestion is None:
            return  # all of a small space's configs were suggested
        for name, domain in space.domains():
            value = suggestion.params[name]
            assert not isinstance(domain, Choice) and value == nearest_value(domain, value)
            assert type(value) is type(domain.low) and suggestion.config[name] == value
        measures = {"accuracy": 0.5 + 0.03 * number, "params": 1.0 + abs(suggestion.config["x0"])}
        ended.append(replace(suggestion.record("finished"), measures=measures))
        first.learn(ended[-1])
    (home / "again").mkdir()
    second = suggester(home / "again", [], kind=early(kind), space=space, seeded=initial, presize=presize)
    second.resume([TrialRecord.from_document(json.loads(json.dumps(record.document()))) for record in ended])
    following = [soon(one) for one in (first, second)]
    assert (following[0] and following[0].params) == (following[1] and following[1].params)


@pytest.mark.parametrize("wrong", ["tpee", {"tpe": {"startup": 0}}, {"tpe": {"start": 3}}, "no_such_module:Sampler"])
def test_an_unknown_or_wrongly_configured_sampler_is_an_error(wrong: Any) -> None:
    with pytest.raises(InputError, match="samplers plugin"):
        check(wrong)


def test_a_samplers_options_and_a_users_sampler_are_used(tmp_path: Path, user_module: Callable[[str, str], None]) -> None:
    user_module(
        "own_samplers",
        "from optuna.samplers import RandomSampler\n"
        "from tutelage.plugins import PluginConfig\n"
        'class Own:\n    """Random."""\n    class Config(PluginConfig):\n        shift: int = 0\n'
        "    @staticmethod\n    def build(config, seed):\n        return RandomSampler(seed=seed + config.shift)\n",
    )

    def first(reference: Any, count: int) -> list[dict[str, Any]]:
        home = tmp_path / str(reference)
        home.mkdir()
        drawn, found = sampler(home, reference), []
        for _ in range(count):
            suggestion = drawn.ask()
            found.append(suggestion.params)
            values = measures_of(suggestion)
            drawn.tell_finished(suggestion.number, [-values["accuracy"], values["params"]], {})
        return found

    assert first("own_samplers:Own", 4) == first("random", 4) != first({"own_samplers:Own": {"shift": 1}}, 4)
    assert first("tpe", 14) != first({"tpe": {"startup": 2}}, 14)


def test_rejected_students_do_not_count_towards_the_number_of_trials(tmp_path: Path) -> None:
    """A resumed search of four trials, one of which is trained and two were rejected, has three to come."""
    drawn = sampler(tmp_path, "random")
    first, second, third = (drawn.ask() for _ in range(3))
    earlier = [
        record(first), second.record("infeasible", measures={"params": 9e9}), third.record("failed", error="no such network"),
    ]  # fmt: skip
    resumed = suggester(tmp_path, [], num_trials=4)
    resumed.resume(earlier)
    assert resumed.num_accepted == 1
    found = []
    while (suggestion := resumed.next()) is not None:
        found.append(suggestion.number)
        resumed.learn(record(suggestion))
    assert found == [3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("limits", [Limits(), Limits(max={"params": 30.0})], ids=["free", "bounded"])
@pytest.mark.parametrize("kind", WITH_SLOW)
def test_values_from_which_no_network_can_be_built_are_infeasible_and_count_as_no_trial(
    tmp_path: Path, kind: str, limits: Limits
) -> None:
    refused: list[TrialRecord] = []

    def presize(config: dict[str, Any]) -> Sizes:
        if "a" in config["x"] and config["x"]["a"]["n"] % 2:
            raise InputError("2 heads do not divide the width")
        return sizes_of(config)

    asked = suggester(tmp_path, refused, STARTUP + 2, kind=early(kind), presize=presize, constraints=limits)
    trained = []
    while (suggestion := asked.next()) is not None:
        trained.append(suggestion)
        asked.learn(record(suggestion))
    assert not [one for one in trained if one.config["x"].get("a", {"n": 2})["n"] % 2]
    told = [one for one in refused if "heads" in one.error]
    assert told and {one.state for one in told} == {"infeasible"}
    assert len(trained) == STARTUP + 2 or asked.exhausted


def test_another_seed_gives_other_suggestions(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = []
    for seed in (0, 1):
        drawn = Sampler(SPACE, len(OBJECTIVES), "random", seed, (), tmp_path / "a" / f"{seed}.journal")
        found.append([drawn.ask().params for _ in range(5)])
    assert found[0] != found[1]
    assert len({str(params) for params in found[0]}) > 1, "each suggestion has a draw of its own"


def test_ranges_have_their_scale_and_step() -> None:
    logarithmic, stepped = (_distribution(Int(low=1, high=1000, **kind)) for kind in ({"log": True}, {"step": 3}))
    assert isinstance(logarithmic, optuna.distributions.IntDistribution) and logarithmic.log and logarithmic.step == 1
    assert isinstance(stepped, optuna.distributions.IntDistribution) and not stepped.log and stepped.step == 3
    real = _distribution(Float(low=0.1, high=10.0, log=True))
    assert isinstance(real, optuna.distributions.FloatDistribution) and real.log and (real.low, real.high) == (0.1, 10.0)


def test_the_sampler_gets_the_violation_of_a_finished_students_constraint(tmp_path: Path) -> None:
    limited = suggester(tmp_path, [], num_trials=2, constraints=Limits(min={"accuracy": 0.999}))
    suggestion = limited.next()
    assert suggestion is not None
    limited.learn(record(suggestion))
    assert states(tmp_path)[0].constraints == {"accuracy": pytest.approx(0.999 - measures_of(suggestion)["accuracy"])}
