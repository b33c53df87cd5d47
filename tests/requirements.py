"""Programs that some tests need: without them those tests skip, except where the environment says that none may."""

from __future__ import annotations

import os
import shutil

import pytest

VARIABLE = "TUTELAGE_TESTS_MUST_NOT_SKIP"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def needs(found: object, what: str) -> pytest.MarkDecorator:
    """Return the mark of a test that needs a program: it skips where `found` is false, and runs and fails in `.ci/run`."""
    return pytest.mark.skipif(not found and not os.environ.get(VARIABLE), reason=f"there is no {what}")


needs_chromium = needs(CHROMIUM, "Chromium on this machine: apt-get install chromium")
