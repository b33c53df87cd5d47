"""What loading and augmentation take of a training step: indexing, shifting, mirroring, blanking, mixing, normalising.

    python tests/benchmarks/loading.py PATH [--json] [--rounds 60]

PATH is CIFAR-100's folder. The student has about 0.2 M parameters, a step 128 images, one thread. Batch and step take turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke
from tutelage import plugins
from tutelage.networks import checkpoint, cost
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig, ExecutionConfig, RecipeConfig
from tutelage.tasks import image_classification, signature
from tutelage.training import augment, loop
from tutelage.training.plan import TrainingPlan

MODEL = {"resnet": {"blocks": 1, "width": 25, "stem_stride": 1}}
POLICIES = {
    "none": AS_IT_IS,
    "pad 4 and flip": AugmentationConfig(pad_px=4, flip=True),
    "pad 4, flip, cutout 8": AugmentationConfig(pad_px=4, flip=True, cutout_px=8),
    "pad 4, flip, mixup 0.2": AugmentationConfig(pad_px=4, flip=True, mixup=0.2),
}


def main() -> None:
    parser = smoke.Parser(__doc__, path=smoke.cifar, rounds=2)
    parser.add_argument("path")
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    _, plugin, config = plugins.configure("data", {"cifar": {"path": options.path}})
    train = plugin.read(config, 0, "train")
    task = image_classification.build(image_classification.Config())
    about = signature(task, train)
    model = checkpoint.build({"model": MODEL, "signature": about.document()})
    recipe = RecipeConfig(epochs=1000, batch_size=128, optimizer="adamw", learning_rate=1e-3)
    rows = []
    for name, policy in POLICIES.items():
        plan = TrainingPlan(
            task=task, train=train, validation=train.head(1), signature=about,
            recipe=recipe, seed=0, augmentation=policy, views=0, execution=ExecutionConfig(channels_last=True),
        )  # fmt: skip
        under_way = loop.Training(model, plan)
        loading_ms, step_ms = [], []
        for number, chosen in enumerate(under_way.batches()[: options.rounds]):
            started_s = time.perf_counter()
            augment.batch(train, chosen, number, policy, 0)
            loaded_s = time.perf_counter()
            under_way.step(chosen)
            loading_ms.append((loaded_s - started_s) * 1e3)
            step_ms.append((time.perf_counter() - loaded_s) * 1e3)
        load, step = statistics.median(loading_ms), statistics.median(step_ms)
        rows.append({
            "augmentation": name, "loading, ms": round(load, 2), "step with it, ms": round(step, 1),
            "share": f"{load / step:.1%}",
        })  # fmt: skip
    params = int(cost.size(model)["params"])
    machine.show(f"Loading in a step of 128 images, {params:,} parameters, one thread", rows, as_json=options.json)


if __name__ == "__main__":
    main()
