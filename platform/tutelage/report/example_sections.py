"""What a sweep's page shows of single examples: those on which the selected student differs most from its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report import layout

Examples = Mapping[str, Any]  # the document of `selection.examples.most_different`
BY = {
    "kl": "with the largest KL divergence of the student from its teacher",
    "loss": "on which the student's label loss exceeds its teacher's most",
}


def is_of(found: Examples, selection: Mapping[str, Any] | None) -> bool:
    """Return whether a document is of the selected student, and not of one that was selected before."""
    return bool(selection and found["trial"] == selection["student"]["trial"])


def most_different(found: Examples | None, selection: Mapping[str, Any] | None) -> str:
    """Return the section with the examples; "" without any, or if they belong to another student than the selected one."""
    if not found or not is_of(found, selection) or not found.get("examples"):
        return ""
    chosen = f"The {len(found['examples'])} of the first {found['compared']:,} {found['split']} examples"
    note = f"{chosen} {BY[found['by']]}. Wrong predictions are marked."
    parts = [
        f"<h3>{layout.text(found['split'])} example {one['row']:,}, {one['nats']:.2f} nats</h3>{one['html']}"
        for one in found["examples"]
    ]
    return layout.section("Where teacher and student differ most", layout.paragraphs([note], "quiet"), *parts)
