"""The parts of a page that opens offline: its style, tables, facts and interactive pictures; all text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.redaction import redact

if TYPE_CHECKING:
    import plotly.graph_objects as go

STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1c2733;background:#f5f7f9;margin:0}
main{max-width:72rem;margin:0 auto;padding:1.6rem 1rem 3rem}
section{background:#fff;border:1px solid #e1e6eb;border-radius:10px;padding:1rem 1.3rem 1.2rem;margin:1rem 0}
h1{font-size:1.7rem;margin:.2rem 0 .6rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:0 0 .7rem;color:#0b4a73}
h3{font-size:.95rem;margin:1rem 0 .3rem}p{max-width:52rem}.quiet{color:#5c6b78;font-size:.86rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.84rem}.wide{overflow-x:auto;margin:.5rem 0}
th{color:#5c6b78;font-weight:600}th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap}
tr:hover td{background:#f5f9fc}
th:first-child,td:first-child,.text td,.text th{text-align:left}.text td{white-space:normal;overflow-wrap:anywhere}
.text td:first-child{white-space:nowrap}.text td{vertical-align:top}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.7rem;margin:.8rem 0}
.facts div{background:#fff;border:1px solid #e1e6eb;border-radius:10px;padding:.6rem .8rem;color:#5c6b78;font-size:.82rem}
.facts b{display:block;font-size:1.3rem;color:#1c2733;font-variant-numeric:tabular-nums}
.bar{display:grid;grid-template-columns:minmax(7rem,15rem) 1fr 3.2rem;gap:.6rem;align-items:center;font-size:.84rem}
.bar i{display:block;height:.8rem;background:#0072B2;border-radius:3px}.bar span{overflow-wrap:anywhere}
.beside{display:flex;flex-wrap:wrap;gap:.5rem 2rem}.matrix caption{color:#5c6b78;text-align:left;padding-bottom:.3rem}
.matrix th,.matrix td{padding:.2rem .45rem}.matrix th{white-space:normal;max-width:7rem;overflow-wrap:anywhere}
figure.example{display:inline-block;margin:0 .6rem .3rem 0}
figcaption{color:#5c6b78;font-size:.8rem}
.example th:first-child,.example td{text-align:left}.example td{white-space:pre}
mark{background:#ffe3b3;color:#1c2733}img.example{image-rendering:pixelated}
pre{overflow-x:auto;background:#f5f7f9;padding:.8rem;border-radius:6px;font-size:.78rem}.plot{min-width:0}
@media(max-width:600px){section{padding:.8rem .7rem}main{padding:1rem .6rem}.text td:first-child{white-space:normal}
.bar{grid-template-columns:7rem 1fr 2.6rem}}
"""


def plain(value: Any) -> str:
    """Return a value as text: numbers with separators and four digits, nothing for NaN; without secrets."""
    if not isinstance(value, float):
        return redact(str(value))
    return "" if value != value else f"{value:,.0f}" if value == round(value) and abs(value) >= 10 else f"{value:.4g}"


def text(value: Any) -> str:
    """Return a value as escaped HTML."""
    return html.escape(plain(value))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    """Return a table that scrolls where it is too wide; a `kind` of "text" wraps its cells."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{head}</tr>{body}</table></div>'


def section(title: str, *parts: str) -> str:
    """Return a section: its title, and parts that are HTML."""
    return f"<h2>{text(title)}</h2>" + "".join(parts)


def paragraphs(texts: Iterable[str | None], kind: str = "") -> str:
    """Return a paragraph for each text that is not empty; a `kind` of "quiet" is a note."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "".join(f"{opening}{text(one)}</p>" for one in texts if one)


def headline(title: str, facts: Mapping[str, Any]) -> str:
    """Return the top of a page: its title, and facts by name."""
    boxes = "".join(f"<div><b>{text(value)}</b>{text(name)}</div>" for name, value in facts.items())
    return f"<h1>{text(title)}</h1>" + (f'<div class="facts">{boxes}</div>' if boxes else "")


def page(title: str, head: str, sections: Sequence[str]) -> str:
    """Return a page that needs no network: `head`, then every section that is not empty."""
    body = "".join(f"<section>{one}</section>" for one in sections if one)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style><main>{head}{body}</main></html>"
    )


def plot(figure: go.Figure) -> str:
    """Return an interactive figure as HTML that carries its own script and fits its column."""
    legend = {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"}
    figure.update_layout(autosize=True, margin={"l": 55, "r": 10, "t": 15, "b": 45}, legend=legend)
    config = {"responsive": True, "displayModeBar": False}
    drawn: str = figure.to_html(include_plotlyjs=True, full_html=False, config=config, default_width="100%")
    return f'<div class="plot">{drawn}</div>'
