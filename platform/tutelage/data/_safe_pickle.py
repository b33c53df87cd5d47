"""Reads dictionaries of arrays, lists and text from untrusted pickles.

A pickle can call any function that it names. Here, the few names that NumPy's arrays need are replaced by stand-ins that only
store their arguments. So a file cannot call NumPy or Python code; a forged dtype, for example, could corrupt memory.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import InputError

_CORES = ("numpy.core", "numpy._core")  # the second since NumPy 2
_CODES = re.compile(r"[biuf][1248]")  # booleans and numbers, no structured types or objects


class _Dtype:
    """The dtype of an array, as its pickle states it; `made` checks it and returns NumPy's."""

    def __init__(self, code: bytes | str, *_: Any) -> None:
        self.code, self.order = _text(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def made(self) -> np.dtype[Any]:
        code, order = ("b1" if self.code == "?" else self.code), self.order
        if not _CODES.fullmatch(code) or order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"an array of dtype {self.code!r}")
        return np.dtype(order + code)


class _Array:
    """An array, as its pickle states it; `made` checks it and returns NumPy's."""

    def __init__(self, raw: bytes = b"", dtype: Any = None, shape: Any = (0,), fortran: Any = False) -> None:
        self.raw, self.dtype, self.shape, self.order = raw, dtype, shape, "F" if fortran in (True, "F", b"F") else "C"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.__init__(raw, dtype, shape, fortran)  # type: ignore[misc]

    def made(self) -> np.ndarray:
        dtype = self.dtype.made()
        if len(self.raw) != math.prod(self.shape) * dtype.itemsize:
            raise pickle.UnpicklingError(f"an array of shape {self.shape} in {len(self.raw):,} bytes")
        values = np.frombuffer(bytearray(self.raw), dtype)  # a copy, because a tensor needs writable memory
        return values.reshape(self.shape, order=self.order)  # type: ignore[call-overload,no-any-return]


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes written as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Return b"": in older protocols, Python 3 pickles empty bytes as a call of `bytes`."""
    return b""


def _array_type(*_: Any) -> _Array:
    raise pickle.UnpicklingError("numpy.ndarray called by the pickle itself")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _array_type,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): _no_bytes,
    **{(f"{core}.multiarray", "_reconstruct"): lambda *_: _Array() for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _Array for core in _CORES},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")  # the official files were written by Python 2
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise InputError(
                f"{self.path}: this pickle is not read, because it uses {module}.{name}. Only arrays of numbers, lists, "
                "dictionaries and text are read. Take the file from its official source."
            )
        return _ALLOWED[module, name]


def read(path: Path) -> dict[str, Any]:
    """Return the dictionary in the pickle at `path`: keys as text, arrays as NumPy's.

    Raises `InputError` for a pickle that uses any other name (with the name), is cut off (with its size), or cannot be read.
    """
    content = path.read_bytes()
    try:
        found = _Unpickler(path, content).load()
        if isinstance(found, dict):
            return {_text(key): value.made() if isinstance(value, _Array) else value for key, value in found.items()}
    except InputError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        if needed := _bytes_needed(content):
            raise InputError(
                f"{path}: the pickle is cut off: it has {len(content):,} bytes and needs at least {needed:,}. "
                "Download it again."
            ) from error
        raise InputError(f"{path}: cannot be read as a pickle ({type(error).__name__}: {error}). Download it again.") from error
    raise InputError(f"{path}: the pickle holds a {type(found).__name__}, not a dictionary. Take the official file.")


def _bytes_needed(content: bytes) -> int:
    """Return the least number of bytes that a cut-off pickle needs; 0 if it is not cut off."""
    try:
        for _ in pickletools.genops(content):
            pass
    except ValueError as error:
        missing = re.search(r"expected (\d+) bytes .*only (\d+) remain", str(error))
        if missing:
            return len(content) + int(missing[1]) - int(missing[2])
        if "exhausted" in str(error) or "not enough data" in str(error):
            return len(content) + 1
    return 0


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
