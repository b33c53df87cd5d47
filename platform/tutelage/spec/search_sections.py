"""The sections of a spec that train nothing: the search, its resources, the selection, and where MLflow is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tutelage.objectives import Limits
from tutelage.plugins import Reference
from tutelage.spec.objective_fields import LimitsField, ObjectivesField, as_limits
from tutelage.spec.sections import Section


class StoppingConfig(Section):
    """When students are compared during their training, and the rule that decides which of them continue."""

    rule: Reference = Field("promotion", description="a stopping rule, which decides at each rung which students continue")
    first_epoch: int = Field(1, ge=1, le=10_000, description="epochs of a student before the first rung")
    factor: int = Field(3, ge=2, le=100, description="ratio of a rung's epochs to those of the rung before")

    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        """Return the rungs below `max_epochs`, in epochs: `first_epoch`, and then each `factor` times the one before."""
        found, epochs = [], self.first_epoch
        while epochs < max_epochs:
            found.append(epochs)
            epochs *= self.factor
        return tuple(found)


class PlateauConfig(Section):
    """When the front no longer grows."""

    trials: int = Field(50, ge=1, le=1_000_000, description="number of latest finished trials that are considered")
    gain: float = Field(0.001, ge=0, le=1, description="least growth of the hypervolume over these trials, as a share of it")


class SearchConfig(Section):
    """The search: its length, its sampler, its objectives."""

    trials: int | None = Field(24, ge=1, le=1_000_000, description="students to train")
    hours: float | None = Field(
        None, gt=0, description="wall-clock time of the search; with `trials`, whichever is reached first ends it"
    )
    device_hours: float | None = Field(
        None, gt=0, description="sum over trials of hours times GPUs (CPUs for trials without GPUs)"
    )
    plateau: PlateauConfig | None = Field(None, description="end the search when the front no longer grows; null: do not")
    sampler: Reference = Field("tpe", description="a sampler plugin, which suggests the next student")
    initial_design: bool = Field(
        True,
        description="try the defaults, the smallest and the largest student and published settings first; at most a quarter of "
        "the trials",
    )
    warm_start: list[str] = Field(
        default_factory=list,
        description="earlier sweeps of the same storage: their fronts are tried first, the sampler learns from their results "
        "on the same data, and an identical training is not repeated",
    )
    objectives: ObjectivesField = Field((), description="axes of the front; by default the primary measure and params")
    measures: list[str] = Field(
        default_factory=list, description="your own measures of every student, as `module:Name`; limits may then name them"
    )
    constraints: LimitsField = Field(
        default_factory=Limits, description="a student that violates a constraint never enters the front"
    )
    stopping: StoppingConfig | None = Field(
        None, description="early stopping; null: every student is trained for all its epochs"
    )
    confirm: int = Field(
        0,
        ge=0,
        le=100,
        description="number of fresh seeds with which the front's students are retrained at the end, for error bars",
    )
    concurrency: int | None = Field(
        None, ge=1, description="number of trials at the same time; null: as many as fit the cluster"
    )
    checkpoint_epochs: int = Field(
        0, ge=0, description="epochs between checkpoints of a trial; 0: none, a trial whose worker is lost starts again"
    )


class TeacherResources(Section):
    """Resources of a teacher's training: the number of workers, and the CPUs and GPUs of each."""

    workers: int = Field(1, ge=1, description="data-parallel workers")
    cpus: float = Field(1, gt=0, description="CPUs of each worker")
    gpus: float = Field(0, ge=0, description="GPUs of each worker")


class TrialResources(Section):
    """Resources of a trial. With 0 workers it runs in its actor, a process that later trials use again."""

    workers: int = Field(
        0, ge=0, description="worker processes of a trial, each computes all of it; 0: its actor, which is faster"
    )
    cpus: float = Field(1, gt=0, description="CPUs of a trial, or of each of its workers")
    gpus: float = Field(0, ge=0, description="GPUs of a trial, or of each of its workers; trials with fractions share a GPU")


class LatencyConfig(Section):
    """Where and how a student's latency is measured: in the form that is exported, one example at a time."""

    runtime: Literal["onnxruntime", "torch"] = Field(
        "onnxruntime", description="what runs the network; torch: eager PyTorch, for networks that cannot be written as ONNX"
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads that run the network")
    node: dict[str, str] | None = Field(
        None,
        min_length=1,
        description="labels of the Ray node that measures, such as {device: phone}; null: where it runs",
    )
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="program and arguments that measure elsewhere: the path of an ONNX file is appended, and the median and "
        "the 90th percentile in milliseconds are read from the last line printed",
    )
    timeout_s: float = Field(120, gt=0, description="longest time of one measurement on `node` or by `command`")

    @model_validator(mode="after")
    def _has_one_place(self) -> LatencyConfig:
        if self.node and self.command:
            raise ValueError("give node or command, not both: one of them measures.")
        if self.runtime == "torch" and (self.node or self.command):
            raise ValueError("node and command run ONNX files: leave out runtime, or set runtime: onnxruntime.")
        return self

    @property
    def is_here(self) -> bool:
        """Whether the process that trains measures, and not a device elsewhere."""
        return not (self.node or self.command)


MEASURED_HERE = LatencyConfig()


class Resources(Section):
    """Resources of the jobs on the cluster, and the device whose latency counts."""

    teacher: TeacherResources = TeacherResources()
    trial: TrialResources = TrialResources()
    latency: LatencyConfig = MEASURED_HERE


class SelectConfig(Section):
    """The defaults of `tutelage select`."""

    policy: Reference = Field("knee", description="a policy plugin")
    max: dict[str, Any] = Field(default_factory=dict, description="upper bounds, such as {size_bytes: 20k}")
    min: dict[str, Any] = Field(default_factory=dict, description="lower bounds, such as {accuracy: 0.95}")

    @property
    def limits(self) -> Limits:
        """The bounds."""
        return as_limits({"max": self.max, "min": self.min})


class TrackingConfig(Section):
    """Where MLflow is, and where Prometheus reads the metrics of a running sweep."""

    uri: str | None = Field(None, min_length=1, description="tracking URI; null: SQLite in the storage")
    experiment: str | None = Field(None, min_length=1, description="experiment; null: the task's name")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="port of Prometheus metrics while a sweep runs; null: none"
    )
    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="address that serves them; 0.0.0.0: every one of the machine"
    )
