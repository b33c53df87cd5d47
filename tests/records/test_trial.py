from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tutelage.records import sweeps
from tutelage.records.trial import Candidate, Suggestion, TrialRecord, candidate_ids, one_a_trial, representative


def of_two(record: TrialRecord) -> TrialRecord:
    each = tuple(
        Candidate(measures={"accuracy": accuracy, "params": params}, amount=amount, made="cut")
        for accuracy, params, amount in ((0.8, 50.0, 0.5), (0.9, 100.0, 0.0))
    )
    return replace(record, measures=each[0].measures, candidates=each)


def test_a_trial_of_several_candidates_has_a_record_of_each(make_record: Callable[..., TrialRecord]) -> None:
    alone, trial = make_record(3, accuracy=0.5), of_two(make_record(12))
    assert alone.per_candidate() == [alone] and (alone.trial_id, alone.parent) == ("t0003", "")
    each = trial.per_candidate()
    assert [(one.trial_id, one.parent, one.measures["params"]) for one in each] == [
        ("t0012.0", "t0012", 50.0), ("t0012.1", "t0012", 100.0),
    ]  # fmt: skip
    assert [one.candidates for one in each] == [(one,) for one in trial.candidates]
    assert each[1].per_candidate() == [each[1]] and each[1].config == trial.config
    assert candidate_ids("t1", 1) == ["t1"] and candidate_ids("t1", 2) == ["t1.0", "t1.1"]


def test_a_candidate_of_a_pack_has_its_own_config_and_searched_values(make_record: Callable[..., TrialRecord]) -> None:
    trial = of_two(make_record(12))
    own = {"student": {"epochs": 3}}
    first = replace(trial.candidates[0], config=own, params={"temperature": 8.0})
    pack = replace(trial, params={"temperature": 2.0, "width": 16}, candidates=(first, trial.candidates[1]))
    each = TrialRecord.from_document(json.loads(json.dumps(pack.document()))).per_candidate()
    assert [one.config for one in each] == [own, trial.config]
    assert [one.params for one in each] == [{"temperature": 8.0, "width": 16}, pack.params]
    assert each[0].per_candidate() == [each[0]]


def test_a_record_is_read_back_as_it_was_written(make_record: Callable[..., TrialRecord]) -> None:
    for record in (make_record(1, "failed", "why"), of_two(make_record(2))):
        assert TrialRecord.from_document(json.loads(json.dumps(record.document()))) == record


def test_a_record_is_its_suggestion_with_an_end() -> None:
    first = Suggestion(number=4, config={"a": 1}, params={"a": 1}, sizes={"params": 5.0}, initial_sizes={"params": 9.0})
    ended = first.record("finished", measures={"accuracy": 0.5})
    again = ended.record("running")
    assert (ended.number, ended.config, ended.sizes, ended.state) == (4, {"a": 1}, {"params": 5.0}, "finished")
    assert again == first.record("running") and again.measures == {}
    assert first.sizes_at_rungs == {"params": 9.0} and replace(first, initial_sizes={}).sizes_at_rungs == {"params": 5.0}


def test_further_measures_go_to_the_candidates_that_they_name(
    tmp_path: Path, make_record: Callable[..., TrialRecord]
) -> None:  # fmt: skip
    home = sweeps.create(tmp_path, "ladder", "")
    for record in (make_record(0, accuracy=0.5), of_two(make_record(1)), make_record(2, accuracy=0.7)):
        home.ledger.append(record)
    home.add_measures({"t0000": {"latency_ms": 1.0}, "t0001.0": {"latency_ms": 2.0}})
    found = {record.trial_id: record.measures.get("latency_ms") for record in home.records()}
    assert found == {"t0000": 1.0, "t0001.0": 2.0, "t0001.1": None, "t0002": None}
    assert home.trials()[1].measures["latency_ms"] == 2.0, "the first candidate's measures are the trial's"
    assert len(home.ledger.path.read_text().splitlines()) == 5, "a trial with nothing new has no new line"


def on_ladder(record: TrialRecord) -> TrialRecord:
    """Return a trial whose amount was searched, with the whole student and two rungs, each with its own config."""
    each = tuple(
        Candidate(measures={"accuracy": 0.9 - amount / 10, "params": 100.0 * (1 - amount)}, amount=amount, made="cut",
                  rung=rung, config={"own": rung})
        for rung, amount in enumerate((0.0, 0.4, 0.8))
    )  # fmt: skip
    return replace(record, params={**record.params, "sparsity.amount": 0.8}, measures=each[2].measures, candidates=each)


def test_a_rung_has_its_own_amount_and_config_and_the_last_one_represents_the_trial(
    make_record: Callable[..., TrialRecord],
) -> None:
    trial = TrialRecord.from_document(json.loads(json.dumps(on_ladder(make_record(7)).document())))
    each = trial.per_candidate()
    assert [(one.trial_id, one.rung, one.is_inherited) for one in each] == [
        ("t0007.0", 0, False), ("t0007.1", 1, True), ("t0007.2", 2, True),
    ]  # fmt: skip
    assert [one.params["sparsity.amount"] for one in each] == [0.0, 0.4, 0.8]
    assert [one.config for one in each] == [{"own": 0}, {"own": 1}, {"own": 2}]
    assert representative(trial.candidates) is trial.candidates[2] and (trial.rung, trial.is_inherited) == (None, False)
    measured = trial.with_measures({"t0007.2": {"latency_ms": 3.0}, "t0007.0": {"latency_ms": 9.0}})
    assert measured.measures["latency_ms"] == 3.0, "the trial's measures are those of its last rung"
    fixed = replace(trial, params={}).per_candidate()
    assert [one.params for one in fixed] == [{}, {}, {}], "an amount that is not searched is no searched value"


def test_one_record_a_trial_is_its_representative(make_record: Callable[..., TrialRecord]) -> None:
    trials = [make_record(0), on_ladder(make_record(1)), of_two(make_record(2)), make_record(3, "failed")]
    records = [one for trial in trials for one in trial.per_candidate()]
    assert [one.trial_id for one in one_a_trial(records)] == ["t0000", "t0001.2", "t0002.0", "t0003"]
    assert candidate_ids("t0001", 1, are_named=True) == ["t0001.0"]
