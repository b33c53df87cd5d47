"""Text and settings without their secrets: what is written, logged or shown goes through `redact` or `redacted`.

Secrets are found by where they stand: in a URI before the host, or as the value of a key, parameter or header whose name says
that it is one; private keys, and the tokens of some services, by how they begin. No other secret that stands alone in a text is
found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

HIDDEN = "***"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS = {
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "credential", "credentials", "authorization",
    "cookie",
}  # fmt: skip
_IF_TEXT = {"token", "apikey", "accesskey", "accountkey", "secretkey", "privatekey", "signingkey", "sas", "jwt"}
_MEASURED = {  # words behind `token` in the name of a number, such as next_token_accuracy
    "accuracy", "count", "counts", "error", "f", "length", "lengths", "loss", "measures", "perplexity", "rate", "share",
}  # fmt: skip
_KEYS = {
    "api",
    "access",
    "account",
    "secret",
    "private",
    "signing",
    "encryption",
    "license",
    "auth",
    "shared",
    "storage",
}  # … key

_LISTED = {  # words that may have a plural s
    "key", "apikey", "accesskey", "secretkey", "privatekey", "signingkey", *_ALWAYS,
}  # fmt: skip

_USER = re.compile(r"(://)[^/\s\"<>]*@")
_CHUNK = re.compile(r"[^\s\"<>]++")
_PASSWORD = re.compile(
    r"(://)[^/:@\[\s\"<>]*:(?!\d+(?:/|$))[^\s\"<>]*@"
)  # to the last @: a password may hold an @ or a /; no port
_NAME = r"(?<![\w.\-])[\w.\-]++"  # whole, and never a part of one: a long word is read once
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_KEY = re.compile(rf"(?P<name>{_NAME})[\"']?\s*[=:]\s*")
_LIST = rf"\[(?:{_QUOTED}|\\.|[^\]\n])*+\]?"
_AROUND = {'"': ('"', '"'), "'": ("'", "'"), "[": ("[", "]")}  # what stays around a hidden value, by how it begins
_VALUE = re.compile(rf"{_QUOTED}|{_LIST}|[^\s&;\"']+")
_SIGNED = re.compile(r"([?&;](?:[\w\-]*[-_])?(?:sig|signature|key|code)=)[^\s&;\"']+", re.IGNORECASE)
_HEADER = re.compile(r"((?:proxy-)?authorization[\"']?\s*[=:]\s*[\"']?)[^\r\n\"']+", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer\s+)[A-Za-z0-9._~+/=\-]+", re.IGNORECASE)

_OPTION = re.compile(r"(?P<dashes>(?<!\S)--?)(?P<name>[A-Za-z][\w\-]*)(?P<between>\s+)(?P<value>(?!-)[^\s\"']+)")
_TOKEN = re.compile(  # by the beginnings that services give their tokens
    r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|dapi|AKIA|ASIA|eyJ[\w\-]+\.eyJ)[\w\-.]{16,}"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def redact(text: str) -> str:
    """Return a text in which `***` stands for the users and passwords of URIs, and for values with the name of a secret.

    A text without secrets is unchanged, and so is a redacted one.
    """
    text = _CHUNK.sub(_without_passwords, text)
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _SIGNED.sub(rf"\1{HIDDEN}", text)
    text = _PRIVATE_KEY.sub(rf"\1{HIDDEN}\2", text)
    text = _TOKEN.sub(HIDDEN, text)
    text = _OPTION.sub(_option, text)
    return "".join(_without_secret_values(text))


def _without_passwords(chunk: re.Match[str]) -> str:
    """Return a text without spaces, and without the passwords in it; after its last @ there is none, and none is looked for."""
    before, at, after = chunk[0].rpartition("@")
    return _PASSWORD.sub(rf"\1{HIDDEN}@", before + at) + after


def _option(found: re.Match[str]) -> str:
    """Return an option of a command line, such as `--password x`, without a secret value."""
    value = HIDDEN if is_secret(found["name"]) else found["value"]
    return f"{found['dashes']}{found['name']}{found['between']}{value}"


def _without_secret_values(text: str) -> Iterator[str]:
    """Give the parts of a text, `***` in place of each value of a secret key; a value may hold keys, as in `url=a?token=b`."""
    place = 0
    for key in _KEY.finditer(text):
        value = _VALUE.match(text, key.end()) if key.start() >= place and is_secret(key["name"]) else None
        if value:
            before, after = _AROUND.get(value[0][0], ("", ""))
            yield f"{text[place : key.end()]}{before}{HIDDEN}{after}"
            place = value.end()
    yield text[place:]


def redacted(value: Any) -> Any:
    """Return settings (mappings, lists, text, numbers) without their secrets; a secret value under a key is `***`.

    A password is hidden if it is a number too; of keys that may also count something, such as `token`, only text is hidden.
    So is each value of a list, and of a searched choice, under such a key.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _below(key, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(one) for one in value)
    return value


def _below(key: Any, value: Any) -> Any:
    """Return what stands under a key, without its secrets."""
    if _is_secret_value(key, value):
        return HIDDEN
    if isinstance(value, list | tuple):
        return type(value)(_below(key, one) for one in value)
    if isinstance(value, Mapping) and set(value) == {"choice"} and not isinstance(value["choice"], str):
        return {"choice": _below(key, value["choice"])}
    return redacted(value)


def _is_secret_value(key: Any, value: Any) -> bool:
    if value is None or isinstance(value, bool) or not isinstance(key, str) or not is_secret(key):
        return False
    return isinstance(value, str) or _is_always_secret(key)


def is_secret(name: str) -> bool:
    """Return whether a key, parameter or header of that name holds a secret: `dbPassword`, `SECRET_ACCESS_KEY`, `x-api-key`.

    A token that is measured, as in `next_token_accuracy`, is none.
    """
    words = _words(name)
    pairs = list(pairwise(words))
    is_key = any(second == "key" and first in _KEYS for first, second in pairs)
    found = [word for word, behind in zip(words, [*words[1:], ""], strict=False) if word != "token" or behind not in _MEASURED]
    return is_key or _is_always_secret(name) or bool(_IF_TEXT & {*found, *(first + second for first, second in pairs)})


def _is_always_secret(name: str) -> bool:
    words = _words(name)
    return bool(_ALWAYS & {*words, *(first + second for first, second in pairwise(words))})


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case; of a list's name, such as `api_keys`, those of one of its values."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return [word.removesuffix("s") if word.removesuffix("s") in _LISTED else word for word in words]
