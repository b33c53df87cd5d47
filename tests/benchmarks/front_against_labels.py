"""A sweep's front against the same students taught by labels alone: same network, sparsity, epochs and seed.

    python tests/benchmarks/front_against_labels.py SWEEP [--json] [--storage .tutelage]

Every student of the front has its label-only baseline trained; both are judged on validation, by which the front was drawn,
and on the test split, which the search never saw.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage import objectives, pareto
from tutelage.networks import checkpoint
from tutelage.records import fronts, sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.selection import retrain
from tutelage.spec import loading
from tutelage.sweep import knowledge
from tutelage.sweep import teachers as teacher_jobs
from tutelage.training import cluster, context, inference, ray_train, student_jobs


def main() -> None:
    parser = smoke.Parser(__doc__, sweep=smoke.sweep, storage=lambda: str(smoke.scratch()))
    parser.add_argument("sweep")
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    home = sweeps.find(Path(options.storage), options.sweep)
    loaded = loading.load(home.spec_path)
    front = front_of(home)
    facts = home.facts()
    room = context.context_of(loaded)
    with cluster.cluster(None, Dispatcher()):
        teachers = teacher_jobs.ensure_teachers(loaded, room, print_nothing)
        taught = knowledge.ensure_knowledge(loaded, room, teachers, print_nothing)
        baselines = {record.trial_id: (retrain.label_only(record.config), loaded.seed) for record in front}
        labels = home.files.within("labels")
        trained = dict(student_jobs.train_students(baselines, taught, labels, ray_train.workers_of(loaded.resources.trial)))
    test = room.read("test")
    rows = []
    for record in front:
        pair = [checkpoint.read(place.local_path(record.trial_id))[0] for place in (home.students, labels)]
        on_test = [inference.measured(model, room.built_task, test)["accuracy"] for model in pair]
        own, alone = record.measures["accuracy"], trained[record.trial_id][0]["accuracy"]
        rows.append({
            "params": int(record.measures["params"]), "validation": f"{own:.4f}", "labels alone": f"{alone:.4f}",
            "gain": f"{100 * (own - alone):+.2f}", "test": f"{on_test[0]:.4f}", "labels alone, test": f"{on_test[1]:.4f}",
            "gain on test": f"{100 * (on_test[0] - on_test[1]):+.2f}",
        })  # fmt: skip
    trials = home.spec().search.trials
    title = f"{home.name}: the front of {trials} trials; teacher {facts['teacher']['accuracy']:.4f} on validation"
    machine.show(title, rows, as_json=options.json)


def front_of(home: Any) -> list[Any]:
    candidates = fronts.candidates(home)
    on_front = pareto.non_dominated_mask(objectives.losses([record.measures for record in candidates], home.objectives()))
    front = [record for record, is_on in zip(candidates, on_front, strict=True) if is_on]
    return sorted(front, key=lambda record: record.measures["params"])


def print_nothing(_text: str) -> None:
    """The teacher and its knowledge are there already."""


if __name__ == "__main__":
    main()
