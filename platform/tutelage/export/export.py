"""A student exported in the requested forms, checked and described."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tutelage import plugins
from tutelage.errors import InputError, nearest
from tutelage.export import bundle, check, int8, model_card, own_programs
from tutelage.export.find import Found, find_model
from tutelage.export.fit import check_fits
from tutelage.export.forms import FLOAT_FORMS, FORMS, PROGRAM, QUANTISED_FORMS
from tutelage.networks import runtime
from tutelage.networks.trust import EVERYTHING, PACKAGE_ONLY
from tutelage.records import steps
from tutelage.redaction import redacted
from tutelage.signature import signature_of
from tutelage.spec import spec
from tutelage.training.context import TrainingContext, context_of

CHECKED_EXAMPLES = 512  # of validation
INT8_FORM = "onnx-int8"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a student is exported: in which `forms`, whether they are checked, and the licence on its card.

    Without `forms` these are all float forms, and of an int8 candidate its ONNX file.

    `data` is a spec whose data the check and the quantised forms use; None: that of the student's sweep. A quantised form that
    loses more than `max_loss` of the primary measure on validation is left out. With `trust`, code is run that the network's
    files name and neither `data` nor its sweep's spec does (see `networks.trust`).
    """

    forms: Sequence[str] = ()
    check: bool = False
    data: spec.Spec | None = None
    max_loss: float = int8.MAX_LOSS
    licence: str = model_card.UNKNOWN_LICENCE
    trust: bool = False

    def __post_init__(self) -> None:
        for form in self.forms:
            if form not in FORMS:
                raise InputError(f"no form '{form}'.{nearest(form, FORMS)} Known: {', '.join(FORMS)}.")

    def of(self, found: Found) -> Options:
        """Return the options for a student; `InputError` for a form that it does not have."""
        if not found.int8_file:
            return replace(self, forms=self.forms or FLOAT_FORMS)
        if others := [form for form in self.forms if form != INT8_FORM]:
            raise InputError(
                f"{found.name} is quantised to int8 and has the form {INT8_FORM} alone, not {', '.join(others)}. The float "
                "forms are those of the candidate that it was made from."
            )
        return replace(self, forms=(INT8_FORM,), max_loss=math.inf)

    @property
    def is_quantised(self) -> bool:
        """Whether a form is quantised."""
        return bool(set(self.forms) & set(QUANTISED_FORMS))

    @property
    def trusted(self) -> Collection[str]:
        """The code that the network's files may name."""
        return EVERYTHING if self.trust else self.data.own_code() if self.data else PACKAGE_ONLY


EVERY_FLOAT_FORM = Options()


def export_model(
    model: str, directory: Path, storage: str | Path, options: Options = EVERY_FLOAT_FORM, uri: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """Export a student into the new `directory`, whole or not at all; return its files, differences and quantised forms.

    With `options.check` every form is run where tutelage cannot be imported, and compared on real inputs.
    """
    bundle.check_new(directory)
    found = find_model(model, storage, uri, options.trusted)
    options = options.of(found)
    context = _context_for(found, options.data) if options.check or options.is_quantised else None
    architecture = {key: value for key, value in found.architecture.items() if key != runtime.INT8}
    with bundle.drafted(directory, found.model, architecture, options.forms) as draft:
        draft.int8_file = found.int8_file
        variants = int8.add(draft, context, options.max_loss) if context and options.is_quantised else []
        bundle.drop_intermediate(draft)
        differences = _checked(draft, context) if context and options.check else None
        card = _card(found, draft, options.licence, variants, differences)
        about = {**found.about(), "licence": options.licence}
        manifest = bundle.finish(draft, about, model_card.text(card), model_card.NAME)
    if program := manifest["files"].get(PROGRAM):
        own_programs.record(storage, program["sha256"])
    too_much = f"more than --max-loss {options.max_loss:g}"
    return {
        "version": 2,
        "directory": str(directory),
        "files": {name: {"form": one.get("form"), "size_bytes": one["size_bytes"]} for name, one in manifest["files"].items()},
        "largest_difference": differences,
        "quantised": [asdict(variant) for variant in variants],
        "kept": [variant.words for variant in variants if variant.is_written],
        "refused": [f"{variant.words}: {too_much}" for variant in variants if not variant.is_written],
    }


def _checked(draft: bundle.Draft, context: TrainingContext) -> dict[str, float]:
    return check.differences(draft, context.splits["validation"].take(slice(CHECKED_EXAMPLES)).arguments)


def _context_for(found: Found, data: spec.Spec | None) -> TrainingContext:
    if data is None and found.home is None:
        raise InputError(
            f"{found.name} comes from no sweep in the storage, so there are no real inputs for --check and quantised forms. "
            "Give them with --data SPEC, or leave both out."
        )
    named = signature_of(found.architecture["signature"])
    context = context_of(data if data is not None else found.home.spec(), named.inputs)  # type: ignore[union-attr]
    check_fits(found.name, named, context.signature)
    return context


def _card(
    found: Found, draft: bundle.Draft, licence: str, variants: Sequence[int8.Variant], differences: dict[str, float] | None
) -> model_card.Card:
    home, record, sweep = found.home, found.record, {}
    if home is not None:
        facts, own = home.facts(), home.spec()
        sweep = {
            "task": plugins.described(own.task), "data": _without_path(own.data), "teacher": facts.get("teacher"),
            "fingerprint": facts.get("fingerprint"),
        }  # fmt: skip
    return model_card.Card(
        name=f"{home.name}/{record.trial_id}" if home and record else found.name, architecture=found.architecture,
        forms=draft.written(), licence=licence, sweep=sweep, selection=found.selection(), differences=differences,
        record={"measures": record.measures, "config": redacted(record.config)} if record else {},
        measures=home.measures() if home else {},
        steps=_steps(found),
        variants=[(variant.words, variant.is_written) for variant in variants],
    )  # fmt: skip


def _steps(found: Found) -> steps.Table | None:
    """Return what each step cost the student, if its trial gave several."""
    home, record = found.home, found.record
    if home is None or record is None:
        return None
    return steps.steps_of(record, home.records(), home.measures(), home.facts().get("num_examples", {}).get("validation"))


def _without_path(data: plugins.Reference) -> str:
    """Return a data reference in words, without the path of the data on this machine."""
    name, options = plugins.parse_reference(data)
    shown = {option: value for option, value in options.items() if option != "path"}
    return plugins.described({name: redacted(shown)} if shown else name)
