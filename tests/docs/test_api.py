"""The API pages are built from the docstrings without a warning, and hold the public names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tutelage
from tests.docs.pages import ROOT, text
from tutelage import plugins


@pytest.mark.slow
def test_the_api_pages_are_built(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="make setup installs it")
    command = [sys.executable, ROOT / "docs" / "api.py", tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "tutelage" / "api.html").read_text()
    assert all(f'<section id="{name}">' in page for name in tutelage.__all__)
    missing = [
        (family, name)
        for family in plugins.FAMILIES
        for name in plugins.names(family)
        if not (tmp_path / "site" / "tutelage" / plugins.folder(family) / f"{plugins.stem(family, name)}.html").exists()
    ]
    assert not missing, "every plugin has a page"
    index = (tmp_path / "site" / "index.html").read_text()
    assert "tutelage/losses/kd.html" in index and plugins.summary("losses", "kd") in index
    assert "PydanticUndefined" not in page
    assert not list((tmp_path / "site").rglob("_*.html")), "a family's helpers are not public"


def test_make_docs_writes_into_a_folder_that_git_ignores() -> None:
    assert "docs/api.py site" in text("Makefile")
    assert "/site/" in text(".gitignore").splitlines()
