"""The model card of an exported student: Markdown, from what is on record; what nobody measured is said to be so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.measure import Measure
from tutelage.signature import signature_of

NAME = "README.md"  # the name and the front matter that model hubs show as a card


UNKNOWN_LICENCE = "unknown"


_PREPARE = """\
import json

import numpy
{imports}
with open("manifest.json", encoding="utf-8") as file:
    manifest = json.load(file)
class_names, normalisation = manifest["output"]["class_names"], manifest["input"]["normalisation"]
axes = (1, -1) + (1,) * (len(manifest["input"]["shape"]) - 2)
mean = numpy.array(normalisation["mean"] or [0], "float32").reshape(axes)
std = numpy.array(normalisation["std"] or [1], "float32").reshape(axes)
{load}

def logits_of(stored):
    \"\"\"Return the logits [n, classes] of examples [n, …] as the data hold them.\"\"\"
    inputs = ((numpy.asarray(stored, "float32") - mean) / std).astype("float32")
    return {answer}


logits = logits_of(numpy.zeros({example}))
print([class_names[best] for best in logits.argmax(axis=1)])
"""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is made of; all but the name and the architecture may be missing.

    `record` has the trial's `measures` and `config`; `sweep` its `data`, `task`, `teacher`, `fingerprint`; `selection` is the
    document of `tutelage select --json`; `differences` the check's, by form; `measures` are what the
    sweep measured by name, the primary one first; `variants` what was said of quantised forms.
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

    @property
    def primary(self) -> Measure | None:
        """The primary measure of the student's task, None where no sweep is known."""
        return next(iter(self.measures.values()), None)


def text(card: Card) -> str:
    """Return the card."""
    parts = [
        f"---\nlicense: {card.licence}\ntags: [knowledge-distillation, tutelage]\n---\n\n# {card.name}\n",
        _introduction(card), _numbers(card), _forms(card), _use(card), _limits(card), _config(card),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _introduction(card: Card) -> str:
    named = signature_of(card.architecture["signature"])
    classes, shape = named.class_names, named.example_shape
    lines = [
        f"A student network that Tutelage taught: it takes examples of shape {_shape(shape)} and answers with logits of "
        f"{len(classes)} classes.\n"
    ]
    facts = [("Task", card.sweep.get("task")), ("Data", _data(card)), ("Teacher", _teacher(card)), ("Network", _network(card))]
    facts += [("Classes", _listed(classes)), ("Licence", _licence(card))]
    return "\n".join(lines) + "\n" + _table(("", ""), [(f"**{what}**", said) for what, said in facts if said])


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(map(str, classes[:20]))
    return shown if len(classes) <= 20 else f"{shown}, … ({len(classes)} in all; `manifest.json` has them)"


def _licence(card: Card) -> str:
    stated = card.licence != UNKNOWN_LICENCE
    return (
        card.licence if stated else "not stated (`tutelage export --licence` states it); that of the data may bind the network"
    )


def _data(card: Card) -> str | None:
    data, mark = card.sweep.get("data"), card.sweep.get("fingerprint")
    return f"{data}, SHA-256 of its examples and labels `{mark[:16]}…`" if data and mark else data


def _teacher(card: Card) -> str | None:
    teacher, primary = card.sweep.get("teacher"), card.primary
    if not teacher:
        return None
    came = f", which learnt {teacher['source']['data']} first" if teacher.get("source") else ""
    has_quality = primary is not None and primary.name in teacher
    quality = (
        f", {primary.label} {primary.text_with_unit(teacher[primary.name])} on validation" if has_quality and primary else ""
    )
    return f"{teacher['params']:,.0f} parameters{quality}, `{teacher['address']}`{came}"


def _network(card: Card) -> str:
    model = card.architecture["model"]
    return f"`{model if isinstance(model, str) else json.dumps(model)}`"


def _numbers(card: Card) -> str:
    rows = [*_tested(card), *_confirmed(card), *_measured(card)]
    if not rows:
        return "## Numbers\n\nNone on record: the network was not found in a sweep.\n"
    taught = f"\n{card.selection['teaching']}\n" if card.selection and card.selection.get("teaching") else ""
    return "## Numbers\n\n" + _table(("measure", "value", "what it is"), rows) + taught


def _measured(card: Card) -> Iterator[tuple[str, str, str]]:
    """Give every measure that the search has of the student, but for details."""
    values = card.record.get("measures", {})
    for name, measure in card.measures.items():
        if name in values and not measure.detail:
            where = " on validation, in the search" if measure.spread else ""
            yield f"{measure.label}{where}", measure.text_with_unit(values[name]), measure.meaning


def _tested(card: Card) -> list[tuple[str, str, str]]:
    test, primary = (card.selection or {}).get("test"), card.primary
    if not test or primary is None:
        return []
    rows = [(f"**test {primary.label}**", test)]
    rows += [(f"test {primary.label}, {who}", test[key]) for key, who in _BESIDE if test.get(key)]
    return [(what, _interval(one, primary), f"95 % interval; {one['n']:,} examples") for what, one in rows]


_BESIDE = (("labels_only", "the same network from labels alone"), ("teacher", "its teacher"))


def _interval(score: Mapping[str, Any], primary: Measure) -> str:
    within = f" ({primary.interval_text(score['interval'])})" if score["interval"] else ""
    return primary.text_with_unit(score["value"]) + within


def _confirmed(card: Card) -> list[tuple[str, str, str]]:
    confirmed, primary = (card.selection or {}).get("confirmed") or {}, card.primary
    taught = confirmed.get("taught")
    if not taught or primary is None:
        return []
    spread = _interval({"value": taught["mean"], "interval": taught.get("interval")}, primary)
    return [
        (
            f"{primary.label} on validation, fresh seeds",
            spread,
            f"mean of {confirmed['seeds']} trainings; 95 % interval for one more",
        )
    ]


def _forms(card: Card) -> str:
    from tutelage.export.bundle import FORMS

    rows = []
    for form in card.forms:
        apart = card.differences.get(form) if card.differences else None
        rows.append((form, ", ".join(f"`{name}`" for name in FORMS[form]), "not checked" if apart is None else f"{apart:.2g}"))
    head = ("form", "file", "largest difference of a logit from the student's")
    notes = "".join(
        f"\n* {said}{'.' if kept else ': more than was let pass, so it was left out.'}" for said, kept in card.variants
    )
    return "## Files\n\n" + _table(head, rows) + (notes + "\n" if notes else "")


def _use(card: Card) -> str:
    shape = ", ".join(map(str, (1, *signature_of(card.architecture["signature"]).example_shape)))
    blocks = []
    if "program" in card.forms:
        blocks.append(
            ("With PyTorch alone:", "import torch\n", 'program = torch.export.load("model.pt2").module()\n',
             "program(torch.from_numpy(inputs)).detach().numpy()")
        )  # fmt: skip
    onnx = next((form for form in ("onnx", "onnx-int8", "onnx-int8-dynamic") if form in card.forms), None)
    if onnx:
        from tutelage.export.bundle import FORMS

        load = f'session = onnxruntime.InferenceSession("{FORMS[onnx][0]}", providers=["CPUExecutionProvider"])\n'
        blocks.append(("With onnxruntime alone:", "import onnxruntime\n", load, 'session.run(None, {"inputs": inputs})[0]'))
    said = [
        f"{head}\n\n```python\n{_PREPARE.format(imports=imports, load=load, answer=answer, example=f'({shape})')}```\n"
        for head, imports, load, answer in blocks
    ]
    with_tutelage = "`tutelage evaluate . SPEC` measures it again; `teacher: {path: DIR}` in a spec lets it teach.\n"
    return (
        "## Use\n\nTutelage need not be installed.\n\n"
        + "\n".join(said)
        + ("\n" + with_tutelage if "weights" in card.forms else "")
    )


def _limits(card: Card) -> str:
    data = card.sweep.get("data")
    lines = [
        f"It gives one of its {len(signature_of(card.architecture['signature']).class_names)} classes, whatever it is shown: "
        "there is no “none of these”.",
        "Whether its probabilities are calibrated was not measured, nor how it does on groups within the data.",
    ]
    if data:
        lines.append(f"The numbers hold for examples like those of {data}; elsewhere they are unmeasured.")
    test = (card.selection or {}).get("test")
    if not test:
        lines.append(
            "It was not selected and confirmed: it was not evaluated on the test split, and its measures on validation are "
            "those of one of many students, of which the best are overestimated."
        )
    elif warning := card.selection and card.selection.get("test_warning"):
        lines.append(warning)
    return "## Limits\n\n" + "\n".join(f"* {line}" for line in lines) + "\n"


def _config(card: Card) -> str:
    config = card.record.get("config")
    return f"## How it was trained\n\n```json\n{json.dumps(config, indent=2)}\n```\n" if config else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
