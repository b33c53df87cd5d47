"""Commands that show sweeps in a browser: dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from tutelage import console
from tutelage.cli.options import Storage, TrackingUri
from tutelage.console import STORAGE


def dashboard(
    name: Annotated[
        str | None, typer.Argument(metavar="[SWEEP]", help="The sweep that is opened: its name, or its MLflow run id.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 5080,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Any other than this machine's own is guarded by a token.")
    ] = "127.0.0.1",
    allow_promote: Annotated[
        bool, typer.Option("--allow-promote", help="Let the page register a student as champion; this always needs the token.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
    tracking_uri: TrackingUri = None,
    storage: Storage = STORAGE,
) -> None:
    """Serve the Pareto explorer and MLflow on one address, until Ctrl-C."""
    from tutelage.dashboard import serving

    address = serving.find(storage, name, tracking_uri)
    settings = serving.settings_for(host, storage, promote=allow_promote)
    serving.serve(address, settings, serving.listening(host, port), console.announce, browser=not no_browser)
