"""From a front to one student: selected, compared with its label-only twin, tested once, registered."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage import answers, capacity_gap, intervals, jobs, network, registry, report_page, selection, spec
from tutelage.book import Observer, Silent
from tutelage.classroom import Classroom, planned
from tutelage.errors import WorkFailed
from tutelage.files import write_json
from tutelage.objectives import Limits
from tutelage.pipeline import candidates, cluster
from tutelage.record import TrialRecord
from tutelage.store import SweepDir
from tutelage.teaching import classroom_of, tracking_uri, workers_of
from tutelage.tracking import Tracker

FRESH_SEED = 1000  # seeds of confirmation start here, clear of any that a search used
REQUIREMENTS = ("torch", "numpy")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What `select` found, ready to be printed as JSON (`document`) or shown."""

    document: dict[str, Any]
    student_dir: Path
    report_path: Path


def select(
    home: SweepDir,
    *,
    policy: str | None = None,
    limits: Limits | None = None,
    confirm: int = 3,
    register: str | None = None,
    address: str | None = None,
    observer: Observer | None = None,
) -> Choice:
    """Select a student of a finished sweep and say what it is worth.

    It is trained again with `confirm` fresh seeds, with its teacher and from labels alone with the same budget; then the
    test split is opened for it, its teacher and its label-only twin, which is put on record. `register` names the model
    under which it goes to MLflow's registry. Raises `NoStudentFits` when no student meets the limits.
    """
    observer = observer or Silent()
    sweep_spec = spec.load(home.spec_path)
    chosen = selection.select(
        candidates(home), home.objectives(), policy or sweep_spec.select.policy, limits or sweep_spec.select.limits
    )
    classroom = _classroom(home, sweep_spec)
    with cluster(address, observer):
        observer.stage(_training_said(chosen.record, classroom, confirm))
        trained = _train_twins(home, chosen.record, classroom, confirm, workers_of(sweep_spec.resources.trial))
    twin = " and its label-only twin" if classroom.splits["train"].num_labelled else ""
    observer.stage(f"opening the test split for the student, its teacher{twin}")
    tested = _test(home, chosen.record, classroom)
    document = _document(home, chosen, classroom, _confirmed(trained, classroom.built_task.primary), tested)
    _publish(home, sweep_spec, document, chosen.record, classroom, register, observer)
    path = _report(home, document)
    return Choice(document=document, student_dir=home.students_dir / chosen.record.trial_id, report_path=path)


def _training_said(record: TrialRecord, classroom: Classroom, confirm: int) -> str:
    seeds = f"with {confirm} fresh {'seed' if confirm == 1 else 'seeds'}"
    if not classroom.splits["train"].num_labelled:
        return f"training {record.trial_id} {seeds}; without labels it has no label-only twin"
    return (
        f"training {record.trial_id} and its label-only twin {seeds}"
        if confirm
        else f"training {record.trial_id}'s label-only twin"
    )


def _classroom(home: SweepDir, sweep_spec: spec.Spec) -> Classroom:
    return replace(classroom_of(sweep_spec), taught_by=planned(home.facts()["knowledge"]))


def labels_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same student with nothing of its teacher: same network, sparsity, epochs; random at first, labels alone."""
    alone = {**config["distillation"], "weight": 0.0}
    return {**config, "student": {**config["student"], "initialise": "random"}, "distillation": alone}


def _train_twins(
    home: SweepDir, record: TrialRecord, classroom: Classroom, confirm: int, workers: jobs.Workers
) -> dict[str, dict[str, float]]:
    """Train taught and label-only students in parallel; `twin` has the search's own seed, the others fresh ones.

    Where no training example has a label, there are none of labels alone.
    """
    has_labels, twin = classroom.splits["train"].num_labelled > 0, labels_only(record.config)
    asked = {"twin": (twin, classroom.seed)} if has_labels else {}
    for number in range(confirm):
        seed = FRESH_SEED + classroom.seed + number
        asked[f"taught-{number}"] = (record.config, seed)
        if has_labels:
            asked[f"labels-{number}"] = (twin, seed)
    return jobs.train_students(asked, classroom, _twins_dir(home, record), workers)


def _twins_dir(home: SweepDir, record: TrialRecord) -> Path:
    return home.root.resolve() / "twins" / record.trial_id


def _confirmed(trained: Mapping[str, Mapping[str, float]], primary: str) -> dict[str, Any]:
    """Return mean and standard deviation over fresh seeds, taught and from labels alone, and the gain of teaching."""
    taught = [measures[primary] for name, measures in trained.items() if name.startswith("taught-")]
    alone = [measures[primary] for name, measures in trained.items() if name.startswith("labels-")]
    gains = [a - b for a, b in zip(taught, alone, strict=True)] if alone else []
    return {
        "seeds": len(taught),
        "twin_accuracy": trained["twin"][primary] if "twin" in trained else None,
        "taught": _spread(taught),
        "labels_only": _spread(alone),
        "gain": _spread(gains),
    }


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Return mean, standard deviation and, from two values on, the mean's 95 % interval; None without values."""
    if not values:
        return None
    several = len(values) > 1
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if several else None,
        "interval": list(intervals.mean_interval(values)) if several else None,
    }


def _test(home: SweepDir, record: TrialRecord, classroom: Classroom) -> dict[str, Any]:
    """Open the test split for the student, its teacher and its twin, if it has one, and put the opening on record."""
    test, task = classroom.read("test"), classroom.built_task
    models = {"student": network.read(home.students_dir / record.trial_id)[0], "teacher": classroom.teacher}
    twin = _twins_dir(home, record) / "twin"
    if classroom.splits["train"].num_labelled:
        models["labels_only"] = network.read(twin)[0]
    correct = {
        name: task.correct(answers.logits_of(model, task, test), test.labels).flatten() for name, model in models.items()
    }
    openings = [*home.facts().get("test_openings", []), {"trial": record.trial_id, "unix_time_s": time.time()}]
    home.update(test_openings=openings)
    scores: dict[str, Any] = {"labels_only": None, "gain_over_labels_only": None}
    scores |= {name: _score(rights) for name, rights in correct.items()}
    for other in [name for name in correct if name != "student"]:
        difference = intervals.paired_difference(correct["student"].numpy(), correct[other].numpy())
        scores[f"gain_over_{other}"] = dict(zip(("difference", "low", "high"), difference, strict=True))
    return {**scores.pop("student"), **scores, "openings": len(openings)}


def _score(correct: torch.Tensor) -> dict[str, Any]:
    right, examples = int(correct.sum()), correct.numel()
    return {"accuracy": right / examples, "interval": list(intervals.wilson_interval(right, examples)), "n": examples}


def _document(
    home: SweepDir, chosen: selection.Selection, classroom: Classroom, confirmed: dict[str, Any], tested: dict[str, Any]
) -> dict[str, Any]:
    measures, validation = chosen.record.measures, classroom.splits["validation"]
    assert classroom.taught_by is not None

    def student(record: TrialRecord) -> dict[str, Any]:
        return {"trial": record.trial_id, "measures": record.measures, "config": record.config}

    return {
        "version": 1,
        "sweep": home.name,
        "policy": chosen.policy,
        "reason": chosen.reason,
        "student": student(chosen.record),
        "runner_up": student(chosen.runner_up) if chosen.runner_up else None,
        "confirmed": confirmed,
        "test": tested,
        "teaching": teaching_in_words(confirmed, tested),
        "agreement": {name: measures[name] for name in ("agreement", "teacher_kl_nats")},
        "capacity_gap": capacity_gap.found(home, chosen.record, classroom.built_task.primary, len(validation)),
        "transfer": _transfer(home.facts()["teacher"].get("source"), tested, len(classroom.taught_by.teachers)),
        "model": None,
    }


def _transfer(source: Mapping[str, Any] | None, tested: Mapping[str, Any], num_teachers: int) -> str | None:
    """Return in a sentence what came over from the source that the teacher learnt first; None if there was none."""
    if source is None:
        return None
    alone = tested["labels_only"]
    without = f"{alone['accuracy']:.4f} without it" if alone else "there are no labels to learn it without"
    who, has = ("the first teacher", f"all {num_teachers} together have") if num_teachers > 1 else ("the teacher", "it has")
    return (
        f"From {source['data']}, where {who} has {source['accuracy']:.4f} on validation, to this data, where {has} "
        f"{tested['teacher']['accuracy']:.4f} on the test split: the student has {tested['accuracy']:.4f} with it, {without}."
    )


def teaching_in_words(confirmed: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    """Return in a sentence whether the teacher helped: the paired gain on test, and the gain over fresh seeds.

    A verdict needs both 95 % intervals on the same side of 0. The test split alone compares one pair of trainings, of
    which the taught one was picked as the best on validation, so it flatters the teacher.
    """
    gain, fresh = tested["gain_over_labels_only"], confirmed["gain"]
    if gain is None:
        return (
            "No verdict: no training example has a label, so there is no student of labels alone. Of its teacher's answers "
            f"alone the student has {tested['accuracy']:.4f} on test, its teacher {tested['teacher']['accuracy']:.4f}."
        )
    lows, highs = [gain["low"]], [gain["high"]]
    if fresh is not None and fresh["interval"] is not None:
        lows.append(fresh["interval"][0])
        highs.append(fresh["interval"][1])
    sure = len(lows) > 1
    verdict = "Teaching helps" if sure and min(lows) > 0 else "Teaching hurts" if sure and max(highs) < 0 else "Inconclusive"
    points = f"{100 * gain['difference']:+.2f} points ({100 * gain['low']:+.2f} to {100 * gain['high']:+.2f})"
    said = f"{verdict}: against labels alone at the same budget the student has {points} on the test split"
    if fresh is None:
        return f"{said}; without fresh seeds (--confirm) there is no verdict."
    if fresh["sd"] is None:
        return f"{said}, and {100 * fresh['mean']:+.2f} points on validation with one fresh seed; two or more can be judged."
    spread = f"{100 * fresh['mean']:+.2f} ± {100 * fresh['sd']:.2f} points"
    return f"{said}, and {spread} on validation over {confirmed['seeds']} fresh seeds."


def _publish(
    home: SweepDir, sweep_spec: spec.Spec, document: dict[str, Any], record: TrialRecord, classroom: Classroom,
    register: str | None, observer: Observer,
) -> None:  # fmt: skip
    """Register the student if asked, and put the selection on the sweep's run and its disk."""
    tracker = Tracker(tracking_uri(sweep_spec), sweep_spec.tracking.experiment or _task_name(sweep_spec))
    try:
        tracker.reopen(home.facts()["run_id"])
        if register:
            observer.stage(f"registering {record.trial_id} as {register}")
            model, _ = network.read(home.students_dir / record.trial_id)
            document["model"] = _register(home, tracker, document, model, classroom, register)
        tracker.log_selection(document)
    finally:
        tracker.close()
    write_json(home.selection_path, document)


def _task_name(sweep_spec: spec.Spec) -> str:
    return sweep_spec.task if isinstance(sweep_spec.task, str) else next(iter(sweep_spec.task))


def _register(
    home: SweepDir, tracker: Tracker, document: dict[str, Any], model: nn.Module, classroom: Classroom, name: str
) -> dict[str, Any]:
    facts = home.facts()
    tags = {
        "tutelage.task": str(classroom.task),
        "tutelage.sweep": home.name,
        "tutelage.trial": document["student"]["trial"],
        "tutelage.policy": document["policy"],
        "tutelage.teacher": facts["teacher"]["address"],
        "tutelage.data": facts["fingerprint"][:32],
        "tutelage.test_accuracy": f"{document['test']['accuracy']:.4f}",
    }
    example = classroom.splits["validation"].seen(slice(8))
    directory = home.students_dir / document["student"]["trial"]
    files = [directory / network.ARCHITECTURE, directory / network.WEIGHTS]
    registered = registry.register_student(
        uri=facts["tracking_uri"], experiment=tracker.experiment, run_id=facts["run_id"], name=name, model=model,
        example=example, requirements=requirements(), tags=tags, files=files,
    )  # fmt: skip
    return asdict(registered)


def requirements() -> list[str]:
    """Return what a registered student needs to answer, pinned to what runs here; torch without its build's suffix."""
    from importlib.metadata import version

    return [f"{package}=={version(package).split('+')[0]}" for package in REQUIREMENTS]


def _report(home: SweepDir, document: dict[str, Any] | None) -> Path:
    path = home.root / "report.html"
    facts = home.facts()
    report_page.write(
        path,
        name=home.name,
        spec_yaml=home.spec_path.read_text(encoding="utf-8"),
        objectives=home.objectives(),
        records=home.records(),
        candidates=candidates(home),
        teacher=facts["teacher"],
        selection=document,
        environment=environment(),
        elapsed_s=facts.get("elapsed_s", 0.0),
        search_s=facts.get("search_s"),
    )
    return path


def environment() -> dict[str, str]:
    """Return versions and hardware that the numbers of a sweep were measured with."""
    import os
    import platform
    from importlib.metadata import version

    versions = {package: version(package) for package in ("tutelage", "torch", "ray", "optuna", "mlflow")}
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {**versions, "python": platform.python_version(), "cpus": str(os.cpu_count()), "gpu": gpu}


def write_report(home: SweepDir) -> Path:
    """Write the sweep's page, with its latest selection if there is one, and return where it is."""
    if not home.records():
        raise WorkFailed(f"sweep '{home.name}' has no trial yet; a report needs at least one.")
    return _report(home, home.selection())
