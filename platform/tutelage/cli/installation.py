"""Commands about the installation: its environment, the spec's schema, the plugins."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tutelage import console, plugins
from tutelage.cli.options import Address, AsJson, Storage, TrackingUri
from tutelage.console import STORAGE
from tutelage.errors import InputError, UnreachableError, nearest

_OF_A_MEASURE = (
    "name", "label", "unit", "direction", "meaning", "low", "high", "reference", "available", "spread", "mlflow_key",
)  # fmt: skip


def doctor(
    storage: Storage = STORAGE,
    tracking_uri: TrackingUri = None,
    address: Address = None,
    as_json: AsJson = False,
) -> None:
    """Check that storage, MLflow and Ray work, on this machine and in a worker."""
    from tutelage import doctor as examination

    rows = examination.examine(storage, tracking_uri, address)
    if as_json:
        console.show_json({"version": 1, "checks": rows})
    else:
        console.show_table(["check", "state", "found"], [list(row.values()) for row in rows])
    if any(row["state"] == "failed" for row in rows):
        raise UnreachableError("a sweep could not run here: the table above shows what failed.")


def schema() -> None:
    """Print the spec's JSON schema, for editors."""
    from tutelage.spec.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def list_plugins(
    family: Annotated[str, typer.Argument(help=f"One of {', '.join(plugins.FAMILIES)}.")],
    name: Annotated[
        str | None, typer.Argument(help="A plugin of it, or your own as module:Name, to print its options.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the plugins of a family with their summaries, or one plugin's options."""
    if family not in plugins.FAMILIES:
        raise InputError(f"no family '{family}'.{nearest(family, plugins.FAMILIES)} Known: {', '.join(plugins.FAMILIES)}.")
    if name is not None:
        _show_plugin(family, name, as_json)
        return
    rows = [{"name": name, "summary": plugins.summary(family, name)} for name in plugins.names(family)]
    if as_json:
        console.show_json(rows)
    else:
        console.show_table(["name", "summary"], [[row["name"], row["summary"]] for row in rows])


def _show_plugin(family: str, name: str, as_json: bool) -> None:
    from tutelage.spec import reference

    if family == "measures":
        document = plugins.measure(name).document()
        console.show_mapping(document if as_json else {key: document[key] for key in _OF_A_MEASURE}, as_json)
        return
    summary, rows = plugins.summary(family, name), reference.option_rows(family, name)
    if as_json:
        console.show_json({"name": name, "summary": summary, "options": rows})
    else:
        console.say(summary)
        console.show_options(rows)
