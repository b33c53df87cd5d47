"""How soon a teacher is good: the plain recipe, and ours in half of its steps, on the same network and data.

    python tests/benchmarks/recipe.py PATH [--json] [--seeds 3] [--epochs 16] [--per-class 100] [--only NAME …]

PATH is CIFAR-100's folder. Plain is SGD with momentum and step decay, as the distillation tables have it; ours is the
teacher's default recipe at the learning rate of cifar100-small.yaml. A row beside ours changes one thing. Validation
accuracy after the last epoch; every run alone on one thread, as many at a time as there are cores.
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tests.benchmarks.outputs import signature_of_images
from tutelage import plugins
from tutelage.networks import checkpoint, cost
from tutelage.spec.sections import AugmentationConfig, ExecutionConfig, RecipeConfig, TeacherConfig
from tutelage.tasks import image_classification, signature
from tutelage.training import loop
from tutelage.training.plan import TrainingPlan

MODEL = {"resnet": {"blocks": 1, "width": 32, "stem_stride": 2}}
POLICY = AugmentationConfig(pad_px=4, flip=True)
PLAIN = {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "step", "weight_decay": 5e-4, "batch_size": 128}
OURS = {
    **{key: TeacherConfig.model_fields[key].default for key in ("optimizer", "schedule", "weight_decay", "average_decay")},
    "learning_rate": 0.02,
    "batch_size": 128,
}
RECIPES: dict[str, tuple[float, dict[str, Any]]] = {  # share of the plain recipe's epochs, and what is asked for
    "plain: SGD, step decay": (1.0, PLAIN),
    "plain in half of the steps": (0.5, PLAIN),
    "ours": (0.5, OURS),
    "ours, AdamW in place of Muon": (0.5, {**OURS, "optimizer": "adamw", "learning_rate": 0.01}),
    "ours, Nesterov SGD in place of Muon": (0.5, {**OURS, "optimizer": "sgd", "learning_rate": 0.2, "weight_decay": 5e-4}),
    "ours without averaged weights": (0.5, {**OURS, "average_decay": 0.0}),
    "ours, the first 30 % at half size": (0.5, {**OURS, "half_size_share": 0.3}),
    "ours with label smoothing 0.1": (0.5, {**OURS, "label_smoothing": 0.1}),
}


def run(job: tuple[str, str, int, int, int]) -> dict[str, Any]:
    path, name, seed, epochs, per_class = job
    torch.set_num_threads(1)
    _, plugin, config = plugins.configure("data", {"cifar": {"path": path, "per_class": per_class}})
    train, validation = (plugin.read(config, 0, split) for split in ("train", "validation"))
    share, options = RECIPES[name]
    recipe = RecipeConfig(epochs=round(share * epochs), **options)
    torch.manual_seed(seed)
    task = image_classification.build(image_classification.Config())
    about = signature(task, train)
    model = checkpoint.build({"model": MODEL, "signature": about.document()})
    plan = TrainingPlan(
        task=task, train=train, validation=validation, signature=about, recipe=recipe,
        seed=seed, augmentation=POLICY, views=0, view_seed=seed, execution=ExecutionConfig(channels_last=True),
    )  # fmt: skip
    under_way = loop.Training(model, plan)
    started_s = time.perf_counter()
    curve = [under_way.epoch()["accuracy"] for _ in range(recipe.epochs)]
    steps = recipe.epochs * (len(train) // recipe.batch_size)
    return {"steps": steps, "accuracy": curve[-1], "curve": curve, "elapsed_s": time.perf_counter() - started_s}


def main() -> None:
    parser = smoke.Parser(__doc__, path=smoke.cifar, seeds=1, epochs=2, per_class=3, workers=1)
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--workers", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", default=list(RECIPES), help="names of recipes")
    options = parser.parse_args()
    jobs = [
        (options.path, name, seed, options.epochs, options.per_class) for name in options.only for seed in range(options.seeds)
    ]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(run, jobs))
    rows = []
    for i, name in enumerate(options.only):
        runs = found[i * options.seeds : (i + 1) * options.seeds]
        accuracies = [one["accuracy"] for one in runs]
        spread = f" ± {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
        seconds = statistics.fmean(one["elapsed_s"] for one in runs)
        accuracy = f"{statistics.fmean(accuracies):.4f}{spread}"
        rows.append({"recipe": name, "steps": runs[0]["steps"], "accuracy": accuracy, "seconds": round(seconds)})
    with torch.device("meta"):
        blank = checkpoint.build({"model": MODEL, "signature": signature_of_images(100).document()})
    params = int(cost.size(blank)["params"])
    title = f"Validation accuracy, {params:,} parameters, {options.per_class} images a class, {options.seeds} seeds (mean ± sd)"
    machine.show(title, rows, as_json=options.json)


if __name__ == "__main__":
    main()
