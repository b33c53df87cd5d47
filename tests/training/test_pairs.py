"""Teachers and students of different families: each loss distils, or is an error before training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.plain import plain_signature
from tutelage import files
from tutelage.errors import InputError
from tutelage.networks import capture, checkpoint, stages
from tutelage.spec.sections import DistillationConfig, SparsityConfig, StudentConfig, TrialConfig
from tutelage.storage.local import LocalStorage
from tutelage.training import distillation, student
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan
from tutelage.training.loop import Training

CONVNET: dict[str, Any] = {"convnet": {"width": 6, "depth": 2}}
MLP: dict[str, Any] = {"mlp": {"hidden": 12, "depth": 2}}
VIT: dict[str, Any] = {"vit": {"patch_px": 2, "width": 16, "depth": 3, "heads": 2}}
SMALL_VIT: dict[str, Any] = {"vit": {"patch_px": 2, "width": 8, "depth": 2, "heads": 4}}
METHODS: dict[str, Any] = {
    **{
        name: name
        for name in (
            "kd",
            "dkd",
            "dist",
            "fitnet",
            "hidden",
            "attention",
            "relations",
            "similarity",
            "rkd",
            "crd",
            "review",
            "sequence",
        )
    },
    "heads": {"attention": {"of": "heads"}},
    "pooled": {"similarity": {"pooled": True}},
    "weights": "weights",
    "spans": {"weights": {"match": "depth", "distance": "subspace"}},
    "all": {"mixture": {"terms": {"kd": 1.0, "rkd": 1.0, "fitnet": 1.0}}},
}
REFUSED = {  # teacher → student: losses that cannot serve the pair
    ("convnet", "mlp"): {"attention", "relations", "review", "heads", "weights"},
    ("convnet", "vit"): {"heads", "relations", "weights", "spans"},  # this teacher's matrices are the smaller ones
    ("vit", "convnet"): {"heads", "relations", "weights"},
    ("vit", "mlp"): {"attention", "relations", "review", "heads", "weights"},
    ("vit", "small_vit"): set(),
    ("mlp", "convnet"): {"attention", "relations", "review", "heads", "weights"},
}
NETWORKS = {"convnet": CONVNET, "mlp": MLP, "vit": VIT, "small_vit": SMALL_VIT}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("teacher", "pupil"), REFUSED, ids=lambda kind: kind)
def test_a_pair_is_distilled_or_an_error_before_training(
    teacher: str, pupil: str, method: str, tmp_path_factory: Any, contexts: dict[str, TrainingContext]
) -> None:
    room = contexts[teacher]
    config = TrialConfig(
        student=StudentConfig(model=NETWORKS[pupil], epochs=1, batch_size=32, learning_rate=0.003),
        distillation=DistillationConfig(method=METHODS[method], weight=1.0, temperature=2.0),
        sparsity=SparsityConfig(),
    )
    own = stages.outline_of(student.untrained(config, room, 0), plain_signature())
    if method in REFUSED[teacher, pupil]:
        with pytest.raises(InputError):
            distillation.distillation_loss(config, own, room.teacher_outline)
        return
    plan = student.plan(config, room, 0)
    under_way = Training(student.build(config, room, 0), plan)
    before = {name: weight.clone() for name, weight in under_way.model.state_dict().items()}
    losses = [under_way.step(rows).item() for rows in under_way.batches()[:3]]
    assert all(torch.isfinite(torch.tensor(losses)))
    assert any(not torch.equal(before[name], weight) for name, weight in under_way.model.state_dict().items())
    assert 0 < losses[0] < 1.001 * math.log(10) * (3 if method == "all" else 1), "no term starts above the label loss"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingContext]:
    """A context for each untrained teacher, whose live outputs contain every part that a loss may need."""
    bare, found = TrainingContext(data="digits", task="image_classification", seed=0), {}
    for name in ("convnet", "mlp", "vit"):
        home, about = tmp_path_factory.mktemp(name), bare.architecture(NETWORKS[name])
        checkpoint.write(home / "teacher", checkpoint.seeded(about, 1), about)
        plan = KnowledgePlan(storage=LocalStorage(home), teachers=(("teacher", 1.0),))
        found[name] = TrainingContext(data="digits", task="image_classification", seed=0, knowledge=plan)
    return found


def test_captured_scores_are_those_of_the_transformers_attention() -> None:
    room = TrainingContext(data="digits", task="image_classification", seed=0)
    model = checkpoint.seeded(room.architecture(VIT), 0).eval()
    batch = room.splits["train"].take(slice(3))
    (inputs,) = batch.arguments
    needs = frozenset({"heads", "pooled", "features"})
    parts = capture.capture(model, room.built_task, batch, needs)
    outline = stages.outline_of(model, plain_signature())
    for stage in outline.stages:
        assert stage.heads == 2 and parts[f"heads.{stage.name}"].shape == (3, 2, 16, 16)
        torch.testing.assert_close(parts[f"pooled.{stage.name}"], parts[f"features.{stage.name}"].mean(dim=1))
    block = stages.stages(model)["stage1"][-1]  # type: ignore[index]
    tokens = block.norm1(model.stem(inputs))  # type: ignore[operator]
    _, _, values = block.attention.split(tokens)
    mixed = (parts["heads.stage1"].softmax(-1) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(block.attention(tokens), block.attention.projection(mixed))
    assert files.content_address(needs=sorted(needs)) != files.content_address(needs=[])


def test_named_layers_are_compared_in_order_of_depth() -> None:
    room = TrainingContext(data="digits", task="image_classification", seed=0)
    model = stages.name_layers(checkpoint.seeded(room.architecture(CONVNET), 0), ["stage2.0", "stage1"])
    outline = stages.outline_of(model, plain_signature())
    assert [(stage.name, stage.channels) for stage in outline.stages] == [("stage1", 6), ("stage2.0", 12)]
    with pytest.raises(InputError, match=r"no layer 'stage3'\. The nearest: stage"):
        stages.name_layers(model, ["stage3"])
