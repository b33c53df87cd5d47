"""A network run on arguments; what it raises becomes an error that names the layer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import InputError, TutelageError
from tutelage.foreign import blamed, reason
from tutelage.networks.process_state import preserved


def run(model: nn.Module, arguments: Sequence[Tensor]) -> Any:
    """Return what `model` returns in evaluation mode, without gradients. Raises `InputError` with the layer that fails."""
    was_training = model.training
    model.eval()
    try:
        with contained(), torch.no_grad():
            return model(*arguments)
    except TutelageError:
        raise
    except (Exception, SystemExit) as error:  # a network of a user's may raise anything
        raise InputError(f"the network does not run: {_place(model, arguments)}{reason(error)}.") from error
    finally:
        model.train(was_training)


@contextmanager
def contained() -> Iterator[None]:
    """Run a user's code within a block: what it changes of the process is put back, and what it prints goes to stderr."""
    with preserved(), redirect_stdout(sys.stderr):
        yield


@contextmanager
def of_user(what: str) -> Iterator[None]:
    """Run a user's code within a block, contained; whatever it raises becomes an `InputError` that names `what`."""
    with contained(), blamed(what):
        yield


def _place(model: nn.Module, arguments: Sequence[Tensor]) -> str:
    """Return the innermost layer that `model` is in when it fails, in words; "" if that is the network itself."""
    inside: list[str] = []

    def enter(name: str) -> Any:
        return lambda *_: inside.append(name)

    hooks = []
    for name, layer in model.named_modules():
        if name:
            hooks.append(layer.register_forward_pre_hook(enter(f"layer '{name}' ({type(layer).__name__}): ")))
            hooks.append(layer.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        with contained(), torch.no_grad():
            model(*arguments)
    except (Exception, SystemExit):  # the same error again, with the layers at hand
        return inside[-1] if inside else ""
    finally:
        for hook in hooks:
            hook.remove()
    return ""
