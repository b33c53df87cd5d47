"""Records random students of a spec epoch by epoch, over several seeds: the table that searches are replayed on.

    python tests/benchmarks/record.py SPEC TABLE [--configs 1000] [--seeds 3] [--set key=value …]

TABLE is a Parquet file, one row a (config, seed): the searched values (`config.` and a name; null where inactive), the sizes
before training, the size while a student is still whole, the seconds of an epoch, and the error after each. What is done lies
beside it as JSON lines, so that a recording that was cut short goes on where it was.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import smoke
from tutelage.networks import cost
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec import loading, sections
from tutelage.spec.domains import any_value
from tutelage.sweep import knowledge
from tutelage.sweep import teachers as teacher_jobs
from tutelage.training import cluster, context, loop, student, student_sizes
from tutelage.training.context import TrainingContext

DIGITS = Path(__file__).parent / "digits_record.yaml"
CHUNK = 8  # students that one task trains


@ray.remote(num_cpus=1)
def trained(asked: list[tuple[int, int, dict[str, Any], dict[str, Any]]], room: TrainingContext) -> list[dict[str, Any]]:
    """Train students one after the other; return a row each."""
    torch.set_num_threads(1)
    return [row_of(number, seed, config, params, room) for number, seed, config, params in asked]


def row_of(number: int, seed: int, config: dict[str, Any], params: dict[str, Any], room: TrainingContext) -> dict[str, Any]:
    typed = sections.TrialConfig.model_validate(config)
    whole = cost.size(student.blank(typed, room))["params"]
    sizes = student_sizes.presize(typed, room)
    plan = loop.Training(student.build(typed, room, seed), student.plan(typed, room, seed))
    started_s, errors = time.perf_counter(), []
    while not plan.is_done:
        errors.append(1 - plan.epoch()["accuracy"])
    seconds = time.perf_counter() - started_s
    known = {"whole_params": whole, "epoch_s": seconds / len(errors), **sizes.final}
    shown = {f"config.{name}": value for name, value in params.items()}
    return {"config": number, "seed": seed, **shown, **known, **{f"error_{e + 1}": v for e, v in enumerate(errors)}}


def main() -> None:
    parser = smoke.Parser(
        __doc__,
        spec=DIGITS,
        table=lambda: str(smoke.scratch() / "table.parquet"),
        configs=2,
        seeds=1,
        overrides=[*smoke.SHORT, f"storage={smoke.scratch()}"],
    )
    parser.add_argument("spec")
    parser.add_argument("table")
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    loaded = loading.load(options.spec, options.overrides)
    lines = Path(options.table).with_suffix(".jsonl")
    done: list[dict[str, Any]] = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    have = {(row["config"], row["seed"]) for row in done}
    generator = random.Random(loaded.seed)
    drawn = [loaded.space.resolve(lambda name, domain: any_value(generator, domain)) for _ in range(options.configs)]
    asked = [
        (number, seed, *one) for seed in range(options.seeds) for number, one in enumerate(drawn) if (number, seed) not in have
    ]
    with cluster.cluster(None, Dispatcher()), lines.open("a") as file:
        room = context.context_of(loaded)
        teachers = teacher_jobs.ensure_teachers(loaded, room, print)
        kept = ray.put(knowledge.ensure_knowledge(loaded, room, teachers, print))
        pending = [trained.remote(asked[i : i + CHUNK], kept) for i in range(0, len(asked), CHUNK)]
        while pending:
            ready, pending = ray.wait(pending)
            for row in ray.get(ready[0]):
                done.append(row)
                file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{len(done)} of {options.configs * options.seeds}", end="\r", file=sys.stderr)
    rows: list[dict[str, Any]] = sorted(done, key=lambda row: (row["config"], row["seed"]))
    frame = pd.DataFrame(rows)
    reals = {str(name): np.float32 for name in frame.select_dtypes(np.float64).columns}
    frame.astype(reals).to_parquet(options.table, index=False)


if __name__ == "__main__":
    main()
