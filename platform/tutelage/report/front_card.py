"""The card of a sweep on its page in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.escaping import for_markdown
from tutelage.measure import Measure


def front_card(name: str, table: Any, measures: Mapping[str, Measure]) -> str:
    """Return the card, Markdown, that MLflow shows on the sweep's page: the front's measures, but for details."""
    shown = {"trial", *(measure.name for measure in measures.values() if not measure.detail)}
    columns = [column for column in table.columns if column in shown]
    rows = ["| " + " | ".join(f"{value:g}" if isinstance(value, float) else for_markdown(str(value)) for value in row) + " |"
            for row in table[columns].itertuples(index=False)]  # fmt: skip
    head = ["| " + " | ".join(map(for_markdown, columns)) + " |", "|" + "---|" * len(columns)]
    return "\n".join([f"## Front of {name}", "", *head, *rows, "", f"`tutelage select {name} --max size_bytes=20k`"])
