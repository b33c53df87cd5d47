"""The Markdown pages of the repository, their code blocks, and their links."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text(name: str) -> str:
    """Return a page's text, named by its path from the root."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Return the fenced code blocks of a page that have this language."""
    return [code for kind, code in FENCE.findall(text(name)) if kind == language]


def prose(name: str) -> str:
    """Return a page without its code blocks, fenced or indented."""
    return "\n".join(line for line in FENCE.sub("", text(name)).splitlines() if not line.startswith("    "))


def links(name: str) -> list[str]:
    """Return the targets of a page's links and pictures that stand in the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(name)))
    return [target for target in found if not target.startswith(("http://", "https://", "mailto:"))]


def anchors(name: str) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(name: str) -> list[str]:
    """Return the shell commands of a page: in code blocks, and in `…` where one begins with a program of ours."""
    shown = FENCE.sub("", text(name))
    inline = re.findall(r"`((?:tutelage|make|python) [^`]+)`", prose(name).replace("\n", " "))
    indented = re.findall(r"^    ((?:tutelage|make|python) (?:.*\\\n)*.*)", shown, re.MULTILINE)
    shells = [code.replace("\\\n", " ") for kind in ("", "sh", "bash") for code in blocks(name, kind)]
    fenced = [line for code in shells for line in code.splitlines()]
    starts = [line for line in fenced if line.startswith(("tutelage ", "make ", "python "))]
    return [" ".join(one.replace("\\\n", " ").split("#")[0].split()) for one in (*inline, *indented, *starts)]
