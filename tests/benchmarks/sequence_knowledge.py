"""What knowledge of sequences takes: padding and bytes of the cache, a step's cost beside label-only training, and packing.

    python tests/benchmarks/sequence_knowledge.py SNIPS TEXT [--json] [--rounds 30] [--seeds 2] [--part padding sparse attention
                                                              steps packing]

SNIPS is the folder with train, valid and test; TEXT is a text file, of which the first 60,000 characters are read. Teachers are
untrained: what their outputs take does not depend on their weights. Seconds are the process's own, of one thread. In `steps`
all kinds take turns, a step each a round; a ratio is taken round by round, and its median is shown.
"""

from __future__ import annotations

import atexit
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage.networks import checkpoint, top_k
from tutelage.networks.output import Need
from tutelage.networks.sampled import drawn
from tutelage.spec.sections import DistillationConfig, SparsityConfig, StudentConfig, TrialConfig
from tutelage.storage import open_storage
from tutelage.training import loop, student
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan

CHARACTERS = 60_000
PARTS: frozenset[Need] = frozenset({"features", "qkv", "decoded"})
TEACHERS: dict[str, Any] = {
    "slots": {"transformer": {"embedding": 128, "width": 192, "depth": 2, "heads": 6}},
    "characters": {"causal_transformer": {"embedding": 192, "width": 192, "depth": 2, "heads": 6}},
}
STUDENTS: dict[str, tuple[str, Any]] = {
    "bigru": ("slots", {"bigru": {"embedding": 64, "hidden": 64}}),
    "transformer": ("slots", {"transformer": {"embedding": 64, "width": 96, "depth": 2}}),
    "causal transformer": ("characters", {"causal_transformer": {"embedding": 64, "width": 64, "depth": 3}}),
}
METHODS: dict[str, Any] = {
    "label sequences: kd": "kd", "label sequences: kd, 12 samples": "kd", "label sequences: sequence": "sequence",
    "one layer: fitnet": "fitnet", "one layer: relations": "relations",
    "one layer: relations, all positions": {"relations": {"every": 1}}, "all layers: hidden": "hidden",
}  # fmt: skip


@cache
def scratch() -> Path:
    """Return a directory of this process, removed at its end."""
    home = tempfile.TemporaryDirectory(prefix="tutelage-sequences-")
    atexit.register(home.cleanup)
    return Path(home.name)


def bare(kind: str, path: str, **options: Any) -> TrainingContext:
    """Return the context of the sentences, or of the first characters of the text."""
    if kind == "slots":
        return TrainingContext(data={"slots": {"path": path}}, task={"tagging": {"decode": "valid"}}, seed=0)
    short = scratch() / "text.txt"
    short.write_text(Path(path).read_text(encoding="utf-8")[:CHARACTERS], encoding="utf-8")
    data = {"path": str(short), "unknown": "count", **options}
    return TrainingContext(data={"characters": data}, task="language_model", seed=0)


@cache
def rooms(kind: str, path: str) -> dict[str, TrainingContext]:
    """Return contexts with an untrained teacher's knowledge: dense with every part, and twelve drawn classes a step."""
    room, home = bare(kind, path), scratch() / kind
    about = room.architecture(TEACHERS[kind])
    checkpoint.write(home / "teacher", checkpoint.seeded(about, 0), about)
    plan = KnowledgePlan(storage=open_storage(home), teachers=(("teacher", 1.0),))
    found = {}
    for name, one in {"dense": replace(plan, needs=PARTS), "samples": replace(plan, samples=12)}.items():
        cached = replace(one, cache=name)
        found[name] = replace(room, knowledge=cached)
        assert cached.entry is not None
        cached.entry.describe(found[name].teacher_outline)
        found[name].fill("train", 0)
    return found


def padding(snips: str, text: str) -> list[dict[str, Any]]:
    """Compare the bytes of a view's files with those of the real steps, and with padding to the longest example."""
    rows = []
    for kind, path in (("slots", snips), ("characters", text)):
        for name, room in rooms(kind, path).items():
            train, plan = room.splits["train"], room.knowledge
            assert plan is not None and plan.entry is not None and train.lengths is not None
            files = sum(one.stat().st_size for one in plan.entry.place("train", 0).glob("*.npy"))
            layouts, lengths = room.layouts("train").values(), train.lengths
            real = sum(one.num_bytes(len(train), lengths) for one in layouts)
            longest = sum(one.num_bytes(len(train), torch.full_like(lengths, int(lengths.max()))) for one in layouts)
            rows.append({
                "data": kind, "knowledge": name, "examples": len(train),
                "mean ÷ longest": float(lengths.float().mean() / lengths.max()), "real MB": real / 1e6,
                "files ÷ real": files / real, "padded to the longest ÷ real": longest / real,
            })  # fmt: skip
    return rows


def sparse() -> list[dict[str, Any]]:
    """Compare sparse label sequences of a model of language with the dense ones: bytes a step, and the divergence's error.

    Each k is kept for any temperature, and for the temperature 1 alone.

    Logits are those of words whose frequencies fall with their rank (Zipf), with normal noise of deviation 2.
    """
    rows = []
    generator = torch.Generator().manual_seed(0)
    for classes, k in ((65, 4), (65, 8), (400, 8), (1024, 16), (8192, 32), (50_257, 64)):
        teacher, own = (
            -torch.arange(1, classes + 1).log() + 2 * torch.randn(64, classes, generator=generator) for _ in range(2)
        )  # fmt: skip
        size = {"uint8": 1, "uint16": 2, "int32": 4}[top_k.index_dtype(classes)]
        at_one, samples = (2 + size) * k, 12 * size
        logs, target = own.log_softmax(-1), teacher.log_softmax(-1)
        dense = (target.exp() * (target - logs)).sum(-1)
        any_, stored = (
            top_k.restored({name: part if name == "classes" else part.half() for name, part in parts.items()})
            for parts in (top_k.compressed(teacher, k), top_k.compressed(teacher, k, 1.0))
        )
        coarse = top_k.coarse_log_probabilities(own, stored.classes, 1.0)
        found, of_any = (
            (kept.exp() * (kept - coarse)).sum(-1) for kept in (one.log_probabilities(1.0) for one in (stored, any_))
        )
        others = torch.ones_like(logs, dtype=torch.bool).scatter(-1, stored.classes, False)
        within, of_own = (one.masked_fill(~others, float("-inf")).log_softmax(-1) for one in (target, logs))
        mass = (target.exp() * others).sum(-1)
        bound = mass * (within.exp() * (within - of_own).masked_fill(~others, 0.0)).sum(-1)
        error = -logs.gather(-1, drawn(teacher, 12, (0,))).mean(-1) + (target.exp() * logs).sum(-1)
        rows.append({
            "classes": classes, "k": k, "top k, one temperature ÷ dense bytes": at_one / (2 * classes),
            "top k, any temperature ÷ dense bytes": (at_one + 4 * top_k.NUM_POINTS) / (2 * classes),
            "12 samples ÷ dense bytes": samples / (2 * classes), "KL, nats": float(dense.mean()),
            "KL of top k": float(found.mean()),
            "stated bound, nats": float(bound.mean()),
            "largest distance from it, one temperature": f"{float((dense - found - bound).abs().max()):.1e}",
            "largest distance from it, any temperature": f"{float((dense - of_any - bound).abs().max()):.1e}",
            "mean error of samples": f"{float(error.mean()):+.3f}",
        })  # fmt: skip
    return rows


def attention(snips: str, text: str) -> list[dict[str, Any]]:
    """Compare the bytes an example of queries, keys and values, of relations, and of attention scores, in float16."""
    rows = []
    images = torch.full((1,), 64)
    cases = {"slots": rooms("slots", snips), "characters": rooms("characters", text)}
    named = {name: case["dense"].splits["train"].lengths for name, case in cases.items()} | {"image, 64 patches": images}
    for name, lengths in named.items():
        assert lengths is not None
        positions, squares = float(lengths.float().mean()), float(lengths.float().square().mean())
        for width, heads in ((96, 4), (384, 12), (768, 12)):
            rows.append({
                "examples": name, "width": width, "heads": heads, "queries, keys, values": round(6 * positions * width),
                "4 relation heads": round(6 * 4 * squares), "48 relation heads": round(6 * 48 * squares),
                "scores of heads": round(2 * heads * squares),
            })  # fmt: skip
    return rows


def training_of(room: TrainingContext, model: Any, method: Any, seed: int) -> loop.Training:
    """Return a training that has begun; label-only without a method."""
    recipe = StudentConfig(model=model, epochs=100_000, batch_size=64 if "slots" in str(room.data) else 16, optimizer="adamw")
    taught = DistillationConfig(method=method or "kd", weight=0.7, temperature=1.0)
    config = TrialConfig(student=recipe, distillation=taught, sparsity=SparsityConfig())
    plan = replace(student.plan(config, room, seed), views=1)
    return loop.Training(student.build(config, room, seed), replace(plan, distillation=None) if method is None else plan)


def seconds_of(run: Callable[[], object]) -> float:
    """Return the processor's seconds of a call."""
    started_s = time.process_time()
    run()
    return time.process_time() - started_s


def steps(snips: str, text: str, rounds: int, seeds: int) -> list[dict[str, Any]]:
    """Compare a step with cached knowledge with a label-only step of the same student and batch."""
    rows = []
    for name, (kind, model) in STUDENTS.items():
        room = rooms(kind, snips if kind == "slots" else text)
        methods = {
            title: method for title, method in METHODS.items()
            if (method != "sequence" or kind == "slots") and ("relations" not in title or name != "bigru")
        }  # fmt: skip
        taken: dict[str, list[float]] = {title: [] for title in ("label-only", *methods)}
        for seed in range(seeds):
            kinds = {"label-only": training_of(room["dense"], model, None, seed)}
            for title, method in methods.items():
                kinds[title] = training_of(room["samples" if "samples" in title else "dense"], model, method, seed)
            batches = kinds["label-only"].batches()
            for number in range(-3, rounds):
                for title, under_way in kinds.items():
                    found = seconds_of(partial(under_way.step, batches[number % len(batches)]))
                    if number >= 0:
                        taken[title].append(found)
        alone = taken.pop("label-only")
        for title, seconds in taken.items():
            ratios = [one / other for one, other in zip(seconds, alone, strict=True)]
            rows.append({
                "student": name, "label-only, ms a step": statistics.median(alone) * 1e3, "knowledge": title,
                "÷ label-only": statistics.median(ratios), "sd": machine.deviation(ratios),
            })  # fmt: skip
    return rows


def packing(text: str, rounds: int) -> list[dict[str, Any]]:
    """Compare a language model's batches of lines with those of packed rows: padding, and characters a processor second."""
    rows = []
    for name, options, size in (("lines, 64 a batch", {}, 64), ("packed rows of 128, 16 a batch", {"packed": True}, 16)):
        room = bare("characters", text, documents="lines", **options)
        under_way = training_of(room, STUDENTS["causal transformer"][1], None, 0)
        plan = replace(under_way.plan, recipe=under_way.plan.recipe.model_copy(update={"batch_size": size}))
        under_way = loop.Training(under_way.model, plan)
        batches, rates, real, steps_ = under_way.batches(), list[float](), 0, 0
        for number in range(-3, rounds):
            chosen: Tensor = batches[number % len(batches)]
            lengths = room.splits["train"].lengths
            assert lengths is not None
            counts = lengths[chosen]
            taken = seconds_of(partial(under_way.step, chosen))
            if number >= 0:
                rates.append(float(counts.sum()) / taken)
                real, steps_ = real + int(counts.sum()), steps_ + int(counts.max()) * len(counts)
        rows.append({
            "batches": name, "examples": len(room.splits["train"]), "padding": f"{1 - real / steps_:.1%}",
            "characters a step": real // rounds, "characters a processor second": round(statistics.median(rates)),
        })  # fmt: skip
    return rows


def sentences() -> str:
    """Return a folder of a few made sentences."""
    return str(Path(smoke.sentences_spec()).parent / "sentences")


def main() -> None:
    parser = smoke.Parser(__doc__, snips=sentences, text=smoke.text, rounds=1, seeds=1)
    parser.add_argument("snips")
    parser.add_argument("text")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--part", nargs="*", default=["padding", "sparse", "attention", "steps", "packing"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "padding": lambda: padding(options.snips, options.text), "sparse": sparse,
        "attention": lambda: attention(options.snips, options.text),
        "steps": lambda: steps(options.snips, options.text, options.rounds, options.seeds),
        "packing": lambda: packing(options.text, options.rounds),
    }  # fmt: skip
    for name in options.part:
        machine.show(name, parts[name](), as_json=options.json)


if __name__ == "__main__":
    main()
