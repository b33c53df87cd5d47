"""Content addresses of trainings: two trainings with the same address have the same result, so one of them is enough."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tutelage import files, plugins
from tutelage.networks import checkpoint
from tutelage.plugins import Reference
from tutelage.spec.paths import data_seen_from
from tutelage.spec.sections import TeacherConfig, TrialConfig
from tutelage.spec.spec import Spec
from tutelage.storage import open_storage
from tutelage.sweep.sources import PACKAGE, Plugin, code_address, used
from tutelage.training.context import TrainingContext

JUDGING = ("accept_weak", "required_quality")  # settings of a teacher that do not change it


KEEPING = ("local_dir", "max_bytes", "fill")  # settings of the knowledge that do not change it


def student_address(
    spec: Spec, context: TrainingContext, teacher: str, config: Mapping[str, Any], *, package: Path = PACKAGE
) -> str:
    """Return the address of a student, a hash of its config, seed, data, task, teacher, knowledge, and the code.

    `teacher` is the teacher's address, `config` a trial's; an omitted setting has its default.
    """
    typed = spec.trial_config(config)
    return files.content_address(
        kind="student", config=typed.model_dump(mode="json"), seed=spec.seed, data=context.fingerprint, task=spec.task,
        teacher=teacher, augmentation=spec.augmentation.model_dump(), knowledge=spec.knowledge.model_dump(exclude={*KEEPING}),
        start=_digest_of(context.start), **_pretrained(typed.student.model),
        code=code_address("training", _of_data(spec.task, spec.data) | _of_trial(typed) | _own_measures(spec), package),
    )  # fmt: skip


def _digest_of(start: Path | None) -> str | None:
    """Return the digest of the weights that students start from: the same path may have others tomorrow."""
    return None if start is None else files.sha256_of(start / checkpoint.WEIGHTS if start.is_dir() else start)


def _pretrained(model: Reference | None) -> dict[str, str]:
    """Return the digest of the files from which a pretrained `model` is built; nothing for a model that has none."""
    if model is None:
        return {}
    _, plugin, config = plugins.configure("models", model)
    digest = plugin.fingerprint(config) if hasattr(plugin, "fingerprint") else None
    return {} if digest is None else {"pretrained": digest}


def teacher_address(
    spec: Spec, recipe: TeacherConfig, fingerprint: str, *, kind: str = "teacher", data: Reference | None = None,
    package: Path = PACKAGE,
) -> str:  # fmt: skip
    """Return the address of a teacher that is trained by `recipe` on the data with this fingerprint.

    `data` is the source of the data, by default the spec's.
    """
    plugins_used = _of_data(spec.task, data or spec.data)
    settings = recipe.model_dump(mode="json", exclude={*JUDGING})
    if recipe.source is not None:  # its path, relative to the storage, is the same in any working directory
        settings["source"]["data"] = data_seen_from(recipe.source.data, open_storage(spec.storage).writable_path(""))
    if recipe.model is not None:
        plugins_used |= used("models", recipe.model)
    if recipe.source is not None:
        plugins_used |= used("data", recipe.source.data)
    return files.content_address(
        kind=kind, teacher=settings, task=spec.task, seed=spec.seed,
        data=fingerprint, augmentation=spec.augmentation.model_dump(), code=code_address("training", plugins_used, package),
        **_pretrained(recipe.model),
    )  # fmt: skip


def knowledge_address(
    spec: Spec, context: TrainingContext, teachers: Sequence[tuple[str, Path, float]], needs: Sequence[str], top_k: int,
    samples: int = 0, temperature: float | None = None, *, package: Path = PACKAGE,
) -> str:  # fmt: skip
    """Return the address of the knowledge of `teachers`, each by its address, directory and share."""
    models = frozenset[Plugin]().union(*(_of_network(directory) for _, directory, _ in teachers))
    return files.content_address(
        kind="knowledge", teachers=[[address, share] for address, _, share in teachers], data=context.fingerprint,
        task=spec.task, dtype=spec.knowledge.dtype, top_k=[top_k, temperature] if temperature else top_k,
        layers=spec.knowledge.layers, needs=sorted(needs),
        views=[spec.augmentation.model_dump(), spec.seed] if spec.augmentation.varies else None,
        samples=[samples, spec.seed] if samples else None,
        code=code_address("knowledge", _of_data(spec.task, spec.data) | models, package),
    )  # fmt: skip


def search_code(spec: Spec) -> str:
    """Return the hash of the code that any training of a search may run; a resumed sweep compares it with the recorded one."""
    corners = frozenset[Plugin]().union(*(_of_trial(spec.trial_config(corner)) for corner in spec.space.corners()))
    return code_address("training", _of_data(spec.task, spec.data) | corners)


def _of_data(task: Reference, data: Reference) -> frozenset[Plugin]:
    return used("tasks", task) | used("data", data)


def _own_measures(spec: Spec) -> frozenset[Plugin]:
    """Return the user's own measures, whose values are recorded with a student."""
    named = [*(objective.spelling for objective in spec.search.objectives), *spec.search.measures]
    return frozenset(("measures", name) for name in named if name and ":" in name)


def _of_trial(config: TrialConfig) -> frozenset[Plugin]:
    return (
        used("models", config.student.model)
        | used("losses", config.distillation.method)
        | used("sparsity", config.sparsity.method)
    )


@cache
def _of_network(directory: Path) -> frozenset[Plugin]:
    """Return the model plugin of the network in `directory`."""
    architecture = json.loads((directory / checkpoint.ARCHITECTURE).read_text(encoding="utf-8"))
    return used("models", architecture["model"])
