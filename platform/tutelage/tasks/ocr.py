"""Recognition of text: the characters in the image of a line, by connectionist temporal classification (CTC).

The label sequence is `characters`, with a step for some columns of the image: its first class is the blank, and the others are
the characters of the target `text`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median_low

import torch
from torch import Tensor, nn

from tutelage.data import Batch, Examples
from tutelage.data._lines import steps_needed
from tutelage.errors import InputError
from tutelage.escaping import visible
from tutelage.masks import at_stride, stride_between
from tutelage.measure import Measure
from tutelage.measures.character_error_rate import MEASURE as CHARACTER_ERROR_RATE
from tutelage.measures.character_error_rate import edits_per_character
from tutelage.measures.exact_match import MEASURE as EXACT_MATCH
from tutelage.plugins import PluginConfig
from tutelage.signature import BLANK_NAME, OutputSpec
from tutelage.tasks import LabelSequence, Sequences, called
from tutelage.tasks._ctc import best_path, ctc_loss, edit_distance, strings_of
from tutelage.tasks._html import Cell, picture, table, wide

SPACE: dict[str, dict[str, object]] = {}
TEXT, CHARACTERS = "text", "characters"


class Config(PluginConfig):
    """No options."""


def build(config: Config) -> Ocr:
    """Return the task."""
    return Ocr()


class Ocr:
    """Lines of text; the primary measure is the character error rate."""

    measures: tuple[Measure, ...] = (CHARACTER_ERROR_RATE, EXACT_MATCH)

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return `characters`: the blank and the characters, over the columns of the image.

        Raises `InputError` for examples without columns or without a text.
        """
        columns = next((name for name, one in examples.inputs.items() if one.is_ragged), None)
        if columns is None or TEXT not in examples.targets:
            lacking = f"the target '{TEXT}'" if columns else "an input with a position for each column"
            raise InputError(
                f"task 'ocr': the data lack {lacking}. The sources `line_images` and `digit_lines` have all that it needs."
            )
        return (OutputSpec(name=CHARACTERS, names=(BLANK_NAME, *examples.targets[TEXT].names), steps=columns),)

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the logits `[batch, steps, 1 + characters]`, with the columns' mask at the network's stride."""
        logits = called(model, batch, CHARACTERS)[CHARACTERS]
        assert batch.input_mask is not None
        return {CHARACTERS: LabelSequence(logits=logits, mask=at_stride(batch.input_mask, logits.shape[1]))}

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the CTC loss of each line in nats a step; 0 for a line without a text."""
        return ctc_loss(sequences[CHARACTERS], batch.targets[TEXT], smoothing)

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return (edits, true characters) of each line `[batch, 2]`, and 1 for a line without an error, otherwise 0."""
        pairs = list(zip(best_path(sequences[CHARACTERS]), strings_of(batch.targets[TEXT]), strict=True))
        edits = [[edit_distance(read, true), len(true)] for read, true in pairs]
        return {
            CHARACTER_ERROR_RATE.name: torch.tensor(edits, dtype=torch.float64),
            EXACT_MATCH.name: torch.tensor([[read == true and bool(true)] for read, true in pairs]).double(),
        }

    def decode(self, sequences: Sequences, batch: Batch) -> list[list[int]]:
        """Return the characters of each line, indices in those of the target, by the best class of each step."""
        return best_path(sequences[CHARACTERS])

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return the line, and a table of its text and what each network reads; a text with an error is marked.

        A text that could not be seen, as an empty one, stands in quotation marks.
        """
        names, batch = example.targets[TEXT].names, example.take(slice(None))
        (true,) = strings_of(batch.targets[TEXT])
        rows = {"text": [Cell(visible(_text(true, names)) if true else "?")]}
        for role, sequences in outputs.items():
            (read,) = self.decode(sequences, batch)
            rows[role] = [Cell(visible(_text(read, names)), bool(true) and read != true)]
        lines = [one.take(slice(None))[0][0] for one in example.inputs.values() if one.is_ragged and one.num_channels in (1, 3)]
        return "".join(wide(picture(line.permute(1, 2, 0), _text(true, names))) for line in lines) + table(rows)

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the validation error rate of one guess: the commonest character, as often as the median line has any."""
        seen = strings_of(train.take_targets(slice(None))[0][TEXT])
        counted = Counter(one for text in seen for one in text)
        guess = [max(counted, key=lambda one: counted[one])] * median_low(map(len, seen)) if counted else []
        true = strings_of(validation.take_targets(slice(None))[0][TEXT])
        edits = torch.tensor([[edit_distance(guess, one), len(one)] for one in true], dtype=torch.float64)
        return edits_per_character(edits.numpy())

    def check_steps(self, steps: Mapping[str, int], train: Examples) -> None:
        """Raise `InputError` for training lines of more characters than a network has steps for them.

        `steps` has a network's number of steps for a line of typical width (`Outline.steps`).
        """
        (width,) = [spec.steps for spec in train.input_specs if spec.is_ragged]
        stride = stride_between(width, steps[CHARACTERS])
        if stride is None:
            raise InputError(f"task 'ocr': the network gives {steps[CHARACTERS]} steps for {width} columns, at no stride.")
        assert train.lengths is not None
        texts = strings_of(train.take_targets(slice(None))[0][TEXT])
        given, needed = -(-train.lengths // stride), torch.tensor([steps_needed(one) for one in texts])
        if (wrong := (needed > given).nonzero().flatten()).numel():
            row = int(wrong[0])
            text = _text(texts[row], train.targets[TEXT].names)
            raise InputError(
                f"task 'ocr': {len(wrong):,} of {len(train):,} training lines have more characters than steps at a stride of "
                f"{stride} columns. {text!r:.60} has {int(train.lengths[row])} columns, so {int(given[row])} steps, and needs "
                f"{int(needed[row])}: one a character, and one more between two equal ones. Give the network a smaller stride, "
                "or the images a larger height_px."
            )


def _text(characters: Sequence[int], names: Sequence[str]) -> str:
    return "".join(names[one] for one in characters)
