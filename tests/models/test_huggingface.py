"""A Hugging Face directory reads our words through its own pieces, and what does not fit together is an error."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests import hf_directories
from tests.plain import SENTENCES
from tests.requirements import needs
from tutelage import plugins
from tutelage.data import Examples, Field, ragged
from tutelage.errors import InputError, UnreachableError
from tutelage.models import _hf_directory
from tutelage.networks import stages
from tutelage.networks.checkpoint import blank
from tutelage.networks.program import program_of
from tutelage.signature import InputSpec, OutputSpec, Signature, character_name

pytestmark = [needs(importlib.util.find_spec("transformers"), "package transformers"), pytest.mark.slow]
SIGNATURE = SENTENCES
IS_SLOW = True  # transformers takes seconds to import
WORDS = ("<unknown>", "a", "abc", "dbb", "ee")
KNOWN = InputSpec(name="tokens", kind="tokens", dtype="int64", shape=("tokens_steps",), steps=3, names=WORDS)
SPELLED = replace(KNOWN, shape=("tokens_steps", 5), names=(*WORDS, *map(character_name, ("", *"abcdefghz"))))
CLASS = OutputSpec(name="class", names=("no", "yes"))
SLOTS = OutputSpec(name="slots", names=("O", "B-x"), steps="tokens")


def __getattr__(name: str) -> Any:
    """Return what the contracts of models need, `OPTIONS`; the directory is written when it is first needed."""
    if name != "OPTIONS":
        raise AttributeError(name)
    return {"path": str(hf_directories.encoder())}


def build(spec: InputSpec = KNOWN, *outputs: OutputSpec, **options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {"huggingface": {"path": str(hf_directories.encoder()), **options}})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, Signature(inputs=(spec,), outputs=outputs or (SLOTS,)))
    return model.eval()


def given(*rows: list[int]) -> tuple[Tensor, Tensor]:
    """Return texts of known words and their mask."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    return tokens, torch.arange(longest) < torch.tensor([[len(row)] for row in rows])


def spelled(*words: str) -> tuple[Tensor, Tensor]:
    """Return one text of words with their first four characters."""
    names = SPELLED.names
    rows = [[names.index(word) if word in names else 0] for word in words]
    for row, word in zip(rows, words, strict=True):
        row += [names.index(character_name(one)) for one in (*word[:4], *[""] * (4 - len(word)))]
    return torch.tensor([rows]), torch.ones(1, len(words), dtype=torch.bool)


def directly(text: str, directory: Path | None = None) -> Tensor:
    """Return the features of the pieces of a text as transformers computes them, `[pieces, channels]`."""
    from tokenizers import Tokenizer
    from transformers import AutoModel

    path = directory or hf_directories.encoder()
    pieces = Tokenizer.from_file(str(path / "tokenizer.json")).encode(text).ids
    model = AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        features: Tensor = model(torch.tensor([pieces])).last_hidden_state[0]
    return features


def features(model: nn.Module, *arguments: Tensor) -> Tensor:
    with torch.no_grad(), stages.watched(model) as seen:
        model(*arguments)
    return seen["stage2"]


@pytest.mark.parametrize("word", ["mean", "first"])
def test_features_of_a_word_are_the_mean_of_its_pieces_or_its_first_one(word: str) -> None:
    """The pieces of the text are [CLS] a ##b ##c d ##b ##b a [SEP]; padding changes nothing."""
    pieces = directly("abc dbb a")
    expected = [pieces[1:4], pieces[4:7], pieces[7:8]]
    found = features(build(word=word), *given([2, 3, 1], [1]))
    for step, one in enumerate(expected):
        torch.testing.assert_close(found[0, step], one[0] if word == "first" else one.mean(dim=0))
    torch.testing.assert_close(found[1, 0], directly("a")[1])
    assert (found[1, 1:] == 0).all()


def test_an_unknown_word_is_split_by_its_characters_where_the_data_spell_words() -> None:
    model = build(SPELLED)
    torch.testing.assert_close(features(model, *spelled("bcd", "a"))[0, 0], directly("bcd a")[1:4].mean(dim=0))
    torch.testing.assert_close(features(model, *spelled("abc", "a"))[0, 0], directly("abc a")[1:4].mean(dim=0))
    unknown = directly("zz a")
    torch.testing.assert_close(features(model, *spelled("zz", "a"))[0], unknown[1:3])
    torch.testing.assert_close(features(build(KNOWN), *given([0, 1]))[0], unknown[1:3])


def test_pretrained_weights_are_read_and_heads_are_new() -> None:
    weights = load_file(hf_directories.encoder() / "model.safetensors")
    model = build()
    for name, tensor in model.get_submodule("body").state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert not any("pooler" in name for name in model.state_dict()), "nothing would train it"
    assert model.get_parameter("head.slots.weight").shape == (2, 16)
    weightless = blank({"model": {"huggingface": {"path": str(hf_directories.encoder())}}, "signature": SENTENCES.document()})
    assert all(parameter.is_meta for parameter in weightless.parameters()), "a network is sized without its weights"


def test_gradients_reach_the_pretrained_weights() -> None:
    model = build(SPELLED).train()
    model(*spelled("abc", "bcd"))["slots"].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("kind", "outputs"), [("BertForSequenceClassification", (CLASS,)), ("BertForTokenClassification", (SLOTS,))]
)
def test_the_classes_of_a_directorys_own_head_are_mapped_by_name(
    kind: str, outputs: tuple[OutputSpec, ...], tmp_path: Path
) -> None:
    (output,) = outputs
    labels = {0: output.names[1], 1: "other", 2: output.names[0]}
    path = str(hf_directories.write(tmp_path, kind, id2label=labels, label2id={name: key for key, name in labels.items()}))
    model = build(KNOWN, output, path=path, head="own", word="first")
    found = model(*given([2, 1]))
    head = load_file(tmp_path / "model.safetensors")
    if output.steps:
        own = directly("abc a", tmp_path) @ head["classifier.weight"].T + head["classifier.bias"]
        torch.testing.assert_close(found["slots"][0], own[[1, 4]][:, [2, 0]])
    else:
        assert found.shape == (1, 2)
        pooled = torch.tanh(
            directly("abc a", tmp_path)[0] @ head["bert.pooler.dense.weight"].T + head["bert.pooler.dense.bias"]
        )
        torch.testing.assert_close(found[0], (pooled @ head["classifier.weight"].T + head["classifier.bias"])[[2, 0]])
    with pytest.raises(
        InputError, match=r"id2label lacks the classes B-y.*mean 'B-x'" if output.steps else "lacks the classes maybe"
    ):
        build(KNOWN, replace(output, names=(output.names[0], "B-y" if output.steps else "maybe")), path=path, head="own")
    with pytest.raises(InputError, match="one label sequence, the task needs slots, class"):
        build(KNOWN, SLOTS, CLASS, path=path, head="own")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({0: "yes", 1: "no", 2: "yes"}, r"config.json: id2label calls several outputs 'yes'"),
        ({1: "yes", 2: "no"}, r"config.json: id2label has the keys 1, 2…, and an output's key is its number"),
    ],
)
def test_labels_that_name_no_output_or_two_are_an_error(tmp_path: Path, labels: dict[int, str], message: str) -> None:
    hf_directories.write(tmp_path, "BertForSequenceClassification")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": labels}))
    with pytest.raises(InputError, match=message):
        build(KNOWN, CLASS, path=str(tmp_path), head="own")


@pytest.mark.parametrize("spec", [KNOWN, SPELLED])
def test_texts_of_too_many_pieces_are_found_before_a_training(spec: InputSpec) -> None:
    """Of abc there are three pieces, of an unknown word one, or one a character; two more are around a text of at most 32."""
    model = blank(
        {
            "model": {"huggingface": {"path": str(hf_directories.encoder())}},
            "signature": Signature(inputs=(spec,), outputs=(SLOTS,)).document(),
        }
    )
    unknown = spelled("bcd")[0][0] if spec is SPELLED else torch.tensor([0])
    known = spelled("abc")[0][0] if spec is SPELLED else torch.tensor([2])
    fits, long = (torch.cat([known] * 9 + [unknown] * count) for count in ((1, 2) if spec is SPELLED else (3, 4)))

    def examples(*texts: Tensor) -> Examples:
        return Examples(inputs={"tokens": Field(values=ragged(list(texts)), kind="tokens", names=spec.names)}, targets={})

    model.check_examples("train", examples(fits, known))
    with pytest.raises(
        InputError, match=r"1 of 3 test texts have more pieces than the 32 .* number 1 .* has 3[35]\. Cut texts by"
    ):
        model.check_examples("test", examples(fits, long, known))


def test_weights_of_other_shapes_or_not_finite_are_an_error_that_names_them(tmp_path: Path) -> None:
    hf_directories.write(tmp_path, "BertForSequenceClassification")
    config, weights = json.loads((tmp_path / "config.json").read_text()), load_file(tmp_path / "model.safetensors")
    labels = {str(number): str(number) for number in range(4)}
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": labels, "label2id": {}}))
    with pytest.raises(
        InputError, match=r"other shapes than config.json states: classifier\.(weight \(2, 16\)|bias \(2,\)) instead of \(4"
    ):
        build(KNOWN, OutputSpec(name="class", names=("0", "1")), path=str(tmp_path), head="own")
    two = {"id2label": {0: "0", 1: "1"}, "label2id": {"0": 0, "1": 1}}
    (tmp_path / "config.json").write_text(json.dumps({**config, **two}))
    weights["classifier.bias"] = weights["classifier.bias"] * torch.nan
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"numbers that are not finite: classifier\.bias\. Save it again"):
        build(KNOWN, OutputSpec(name="class", names=("0", "1")), path=str(tmp_path), head="own")


def test_a_causal_network_predicts_characters_from_earlier_ones(tmp_path: Path) -> None:
    path = str(hf_directories.causal(tmp_path))
    names = tuple("abc \n")
    spec = replace(KNOWN, names=names)
    token = OutputSpec(name="token", names=names, steps="tokens", is_causal=True)
    tokens = torch.tensor([[0, 1, 3, 2, 4]])
    other = torch.tensor([[0, 1, 3, 0, 0]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    for head in ("new", "own"):
        model = build(spec, token, path=path, head=head)
        found, changed = (model(one, mask)["token"] for one in (tokens, other))
        assert found.shape == (1, 5, 5)
        torch.testing.assert_close(found[:, :3], changed[:, :3])
        assert not torch.allclose(found[:, 3:], changed[:, 3:])
    from transformers import AutoModelForCausalLM

    places = [hf_directories.CHARACTERS.index(name) + 1 for name in names]
    direct = AutoModelForCausalLM.from_pretrained(tmp_path).eval()(torch.tensor([[places[one] for one in tokens[0]]])).logits
    torch.testing.assert_close(build(spec, token, path=path, head="own")(tokens, mask)["token"], direct[..., places])
    with pytest.raises(InputError, match=r"not one piece each \('x', 'y' are the same or unknown\)"):
        build(replace(spec, names=("a", "x", "y")), replace(token, names=("a", "x", "y")), path=path, head="own")
    with pytest.raises(InputError, match="reads later tokens, and the label sequence token must not"):
        build(spec, token)


def test_a_causal_classifier_without_a_piece_of_padding_is_an_error(tmp_path: Path) -> None:
    from transformers import GPT2ForSequenceClassification

    config = json.loads((hf_directories.causal(tmp_path) / "config.json").read_text())
    labels = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    for padding in (None, 3):
        made = GPT2ForSequenceClassification.config_class(**{**config, **labels, "pad_token_id": padding})
        GPT2ForSequenceClassification(made).save_pretrained(tmp_path)
        if padding is None:
            with pytest.raises(InputError, match=r"config.json: has no pad_token_id.* or set head: new"):
                build(KNOWN, CLASS, path=str(tmp_path), head="own")
    model = build(KNOWN, CLASS, path=str(tmp_path), head="own")
    torch.testing.assert_close(model(*given([2, 1], [1]))[1:], model(*given([1])))


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(hf_directories.encoder(), tmp_path / "copy"))


def changed(directory: Path, **values: Any) -> str:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return str(directory)


def test_a_directory_that_lacks_a_part_is_an_error(tmp_path: Path) -> None:
    for name, message in {
        "config.json": "has no config.json", "model.safetensors": r"no \.safetensors file\. pytorch_model\.bin is a pickle",
        "tokenizer.json": "has no tokenizer.json",
    }.items():  # fmt: skip
        path = Path(shutil.copytree(hf_directories.encoder(), tmp_path / name))
        (path / "pytorch_model.bin").write_bytes(b"pickle")
        (path / name).unlink()
        with pytest.raises(InputError, match=message):
            build(path=str(path))
    with pytest.raises(InputError, match="not there"):
        build(path=str(tmp_path / "absent"))
    for options in ({"path": None}, {"package": "json"}):
        with pytest.raises(InputError, match="give either 'path'"):
            build(**options)


def test_a_package_that_is_absent_or_has_no_directory_is_an_error() -> None:
    with pytest.raises(UnreachableError, match=r"no_such_package is not installed.*tutelage\[text-teachers\]"):
        build(path=None, package="no_such_package")
    with pytest.raises(InputError, match="the package json has no directory"):
        build(path=None, package="json")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UnreachableError, match=r"transformers is not installed. Install it: pip install 'tutelage\[hugg"):
        build()


@pytest.mark.parametrize("pieces", [hf_directories.PIECES[:12], (*hf_directories.PIECES, "i")])
def test_a_tokenizer_of_another_vocabulary_is_an_error(pieces: tuple[str, ...], tmp_path: Path) -> None:
    path = str(hf_directories.write(tmp_path, pieces=pieces))
    with pytest.raises(InputError, match=f"tokenizer has {len(pieces)} pieces and the network's vocabulary .* 15"):
        build(path=path)


def test_files_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    path = copied(tmp_path)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="its weights cannot be read"):
        build(path=str(path))
    (path / "model.safetensors").write_bytes(whole)
    with pytest.raises(InputError, match=r"its weights lack encoder\.layer\.2"):
        build(path=changed(path, num_hidden_layers=3))
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="is no tokenizer"):
        build(path=changed(path, num_hidden_layers=2))
    for text, message in {
        '{"model_type": "of-my-own"}': "no configuration that transformers has",
        '{"model_type": "bert", "hidden_size": "wide"}': "no configuration that transformers has",
        '{"model_type": "t5"}': "an encoder with a decoder",
    }.items():
        (path / "config.json").write_text(text)
        with pytest.raises(InputError, match=message):
            build(path=str(path))


def test_code_of_the_directory_is_not_run(tmp_path: Path) -> None:
    path = copied(tmp_path)
    (path / "own_code.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    own = {"AutoConfig": "own_code.Config", "AutoModel": "own_code.Model"}
    with pytest.raises(InputError, match="no configuration that transformers has"):
        build(path=changed(path, model_type="of-my-own", auto_map=own))
    build(path=changed(path, model_type="bert"))
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(("kind", "longest"), [("BertModel", 32), ("RobertaModel", 31)])
def test_a_text_of_more_pieces_than_the_network_takes_is_an_error(kind: str, longest: int, tmp_path: Path) -> None:
    model = build(path=str(hf_directories.write(tmp_path, kind)))
    model(*given([1] * (longest - 2)))
    with pytest.raises(InputError, match=f"a text has {longest + 1} pieces, the network takes {longest}"):
        model(*given([1] * (longest - 1)))


def test_a_character_without_a_piece_is_the_unknown_piece() -> None:
    model = build(replace(KNOWN, names=("a", "z", " ")))
    unknown = hf_directories.PIECES.index("[UNK]")
    assert model.splitter.split == [[hf_directories.PIECES.index("a")], [unknown], [unknown]]


def test_a_word_that_spells_a_special_piece_is_the_unknown_piece(tmp_path: Path) -> None:
    """A sentence of a user may hold "[SEP]", which would end the text for the network."""
    from tokenizers import Tokenizer

    path = copied(tmp_path)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(path / "tokenizer.json"))
    model = build(replace(KNOWN, names=("a", "[SEP]", "a[CLS]b")), path=str(path))
    a, unknown, b = (hf_directories.PIECES.index(piece) for piece in ("a", "[UNK]", "b"))
    assert model.splitter.split == [[a], [unknown], [a, unknown, b]]


def test_an_exported_program_takes_as_many_words_as_if_each_had_the_most_pieces() -> None:
    model, signature = build(), Signature(inputs=(KNOWN,), outputs=(SLOTS,))
    program = program_of(model, signature).module()
    most = (32 - 2) // max(map(len, model.splitter.split))  # positions without the two special pieces
    arguments = given([1] * most, [2])
    torch.testing.assert_close(program(*arguments)["slots"], model(*arguments)["slots"])
    with pytest.raises((AssertionError, RuntimeError), match=f"<= {most}"):
        program(*given([1] * (most + 1), [2]))


def test_other_files_at_the_same_path_are_another_network(tmp_path: Path) -> None:
    path = copied(tmp_path)
    before = _hf_directory.digest_of(path)
    assert before == _hf_directory.digest_of(hf_directories.encoder())
    changed(path, hidden_dropout_prob=0.3)
    assert _hf_directory.digest_of(path) != before
