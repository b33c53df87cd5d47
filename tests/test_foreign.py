"""What code of a user's own raises becomes an error that names it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tutelage.errors import InputError, WorkFailed
from tutelage.foreign import blamed_calls


def raising(error: BaseException) -> None:
    raise error


def test_each_method_of_an_object_of_a_users_own_is_named_with_what_it_raises() -> None:
    own = blamed_calls(SimpleNamespace(suggest=raising, finished=lambda number, end: number + end), "sampler 'a:B': chooser")
    assert own.finished(1, end=2) == 3
    with pytest.raises(InputError, match=r"sampler 'a:B': chooser: suggest fails: KeyError: 'x' \(test_foreign.py, line \d+\)"):
        own.suggest(KeyError("x"))
    with pytest.raises(InputError, match=r"chooser: discarded fails: AttributeError"):
        own.discarded(1)
    with pytest.raises(WorkFailed, match="as it is"):
        own.suggest(WorkFailed("as it is"))
