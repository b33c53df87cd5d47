"""A student found by its name, exported or measured in whichever form it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tutelage import plugins
from tutelage.errors import InputError, nearest
from tutelage.export import bundle, int8, model_card
from tutelage.export import check as read_back
from tutelage.export.find import Found, find_model
from tutelage.signature import Signature, signature_of
from tutelage.spec import loading
from tutelage.training.context import TrainingContext, context_of

CHECKED_EXAMPLES = 512  # of validation


def export_model(
    model: str, directory: Path, storage: Path, *, forms: Sequence[str] = bundle.FLOAT_FORMS, check: bool = False,
    data: loading.Spec | None = None, max_loss: float = int8.MAX_LOSS, licence: str = model_card.UNKNOWN_LICENCE,
    uri: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Export a student into the new `directory` in the `forms` asked for, whole or not at all; return what was done.

    With `check` every form is read back where tutelage cannot be imported, and compared on real inputs. A quantised form
    that loses more than `max_loss` of the primary measure on validation is left out and told. `data` is a spec whose data
    serve both; without it, that of the student's own sweep.
    """
    for form in forms:
        if form not in bundle.FORMS:
            raise InputError(f"no form '{form}'.{nearest(form, bundle.FORMS)} Known: {', '.join(bundle.FORMS)}.")
    bundle.check_new(directory)
    found = find_model(model, storage, uri)
    needs_data = check or bool(set(forms) & set(bundle.QUANTISED_FORMS))
    context = _context_for(found, data) if needs_data else None
    with bundle.drafted(directory, found.model, found.architecture, forms) as draft:
        variants, differences = [], None
        if context and set(forms) & set(bundle.QUANTISED_FORMS):
            variants = int8.add(draft, context, max_loss)
        bundle.drop_intermediate(draft)
        if context and check:
            differences = read_back.differences(draft, context.splits["validation"].take(slice(CHECKED_EXAMPLES)).arguments[0])
        card = _card(found, draft, licence, variants, differences)
        manifest = bundle.finish(draft, {**found.about(), "licence": licence}, model_card.text(card), model_card.NAME)
    return {
        "version": 2,
        "directory": str(directory),
        "files": {name: {"form": one.get("form"), "size_bytes": one["size_bytes"]} for name, one in manifest["files"].items()},
        "largest_difference": differences,
        "quantised": [asdict(variant) for variant in variants],
        "kept": [variant.words for variant in variants if variant.is_written],
        "refused": [f"{variant.words}: more than --max-loss {max_loss:g}" for variant in variants if not variant.is_written],
    }


def _context_for(found: Found, data: loading.Spec | None) -> TrainingContext:
    if data is None and found.home is None:
        raise InputError(
            f"{found.name} comes from no sweep in the storage, so there are no real inputs for --check and quantised forms. "
            "Give them with --data SPEC, or leave both out."
        )
    context = context_of(data if data is not None else loading.load(found.home.spec_path))  # type: ignore[union-attr]
    named = signature_of(found.architecture["signature"])
    _check_fits(found.name, named.example_shape, len(named.class_names), named.class_names, context.signature)
    return context


def _card(
    found: Found, draft: bundle.Draft, licence: str, variants: Sequence[int8.Variant], differences: dict[str, float] | None
) -> model_card.Card:
    home, record, sweep = found.home, found.record, {}
    if home is not None:
        facts, own = home.facts(), loading.load(home.spec_path)
        sweep = {
            "task": plugins.described(own.task), "data": _without_path(own.data), "teacher": facts.get("teacher"),
            "fingerprint": facts.get("fingerprint"),
        }  # fmt: skip
    return model_card.Card(
        name=f"{home.name}/{record.trial_id}" if home and record else found.name, architecture=found.architecture,
        forms=draft.written(), licence=licence, sweep=sweep, selection=found.selection(), differences=differences,
        record={"measures": record.measures, "config": record.config} if record else {},
        measures=home.measures() if home else {},
        variants=[(variant.words, variant.is_written) for variant in variants],
    )  # fmt: skip


def _without_path(data: plugins.Reference) -> str:
    """Return a data reference in words; where the data lie on this machine is nobody else's business."""
    name, options = plugins.parse_reference(data)
    told = {option: value for option, value in options.items() if option != "path"}
    return plugins.described({name: told} if told else name)


def _check_fits(model: str, shape: tuple[int, ...], num_classes: int, class_names: Sequence[str], data: Signature) -> None:
    """Raise `InputError` with both sides where a model takes other examples than the data's, or gives other classes."""
    if shape != data.example_shape:
        raise InputError(
            f"{model} takes examples of shape {shape}, the data has {data.example_shape}. Give the data it is for."
        )
    if num_classes != len(data.class_names):
        raise InputError(
            f"{model} answers with {num_classes} classes, the data has {len(data.class_names)}. Give the data it is for."
        )
    if class_names and tuple(class_names) != data.class_names:
        own, other = next((a, b) for a, b in zip(class_names, data.class_names, strict=True) if a != b)
        raise InputError(
            f"{model} has other classes than the data, or another order: '{own}' stands where the data has '{other}'. "
            "Give the data it is for."
        )
