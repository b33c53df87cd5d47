"""Every link of README and docs leads somewhere, and every path that they name exists."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import NAMES, PAGES, ROOT, anchors, links, text

NAMED = re.compile(r"(?<![\w/.-])(?:tests|platform|search_spaces|docs)/[\w/.-]*\w(?![\w/<-]|\.\w)")
TO_BE_WRITTEN = {"platform/tutelage/losses/mse.py"}  # by the reader


@pytest.mark.parametrize("name", NAMES)
def test_every_link_and_anchor_leads_somewhere(name: str) -> None:
    for target in links(name):
        file, _, anchor = target.partition("#")
        page = ((ROOT / name).parent / file).resolve() if file else ROOT / name
        assert page.exists(), f"{name}: {target} does not exist"
        if anchor:
            assert anchor in anchors(page.relative_to(ROOT).as_posix()), f"{name}: no heading for {target}"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_every_path_that_a_page_names_exists(name: str) -> None:
    missing = {path for path in NAMED.findall(text(name)) if not any(_candidates(path))} - TO_BE_WRITTEN
    assert not missing, f"{name} names {', '.join(sorted(missing))}"


def _candidates(path: str) -> list[bool]:
    return [(ROOT / path).exists(), (ROOT / f"{path}.py").exists()]


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, left = set(), ["README.md"]
    while left:
        name = left.pop()
        if name in found or not name.endswith(".md"):
            continue
        found.add(name)
        targets = [((ROOT / name).parent / link.partition("#")[0]).resolve() for link in links(name) if link[0] != "#"]
        left += [target.relative_to(ROOT).as_posix() for target in targets]
    assert found == {page.relative_to(ROOT).as_posix() for page in PAGES}


def test_the_readme_keeps_to_its_length() -> None:
    assert len(text("README.md").splitlines()) <= 150
