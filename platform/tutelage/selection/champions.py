"""The registration of a selected student in MLflow; it becomes champion only if it is better than the present one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.errors import InputError
from tutelage.export import logged_model, registry
from tutelage.export.fit import mismatch
from tutelage.measure import Measure
from tutelage.networks import checkpoint, runtime
from tutelage.networks.trust import EVERYTHING
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.selection import comparison
from tutelage.selection.test_split import Subject
from tutelage.signature import signature_of
from tutelage.training.context import TrainingContext

EXAMPLES = 8  # validation examples with which a registered student is traced and checked


MARGIN = 0.01  # in the primary measure: how much worse than the champion a smaller student may be


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The name under which a student is registered, further aliases, and the condition to become the champion.

    `margin` is how much worse a smaller student may be, in the primary measure's unit; `force` makes it champion in any case.
    `trust` runs code that only the present champion's files name (see `networks.trust`).
    Raises `InputError` for a name or an alias that MLflow does not accept.
    """

    name: str
    aliases: Sequence[str] = ()
    margin: float = MARGIN
    force: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Check the names."""
        registry.check_name(self.name)
        registry.check_aliases(self.aliases)


def champion(registration: Registration, home: SweepDir, context: TrainingContext) -> Subject | None:
    """Return the present champion, to be tested beside the student; None if there is none, or with `force`.

    Raises `InputError` if the name belongs to another task or its champion has other inputs or classes, `UnreachableError` if
    the registry is not reachable.
    """
    uri, name = home.tracking_uri, registration.name
    found = registry.find_champion(uri, name, str(context.task))
    if found is None or registration.force:
        return None
    directory = registry.download_network(uri, f"models:/{name}/{found.version}")
    if directory is None:
        raise InputError(
            f"the champion of '{name}', version {found.version}, has no {checkpoint.ARCHITECTURE} and {checkpoint.WEIGHTS}: it "
            "was not registered by tutelage and cannot be compared. Register under another name, or with --force."
        )
    trusted = EVERYTHING if registration.trust else home.spec().own_code()
    model, architecture = _as_deployed(directory, trusted, context)
    if difference := mismatch(signature_of(architecture["signature"]), context.signature):
        raise InputError(
            f"the champion of '{name}', version {found.version}, {difference}: they cannot be compared. Register under another "
            "name, or with --force."
        )
    size_bytes = runtime.size_bytes(directory, model)
    return Subject(name=f"{name} version {found.version} ({found.origin})", model=model, size_bytes=size_bytes)


def _as_deployed(
    directory: Path, trusted: Collection[str], context: TrainingContext
) -> tuple[nn.Module, Mapping[str, Any]]:  # fmt: skip
    """Return the network that a directory deploys, for examples as the context has them, and its architecture.

    Raises `InputError` for an int8 file with another normalisation, which cannot be changed.
    """
    if not runtime.int8_file(directory):
        return checkpoint.for_inputs(*checkpoint.read(directory, trusted), context.signature.inputs)
    architecture, inputs = checkpoint.read_architecture(directory), context.signature.inputs
    given = signature_of(architecture["signature"]).inputs
    if [(one.mean, one.std) for one in given] != [(one.mean, one.std) for one in inputs]:
        raise InputError(
            "the champion is an int8 file for examples of another normalisation, and cannot be compared. Register under "
            "another name, or with --force."
        )
    return runtime.read(directory, trusted), architecture


@contextmanager
def in_turn(registration: Registration | None, home: SweepDir, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block, exclude other selections that may replace the champion; does nothing without a registration."""
    with ExitStack() as stack:
        if registration:
            stack.enter_context(registry.in_turn(home.tracking_uri, registration.name, say, home.storage.writable_path("")))
        yield


def register(
    registration: Registration, former: Subject | None, home: SweepDir, tracker: Tracker, document: dict[str, Any],
    context: TrainingContext,
) -> dict[str, Any]:  # fmt: skip
    """Register the student of a selection's document; return its version, whether it is the champion now, and why."""
    facts, trial, primary = home.facts(), document["student"]["trial"], home.primary()
    promoted, why = _promoted(primary, registration, former, document)
    directory = home.student_path(trial)
    tags = {
        "tutelage.task": str(context.task),
        "tutelage.sweep": home.name,
        "tutelage.trial": trial,
        "tutelage.policy": document["policy"],
        "tutelage.teacher": facts["teacher"]["address"],
        "tutelage.data": facts["fingerprint"][:32],
        f"tutelage.test_{primary.name}": primary.text(document["test"]["value"]),
        "tutelage.promotion": why,
    }
    if document["guard"]:
        tags["tutelage.guard"] = document["guard"]["guarantee"]
    candidate = candidate_of(directory, home.spec().own_code(), context, tags)
    run = logged_model.Run(uri=home.tracking_uri, experiment_id=tracker.experiment_id, run_id=facts["run_id"])
    registered = registry.register_student(
        run, candidate, registration.name, as_champion=promoted, aliases=registration.aliases
    )
    return {**asdict(registered), "promoted": promoted, "why": why}


def candidate_of(
    directory: Path, trusted: Collection[str], context: TrainingContext, tags: Mapping[str, str]
) -> logged_model.Candidate:  # fmt: skip
    """Return the network in `directory` in its registered form: its inputs are examples as the data hold them.

    A network of a table keeps its normalisation, because the logged model converts rows to numbers. So does an int8 file, which
    takes what its network was quantised for.
    """
    if file := runtime.int8_file(directory):
        return _int8_candidate(directory, file, context, tags)
    model, architecture = checkpoint.read(directory, trusted)
    inputs = signature_of(architecture["signature"]).inputs
    stored = tuple(one if one.columns else replace(one, mean=(), std=()) for one in inputs)
    model, architecture = checkpoint.for_inputs(model, architecture, stored)
    examples = context.splits["validation"].normalised_as(stored)
    return logged_model.Candidate(
        model=model, signature=signature_of(architecture["signature"]), tags=tags,
        arguments=examples.take(slice(EXAMPLES)).arguments,
        files=[directory / checkpoint.ARCHITECTURE, directory / checkpoint.WEIGHTS],
    )  # fmt: skip


def _int8_candidate(
    directory: Path, file: Path, context: TrainingContext, tags: Mapping[str, str]
) -> logged_model.Candidate:  # fmt: skip
    """Return an int8 file in its registered form. Raises `InputError` for a table: an ONNX file does not convert rows."""
    signature = runtime.signature_in(directory)
    if any(one.columns for one in signature.inputs):
        raise InputError(
            f"{directory.name} is an int8 file, which takes numbers; a registered student of a table takes rows by column "
            "name. Register the float candidate, and export this one: tutelage export."
        )
    examples = context.splits["validation"].normalised_as(signature.inputs)
    return logged_model.Candidate(
        model=runtime.opened(file), signature=signature, tags={**tags, "tutelage.form": "onnx-int8"},
        arguments=examples.take(slice(EXAMPLES)).arguments,
        files=[directory / checkpoint.ARCHITECTURE, directory / checkpoint.WEIGHTS, file], int8_file=file,
    )  # fmt: skip


def _promoted(
    primary: Measure, registration: Registration, former: Subject | None, document: dict[str, Any]
) -> tuple[bool, str]:
    if registration.force:
        return True, "It was made the champion by --force; no comparison was made."
    if former is None:
        return True, "There was no champion."
    return comparison.of_promotion(
        primary, document["test"]["gain_over_champion"], document["student"]["measures"]["size_bytes"],
        former.size_bytes, registration.margin, former.name,
    )  # fmt: skip
