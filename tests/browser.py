"""A headless browser for tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.requirements import CHROMIUM


@contextmanager
def chromium(wait_ms: int) -> Iterator[Any]:
    """Give a headless browser; what Playwright expects may take `wait_ms`, as on a busy machine."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=wait_ms)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
