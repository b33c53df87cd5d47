"""A language model of characters: the teacher, and students distilled and label-only in paired seeds, at one budget.

    python tests/benchmarks/char_lm.py PATH [--json] [--seeds 3] [--epochs 1] [--teacher-epochs 3] [--weight 0.9]
        [--temperature 1] [--student '{"causal_transformer": {"width": 96, "depth": 3}}'] [--storage .tutelage]

PATH is a text file. Training are its first nine tenths; nats a character are those of the whole last tenth, in windows of 128
characters that do not overlap, and each prediction sees only what stands before it in its window. Seconds are of one
processor, of the process's own time, so that other processes do not count. Rows are kept in a file as they come: an
interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage import intervals
from tutelage.files import content_address, write_json
from tutelage.losses import PerSequence, kd, scaled
from tutelage.measures.perplexity import MEASURE as PERPLEXITY
from tutelage.networks import checkpoint
from tutelage.spec.sections import RecipeConfig
from tutelage.training import inference, loop
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Distillation, TrainingPlan

LENGTH, FIRST_SEED = 128, 500
TEACHER = {"causal_transformer": {"width": 128, "embedding": 128, "depth": 4, "heads": 4}}
STUDENT = '{"causal_transformer": {"embedding": 64, "width": 64, "depth": 3, "heads": 4}}'
ARMS = ("distilled", "label-only")
NANOGPT = {
    "network": "nanoGPT's recipe for processors, by its README", "parameters": "0.80 M", "epochs": "1.5",
    "nats a character": "1.88", "processor seconds": "about 180",
}  # fmt: skip


def recipe(epochs: int) -> RecipeConfig:
    return RecipeConfig(epochs=epochs, batch_size=16, optimizer="muon", learning_rate=0.01, weight_decay=0.05)


class Pair:
    """The text, the teacher and its knowledge of all training windows, and the results of students so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        data = {"characters": {"path": str(Path(options.path).absolute()), "length": options.length}}
        self.options, self.context = options, TrainingContext(data=data, task="language_model", seed=0)
        self.home = Path(options.storage) / "benchmarks" / "char-lm"
        self.home.mkdir(parents=True, exist_ok=True)
        settings = {name: value for name, value in vars(options).items() if name not in ("json", "smoke", "seeds", "storage")}
        self.path = self.home / f"rows-{content_address(**settings)}.json"
        self.rows: dict[str, dict[str, float]] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def trained(self, model: Any, epochs: int, seed: int, distillation: Distillation | None) -> tuple[nn.Module, float]:
        """Return a trained network and the seconds of processor time of its steps."""
        context, network = self.context, checkpoint.seeded(self.context.architecture(model), seed)
        few = context.splits["validation"].head(1)  # what decides nothing here need not be measured after every epoch
        plan = TrainingPlan(
            task=context.built_task, train=context.splits["train"], validation=few, signature=context.signature,
            recipe=recipe(epochs), seed=seed, distillation=distillation,
        )  # fmt: skip
        training, start_s = loop.Training(network, plan), time.process_time()
        while not training.is_done:
            training.epoch()
        cpu_s = time.process_time() - start_s
        training.finish()
        return training.model, cpu_s

    def teacher(self) -> tuple[nn.Module, float]:
        """Return the teacher and the seconds of its training, from the storage if it is there."""
        path = self.home / f"teacher-{self.options.teacher_epochs}-{self.options.length}.pt"
        if not path.exists():
            model, cpu_s = self.trained(TEACHER, self.options.teacher_epochs, 0, None)
            torch.save({"state": model.state_dict(), "cpu_s": cpu_s}, path)
        held = torch.load(path, weights_only=True)
        model = checkpoint.build(self.context.architecture(TEACHER))
        model.load_state_dict(held["state"])
        return model.eval(), float(held["cpu_s"])

    def knowledge(self, teacher: nn.Module) -> Distillation:
        """Return a distillation by the teacher's logits of all training windows, in half precision as in the cache."""
        train, task = self.context.splits["train"], self.context.built_task
        classes = self.context.signature.classes["token"]
        logits = torch.zeros(len(train), self.options.length, classes, dtype=torch.half)
        for rows, _, parts in inference.each(teacher, task, train, torch.arange(len(train)), sorts=False, batch_size=64):
            logits[rows, : parts["logits.token"].shape[1]] = parts["logits.token"].half()

        def query(_view: int, rows: Tensor, batch: Any) -> dict[str, Tensor]:
            return {"logits.token": logits[rows, : batch.inputs["tokens"].shape[1]]}

        soft = kd.SoftTargets(self.options.temperature)
        return Distillation(
            query=query, build=lambda _: PerSequence({"token": scaled(soft, classes)}), weight=self.options.weight
        )  # fmt: skip

    def nats(self, model: nn.Module) -> float:
        """Return the nats a character of the last tenth of the text, validation and test together."""
        splits, task = (self.context.splits["validation"], self.context.read("test")), self.context.built_task
        found = [inference.contributions_of(model, task, one, batch_size=64)[PERPLEXITY.name] for one in splits]
        return math.log(PERPLEXITY.aggregate(np.concatenate(found)))

    def run(self) -> None:
        """Train what is missing: the teacher, and the arms of a seed one after the other."""
        teacher, cpu_s = self.teacher()
        self.keep("teacher", teacher, cpu_s)
        distillation = self.knowledge(teacher)
        for seed in range(self.options.seeds):
            for arm in ARMS:
                if f"{arm}/{seed}" not in self.rows:
                    taught = distillation if arm == "distilled" else None
                    student = self.trained(json.loads(self.options.student), self.options.epochs, FIRST_SEED + seed, taught)
                    self.keep(f"{arm}/{seed}", *student)

    def keep(self, name: str, model: nn.Module, cpu_s: float) -> None:
        params = sum(parameter.numel() for parameter in model.parameters())
        self.rows[name] = {"nats": self.nats(model), "params": params, "cpu_s": cpu_s}
        write_json(self.path, self.rows)
        print(name, self.rows[name], file=sys.stderr, flush=True)

    def of(self, arm: str, value: str) -> list[float]:
        return [self.rows[f"{arm}/{seed}"][value] for seed in range(self.options.seeds)]


def spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def verdict(differences: Sequence[float]) -> str:
    """Return what paired differences of nats, distilled less label-only, say of distillation."""
    if len(differences) < 2:
        return "inconclusive: one seed has no interval"
    low, high = intervals.mean_interval(differences)
    says = "helps" if high < 0 else "harms" if low > 0 else "inconclusive"
    return f"distillation {says}: {statistics.fmean(differences):+.3f} nats ({low:+.3f} to {high:+.3f})"


def main() -> None:
    parser = smoke.Parser(
        __doc__, path=smoke.text, seeds=2, teacher_epochs=1, length=16, storage=lambda: str(smoke.scratch()),
        student='{"gru": {"embedding": 8, "hidden": 8}}',
    )  # fmt: skip
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--teacher-epochs", type=int, default=3)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--weight", type=float, default=0.9)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--student", default=STUDENT)
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pair = Pair(options)
    pair.run()
    teacher = pair.rows["teacher"]
    rows: list[dict[str, Any]] = [{
        "network": "teacher, label-only", "parameters": f"{teacher['params']:,}", "epochs": options.teacher_epochs,
        "nats a character": f"{teacher['nats']:.3f}", "processor seconds": f"{teacher['cpu_s']:.0f}",
    }]  # fmt: skip
    rows += [
        {
            "network": f"student, {arm}", "parameters": f"{pair.rows[f'{arm}/0']['params']:,}", "epochs": options.epochs,
            "nats a character": spread(pair.of(arm, "nats")),
            "processor seconds": f"{statistics.fmean(pair.of(arm, 'cpu_s')):.0f}",
        }
        for arm in ARMS
    ]  # fmt: skip
    rows.append(NANOGPT)
    machine.show(f"The last tenth of the text, {options.seeds} paired seeds (mean ± sd)", rows, as_json=options.json)
    if not options.json:
        print("\n" + verdict([a - b for a, b in zip(*(pair.of(arm, "nats") for arm in ARMS), strict=True)]))


if __name__ == "__main__":
    main()
