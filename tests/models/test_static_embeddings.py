"""Words start with the embeddings of a package, by the pieces of its tokenizer; what reads a trained network needs none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.plain import SENTENCES, WORDS, models_for
from tests.requirements import needs
from tutelage import initial_weights, plugins
from tutelage.errors import InputError, UnreachableError
from tutelage.models import _static_embeddings as static
from tutelage.models._tokens import Embedding, TokenConfig
from tutelage.networks import checkpoint, cost
from tutelage.signature import UNKNOWN_TOKEN, InputSpec
from tutelage.sweep import identity

PIECES = ("<unk>", "ab", "a", "b", "c", "d")
MODELS = [
    name for name in models_for(SENTENCES) if issubclass(plugins.load("models", name).Config, TokenConfig)
]  # fmt: skip


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny package in place of the real one: six pieces with embeddings of four channels."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path / "site" / "wordllama"
    for name in ("weights", "tokenizers"):
        (folder / name).mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('this code is not run')")
    table = torch.arange(1.0, 25.0).view(6, 4).half()
    save_file({"embedding.weight": table}, folder / "weights" / "small.safetensors")
    write_tokenizer(folder, tokenizers, PIECES)
    monkeypatch.setattr(
        static, "files_of", lambda _: static.Files(*(next(folder.glob(f"{part}/*")) for part in ("weights", "tokenizers")))
    )
    return folder


def write_tokenizer(folder: Path, library: Any, pieces: tuple[str, ...]) -> None:
    model = library.models.WordPiece(
        {piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>", continuing_subword_prefix=""
    )
    library.Tokenizer(model).save(str(folder / "tokenizers" / "small.json"))


def words(*names: str) -> InputSpec:
    return InputSpec(name="tokens", kind="tokens", dtype="int64", shape=("tokens_steps",), names=(UNKNOWN_TOKEN, *names))


def embedding(names: tuple[str, ...], width: int, package: Any = "wordllama") -> torch.Tensor:
    torch.manual_seed(0)
    found: torch.Tensor = Embedding(words(*names), width, width, 0.0, package).table.weight.detach()
    return found


def test_a_word_starts_with_the_mean_of_its_pieces_at_the_scale_of_random_ones(package: Path) -> None:
    table = load_file(package / "weights" / "small.safetensors")["embedding.weight"].float()
    found = embedding(("ab", "ba", "cab"), 3)
    expected = torch.stack([table[1], (table[3] + table[2]) / 2, (table[4] + table[1]) / 2])[:, :3]
    scale = found[1, 0] / expected[0, 0]
    torch.testing.assert_close(found[1:], expected * scale)
    assert found[1:].square().mean() == pytest.approx(1 / 3)
    assert torch.equal(found[0], embedding(("ab", "ba", "cab"), 3, None)[0]), "the unknown word is not in the package"


def test_nothing_but_the_words_starts_otherwise(package: Path) -> None:
    def built(**options: Any) -> nn.Module:
        about = {"model": {"bigru": {"embedding": 4, "hidden": 3, **options}}, "signature": SENTENCES.document()}
        return checkpoint.seeded(about, 5)

    random, own = built(), built(pretrained="wordllama")
    assert cost.size(own) == cost.size(random)
    differ = [name for name, tensor in own.state_dict().items() if not torch.equal(tensor, random.state_dict()[name])]
    assert differ == ["stem.table.weight"]


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_tokens_takes_the_option_and_its_files_are_part_of_its_address(name: str, package: Path) -> None:
    _, plugin, config = plugins.configure("models", {name: {"embedding": 4, "pretrained": "wordllama"}})
    torch.manual_seed(0)
    stem = plugin.build(config, SENTENCES).get_submodule("stem")
    (table,) = [module for module in stem.modules() if isinstance(module, nn.Embedding)]
    expected = static.embeddings_of("wordllama", WORDS.names, 4)
    torch.testing.assert_close(table.weight.detach(), expected)
    before = identity._pretrained({name: {"pretrained": "wordllama"}})
    assert identity._pretrained(name) == {} and before["pretrained"]
    save_file({"embedding.weight": torch.zeros(6, 4).half()}, package / "weights" / "small.safetensors")
    assert identity._pretrained({name: {"pretrained": "wordllama"}}) != before


def test_a_trained_network_is_read_without_the_package(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {
        "version": 2, "model": {"text_cnn": {"embedding": 4, "width": 4, "pretrained": "wordllama"}},
        "signature": SENTENCES.document(),
    }  # fmt: skip
    model = checkpoint.seeded(about, 0).eval()
    checkpoint.write(tmp_path / "net", model, about)

    def absent(_package: str) -> static.Files:
        raise UnreachableError("it is not installed")

    monkeypatch.setattr(static, "files_of", absent)
    read, _ = checkpoint.read(tmp_path / "net")
    tokens, mask = torch.tensor([[1, 2, 0]]), torch.ones(1, 3, dtype=torch.bool)
    assert torch.equal(read(tokens, mask)["intent"], model(tokens, mask)["intent"])
    assert not initial_weights.are_replaced()
    for place in ("cpu", "meta"):
        with pytest.raises(UnreachableError), torch.device(place):
            checkpoint.build(about)


def test_wrong_files_and_widths_are_errors_before_anything_is_trained(package: Path) -> None:
    with (
        pytest.raises(InputError, match=r"its embeddings have 4 channels, and 5 are set. Lower 'embedding'"),
        torch.device("meta"),
    ):
        embedding(("ab",), 5)
    write_tokenizer(package, pytest.importorskip("tokenizers"), (*PIECES, "e"))
    with pytest.raises(
        InputError, match=r"the tokenizer has 7 pieces and the table of embeddings 6: they do not belong together"
    ):
        embedding(("ab",), 4)
    (package / "tokenizers" / "small.json").write_text("{}")
    with pytest.raises(InputError, match=r"small.json: is no tokenizer"):
        embedding(("ab",), 4)
    (package / "weights" / "small.safetensors").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"small.safetensors: is no table of embeddings"):
        embedding(("ab",), 4)


def test_a_package_without_its_files_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_words" / "weights").mkdir(parents=True)
    (tmp_path / "some_words" / "__init__.py").write_text("raise SystemExit('this code is not run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"has 0 tables of embeddings .* and 0 tokenizers"):
        static.files_of("some_words")
    with pytest.raises(UnreachableError, match=r"not installed. Install it: pip install 'tutelage\[static-embeddings\]'"):
        static.files_of("no_such_words")


@needs(importlib.util.find_spec("wordllama"), "package wordllama")
def test_similar_words_of_the_real_package_have_similar_embeddings() -> None:
    pytest.importorskip("tokenizers")
    names = ("restaurant", "cafe", "weather", "forecast", "album", "song")
    found = static.embeddings_of("wordllama", names, 64)
    near = torch.nn.functional.normalize(found, dim=1)
    similar = near @ near.T - 2 * torch.eye(len(names))
    assert similar.argmax(dim=1).tolist() == [1, 0, 3, 2, 5, 4]
