"""The explorer of a real sweep, from MLflow's own server in a headless Chromium."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.dashboard.test_servers import dashboard
from tests.requirements import needs
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.ray, needs(CHROMIUM, "Chromium on this machine: apt-get install chromium")]


def test_page_and_package_agree_on_a_sweep_in_mlflow(small_sweep: SweepDir) -> None:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    front = [one["trial"] for one in json_views.front(small_sweep)["students"]]
    storage = small_sweep.storage.local_path("")
    with dashboard(small_sweep.name, "--storage", str(storage)) as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 950})
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        with page.expect_response(lambda one: one.url.endswith("/snapshot"), timeout=60_000) as received:
            page.goto(address)
        expect(page.locator(".legend")).to_contain_text(f"front ({len(front)})")
        expect(page.locator("tr[data-row]").first).to_be_visible()
        document = received.value.json()
        for row in page.locator(".choices > li").all():
            takes = document["sweep"]["policies"][row.locator(".policy").inner_text()]["takes"]
            assert row.locator("strong").first.inner_text() == document["id"][takes]
        assert walked(page, len(front)) == sorted(front)
        page.locator(".candidate-card").get_by_role("button", name="Compare").click()
        expect(page.locator(".chart canvas").first).to_be_attached()
        page.locator(".candidate-card").get_by_role("link", name="Run in MLflow").click()
        expect(page.get_by_text("accuracy").first).to_be_visible()
        assert "/runs/" in page.url
        assert failures == []
        browser.close()


def walked(page: Any, count: int) -> list[str]:
    """Return the candidates that the right arrow key reaches, sorted."""
    found = []
    page.locator(".stage").focus()
    for _ in range(count):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(100)
        found.append(page.locator("#card-title").inner_text())
    return sorted(found)
