"""How the explorer is served: the token, whether a student may be promoted, and the storage with the sweeps' files."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from tutelage.errors import InputError

TOKEN, STORAGE = "TUTELAGE_DASHBOARD_TOKEN", "TUTELAGE_DASHBOARD_STORAGE"
_OF_A_COOKIE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # RFC 6265, 4.1.1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`is_guarded` asks for the token at every page; promotions always need it. Without a `storage` nothing is promoted."""

    token: str = ""
    is_guarded: bool = False
    can_promote: bool = False
    storage: str = ""

    def __post_init__(self) -> None:
        """Raise `InputError` for a token that a browser would not send back whole."""
        assert self.token or not (self.is_guarded or self.can_promote), "what is guarded has a token"
        if not _OF_A_COOKIE.fullmatch(self.token):
            raise InputError(
                f"{TOKEN} has a character that a cookie cannot hold: a space, a quote, a comma, a semicolon, a backslash, or "
                "one beyond ASCII. Use letters and digits, as `openssl rand -hex 24` gives them."
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Return the settings of `mlflow server --app-name tutelage`, which has no options of its own: nothing is promoted."""
        token = environment.get(TOKEN, "")
        return cls(token=token, is_guarded=bool(token), storage=environment.get(STORAGE, ""))

    def is_token(self, given: str | None) -> bool:
        """Return whether a text is the token, in the same time for every wrong one."""
        return bool(self.token and given) and secrets.compare_digest(self.token.encode(), str(given).encode())


def new_token() -> str:
    """Return the token of the environment, else a new one."""
    return os.environ.get(TOKEN) or secrets.token_urlsafe(24)
