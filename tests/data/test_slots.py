"""Sentences are read with the labels and vocabulary of training; all wrong lines are named at once, with file and line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.common import assert_input_error
from tutelage.data import UNKNOWN, Examples, Ragged, fingerprint, slots
from tutelage.errors import InputError
from tutelage.signature import InputSpec

CITIES, DAYS = ("rome", "oslo", "lima", "new york"), ("monday", "friday")


def write(folder: Path, *sentences: tuple[str, str, str]) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for name, lines in zip(("seq.in", "seq.out", "label"), zip(*sentences, strict=True), strict=True):
        (folder / name).write_text("\n".join(lines) + "\n")


def sentence(number: int) -> tuple[str, str, str]:
    city, day = CITIES[number % 4], DAYS[number // 4 % 2]
    place = "B-city I-city" if " " in city else "B-city"
    if number % 2:
        return f"fly to {city} on {day} w{number}", f"O O {place} O B-day O", "BookFlight"
    return f"rain in {city} w{number}", f"O O {place} O", "GetWeather"


def example(folder: Path) -> dict[str, Any]:
    write(folder / "train", *map(sentence, range(120)))
    return {"path": str(folder), "least_count": 1, "validation_share": 0.2, "test_share": 0.2}


def folders(folder: Path, **others: tuple[str, str, str]) -> slots.Config:
    """Write a training folder of 40 sentences, and a folder with each of `others`; return the config that reads them."""
    write(folder / "train", *map(sentence, range(40)))
    for name, one in others.items():
        write(folder / name, one)
    return slots.Config(path=str(folder))


def row(examples: Examples, name: str, number: int = 0) -> list[str]:
    field = {**examples.inputs, **examples.targets}[name]
    assert isinstance(field.values, Ragged)
    values = field.values.take(torch.tensor([number])).values
    return [field.names[value] for value in values.tolist()]


def test_a_line_of_the_three_files_is_a_sentence(tmp_path: Path) -> None:
    config = folders(tmp_path, valid=sentence(3), test=sentence(2))
    found = slots.read(config, 0, "validation")
    assert row(found, "tokens") == ["fly", "to", "new", "york", "on", "monday", "<unknown>"]
    assert row(found, "slots") == ["O", "O", "B-city", "I-city", "O", "B-day", "O"]
    assert found.targets["intent"].names == ("BookFlight", "GetWeather")
    assert found.targets["slots"].names == ("O", "B-city", "B-day", "I-city")
    assert found.targets["intent"].take(slice(None))[0].tolist() == [0]
    assert len(slots.read(config, 0, "train")) == 40 and row(slots.read(config, 0, "test"), "tokens")[0] == "rain"


def test_the_vocabulary_is_that_of_the_training_split_alone(tmp_path: Path) -> None:
    """Also where validation and test are drawn from the folder of training."""
    config = folders(tmp_path, valid=("sail to oslo", "O O B-city", "BookFlight"))
    found = slots.read(config, 0, "validation")
    assert row(found, "tokens") == ["<unknown>", "to", "oslo"]
    assert found.inputs["tokens"].names == slots.read(config, 0, "train").inputs["tokens"].names
    drawn = slots.Config(**example(tmp_path / "drawn"))
    names = set(slots.read(drawn, 0, "train").inputs["tokens"].names)
    for number in range(len(slots.read(drawn, 0, "test"))):
        assert row(slots.read(drawn, 0, "test"), "tokens", number)[-1] == "<unknown>", "a word of one sentence of the folder"
    assert {"rain", "fly", "<unknown>"} < names and sum(word.startswith("w") for word in names) == len(
        slots.read(drawn, 0, "train")
    )


def test_a_word_that_is_written_as_the_unknown_word_is_that_word(tmp_path: Path) -> None:
    write(tmp_path / "train", *map(sentence, range(40)), *[("sail to <unknown>", "O O B-city", "BookFlight")] * 10)
    found = slots.read(slots.Config(path=str(tmp_path), validation_share=0.1), 0, "train")
    assert found.inputs["tokens"].names.count("<unknown>") == 1


def test_a_line_ends_at_a_newline_and_at_no_other_separator(tmp_path: Path) -> None:
    odd = ("sail\u2028to\x0boslo", "O O B-city", "BookFlight")
    found = slots.read(folders(tmp_path, valid=odd), 0, "validation")
    assert len(found) == 1 and row(found, "tokens") == ["<unknown>", "to", "oslo"]


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    config = folders(tmp_path, valid=("fly to oslo", "O O B-city", "BookFlight"))
    for name in ("seq.in", "seq.out", "label"):
        path = tmp_path / "valid" / name
        path.write_text(path.read_text(), encoding="utf-8-sig")
    found = slots.read(config, 0, "validation")
    assert row(found, "tokens") == ["fly", "to", "oslo"] and row(found, "slots")[0] == "O"


def test_rare_words_of_training_are_unknown(tmp_path: Path) -> None:
    path = folders(tmp_path).path
    few, all_of_them = (slots.read(slots.Config(path=path, least_count=count), 0, "train") for count in (2, 1))
    assert not any(word.startswith("w") for word in few.inputs["tokens"].names)
    assert row(few, "tokens")[-1] == "<unknown>" and row(all_of_them, "tokens")[-1].startswith("w")


def test_notes_describe_what_was_read(tmp_path: Path) -> None:
    notes = slots.read(folders(tmp_path, valid=("sail to oslo", "O O B-city", "BookFlight")), 0, "validation").notes
    assert "validation: 1 sentences of 3 to 3 words, 2 intents, 4 slot labels" in notes
    assert any(note.endswith("33.3% of the words of validation are unknown") for note in notes)
    assert any(note.startswith("splits: validation is stored separately; test is 0.1 of each class") for note in notes)


def test_labels_that_may_be_mistakes_are_noted(tmp_path: Path) -> None:
    config = folders(tmp_path)
    odd = [("fly to oslo", "O O I-city", "bookflight"), ("to new york", "O B-day I-city", "bookflight")]
    write(tmp_path / "train", *map(sentence, range(40)), *odd * 5)
    notes = "; ".join(slots.read(config.model_copy(update={"validation_share": 0.01, "test_share": 0.01}), 0, "train").notes)
    assert "intents that differ in case or blanks only: 'BookFlight' and 'bookflight'; are they one?" in notes
    assert "train: 8 sentences have a label I- behind neither B- nor I- of its type" in notes


def test_all_wrong_lines_of_all_folders_are_named_at_once(tmp_path: Path) -> None:
    config = folders(tmp_path)
    write(tmp_path / "train", ("fly to oslo", "O O", "BookFlight"), sentence(1), ("", "O", "BookFlight"), sentence(2))
    write(tmp_path / "valid", ("rain in oslo", "O O B-city", "Get Weather"), ("a b", "O O O", "GetWeather"))
    for split in ("train", "validation", "test"):
        assert_input_error(
            lambda split=split: slots.read(config, 0, split),  # type: ignore[misc]
            "2 of 2 folders cannot be read", "2 of 4 lines",
            "train/seq.out, line 1: has 2 slot labels for 3 words in seq.in",
            "train/seq.in, line 3: is empty", "valid/label, line 1: has 2 intents",
            "valid/seq.out, line 2: has 3 slot labels for 2 words in seq.in",
        )  # fmt: skip


def test_files_of_unequal_lengths_missing_files_and_other_encodings_are_errors(tmp_path: Path) -> None:
    config = folders(tmp_path)
    (tmp_path / "train/label").write_text("GetWeather\n")
    assert_input_error(lambda: slots.read(config, 0, "train"), "40 in seq.in, 40 in seq.out, 1 in label")
    (tmp_path / "train/label").rename(tmp_path / "train/labels")
    assert_input_error(lambda: slots.read(config, 0, "train"), "train/label: is not there", "labels")
    (tmp_path / "train/seq.in").write_bytes(b"caf\xe9\n")
    assert_input_error(lambda: slots.read(config, 0, "train"), "2 of 3 files", "seq.in: is not UTF-8")
    (tmp_path / "train/seq.in").write_text("\n")
    assert_input_error(lambda: slots.read(config, 0, "train"), "seq.in: is empty")
    inside = slots.Config(path=str(tmp_path / "train"))
    assert_input_error(
        lambda: slots.read(inside, 0, "train"), "has no folder train. It has seq.in itself: give the folder above"
    )
    folders(tmp_path / "above" / "snips")
    above = slots.Config(path=str(tmp_path / "above"))
    assert_input_error(lambda: slots.read(above, 0, "train"), "has no folder train", "above/snips has one")


def test_labels_that_training_does_not_have_are_errors_with_their_lines(tmp_path: Path) -> None:
    config = folders(tmp_path)
    write(tmp_path / "valid", sentence(0), ("rain in oslo", "O O B-citty", "GetWether"))
    assert_input_error(
        lambda: slots.read(config, 0, "validation"), "2 of 2 lines",
        "valid/seq.out, line 2: 'B-citty' is not in training", "B-city",
        "valid/label, line 2: 'GetWether' is not in training", "GetWeather",
    )  # fmt: skip


def test_long_sentences_are_errors_or_cut_by_choice_and_noted(tmp_path: Path) -> None:
    path = folders(tmp_path, valid=sentence(3)).path
    with pytest.raises(InputError, match=r"line 4: has 7 words; the option 'longest' is 5.*'longer: truncate'"):
        slots.read(slots.Config(path=path, longest=5), 0, "train")
    assert len(row(slots.read(slots.Config(path=path, longest=7), 0, "validation"), "tokens")) == 7
    found = slots.read(slots.Config(path=path, longest=5, longer="truncate"), 0, "validation")
    assert row(found, "tokens") == ["fly", "to", "new", "york", "on"] and len(row(found, "slots")) == 5
    assert any(note.startswith("cut to 5 words: 1 sentences of") for note in found.notes)


def test_upper_case_is_another_word_unless_it_is_read_as_lower_case(tmp_path: Path) -> None:
    path = folders(tmp_path, valid=("RAIN in Oslo", "O O B-city", "GetWeather")).path
    read = {lower: slots.read(slots.Config(path=path, lowercase=lower), 0, "validation") for lower in (False, True)}
    assert row(read[False], "tokens") == ["<unknown>", "in", "<unknown>"]
    assert row(read[True], "tokens") == ["rain", "in", "oslo"]
    assert fingerprint(read[False]) != fingerprint(read[True])


def test_a_file_for_the_folder_and_a_folder_for_a_file_are_errors(tmp_path: Path) -> None:
    options = example(tmp_path)
    words = Path(options["path"]) / "train" / "seq.in"
    assert_input_error(lambda: slots.read(slots.Config(path=str(words)), 0, "train"), "is a file. Give a folder")
    words.unlink()
    words.mkdir()
    with pytest.raises(InputError, match=": is a folder") as caught:
        slots.read(slots.Config(**options), 0, "train")
    assert "Did you mean 'seq.in'" not in str(caught.value)


def test_for_a_network_the_words_are_its_own_and_others_are_the_unknown_word(tmp_path: Path) -> None:
    config = folders(tmp_path, valid=("sail to oslo", "O O B-city", "BookFlight"))
    own = InputSpec(name="tokens", kind="tokens", shape=("steps",), dtype="int64", names=("<unknown>", "oslo", "sail"))
    found = slots.read_as(config, 0, "validation", [own])
    assert row(found, "tokens") == ["sail", "<unknown>", "oslo"] and found.inputs["tokens"].names == own.names
    assert "vocabulary: 2 words of the network; 33.3% of the words of validation are unknown" in found.notes
    without = replace(own, names=("oslo", "sail"))
    assert slots.read_as(config, 0, "validation", [without]).inputs["tokens"].names[0] == "<unknown>", "of training"


def test_characters_of_a_word_are_tokens_beside_it(tmp_path: Path) -> None:
    config = folders(tmp_path, valid=("new wz oslo", "O O B-city", "GetWeather"), test=sentence(2))
    spelled = config.model_copy(update={"characters": 3})
    field = slots.read(spelled, 0, "validation").inputs["tokens"]
    tokens, mask = field.take(slice(None))
    assert tokens.shape == (1, 3, 4) and mask is not None and mask.all()
    read = [[field.names[token] for token in row] for row in tokens[0].tolist()]
    assert read[0] == ["new", "character n", "character e", "character w"], "cut to its first ones"
    assert read[1] == ["<unknown>", "character w", "<unknown>", "character "], "no training word has a z"
    assert field.spec("tokens").shape == ("tokens_steps", 4)
    assert slots.read(config, 0, "train").inputs["tokens"].names == field.names[: field.names.index("character ")]
    with_own = slots.read_as(config, 0, "validation", slots.read(spelled, 0, "train").input_specs)
    assert torch.equal(with_own.inputs["tokens"].take(slice(None))[0], tokens), "the network has characters, so it gets them"


def test_the_slot_labels_of_each_intent_are_those_of_training(tmp_path: Path) -> None:
    config = folders(tmp_path, valid=("rain on monday", "O O B-day", "GetWeather"))
    field = slots.read(config, 0, "validation").targets["slots"]
    assert field.names == ("O", "B-city", "B-day", "I-city")
    assert field.seen_with["intent"].tolist() == [[True, True, True, True], [True, True, False, False]]


def test_few_sentences_of_each_intent_are_labelled(tmp_path: Path) -> None:
    """The others have neither slot labels nor an intent; words, vocabulary and the other splits do not change."""
    options = example(tmp_path)
    splits = ("train", "validation", "test")
    whole, few, fewer, none = (
        [slots.read(slots.Config(**options, labelled_per_class=count), 0, split) for split in splits]
        for count in (None, 6, 3, 0)
    )
    train, labelled = few[0], few[0].labelled
    intents, all_intents = (one.targets["intent"].take(slice(None))[0] for one in (train, whole[0]))
    tags, all_tags = (one.targets["slots"].take(slice(None), UNKNOWN)[0] for one in (train, whole[0]))
    assert intents[labelled].bincount().tolist() == [6, 6] and (intents[~labelled] == UNKNOWN).all()
    assert torch.equal(intents[labelled], all_intents[labelled])
    assert torch.equal(tags[labelled], all_tags[labelled]) and (tags[~labelled] == UNKNOWN).all()
    assert fewer[0].num_labelled == 6 and not (fewer[0].labelled & ~labelled).any() and none[0].num_labelled == 0
    assert fingerprint(Examples(inputs=train.inputs, targets={})) == fingerprint(Examples(inputs=whole[0].inputs, targets={}))
    assert [fingerprint(one) for one in few[1:]] == [fingerprint(one) for one in whole[1:]]
    other = slots.read(slots.Config(**options, labelled_per_class=6), 1, "train")
    assert not torch.equal(other.labelled, labelled)


def test_the_slot_labels_of_each_intent_are_those_of_labelled_sentences(tmp_path: Path) -> None:
    config = slots.Config(path=folders(tmp_path).path, labelled_per_class=1)
    train, validation = (slots.read(config, 0, split) for split in ("train", "validation"))
    tags, intents = (train.targets[name].take(train.labelled.nonzero().flatten(), UNKNOWN)[0] for name in ("slots", "intent"))
    for seen in (train.targets["slots"].seen_with["intent"], validation.targets["slots"].seen_with["intent"]):
        for row, intent in zip(tags.tolist(), intents.tolist(), strict=True):
            assert seen[intent].nonzero().flatten().tolist() == sorted({tag for tag in row if tag != UNKNOWN})
