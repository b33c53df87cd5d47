"""What a sweep's page shows of single examples: those on which the selected student differs most from its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report import layout

Examples = Mapping[str, Any]  # the document of `selection.examples.most_different`


def most_different(found: Examples | None, selection: Mapping[str, Any] | None) -> str:
    """Return the section with the examples; "" without any, or if they belong to another student than the selected one."""
    if not found or not selection or found["trial"] != selection["student"]["trial"] or not found["examples"]:
        return ""
    note = (
        f"The {len(found['examples'])} of the first {found['compared']:,} {found['split']} examples with the largest KL "
        "divergence of the student from its teacher. Wrong predictions are marked."
    )
    parts = [
        f"<h3>{layout.text(found['split'])} example {one['row']:,}, {one['kl_nats']:.2f} nats</h3>{one['html']}"
        for one in found["examples"]
    ]
    return layout.section("Where teacher and student differ most", layout.paragraphs([note], "quiet"), *parts)
