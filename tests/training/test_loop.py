from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.plain import Plain, architecture_of, plain_signature
from tutelage import plugins
from tutelage.data import Examples
from tutelage.errors import WorkFailed
from tutelage.losses import PerSequence, kd, mixture
from tutelage.networks import checkpoint, stages
from tutelage.networks.output import Output
from tutelage.networks.weights import load
from tutelage.sparsity import channels
from tutelage.spec.sections import AugmentationConfig, ExecutionConfig, RecipeConfig
from tutelage.tasks import LabelSequence, image_classification
from tutelage.training import augment, inference, loop, optimizers
from tutelage.training.plan import Distillation, Phase, TrainingPlan

RECIPE = RecipeConfig(epochs=4, batch_size=32, learning_rate=0.01, weight_decay=0.01)
ARCHITECTURE = architecture_of({"convnet": {"width": 4}})


@pytest.fixture(scope="module")
def plan() -> TrainingPlan:
    _, plugin, config = plugins.configure("data", "digits")
    train, validation = (plugin.read(config, 0, split) for split in ("train", "validation"))
    short = train.head(256)
    task = image_classification.build(image_classification.Config())
    return TrainingPlan(task=task, train=short, validation=validation, signature=plain_signature(), recipe=RECIPE, seed=3)


def model() -> nn.Module:
    torch.manual_seed(0)
    return checkpoint.build(ARCHITECTURE)


def trained(plan: TrainingPlan) -> loop.Training:
    under_way = loop.Training(model(), plan)
    while not under_way.is_done:
        under_way.epoch()
    return under_way


def assert_same_weights(a: loop.Training, b: loop.Training) -> None:
    for (name, left), right in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(left, right), name


def recalled(parts: dict[str, torch.Tensor]) -> inference.TeacherQuery:
    """Return a teacher query over cached parts, each `[views, n, …]`."""
    return lambda view, rows, seen: {part: tensor[view, rows] for part, tensor in parts.items()}


def taught(plan: TrainingPlan, weight: float, logits: torch.Tensor | None = None) -> TrainingPlan:
    known = torch.randn(256, 1, 10, generator=torch.Generator().manual_seed(1)) if logits is None else logits
    query = recalled({"logits.class": known.unsqueeze(0)})
    distillation = Distillation(query=query, build=lambda _: PerSequence({"class": kd.SoftTargets(2.0)}), weight=weight)
    return replace(plan, distillation=distillation)


@pytest.mark.slow
def test_a_training_improves_and_the_same_seed_gives_the_same_student(plan: TrainingPlan) -> None:
    long = replace(plan, recipe=RECIPE.model_copy(update={"epochs": 12}))
    under_way = loop.Training(model(), long)
    rows = [under_way.epoch() for _ in range(12)]
    assert rows[-1]["accuracy"] > 0.5 > rows[0]["accuracy"]
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert_same_weights(under_way, trained(long))
    other = trained(replace(long, seed=4))
    assert not torch.equal(next(iter(other.model.parameters())), next(iter(under_way.model.parameters())))


@pytest.mark.slow
def test_a_weight_of_0_is_label_only_and_a_weight_of_1_ignores_labels(plan: TrainingPlan) -> None:
    assert_same_weights(trained(plan), trained(taught(plan, 0.0)))
    alone = taught(plan, 1.0)
    other_labels = relabelled(plan.train, (labels_of(plan) + 1) % 10)
    assert_same_weights(trained(alone), trained(replace(alone, train=other_labels)))


def test_an_epoch_compares_the_teachers_outputs_for_its_own_view(plan: TrainingPlan) -> None:
    """The teacher's outputs are each view's mean; the student gets those of the view that it is trained on."""
    policy = AugmentationConfig(pad_px=2, flip=True)
    views = [augment.batch(plan.train, torch.arange(256), v, policy, 7).inputs["inputs"].mean(dim=(1, 2, 3)) for v in range(3)]
    marks = torch.stack(views).view(3, 256, 1, 1).expand(3, 256, 1, 10)
    found: list[float] = []

    class Compare(nn.Module):
        def forward(self, student: Output, teacher: Output) -> torch.Tensor:
            found.append(float((teacher.logits[:, 0, 0] - seen[-1]).abs().max()))
            return student.logits.square().mean()

    seen: list[torch.Tensor] = []
    network_ = model()
    network_.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean(dim=(1, 2, 3))))
    distillation = Distillation(
        query=recalled({"logits.class": marks}), build=lambda _: PerSequence({"class": Compare()}), weight=1.0
    )
    shown = replace(plan, augmentation=policy, views=3, view_seed=7, distillation=distillation)
    under_way = loop.Training(network_, replace(shown, recipe=RECIPE.model_copy(update={"epochs": 7})))
    while not under_way.is_done:
        under_way.epoch()
    assert len(found) == 7 * 8 and max(found) < 1e-6


def test_a_mixture_brings_features_attention_maps_and_weights_nearer_to_the_teachers(plan: TrainingPlan) -> None:
    """A student of its teacher's family, trained by a mixture alone, is nearer in each respect at the end."""
    teacher = trained(replace(plan, recipe=RECIPE.model_copy(update={"epochs": 8}))).model.eval()
    task, needed = plan.task, frozenset({"features", "maps", "weights"})
    rows = torch.arange(len(plan.train))
    ((_, _, known),) = inference.each(teacher, task, plan.train, rows, needs=needed)
    config = mixture.Config(terms={"kd": 1.0, "fitnet": 1.0, "attention": 1.0, "weights": 1.0})
    outline = stages.outline_of(teacher, plain_signature())
    distillation = Distillation(
        query=recalled({part: tensor.unsqueeze(0) for part, tensor in known.items()}), weight=1.0, needs=needed,
        build=lambda net: PerSequence(
            {"class": mixture.build(config, 2.0, stages.outline_of(net, plain_signature()), outline)}
        ),
        weights=teacher.state_dict(),
    )  # fmt: skip
    under_way = loop.Training(model(), replace(plan, distillation=distillation))
    losses = [under_way.epoch()["train_loss"] for _ in range(4)]
    assert losses[-1] < 0.7 * losses[0]
    assert not any("adapter" in name for name, _ in under_way.model.named_parameters()), "adapters stay with the loss"
    with_teacher, alone = under_way.model, trained(plan).model
    far = [sum(float((a - b).detach().square().sum()) for a, b in zip(m.parameters(), teacher.parameters(), strict=True))
           for m in (with_teacher, alone)]  # fmt: skip
    assert far[0] < far[1]


def test_images_of_the_first_epochs_may_have_half_their_size(plan: TrainingPlan) -> None:
    sides: list[int] = []
    network_ = model()
    network_.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]) if network_.training else None)
    under_way = loop.Training(network_, replace(plan, recipe=RECIPE.model_copy(update={"half_size_share": 0.5})))
    while not under_way.is_done:
        under_way.epoch()
    assert sides == [4] * 16 + [8] * 16


def test_the_first_epochs_of_a_pretrained_student_are_label_only(plan: TrainingPlan) -> None:
    late = taught(plan, 1.0)
    phases = (Phase(epochs=2, is_distilled=False), Phase(epochs=2))
    under_way, alone = (loop.Training(model(), replace(one, phases=phases)) for one in (late, plan))
    for epoch in range(3):
        under_way.epoch()
        alone.epoch()
        same = all(torch.equal(a, b) for a, b in zip(under_way.model.parameters(), alone.model.parameters(), strict=True))
        assert same is (epoch < 2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_every_optimizer_trains_averages_and_resumes(plan: TrainingPlan, optimizer: Any) -> None:
    rate = {"adamw": 0.01, "muon": 0.01, "sgd": 0.1}[optimizer]
    recipe = RecipeConfig(epochs=10, batch_size=32, optimizer=optimizer, learning_rate=rate, average_decay=0.9)
    whole = loop.Training(model(), replace(plan, recipe=recipe))
    rows = [whole.epoch() for _ in range(10)]
    assert rows[-1]["accuracy"] > 0.4
    first, second = (loop.Training(model(), replace(plan, recipe=recipe)) for _ in range(2))
    for _ in range(4):
        first.epoch()
    second.restore(first.state(), load)
    while not second.is_done:
        second.epoch()
    assert_same_weights(whole, second)


def test_the_loss_is_continuous_in_its_weight(plan: TrainingPlan) -> None:
    rows = torch.arange(32)
    losses = [loop.Training(model(), taught(plan, w)).loss(rows, 0).item() for w in (0.0, 1e-9, 1 - 1e-9, 1.0)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[2] == pytest.approx(losses[3], rel=1e-6)


def test_a_perfect_teacher_gives_better_students_than_few_labels(plan: TrainingPlan) -> None:
    """A student learns from teacher logits of its own examples, and not from shuffled ones."""
    truth = nn.functional.one_hot(labels_of(plan), 10).unsqueeze(1).float() * 8
    long = replace(plan, recipe=RECIPE.model_copy(update={"epochs": 12}))
    right = trained(taught(long, 1.0, truth))
    wrong = trained(taught(long, 1.0, truth[torch.randperm(256, generator=torch.Generator().manual_seed(0))]))
    accuracy = [inference.measured(t.model, plan.task, plan.validation)["accuracy"] for t in (right, wrong)]
    assert accuracy[0] > accuracy[1] + 0.3


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_training_equals_an_uninterrupted_one(plan: TrainingPlan, stop_after: int, tmp_path: Any) -> None:
    sparse = replace(
        taught(plan, 0.5),
        phases=(Phase(epochs=2), Phase(epochs=2, sparsifies=True)),
        sparsity=partial(channels.build, channels.Config(), 0.5),
    )
    first = loop.Training(model(), sparse)
    for _ in range(stop_after):
        first.epoch()
    torch.save(first.state(), tmp_path / "state.pt")
    second = loop.Training(model(), sparse)
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True), load)
    while not second.is_done:
        second.epoch()
    assert_same_weights(second, trained(sparse))


def test_a_training_that_moves_between_epochs_continues_as_if_it_had_not(plan: TrainingPlan) -> None:
    recipe = plan.recipe.model_copy(update={"epochs": 3, "average_decay": 0.9})
    moved, still = (loop.Training(model(), replace(taught(plan, 0.5), recipe=recipe)) for _ in range(2))
    while not still.is_done:
        still.epoch()
        moved.epoch()
        moved.to(torch.device("cpu"))
    for name, tensor in still.model.state_dict().items():
        assert torch.equal(tensor, moved.model.state_dict()[name]), name


def test_channels_are_removed_before_fine_tuning_and_not_earlier(plan: TrainingPlan) -> None:
    sparse = replace(
        plan,
        phases=(Phase(epochs=3), Phase(epochs=1, sparsifies=True)),
        sparsity=partial(channels.build, channels.Config(), 0.5),
    )
    under_way = loop.Training(model(), sparse)
    sizes = []
    while not under_way.is_done:
        under_way.epoch()
        sizes.append(sum(p.numel() for p in under_way.model.parameters()))
    assert sizes[0] == sizes[1] == sizes[2] > sizes[3]


def test_the_error_for_a_loss_that_is_not_finite_names_the_epoch(plan: TrainingPlan) -> None:
    known = torch.full((256, 1, 10), float("nan"))
    with pytest.raises(WorkFailed, match="nan in epoch 1"):
        loop.Training(model(), taught(plan, 0.5, known)).epoch()


def test_shards_divide_every_batch_among_the_workers(plan: TrainingPlan) -> None:
    whole = loop.Training(model(), plan).batches()
    shards = [loop.Training(model(), replace(plan, shard=(rank, 2))).batches() for rank in (0, 1)]
    for batch, left, right in zip(whole, *shards, strict=True):
        assert sorted(batch.tolist()) == sorted(left.tolist() + right.tolist())


@given(st.floats(0, 1))
def test_the_learning_rate_rises_once_and_falls_once_within_its_bounds(progress: float) -> None:
    assert 0.0 <= optimizers.one_cycle(progress) <= 1.0
    assert optimizers.one_cycle(0.0) == optimizers.one_cycle(1.0) == 0.0
    assert optimizers.one_cycle(optimizers.WARM_UP_SHARE) == pytest.approx(1.0)


def test_the_step_schedule_is_the_published_one() -> None:
    rates = [optimizers.step_decay(epoch / 240) for epoch in (0, 149, 150, 179, 180, 209, 210, 239)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_networks_agreement_with_itself_is_1() -> None:
    logits = torch.randn(20, 1, 5)
    own, other = ({"class": LabelSequence(logits=sign * logits)} for sign in (1, -1))
    same = inference.agreement(own, own)
    assert same["agreement"].all() and same["teacher_kl_nats"] == pytest.approx(0.0, abs=1e-7)
    assert not inference.agreement(other, own)["agreement"].any()


def partly_labelled(plan: TrainingPlan, count: int) -> TrainingPlan:
    """Return the plan with labels of the first `count` examples only."""
    labels = labels_of(plan).clone()
    labels[count:] = -1
    return replace(plan, train=relabelled(plan.train, labels))


def labels_of(plan: TrainingPlan) -> torch.Tensor:
    return Plain(plan.train).labels


def relabelled(examples: Examples, labels: torch.Tensor) -> Examples:
    return replace(examples, targets={"class": replace(examples.targets["class"], values=labels)})


def test_label_only_epochs_have_the_same_number_of_steps_with_fewer_labels(plan: TrainingPlan) -> None:
    few = partly_labelled(plan, 40)
    batches = loop.Training(model(), few).batches()
    shown = torch.cat(batches)
    assert len(batches) == len(loop.Training(model(), plan).batches())
    assert shown.max() < 40 and torch.bincount(shown).min() >= 6, "each is shown as often as any other, but for the last turn"


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_an_unlabelled_example_has_no_label_loss_and_is_distilled(plan: TrainingPlan, mixup: float) -> None:
    policy, rows = AugmentationConfig(mixup=mixup), torch.arange(32)
    half = replace(partly_labelled(taught(plan, 0.5), 16), augmentation=policy)
    under_way = loop.Training(model(), half)
    batch = under_way.loss.batch(rows, 0)
    logits = torch.randn(32, 1, 10, requires_grad=True)
    under_way.loss.label_loss({"logits.class": logits}, batch).backward()  # type: ignore[no-untyped-call]
    touched = logits.grad.abs().sum((1, 2)) > 0  # type: ignore[union-attr]
    known = batch.targets["class"] >= 0
    if batch.partner_targets is not None:
        known |= batch.partner_targets["class"] >= 0
    assert torch.equal(touched, known)
    assert len(torch.cat(under_way.batches())) == 256, "what has no label is shown: its teacher knows it"
    whole = loop.Training(model(), replace(taught(plan, 0.5), augmentation=policy))
    alone = whole.loss.label_loss({"logits.class": logits}, whole.loss.batch(rows, 0))
    plain = whole.plan.task.loss({"class": LabelSequence(logits=logits)}, whole.loss.batch(rows, 0)).mean()
    assert mixup or torch.equal(alone, plain)


def test_without_labels_only_the_distillation_loss_is_left(plan: TrainingPlan) -> None:
    none, truth = partly_labelled(plan, 0), nn.functional.one_hot(labels_of(plan), 10).unsqueeze(1).float() * 8
    long = replace(none, recipe=RECIPE.model_copy(update={"epochs": 12}))
    found = trained(replace(taught(long, 0.5, truth), train=long.train))
    assert inference.measured(found.model, plan.task, plan.validation)["accuracy"] > 0.5


def test_a_phase_continues_from_the_average_and_keeps_the_adapters(plan: TrainingPlan) -> None:
    recipe = RECIPE.model_copy(update={"average_decay": 0.9})
    phases = (Phase(epochs=2), Phase(epochs=1, is_distilled=False), Phase(epochs=1, rate=0.1))
    under_way = loop.Training(model(), replace(taught(plan, 0.5), recipe=recipe, phases=phases))
    under_way.epoch()
    under_way.epoch()
    assert under_way._average is not None
    average = {name: tensor.clone() for name, tensor in under_way._average.weights.items()}
    under_way._enter(phases[1])
    assert all(torch.equal(average[name], tensor) for name, tensor in under_way.model.state_dict().items() if name in average)
    assert under_way.loss.module is None


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_trainings_resume_at_and_within_phases(plan: TrainingPlan, stop_after: int) -> None:
    apart, smaller = Phase(epochs=1, is_distilled=False), Phase(epochs=2, sparsifies=True)
    phases = (apart, smaller, Phase(epochs=1, rate=0.1))
    sparsity = partial(channels.build, channels.Config(), 0.5)
    plan = replace(taught(plan, 0.5), phases=phases, sparsity=sparsity)
    first, second = (loop.Training(model(), plan) for _ in range(2))
    for _ in range(stop_after):
        first.epoch()
    second.restore(first.state(), load)
    while not second.is_done:
        second.epoch()
    assert_same_weights(second, trained(plan))


def first_steps(plan: TrainingPlan, logits: torch.Tensor) -> torch.Tensor:
    """Return the label loss of the first two examples, whose network has these logits `[2, 1, 10]`."""
    under_way = loop.Training(model(), plan)
    return under_way.loss.label_loss({"logits.class": logits}, under_way.loss.batch(torch.arange(2), 0))


def test_the_label_loss_of_a_mixed_example_weights_both_labels_by_their_shares(plan: TrainingPlan) -> None:
    mixed = replace(plan, augmentation=AugmentationConfig(mixup=1.0))
    under_way = loop.Training(model(), mixed)
    batch = under_way.loss.batch(torch.arange(2), 0)
    logits = torch.randn(2, 1, 10, generator=torch.Generator().manual_seed(0))
    logs = logits[:, 0].log_softmax(dim=1)
    assert batch.share is not None and batch.partner_targets is not None
    own, other = (-logs[torch.arange(2), labels["class"]] for labels in (batch.targets, batch.partner_targets))
    expected = (batch.share * own + (1 - batch.share) * other).mean()
    assert first_steps(mixed, logits).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_label_loss_is_the_mean_over_labelled_examples(plan: TrainingPlan) -> None:
    logits = torch.randn(2, 1, 10, generator=torch.Generator().manual_seed(0))
    of_first = -logits[0, 0].log_softmax(dim=0)[labels_of(plan)[0]]
    assert first_steps(partly_labelled(plan, 1), logits).item() == pytest.approx(of_first.item(), rel=1e-6)


class Adapted(nn.Module):
    """A loss with an adapter that is drawn at random, which keeps the teacher's outputs that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter = nn.Linear(10, 10)
        self.given: list[Output] = []

    def forward(self, student: Output, teacher: Output) -> torch.Tensor:
        self.given.append(teacher)
        return (self.adapter(student.logits) - teacher.logits).square().mean()


def adapted(plan: TrainingPlan) -> TrainingPlan:
    known = taught(plan, 0.5)
    assert known.distillation is not None
    build = lambda _: PerSequence({"class": Adapted()})  # noqa: E731
    return replace(known, distillation=replace(known.distillation, build=build))


def adapter_of(training: loop.Training) -> torch.Tensor:
    assert training.loss.module is not None
    return next(training.loss.module.parameters())


def test_adapters_depend_on_the_plans_seed_alone(plan: TrainingPlan) -> None:
    torch.manual_seed(11)
    one = adapter_of(loop.Training(model(), adapted(plan))).clone()
    torch.manual_seed(12)
    same, other = (loop.Training(checkpoint.seeded(ARCHITECTURE, 1), adapted(replace(plan, seed=s))) for s in (3, 4))
    assert torch.equal(one, adapter_of(same)) and not torch.equal(one, adapter_of(other))


def test_adapters_are_kept_from_phase_to_phase(plan: TrainingPlan) -> None:
    phases = (Phase(epochs=2), Phase(epochs=2))
    under_way = loop.Training(model(), replace(adapted(plan), phases=phases))
    under_way.epoch()
    before = adapter_of(under_way).detach().clone()
    under_way._enter(phases[1])
    assert torch.equal(before, adapter_of(under_way))


def test_a_loss_gets_the_labels_of_its_examples(plan: TrainingPlan) -> None:
    under_way = loop.Training(model(), adapted(plan))
    under_way.loss(torch.tensor([7, 3]), 0)
    assert under_way.loss.module is not None
    loss = under_way.loss.module.losses["class"]  # type: ignore[index,union-attr]
    assert loss.given[0].labels.flatten().tolist() == labels_of(plan)[[7, 3]].tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("is_on", [False, True])
def test_products_are_in_bfloat16_if_the_execution_sets_it(plan: TrainingPlan, is_on: bool) -> None:
    seen: list[torch.dtype] = []
    network_ = model()
    next(m for m in network_.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.dtype)
    )
    under_way = loop.Training(network_, replace(plan, execution=ExecutionConfig(bfloat16=is_on)))
    parts = under_way.loss.parts(under_way.loss.batch(torch.arange(2), 0), frozenset())
    assert seen == [torch.bfloat16 if is_on else torch.float32] and parts["logits.class"].dtype == torch.float32


def test_the_candidates_of_a_training_are_in_evaluation_mode(plan: TrainingPlan) -> None:
    (point,) = trained(plan).finish()
    assert not any(module.training for module in point.model.modules())


def test_dropout_depends_on_the_seed_and_the_epoch_and_not_on_what_ran_before(plan: TrainingPlan) -> None:
    def made(plan: TrainingPlan) -> loop.Training:
        torch.manual_seed(0)
        return loop.Training(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 10)), plan)

    first, second, other = made(plan), made(plan), made(replace(plan, seed=plan.seed + 1))
    for number in range(2):
        torch.manual_seed(number)
        first.epoch()
    second.epoch()
    torch.rand(7)
    third = made(plan)
    third.restore(second.state(), load)
    third.epoch()
    assert_same_weights(first, third)
    assert other.epoch()["train_loss"] != made(plan).epoch()["train_loss"]
