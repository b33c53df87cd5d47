"""The model card of an exported student: Markdown, from what is recorded; what was not measured is marked as such."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.escaping import for_markdown, markdown_code, visible
from tutelage.export.forms import FORMS
from tutelage.export.snippets import is_plain, with_onnxruntime, with_torch
from tutelage.export.table_rows import is_table
from tutelage.measure import Measure
from tutelage.redaction import redacted
from tutelage.signature import BACKGROUND_NAME, BLANK_NAME, Column, InputSpec, OutputSpec, Signature, signature_of

NAME = "README.md"  # the name and the front matter that model hubs show as a card


UNKNOWN_LICENCE = "unknown"

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9.+-]*")  # of SPDX
_YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")  # which YAML does not read as text


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is made of; all but the name and the architecture may be missing.

    `record` has the trial's `measures` and `config`; `sweep` its `data`, `task`, `teacher`, `fingerprint`; `selection` is the
    document of `tutelage select --json`; `differences` the check's, by form; `measures` are what the sweep measured by name,
    the primary one first; `variants` the words on quantised forms and whether they are written; `steps` the table of
    what each step from the whole network on cost.
    """

    name: str
    architecture: Mapping[str, Any]
    forms: Sequence[str]
    licence: str = UNKNOWN_LICENCE
    record: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] | None = None
    differences: Mapping[str, float] | None = None
    variants: Sequence[tuple[str, bool]] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    steps: tuple[list[str], list[list[str]]] | None = None

    @property
    def signature(self) -> Signature:
        """What the student takes and gives."""
        return signature_of(self.architecture["signature"])

    @property
    def primary(self) -> Measure | None:
        """The primary measure of the student's task, None where no sweep is known."""
        return next(iter(self.measures.values()), None)


def text(card: Card) -> str:
    """Return the card."""
    parts = [
        f"---\nlicense: {_yaml(card.licence)}\ntags: [knowledge-distillation, tutelage]\n---\n\n# {for_markdown(card.name)}\n",
        _introduction(card), _numbers(card), _steps(card), _forms(card), _use(card), _limits(card), _config(card),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _yaml(licence: str) -> str:
    """Return a licence as a YAML value: an identifier as it is, other text quoted."""
    return licence if _IDENTIFIER.fullmatch(licence) and licence.lower() not in _YAML_WORDS else json.dumps(licence)


def _introduction(card: Card) -> str:
    named = card.signature
    task = card.sweep.get("task")
    facts = [
        ("Task", for_markdown(task) if task else None),
        ("Data", _data(card)),
        ("Teacher", _teacher(card)),
        ("Network", _network(card)),
    ]
    facts += [*_interface(named), ("Licence", _licence(card))]
    rows = [(f"**{what}**", fact) for what, fact in facts if fact]
    return f"A student network that Tutelage trained. {_summary(named)}\n\n" + _table(("", ""), rows)


def _summary(named: Signature) -> str:
    if is_table(named):
        return f"It takes rows of a table by column name and gives logits of {len(named.class_names)} classes."
    if is_plain(named):
        shape = "×".join(map(str, named.example_shape))
        return f"It takes examples of shape {shape} and gives logits of {len(named.class_names)} classes."
    inputs, outputs = (", ".join(markdown_code(one.name) for one in specs) for specs in (named.inputs, named.outputs))
    return f"It takes {inputs} and gives the logits of {outputs}."


def _interface(named: Signature) -> list[tuple[str, str]]:
    if is_table(named):
        columns = [(f"Column `{column.name}`", _column(column)) for column in named.inputs[0].columns]
        return [*columns, ("Classes", _listed(named.class_names, "classes"))]
    if is_plain(named):
        return [("Classes", _listed(named.class_names, "classes"))]
    inputs = [(f"Input {markdown_code(spec.name)}", _input(spec)) for spec in named.inputs]
    return [*inputs, *((f"Output {markdown_code(output.name)}", _output(output)) for output in named.outputs)]


def _column(column: Column) -> str:
    return f"one of the words {_listed(column.words, 'words')}; another word counts as none" if column.words else column.kind


def _input(spec: InputSpec) -> str:
    ragged = (
        f"; examples differ in length, the mask {markdown_code(f'{spec.name}_mask')} is true at real steps"
        if spec.is_ragged
        else ""
    )
    vocabulary = f"; vocabulary: {_listed(spec.names, 'entries')}" if spec.names else ""
    return f"{spec.kind}, {spec.dtype}, shape {'×'.join(map(str, spec.shape)) or 1}{ragged}{vocabulary}"


def _output(output: OutputSpec) -> str:
    steps = f"steps along {markdown_code(output.steps)}, at the network's stride" if output.steps else "one step"
    return f"{steps}; classes: {_listed(output.names, 'classes')}"


def _listed(names: Sequence[str], what: str) -> str:
    shown = ", ".join(for_markdown(visible(str(name))) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown}, … ({len(names)} {what} in all; `manifest.json` has them)"


def _licence(card: Card) -> str:
    stated = card.licence != UNKNOWN_LICENCE
    return (
        for_markdown(card.licence)
        if stated
        else "not stated (`tutelage export --licence` states it); that of the data may bind the network"
    )


def _data(card: Card) -> str | None:
    named, mark = card.sweep.get("data"), card.sweep.get("fingerprint")
    data = for_markdown(named) if named else None
    return f"{data}, SHA-256 of its examples and labels `{mark[:16]}…`" if data and mark else data


def _teacher(card: Card) -> str | None:
    teacher, primary = card.sweep.get("teacher"), card.primary
    if not teacher:
        return None
    came = f", trained on {for_markdown(str(teacher['source']['data']))} first" if teacher.get("source") else ""
    has_quality = primary is not None and primary.name in teacher
    quality = (
        f", {primary.label} {primary.text_with_unit(teacher[primary.name])} on validation" if has_quality and primary else ""
    )
    return f"{teacher['params']:,.0f} parameters{quality}, `{teacher['address']}`{came}"


def _network(card: Card) -> str:
    model = card.architecture["model"]
    return markdown_code(model if isinstance(model, str) else json.dumps(redacted(model)))


def _numbers(card: Card) -> str:
    rows = [*_tested(card), *_confirmed(card), *_measured(card)]
    if not rows:
        return "## Numbers\n\nNone on record: the network was not found in a sweep.\n"
    taught = (
        f"\n{for_markdown(card.selection['distillation'])}\n" if card.selection and card.selection.get("distillation") else ""
    )
    guarded = _guarded(card)
    return "## Numbers\n\n" + _table(("measure", "value", "what it is"), rows) + taught + guarded


def _guarded(card: Card) -> str:
    """Return the guarantee of the sweep's guard for the student; "" without a guard."""
    guard = (card.selection or {}).get("guard")
    return f"\n{for_markdown(guard['guarantee'])}\n" if guard else ""


def _steps(card: Card) -> str:
    if card.steps is None:
        return ""
    head, rows = card.steps
    return "## From the whole network to this one\n\n" + _table(head, [[for_markdown(cell) for cell in row] for row in rows])


def _measured(card: Card) -> Iterator[tuple[str, str, str]]:
    """Give every measure that the search has of the student, but for details."""
    values = card.record.get("measures", {})
    for name, measure in card.measures.items():
        if name in values and not measure.detail:
            where = " on validation, in the search" if measure.spread else ""
            yield (
                for_markdown(measure.label) + where,
                for_markdown(measure.text_with_unit(values[name])),
                for_markdown(measure.meaning),
            )


def _tested(card: Card) -> list[tuple[str, str, str]]:
    test, primary = (card.selection or {}).get("test"), card.primary
    if not test or primary is None:
        return []
    label = for_markdown(primary.label)
    rows = [(f"**test {label}**", test)]
    rows += [(f"test {label}, {who}", test[key]) for key, who in _BESIDE if test.get(key)]
    return [(what, _interval(one, primary), f"95 % interval; {one['n']:,} examples") for what, one in rows]


_BESIDE = (("label_only", "the label-only baseline"), ("teacher", "its teacher"))


def _interval(score: Mapping[str, Any], primary: Measure) -> str:
    within = f" ({primary.interval_text(score['interval'])})" if score["interval"] else ""
    return primary.text_with_unit(score["value"]) + within


def _confirmed(card: Card) -> list[tuple[str, str, str]]:
    confirmed, primary = (card.selection or {}).get("confirmed") or {}, card.primary
    taught = confirmed.get("distilled")
    if not taught or primary is None:
        return []
    spread = _interval({"value": taught["mean"], "interval": taught.get("interval")}, primary)
    return [
        (
            f"{for_markdown(primary.label)} on validation, fresh seeds",
            spread,
            f"mean of {confirmed['seeds']} trainings; 95 % interval for one more",
        )
    ]


def _forms(card: Card) -> str:
    rows = []
    for form in card.forms:
        apart = card.differences.get(form) if card.differences else None
        rows.append((form, ", ".join(f"`{name}`" for name in FORMS[form]), "not checked" if apart is None else f"{apart:.2g}"))
    head = ("form", "file", "largest difference of a logit from the student's")
    notes = "".join(
        f"\n* {for_markdown(words)}{'.' if kept else ': more than was allowed, so it was left out.'}"
        for words, kept in card.variants
    )
    return "## Files\n\n" + _table(head, rows) + (notes + "\n" if notes else "")


def _use(card: Card) -> str:
    blocks = []
    if "program" in card.forms:
        blocks.append(("With PyTorch alone:", with_torch(card.signature, FORMS["program"][0])))
    if onnx := next((form for form in ("onnx", "onnx-int8", "onnx-int8-dynamic") if form in card.forms), None):
        blocks.append(("With onnxruntime alone:", with_onnxruntime(card.signature, FORMS[onnx][0])))
    code = "\n".join(f"{head}\n\n```python\n{lines}```\n" for head, lines in blocks)
    with_tutelage = "`tutelage evaluate . SPEC` measures it again; `teacher: {path: DIR}` in a spec makes it a teacher.\n"
    return f"## Use\n\nTutelage need not be installed.\n\n{code}" + (f"\n{with_tutelage}" if "weights" in card.forms else "")


def _limits(card: Card) -> str:
    data = card.sweep.get("data")
    lines = [
        *_always(card.signature),
        "Its quality on groups within the data was not measured.",
    ]
    if data:
        lines.append(f"The numbers hold for examples like those of {for_markdown(data)}; elsewhere they are unmeasured.")
    test = (card.selection or {}).get("test")
    if not test:
        lines.append(
            "It was not selected and confirmed: it was not evaluated on the test split, and its measures on validation are "
            "those of one of many students, of which the best are overestimated."
        )
    elif warning := card.selection and card.selection.get("test_warning"):
        lines.append(for_markdown(warning))
    return "## Limits\n\n" + "\n".join(f"* {line}" for line in lines) + "\n"


def _always(named: Signature) -> list[str]:
    """Return the sentence that a class is given for every input; none for networks that can also find nothing in it."""
    if any(one in output.names for output in named.outputs for one in (BACKGROUND_NAME, BLANK_NAME)):
        return []
    counts = [f"one of the {output.num_classes} classes of {markdown_code(output.name)}" for output in named.outputs]
    given = f"one of its {len(named.class_names)} classes" if is_plain(named) else " and ".join(counts)
    return [f"It gives {given} whatever its input is: there is no “none of these”."]


def _config(card: Card) -> str:
    config = card.record.get("config")
    return f"## How it was trained\n\n```json\n{json.dumps(config, indent=2)}\n```\n" if config else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(" ".join(cell.splitlines()) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
