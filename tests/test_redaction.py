"""Secrets are hidden wherever their place or their name gives them away; everything else stays as it is."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.redaction import HIDDEN, is_secret, redact, redacted

SECRETS = st.text(string.ascii_letters + string.digits + "._~+/=@:!$*-", min_size=6, max_size=20).map("Zq{}9".format)
PLACES = [
    "postgresql://me:{}@host:5432/db",
    "https://{}@example.org/path",
    "see 'mysql+pymysql://me:{}@host/db?ssl=1', it failed",
    "password={}",
    "PWD={};Database=x",
    "host=db user=me password={} dbname=x",
    "--db-password {} was not given: password: {}",
    "token={}",
    "MLFLOW_TRACKING_TOKEN={}",
    "AWS_SECRET_ACCESS_KEY={}",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core.windows.net",
    "Authorization: Bearer {}",
    "{{'Authorization': 'Basic {}'}}",
    "curl -H 'X-Api-Key: {}'",
    "passphrase: {}",
    "{{'passphrase': '{}'}}",
    '{{"client_secret": "{}"}}',
    "https://host/blob?sv=1&sig={}&se=2",
    "https://host/blob?X-Amz-Signature={}",
    "https://host/x?api_key={}",
    "tool --password {} run",
    "tool --api-key {}",
    "passwords: ['a]', '{}']",
    "{{'api_keys': ['x', '{}'], 'more': 1}}",
    "secret=[a, b, {}",
]


@pytest.mark.parametrize("place", [place for place in PLACES if place.count("{}") == 1])
@given(secret=SECRETS)
def test_a_secret_is_hidden_at_every_place(place: str, secret: str) -> None:
    if "?" in place or "://{}@" in place:  # neither a parameter nor a user can hold a / as it is
        secret = quote(secret, safe="")
    shown = redact(place.format(secret))
    assert secret not in shown and HIDDEN in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////srv/.tutelage/mlflow.db", "http://host:5000/#/experiments/1", "models:/digits-student@champion",
        "http://host:5000/models:/x@champion", "the network takes tokens: 128 steps", "num_tokens=512", "signature: image",
        "keyboard=qwerty", "author: me", "accuracy=0.93", "mail me@example.org", "user=me", "key=value", "a: b: c", "",
    ],
)  # fmt: skip
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=60))
def test_a_redacted_text_stays_as_it_is(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_a_text_without_spaces_is_read_once() -> None:
    """Base64 in an error's text has no spaces: with a search from each of its letters, this text would take an hour."""
    text = "aZ09" * 250_000
    assert redact(text) == text
    assert redact(f"{text} password={text}") == f"{text} password={HIDDEN}"


@pytest.mark.slow
@pytest.mark.timeout(30)  # it takes half a second; looking for a password after every @ takes minutes
@pytest.mark.parametrize("unit", ["a:", "a=", "a: ", "a='", "://a:", "://a", "?b&", "--a ", 'a.b=\\"'])
def test_a_text_of_many_keys_is_read_without_recursion(unit: str) -> None:
    text = "@" + unit * 50_000
    assert redact(text) == text
    assert redact(f"{text} password=x").endswith(f"password={HIDDEN}")


@pytest.mark.timeout(30)  # a tenth of a second; a look for the end of a quotation at each quote takes minutes
@pytest.mark.parametrize("begun", ["", "'", "'a', "])
def test_a_list_of_many_escaped_quotes_is_read_once(begun: str) -> None:
    assert redact(f"secrets=[{begun}" + '\\"' * 50_000) == f"secrets=[{HIDDEN}]"


def test_a_secret_in_the_value_of_another_key_is_hidden() -> None:
    assert redact("password='a: token: y z' rest") == f"password='{HIDDEN}' rest"
    assert redact("url=http://h/x?token=abc") == f"url=http://h/x?token={HIDDEN}"
    assert redact("args: 'a=b: password: c'; d=e") == f"args: 'a=b: password: {HIDDEN}'; d=e"


def test_what_stands_beside_a_secret_stays() -> None:
    assert redact("postgresql://me:p@ss@host:5432/db") == f"postgresql://{HIDDEN}@host:5432/db"
    assert redact("postgresql://me:p@s/s@host:5432/db") == f"postgresql://{HIDDEN}@host:5432/db"
    assert redact("host=db password=abc dbname=x") == f"host=db password={HIDDEN} dbname=x"
    assert redact("AccountName=a;AccountKey=b==;X=c") == f"AccountName=a;AccountKey={HIDDEN};X=c"
    assert redact("{'token': 'abc', 'rate': 0.1}") == f"{{'token': '{HIDDEN}', 'rate': 0.1}}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("password", True), ("dbPassword", True), ("DB_PASSWD", True), ("AccountKey", True), ("SharedAccessKey", True),
        ("x-api-key", True), ("apikey", True), ("hf_token", True), ("sessionToken", True), ("privateKey", True),
        ("tokens", False), ("num_tokens", False), ("key", False), ("keys", False), ("passes", False), ("secretary", False),
        ("authors", False), ("monkey", False), ("signature", False),
        ("next_token_accuracy", False), ("my.token_f1", False), ("token_rate", False), ("access_token_rate_password", True),
        ("passwords", True), ("api_keys", True), ("attention_keys", False),
        ("token", True), ("token_value", True), ("token_accuracy_token", True),
    ],
)  # fmt: skip
def test_whether_a_value_is_a_secret_follows_from_its_name(name: str, expected: bool) -> None:
    assert is_secret(name) is expected


@given(
    secret=SECRETS,
    name=st.sampled_from(["password", "token", "AccountKey", "passphrase", "api_key"]),
    depth=st.integers(0, 3),
)
def test_a_secret_under_a_key_is_hidden_at_any_depth(secret: str, name: str, depth: int) -> None:
    tree: Any = {name: secret, "rate": 0.5}
    for number in range(depth):
        tree = {f"inner{number}": [tree, 1]}
    assert secret not in json.dumps(redacted(tree))
    assert redacted({"rate": 0.5, "n": [1, None, True]}) == {"rate": 0.5, "n": [1, None, True]}


def test_all_values_that_a_secret_may_take_are_hidden() -> None:
    tree = {"api_key": {"choice": ["a", "b"]}, "hf_token": ["c"], "token": {"choice": [1, 2]}, "tokens": ["d"]}
    hidden = {"api_key": {"choice": [HIDDEN, HIDDEN]}, "hf_token": [HIDDEN], "token": {"choice": [1, 2]}, "tokens": ["d"]}
    assert redacted(tree) == hidden


def test_numbers_are_hidden_as_passwords_and_shown_as_counts() -> None:
    tree = {"password": 1234, "token": 128, "use_password": True, "secret": None}
    assert redacted(tree) == {"password": HIDDEN, "token": 128, "use_password": True, "secret": None}


@pytest.mark.parametrize(
    "secret",
    [
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "AKIAIOSFODNN7EXAMPLE",
        "sk-proj-abcdefghijklmnopqrstuvwxyz", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "xoxb-1234-abcdefghijklm",
    ],
)  # fmt: skip
def test_tokens_that_begin_as_those_of_a_service_are_hidden_wherever_they_stand(secret: str) -> None:
    assert redact(f"it said {secret}, twice") == f"it said {HIDDEN}, twice"


def test_a_private_key_is_hidden() -> None:
    text = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nxyz\n-----END RSA PRIVATE KEY-----\n"
    assert "MIIabc" not in redact(text) and "xyz" not in redact(text) and redact(redact(text)) == redact(text)
