"""The sections of a spec as pydantic models: names, bounds, units, defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tutelage.plugins import Reference


class Section(BaseModel):
    """A part of a spec: frozen; unknown keys, NaN and infinity are errors, and no value is converted silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class AugmentationConfig(Section):
    """How training examples are augmented. A view depends on the sweep's seed, the view's number and the example."""

    pad_px: int = Field(0, ge=0, le=64, description="pixels of padding, in which the image is shifted at random")
    flip: bool = Field(False, description="mirror half of the images left to right")
    cutout_px: int = Field(0, ge=0, le=1024, description="side of a square that is blanked out, in pixels; 0: none")
    mixup: float = Field(0.0, ge=0, le=10, description="alpha of the Beta that pairs of examples are mixed by; 0: none")

    @property
    def varies(self) -> bool:
        """Whether one view of an example differs from another."""
        return bool(self.pad_px or self.flip or self.cutout_px or self.mixup)


AS_IT_IS = AugmentationConfig()


class RecipeConfig(Section):
    """How a network is trained."""

    epochs: int = Field(20, ge=1, le=100_000, description="passes over the training split, fine-tuning included")
    batch_size: int = Field(64, ge=1, le=65_536, description="examples a step, over all workers")
    optimizer: Literal["adamw", "muon", "sgd"] = Field(
        "adamw", description="adamw; muon, for networks of convolutions or matrices; sgd with Nesterov momentum of 0.9"
    )
    learning_rate: float = Field(0.01, gt=0, le=10, description="peak of the schedule")
    schedule: Literal["one_cycle", "step"] = Field(
        "one_cycle",
        description="one_cycle: rises during the first fifth, then falls to 0; step: a tenth at 62.5, 75 and 87.5 %",
    )
    weight_decay: float = Field(
        0.01, ge=0, le=10, description="weight decay, not applied to norms and biases; decoupled in adamw"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the label's probability spread over all classes")
    half_size_share: float = Field(
        0.0, ge=0, le=0.9, description="share of `epochs`, the first ones, on images of half the height and width"
    )
    average_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of a moving average of the weights, which is the result of the training; 0: none",
    )


class ExecutionConfig(Section):
    """How training steps are run. These settings change the order of sums, so the last digits of results, and nothing else."""

    channels_last: bool = Field(False, description="store the channels of a pixel next to each other in memory")
    bfloat16: bool = Field(False, description="products in bfloat16 (autocast); weights and losses stay float32")
    compile: bool = Field(False, description="torch.compile")


PLAIN = ExecutionConfig()


class SourceConfig(Section):
    """Other data that a teacher is trained on first; their examples have the same shape."""

    data: Reference = Field(description="a data plugin")
    epochs: int = Field(30, ge=1, le=100_000, description="passes over the source's training split")
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="peak of the schedule on the source; null: the teacher's"
    )


class TeacherConfig(RecipeConfig):
    """The teacher: trained by this recipe, or read from a directory that `tutelage export` wrote."""

    model: Reference | None = Field(None, description="a model plugin; not with `path`")
    epochs: int = Field(
        30,
        ge=0,
        le=100_000,
        description="passes over the training split; 0: use the teacher as trained on its `source`, or a "
        "model that is trained already, such as `onnx`",
    )
    optimizer: Literal["adamw", "muon", "sgd"] = Field("muon", description="muon, adamw, or sgd with Nesterov momentum of 0.9")
    weight_decay: float = Field(
        0.05, ge=0, le=10, description="weight decay, not applied to norms and biases; decoupled except in sgd"
    )
    average_decay: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="decay per step of a moving average of the weights, which is the result of the training; 0: none",
    )
    execution: ExecutionConfig | Literal["measured"] = Field(
        "measured",
        description="how steps are run; measured: the fastest of a few modes, if the training takes over two minutes",
    )
    source: SourceConfig | None = Field(
        None,
        description="data to train on before the sweep's data; all layers but the last are then fine-tuned on the sweep's data",
    )
    path: str | None = Field(
        None, description="a trained network instead: a directory that was exported, or an MLflow URI (models:/NAME@champion)"
    )
    trust: list[str] | None = Field(
        None,
        min_length=1,
        description="code that the files at `path` may run, as module:Name, in addition to the code that the spec names",
    )
    weights: str | None = Field(None, description="file of trained weights for `model`: .safetensors, or a PyTorch state dict")
    classes: list[str] | None = Field(None, min_length=2, description="names of the outputs of `weights`; null: the data's")
    required_quality: float | None = Field(
        None,
        description="value of the primary measure on validation that the teacher must reach; null: what a simple model reaches",
    )
    accept_weak: bool = Field(False, description="continue with a teacher that is worse than `required_quality`")


class KnowledgeConfig(Section):
    """Which outputs of the teacher are used, and how students get them."""

    mode: Literal["auto", "cached", "live"] = Field(
        "auto",
        description="cached: computed once; live: the teacher runs during each student's training; auto: cached, if it fits",
    )
    fill: Literal["auto", "up_front", "first_use"] = Field(
        "auto", description="when views are computed; auto: up front, unless the search will probably not use all of them"
    )
    dtype: Literal["float16", "float32"] = Field("float16", description="precision of what is cached")
    views: int | None = Field(
        None, ge=1, le=100_000, description="augmented views of every example; null: one for each epoch of a student"
    )
    top_k: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="number of classes per step whose logits are cached, with the total mass of the others; null: all",
    )
    samples: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="number of classes per step that are drawn from the teacher's distribution and cached in place of its "
        "logits, for a temperature of 1; null: none",
    )
    layers: list[str] | None = Field(
        None, min_length=1, description="the teacher's layers that are compared, by their names; null: its stages"
    )
    average: Literal["equal", "quality"] = Field(
        "equal", description="weights of `more_teachers`: equal, or by their primary measure on validation"
    )
    max_bytes: float = Field(20e9, gt=0, description="largest cache entry that is written, in bytes")
    local_dir: str | None = Field(
        None, min_length=1, description="directory on each node's own disk that views are copied to; null: read from `storage`"
    )


class StudentConfig(RecipeConfig):
    """A student and how it is trained."""

    model: Reference = Field(description="a model plugin")
    execution: ExecutionConfig = PLAIN
    initialise: Literal["random", "pretrained", "teacher", "teacher_svd"] = Field(
        "random",
        description="initial weights; pretrained: from a label-only training of the student; teacher: the teacher's weights, "
        "cut to the student's shapes; teacher_svd: projected to these shapes",
    )
    weights: str | None = Field(
        None,
        min_length=1,
        description="trained weights that every student starts from, cut to its shapes: a .safetensors file, or a directory "
        "that `tutelage export` wrote; every node reads it",
    )
    pretrain_epochs: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="number of label-only epochs at the start, part of `epochs`, if initialise is pretrained; null: a quarter",
    )
    fine_tune_epochs: int = Field(
        0,
        ge=0,
        le=100_000,
        description="number of label-only epochs at the end, part of `epochs`, at a tenth of the learning rate",
    )
    layers: list[str] | None = Field(
        None, min_length=1, description="the student's layers that are compared, by their names; null: its stages"
    )

    @model_validator(mode="after")
    def _starts_once(self) -> StudentConfig:
        if self.weights is not None and self.initialise in ("teacher", "teacher_svd"):
            raise ValueError(f"weights and initialise: {self.initialise} exclude each other. Set initialise: random")
        return self


class DistillationConfig(Section):
    """What the student learns from its teacher in addition to the labels."""

    temperature: float = Field(
        4.0, gt=0, le=1000, description="logits of teacher and student are divided by it, which softens both distributions"
    )
    weight: float = Field(
        0.7, ge=0, le=1, description="share of the distillation loss in the total loss; the rest is the label loss"
    )
    method: Reference = Field("kd", description="a loss plugin")
    raw: bool = Field(
        False, description="use the loss at the scale of its formula, instead of dividing it by its value at the first step"
    )


class LadderConfig(Section):
    """Several students of one training: each is made smaller from the one before, and trained a little further."""

    rungs: int = Field(4, ge=1, le=100, description="removals, each of which gives a student beside the whole one")
    recovery_epochs: int = Field(2, ge=1, le=100_000, description="of `student.epochs`, those after each removal")
    spacing: Literal["geometric", "linear"] = Field(
        "geometric",
        description="geometric: each rung leaves the same share of the one before; linear: amounts grow by equal steps",
    )
    amounts: list[float] | None = Field(
        None, description="amounts of the rungs in place of `rungs` and `spacing`, growing; the last is `sparsity.amount`"
    )
    sandwich: bool = Field(
        False,
        description="all rungs share the weights of the whole network and recover together, for `recovery_epochs` a rung: each "
        "step trains the whole network, the narrowest rung and two others (Yu and Huang, 2019); with channels and spr",
    )

    def amounts_to(self, amount: float) -> tuple[float, ...]:
        """Return the amounts of the rungs, growing, the last of which is `amount`; none if nothing is removed."""
        if self.amounts is not None or amount == 0.0:
            return tuple(self.amounts or ())
        shares = [number / self.rungs for number in range(1, self.rungs)]
        is_linear = self.spacing == "linear"
        return (*(amount * one if is_linear else 1.0 - (1.0 - amount) ** one for one in shares), amount)

    def epochs_to(self, amount: float) -> int:
        """Return the epochs after all removals up to `amount`."""
        return self.recovery_epochs * len(self.amounts_to(amount))


class SparsityConfig(Section):
    """How much of the trained student is removed, and how."""

    amount: float = Field(
        0.0, ge=0, le=0.95, description="the share of the network that sparsity.method removes; 0 removes nothing"
    )
    method: Reference = Field("channels", description="a sparsity plugin")
    quantise: bool = Field(
        False, description="also give every network of the trial quantised to int8, as a candidate of its own"
    )
    ladder: LadderConfig | None = Field(None, description="several students of one training; null: one, of `amount`")

    @model_validator(mode="after")
    def _growing(self) -> SparsityConfig:
        amounts = self.ladder.amounts if self.ladder else None
        if amounts is not None and (sorted({*amounts, 0.0}) != [0.0, *amounts] or max(amounts, default=0.0) != self.amount):
            given = ", ".join(f"{one:g}" for one in amounts)
            raise ValueError(
                f"ladder.amounts {given or 'of no rung'} must grow from above 0 to sparsity.amount, which is {self.amount:g}"
            )
        return self


class TrialConfig(Section):
    """The three searchable sections of one trial, with a value for each searched setting."""

    student: StudentConfig
    distillation: DistillationConfig
    sparsity: SparsityConfig

    @model_validator(mode="after")
    def _has_epochs_for_its_ladder(self) -> TrialConfig:
        ladder, epochs = self.sparsity.ladder, self.student.epochs
        if ladder is None:
            return self
        if self.student.fine_tune_epochs:
            raise ValueError(
                "sparsity.ladder and student.fine_tune_epochs do not go together: only the last rung would be fine-tuned. "
                "Set student.fine_tune_epochs: 0"
            )
        if (taken := ladder.epochs_to(self.sparsity.amount)) >= epochs:
            raise ValueError(
                f"sparsity.ladder: {len(ladder.amounts_to(self.sparsity.amount))} rungs of {ladder.recovery_epochs} "
                f"recovery_epochs take {taken} epochs, and student.epochs is {epochs}. Set more epochs or fewer rungs"
            )
        return self
