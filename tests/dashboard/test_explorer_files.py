"""The built explorer is that of its source, and its unit tests read what the package gives today."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.dashboard import explorer_fixtures
from tests.dashboard.explorer_server import STATIC

SOURCE = Path(__file__).parents[2] / "dashboards" / "explorer"
FILES = ("index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")
FOLDERS = ("build", "src")


def hash_of_sources() -> str:
    """Return what `dashboards/explorer/build/sources.ts` writes: the SHA-256 over each path and its bytes."""
    inside = [path for folder in FOLDERS for path in (SOURCE / folder).rglob("*") if path.is_file()]
    paths = [SOURCE / name for name in FILES] + inside
    found = hashlib.sha256()
    for name, path in sorted((path.relative_to(SOURCE).as_posix().encode(), path) for path in paths):
        found.update(name + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def test_the_built_page_is_that_of_the_source() -> None:
    assert (STATIC / "sources.sha256").read_text(encoding="utf-8").strip() == hash_of_sources(), "run `make explorer`"


def test_the_built_page_loads_nothing_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert "default-src 'self'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert {path.name for path in (STATIC / "assets").iterdir()} == {"explorer.js", "explorer.css"}


def test_the_built_page_has_the_license_of_the_library_in_it() -> None:
    assert "Leon Sorokin" in (STATIC / "uPlot.LICENSE.txt").read_text(encoding="utf-8")


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (SOURCE / "package-lock.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_unit_tests_of_the_page_read_what_the_package_gives() -> None:
    for name, document in explorer_fixtures.files().items():
        written = (explorer_fixtures.FOLDER / name).read_text(encoding="utf-8")
        assert explorer_fixtures.text_of(document) == written, "run `python -m tests.dashboard.explorer_fixtures`"
