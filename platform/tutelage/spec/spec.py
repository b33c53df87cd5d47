"""The spec of a sweep, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import Field, ValidationError, field_validator

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.plugins import Reference
from tutelage.redaction import redact
from tutelage.spec import distributions, space
from tutelage.spec.guard import GuardConfig
from tutelage.spec.measures import known_measures
from tutelage.spec.search_sections import Resources, SearchConfig, SelectConfig, TrackingConfig
from tutelage.spec.sections import (
    AS_IT_IS,
    AugmentationConfig,
    DistillationConfig,
    KnowledgeConfig,
    Section,
    SparsityConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from tutelage.storage import as_directory
from tutelage.validation import findings

TASK = "image_classification"  # unless a spec names another
SEARCHABLE = ("student", "distillation", "sparsity")
PLUGGED = {("student", "model"): "models", ("distillation", "method"): "losses", ("sparsity", "method"): "sparsity"}


class Spec(Section):
    """A sweep's spec, checked. `student`, `distillation` and `sparsity` may hold distributions."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="the sweep's name")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of every random draw")
    data: Reference = Field(description="a data plugin")
    task: Reference = Field(TASK, description="a task plugin")
    augmentation: AugmentationConfig = AS_IT_IS
    teacher: TeacherConfig
    more_teachers: list[TeacherConfig] = Field(default_factory=list, description="further teachers, averaged with the first")
    knowledge: KnowledgeConfig = KnowledgeConfig()
    student: dict[str, Any]
    distillation: dict[str, Any] = Field(default_factory=dict)
    sparsity: dict[str, Any] = Field(default_factory=dict)
    search: SearchConfig = SearchConfig()
    resources: Resources = Resources()
    guard: GuardConfig | None = Field(None, description="certify what the selected student loses; null: do not")
    select: SelectConfig = SelectConfig()
    storage: str = Field(".tutelage", min_length=1, description="directory that everything a sweep keeps lies under")
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("storage")
    @classmethod
    def _expanded(cls, storage: str) -> str:
        """Resolve `~`, which only a shell would."""
        try:
            return as_directory(storage)
        except InputError as error:
            raise ValueError(str(error)) from None

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """What is measured of every student by name, the task's primary measure first."""
        own = [objective.spelling for objective in self.search.objectives if objective.spelling]
        return known_measures(self.task, dict.fromkeys([*own, *self.search.measures]))

    @property
    def primary(self) -> Measure:
        """The primary measure of the task: what a search learns and decisions rest on."""
        return next(iter(self.measures.values()))

    @cached_property
    def space(self) -> space.Space:
        """The search space: the three searchable sections with their distributions."""
        return space.Space({name: distributions.parse(getattr(self, name), name) for name in SEARCHABLE})

    def resolved(self) -> dict[str, Any]:
        """Return the whole spec, defaults filled in, as plain YAML values; it loads again to an equal spec."""
        return self.model_dump(mode="json")

    def kept(self) -> dict[str, Any]:
        """Return the resolved spec as a sweep keeps it on disk: its tracking URI has no user and no password."""
        tree = self.resolved()
        tree["tracking"]["uri"] = tree["tracking"]["uri"] and redact(tree["tracking"]["uri"])
        return tree

    def own_code(self) -> frozenset[str]:
        """Return the code that the spec names beside the package's, as `module:Name`: the user chose to run it."""
        return plugins.own_code(self.resolved())

    def default_of(self, name: str) -> Any:
        """Return the default of a searched setting by its dotted name, a plugin's option as its plugin has it; None if none."""
        section, key, *rest = name.split(".")
        fields: Mapping[str, Any] = _CONFIGS[section].model_fields
        if rest:
            family, label, inner = PLUGGED.get((section, key)), *_label_and_rest(rest)
            if family is None or len(inner) != 1:
                return None
            fields, key = plugins.load(family, label).Config.model_fields, inner[0]
        return None if key not in fields or fields[key].is_required() else fields[key].default

    def trial_config(self, config: Mapping[str, Any]) -> TrialConfig:
        """Return a resolved config, typed; `InputError` if a value is out of its range."""
        try:
            return TrialConfig.model_validate(dict(config))
        except ValidationError as error:
            found = ((".".join(path), why) for path, _, why in findings(error, TrialConfig))
            raise InputError("; ".join(f"{path}: {why}" if path else why for path, why in found)) from None


def _label_and_rest(parts: Sequence[str]) -> tuple[str, list[str]]:
    """Split the dotted name of a plugin's option into the plugin's name, which may be `package.module:Name`, and the rest."""
    end = next((position for position, part in enumerate(parts, 1) if ":" in part), 1)
    return ".".join(parts[:end]), list(parts[end:])


_CONFIGS: dict[str, type[Section]] = {
    "student": StudentConfig,
    "distillation": DistillationConfig,
    "sparsity": SparsityConfig,
}
