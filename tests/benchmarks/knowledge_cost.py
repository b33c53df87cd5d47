"""What a teacher costs a student: a step with cached answers, with a live teacher and in torchdistill's loop; and the cache.

    python tests/benchmarks/knowledge_cost.py PATH [--json] [--rounds 30] [--seeds 3] [--torchdistill DIR] [--teacher DIR]
                                                   [--part steps sparse build] [--cpu]

PATH is CIFAR-100's folder. One thread, a student of 198,075 parameters, batches of 128. Kinds take turns, a step each a round,
so that a drift of the machine meets all alike; a ratio is taken round by round and the median is shown. torchdistill's
directory is where `pip install --no-deps --target DIR torchdistill` put it: its `KDLoss` is used in a plain loop with its
teacher alive and our loading, because its own box needs torchvision. The teacher's is that of a trained one, for `sparse`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tests.benchmarks.outputs import logits_of, signature_of_images
from tutelage import plugins
from tutelage.networks import capture, checkpoint, cost
from tutelage.networks import top_k as sparse_labels
from tutelage.networks.output import Need
from tutelage.spec.sections import (
    AugmentationConfig,
    DistillationConfig,
    ExecutionConfig,
    SparsityConfig,
    StudentConfig,
    TrialConfig,
)
from tutelage.storage import open_storage
from tutelage.training import loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan

STUDENT: dict[str, Any] = {"resnet": {"blocks": 1, "width": 25, "stem_stride": 2}}
TEACHERS = {"6 : 1": 64, "20 : 1": 112}  # MACs of teacher : student, and the teacher's width
POLICY = AugmentationConfig(pad_px=4, flip=True)
METHODS: dict[str, Any] = {
    "kd": "kd",
    "kd, standardised": {"kd": {"standardise": True}},
    "dkd": "dkd",
    "dist": "dist",
    "kd, top 8": "kd",
    "sequence (the teacher's class)": "sequence",
    "fitnet (one stage)": "fitnet",
    "hidden (three stages)": "hidden",
    "pkd (last stage)": "pkd",
    "fgd (last stage)": "fgd",
    "attention (three stages)": "attention",
    "similarity, pooled": {"similarity": {"pooled": True}},
    "rkd": "rkd",
    "crd": "crd",
    "review (three stages)": "review",
    "weights": "weights",
}
PARTS: frozenset[Need] = frozenset({"logits", "features", "maps", "pooled", "decoded"})


def config_of(method: Any, *, channels_last: bool = False) -> TrialConfig:
    recipe = StudentConfig(
        model=STUDENT, epochs=100_000, batch_size=128, optimizer="adamw", learning_rate=1e-3,
        execution=ExecutionConfig(channels_last=channels_last),
    )  # fmt: skip
    taught = DistillationConfig(method=method, weight=0.7)
    return TrialConfig(student=recipe, distillation=taught, sparsity=SparsityConfig())


def rooms(path: str, width: int, scratch: Path) -> dict[str, TrainingContext]:
    """Return contexts of an untrained teacher (its answers cost the same): cached with every part, cached sparsely, live."""
    bare = TrainingContext(
        data={"cifar": {"path": path, "per_class": 20}}, task="image_classification", seed=0, augmentation=POLICY
    )
    about = bare.architecture({"resnet": {"blocks": 1, "width": width, "stem_stride": 2}})
    torch.manual_seed(0)
    checkpoint.write(scratch / "teacher", checkpoint.build(about), about)
    plan = KnowledgePlan(storage=open_storage(scratch), teachers=(("teacher", 1.0),), needs=PARTS, views=1)
    found = {"live": replace(bare, knowledge=plan)}
    for name, top_k in (("cached", 0), ("sparse", 8)):
        own = replace(plan, cache=name, top_k=top_k, needs=PARTS if name == "cached" else frozenset[Need]())
        found[name] = replace(bare, knowledge=own)
        assert own.entry is not None
        own.entry.describe(found[name].teacher_outline)
        found[name].fill("train", 0)
    return found


def training_of(room: TrainingContext, method: Any, seed: int, *, channels_last: bool = False) -> loop.Training:
    config = config_of(method, channels_last=channels_last)
    plan = replace(student.plan(config, room, seed), views=1)
    return loop.Training(student.build(config, room, seed), plan)


def alone(room: TrainingContext, seed: int) -> loop.Training:
    under_way = training_of(room, "kd", seed)
    return loop.Training(under_way.model, replace(under_way.plan, distillation=None))


class TorchdistillLoop:
    """Its `KDLoss` with its teacher alive: the same student, loading, batch and optimiser."""

    def __init__(self, room: TrainingContext, seed: int) -> None:
        from torchdistill.losses.mid_level import KDLoss  # type: ignore[import-not-found]

        self.own = alone(room, seed)
        self.teacher = checkpoint.read(room.knowledge.teacher_paths()[0])[0].eval()  # type: ignore[union-attr]
        self.loss = KDLoss(".", "output", ".", "output", temperature=4.0, alpha=0.3)

    def step(self, rows: Tensor) -> Tensor:
        batch = self.own.loss.batch(rows, 0)
        with torch.no_grad():
            taught = self.teacher(*batch.arguments)
        logits = self.own.model(*batch.arguments)
        loss: Tensor = self.loss({".": {"output": logits}}, {".": {"output": taught}}, batch.targets["class"])
        self.own._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.own._optimizer.step()
        return loss.detach()


def taking_turns(kinds: Mapping[str, Any], batches: Sequence[Tensor], rounds: int) -> dict[str, list[float]]:
    """Return each kind's seconds a step, round by round; the first rounds warm up."""
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(-3, rounds):
        rows = batches[number % len(batches)]
        for name, kind in kinds.items():
            seconds = seconds_of(partial(kind.step, rows))
            if number >= 0:
                taken[name].append(seconds)
    return taken


def seconds_of(run: Callable[[], object]) -> float:
    clock = time.process_time if "--cpu" in sys.argv else time.perf_counter
    started_s = clock()
    run()
    return clock() - started_s


def steps(path: str, rounds: int, seeds: int, with_torchdistill: bool) -> list[dict[str, Any]]:
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for ratio, width in TEACHERS.items():
            home = Path(scratch) / str(width)
            home.mkdir()
            room = rooms(path, width, home)
            for seed in range(seeds):
                kinds: dict[str, Any] = {"alone": alone(room["live"], seed)}
                first = ratio == next(iter(TEACHERS))
                for name, method in METHODS.items() if first else [("kd", "kd")]:
                    place = "sparse" if name == "kd, top 8" else "cached"
                    kinds[f"{name}, cached"] = training_of(room[place], method, seed)
                kinds["kd, cached, channels last"] = training_of(room["cached"], "kd", seed, channels_last=True)
                kinds[f"kd, live, {ratio}"] = training_of(room["live"], "kd", seed)
                if with_torchdistill:
                    kinds[f"torchdistill, {ratio}"] = TorchdistillLoop(room["live"], seed)
                found = taking_turns(kinds, kinds["alone"].batches(), rounds)
                base = found.pop("alone")
                for name, seconds in found.items():
                    key = name if first or "cached" not in name else f"{name}, {ratio}"
                    taken.setdefault(key, []).extend(s / b for s, b in zip(seconds, base, strict=True))
                taken.setdefault("labels alone, ms", []).extend(s * 1e3 for s in base)
    alone_ms = statistics.median(taken.pop("labels alone, ms"))
    return [{"kind": "labels alone", "÷ labels alone": f"1 ({alone_ms:.1f} ms a step)"}] + [
        {"kind": name, "÷ labels alone": f"{_spread(r)}"} for name, r in taken.items()
    ]


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.median(values):.3f}{spread}"


def sparse(path: str, teacher_dir: str | None) -> list[dict[str, Any]]:
    """Compare a trained teacher's label sequences with what is kept of them: bytes a view, and divergences in nats."""
    if teacher_dir is None:
        return []
    _, plugin, config = plugins.configure("data", {"cifar": {"path": path}})
    train = plugin.read(config, 0, "train").head(4000)
    task = plugins.load("tasks", "image_classification").build(None)
    logits = logits_of(checkpoint.read(Path(teacher_dir))[0], task, train)
    rows = []
    for k in (4, 8, 16, 32):
        kept = sparse_labels.compressed(logits, k)
        stored = {part: t if part == "classes" else t.half() for part, t in kept.items()}
        top = sparse_labels.restored(stored)
        for temperature in (1.0, 4.0, 8.0):
            whole = (logits / temperature).log_softmax(-1)
            coarse = sparse_labels.coarse_log_probabilities(logits, top.classes, temperature)
            read = top.log_probabilities(temperature)
            others = coarse[..., -1]
            rest = whole.scatter(-1, top.classes, float("-inf")) - others.unsqueeze(-1)
            entropy = -(rest.exp() * rest.nan_to_num(neginf=0.0)).sum(-1)
            even = others.exp() * (torch.log(torch.tensor(100.0 - k)) - entropy)
            rounded = (coarse.exp() * (coarse - read)).sum(-1).max()
            rows.append({
                "k": k, "bytes a view": 3 * k + 4 * sparse_labels.NUM_POINTS, "T": temperature,
                "KL(kept exactly ‖ stored) over k + 1 bins, largest": f"{rounded:.1e}",
                "mass of the others": f"{others.exp().mean():.3f}",
                "KL(full ‖ others spread evenly), mean": f"{even.mean():.4f}",
            })  # fmt: skip
    return rows


def build(path: str, rounds: int) -> list[dict[str, Any]]:
    """Compare filling a view with the teacher's plain inference over the same images, and a batch's look-up with a step."""
    with tempfile.TemporaryDirectory() as scratch:
        room = rooms(path, TEACHERS["6 : 1"], Path(scratch))
        cached, train = room["cached"], room["cached"].splits["train"]
        inputs = [train.take(rows).arguments[0] for rows in torch.arange(len(train)).split(512)]
        rates: dict[str, list[float]] = {"logits": [], "logits, top 8": [], "logits, features and maps": []}
        assert cached.knowledge is not None
        sparse_plan = replace(cached.knowledge, top_k=8, needs=frozenset())
        plans = dict(zip(rates, (replace(sparse_plan, top_k=0), sparse_plan, cached.knowledge), strict=True))
        for number in range(rounds):
            plain = seconds_of(lambda: infer(cached.teacher, inputs))
            for name, plan in plans.items():
                own = replace(cached, knowledge=replace(plan, storage=open_storage(scratch), cache=f"{name}{number}"))
                vars(own).update(teacher=cached.teacher, splits=cached.splits)  # read already
                rates[name].append(plain / seconds_of(partial(own.fill, "train", 0)))
        step = training_of(room["sparse"], "kd", 0)
        batches = step.batches()
        assert step.plan.distillation is not None
        query, classes = step.plan.distillation.query, step.plan.signature.classes
        shares = []
        for rows in [batches[i % len(batches)] for i in range(30)]:
            batch = step.loss.batch(rows, 0)
            looked_up = seconds_of(lambda rows=rows, batch=batch: capture.outputs_from(query(0, rows, batch), {}, classes))  # type: ignore[misc]
            shares.append(looked_up / seconds_of(partial(step.step, rows)))
    found = [
        {"what": f"filling a view ({name}): rate ÷ the teacher's plain inference", "median": f"{statistics.median(r):.3f}"}
        for name, r in rates.items()
    ]
    return [*found, {"what": "look-up of sparse knowledge ÷ step", "median": f"{statistics.median(shares):.4f}"}]


@torch.inference_mode()
def infer(teacher: nn.Module, batches: Sequence[Tensor]) -> None:
    for inputs in batches:
        teacher(inputs)


def main() -> None:
    parser = smoke.Parser(__doc__, path=smoke.cifar, rounds=1, seeds=1, teacher=smoke.teacher, widths=[25, 32])
    parser.add_argument("path")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--torchdistill", help="directory that holds the package")
    parser.add_argument("--teacher", help="directory of a trained teacher, for `sparse`")
    parser.add_argument("--cpu", action="store_true", help="measure the process's CPU seconds, for a machine with other work")
    parser.add_argument("--part", nargs="*", default=["steps", "sparse", "build"])
    parser.add_argument("--widths", type=int, nargs=2, default=list(TEACHERS.values()), help="of the teachers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    TEACHERS.update(zip(TEACHERS, options.widths, strict=True))
    if options.torchdistill:
        sys.path.insert(0, options.torchdistill)
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "steps": lambda: steps(options.path, options.rounds, options.seeds, bool(options.torchdistill)),
        "sparse": lambda: sparse(options.path, options.teacher),
        "build": lambda: build(options.path, min(5, options.rounds)),
    }
    with torch.device("meta"):
        blank = checkpoint.build({"model": STUDENT, "signature": signature_of_images(100).document()})
    params = int(cost.size(blank)["params"])
    for name in options.part:
        if rows := parts[name]():
            machine.show(f"{name}: student of {params:,} parameters, one thread", rows, as_json=options.json)


if __name__ == "__main__":
    main()
