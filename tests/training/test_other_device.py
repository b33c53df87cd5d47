"""Trainings on a device that is not the CPU: each task, loss and sparsity method, without a GPU (`tests.other_device`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tests import other_device, sparse_models
from tests.contexts import with_untrained_teacher
from tests.contracts.test_plugins import LOSS_OPTIONS, LOSSES, VARIANTS
from tests.contracts.test_tasks import posed
from tests.tasks import test_ocr
from tutelage import plugins
from tutelage.data import Examples, classified
from tutelage.losses import for_sequences, needs_of
from tutelage.networks import checkpoint, stages
from tutelage.networks.weights import load, weights_of
from tutelage.signature import Signature
from tutelage.sparsity import Method
from tutelage.sparsity._ladder import Ladder
from tutelage.spec.sections import AugmentationConfig, RecipeConfig
from tutelage.tasks import Task, signature
from tutelage.training import inference, loop, packing, student_measures
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Distillation, Phase, TrainingPlan

IMAGES = "images"
RECIPE = RecipeConfig(epochs=2, batch_size=8, average_decay=0.9, optimizer="muon")
CONVNET, ENCODER = {"convnet": {"width": 4}}, {"embedding": 8, "width": 8, "depth": 1, "heads": 2}
MODELS: dict[str, Any] = {
    IMAGES: CONVNET, "detection": {"detector": {"width": 2, "neck": 4}}, "tagging": {"transformer": ENCODER},
    "language_model": {"causal_transformer": ENCODER}, "text_classification": {"bigru": {"embedding": 8, "hidden": 8}},
    "ocr": {"crnn": {"width": 4, "depth": 2, "hidden": 8}}, "video": {"frame_gru": {"width": 4}},
}  # fmt: skip
OF_LOSS = {"cross_kd": "detection", "fgd": "detection", "ld": "detection", "ctc_blank": "ocr", "ctc_n_best": "ocr"}
OF_LOSS |= dict.fromkeys(("review", "attention", "mixture"), IMAGES)  # the others have a task with attention


def setting(name: str) -> tuple[Task, Examples, Signature]:
    """Return a task, 16 examples and their signature."""
    if name == IMAGES:
        generator = torch.Generator().manual_seed(0)
        images, labels = torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 3, (16,), generator=generator)
        task, examples = posed("image_classification")[0], classified(images, labels, ("a", "b", "c"))
    elif name == "ocr":  # lines of enough steps
        task, examples = posed(name)[0], test_ocr.example(([0], [1, 2]) * 8, (8, 12) * 8)
    else:
        task, examples = posed(name)[0], posed(name)[1].head(16)
    return task, examples, signature(task, examples)


def network(name: str, seed: int, model: Any = None) -> nn.Module:
    described = model or MODELS.get(name, {"mlp": {"hidden": 8}})
    return checkpoint.seeded({"version": 2, "model": described, "signature": setting(name)[2].document()}, seed)


def plan(name: str, **changes: Any) -> TrainingPlan:
    task, examples, found = setting(name)
    return TrainingPlan(
        task=task, train=examples, validation=examples, signature=found, seed=0, recipe=RECIPE, **changes
    )  # fmt: skip


def distillation(name: str, loss: str) -> Distillation:
    task, _, found = setting(name)
    plain, options = VARIANTS.get(loss, (loss, LOSS_OPTIONS.get(loss, {})))
    _, plugin, config = plugins.configure("losses", {plain: options})
    teacher, needs = network(name, 1), needs_of(plugin, config)
    outline = stages.outline_of(teacher, found)

    def build(student: nn.Module) -> nn.Module:
        own = stages.outline_of(student, found)
        return for_sequences(plugin, config, own, outline, lambda one, other: plugin.build(config, 2.0, one, other))

    return Distillation(
        query=inference.live(teacher, task, needs, outline.stages_of_steps), build=build, weight=0.5, needs=needs,
        weights=weights_of(teacher) if "weights" in needs else {},
        head=teacher.get_submodule("head") if "head" in needs else None,
    )  # fmt: skip


def continued(name: str, make: Callable[[], TrainingPlan], device: torch.device | str, model: Any = None) -> list[float]:
    """Return the losses of two epochs, of which another process runs the second from the state of the first."""
    wanted, again = make(), make()
    first = loop.Training(network(name, 0, model).to(device), wanted)
    losses = [first.epoch()["train_loss"]]
    state = tree_map(lambda one: one.cpu() if isinstance(one, Tensor) else one, first.state())
    second = loop.Training(network(name, 5, model).to(device), again)
    second.restore(state, load)
    losses.append(second.epoch()["train_loss"])
    points = second.finish()
    assert all(next(point.model.parameters()).device == torch.device(device) for point in points)
    return losses


def check(name: str, make: Callable[[], TrainingPlan], model: Any = None) -> None:
    expected = continued(name, make, "cpu", model)
    with other_device.available() as device:
        assert continued(name, make, device, model) == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [IMAGES, *plugins.names("tasks")])
def test_a_training_of_each_task_continues_in_another_process(name: str) -> None:
    check(name, lambda: plan(name))


@pytest.mark.slow
def test_augmented_images_are_on_the_device() -> None:
    check(IMAGES, lambda: plan(IMAGES, augmentation=AugmentationConfig(pad_px=1, flip=True, cutout_px=2, mixup=0.4)))


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_learns_by_each_loss_from_a_live_teacher(loss: str) -> None:
    name = OF_LOSS.get(loss, "tagging")
    with other_device.available() as device:
        under_way = loop.Training(network(name, 0).to(device), plan(name, distillation=distillation(name, loss)))
        assert under_way.epoch()["train_loss"] > 0
        assert all(one.device == device for one in under_way.loss.module.parameters())  # type: ignore[union-attr]


def sparse(method: str) -> Callable[[], Method]:
    _, plugin, options = plugins.configure("sparsity", {method: sparse_models.options(method)})
    return lambda: plugin.build(options, 0.5)


LADDERS: dict[str, Callable[[], Method]] = {
    "ladder": lambda: Ladder(sparse("channels")(), (0.25, 0.5), 1),
    "sandwich": lambda: sparse("channels")().sandwich((0.25, 0.5), 1),
}


PHASES = (Phase(epochs=1), Phase(epochs=1, sparsifies=True))


@pytest.mark.slow
@pytest.mark.parametrize("method", plugins.names("sparsity"))
def test_each_sparsity_method_removes_on_the_device(method: str) -> None:
    model = sparse_models.small(method, CONVNET)
    check(IMAGES, lambda: plan(IMAGES, sparsity=sparse(method), phases=PHASES), model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LADDERS)
def test_a_training_is_moved_to_the_device_of_a_worker_and_continues_in_another(kind: str) -> None:
    """A ladder measures the network at its start, and again where the worker is; it is continued after its first removal."""
    phases = (*PHASES, PHASES[-1] if kind == "ladder" else Phase(epochs=1))
    wanted = replace(plan(IMAGES, sparsity=LADDERS[kind], phases=phases), recipe=RECIPE.model_copy(update={"epochs": 3}))
    with other_device.available() as device:
        first, second = loop.Training(network(IMAGES, 0), wanted), loop.Training(network(IMAGES, 5).to(device), wanted)
        first.to(device)
        for _ in range(2):
            assert first.epoch()["train_loss"] > 0
        second.restore(tree_map(lambda one: one.cpu() if isinstance(one, Tensor) else one, first.state()), load)
        assert second.epoch()["train_loss"] > 0
        points = second.finish()
        assert len(points) == 3 and all(weight.device == device for one in points for weight in one.model.parameters())


@pytest.mark.slow
def test_a_student_and_its_live_teacher_are_measured_on_the_device(context: TrainingContext, tmp_path: Path) -> None:
    room = with_untrained_teacher(context, tmp_path, CONVNET)
    assert room.knowledge is not None
    live, about = replace(room, knowledge=replace(room.knowledge, cache=None)), room.architecture(CONVNET)
    expected = student_measures.output_measures(checkpoint.seeded(about, 3), live)
    with other_device.available() as device:
        live.teacher.to(device)
        found: Mapping[str, float] = student_measures.output_measures(checkpoint.seeded(about, 3).to(device), live)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_state_of_a_device_is_read_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that drives workers with a GPU each has none."""
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")
    packed = packing.to_bytes({"model": {"weight": torch.arange(3.0)}})
    assert packing.from_bytes(packed)["model"]["weight"].tolist() == [0.0, 1.0, 2.0]
