"""Commands about the selected student and the registry: select, rollback."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage import console
from tutelage.cli.options import Address, AsJson, AtLeast, AtMost, Storage, SweepName, TrackingUri, Trust, bounds
from tutelage.console import STORAGE
from tutelage.errors import InputError, NotPromoted

if TYPE_CHECKING:
    from tutelage.objectives import Limits

Policy = Annotated[
    str | None, typer.Option(help="A policy of `tutelage list policies`, or your own as module:Name. Default: the spec's.")
]
PolicyOptions = Annotated[
    list[str] | None, typer.Option("--option", help="An option of the policy, such as --option within=0.005. Repeatable.")
]
Confirm = Annotated[
    int,
    typer.Option(min=0, max=100, help="Retrain candidates with this many fresh seeds; 0 relies on the values of the search."),
]
Rivals = Annotated[int, typer.Option(min=1, help="Retrain at most this many candidates.")]
Register = Annotated[
    str | None,
    typer.Option(help="Register the student in MLflow under this model name; it becomes the champion if it is the better one."),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", help="A further alias in the registry, such as smallest or fastest. Repeatable."),
]
Margin = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="A student smaller than the champion may be worse by this much (in the unit of the primary measure)."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Make the student the champion without a comparison.")]
RequirePromotion = Annotated[
    bool, typer.Option("--require-promotion", help="Exit with code 5 if the student does not become the champion.")
]

Again = Annotated[
    bool, typer.Option("--again", help="Test other students on the guard's certification half, at a stricter level.")
]


def select(
    name: SweepName, policy: Policy = None, option: PolicyOptions = None, at_most: AtMost = None, at_least: AtLeast = None,
    confirm: Confirm = 3, rivals: Rivals = 6, register: Register = None, alias: Aliases = None, margin: Margin = 0.01,
    force: Force = False, require_promotion: RequirePromotion = False, again: Again = False, trust: Trust = False,
    storage: Storage = STORAGE, address: Address = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Select one student: retrain candidates with fresh seeds, compare with the label-only baseline, test once, register."""
    from tutelage.progress import Progress
    from tutelage.records import sweeps
    from tutelage.selection import select as choosing
    from tutelage.selection.champions import Registration
    from tutelage.selection.query import parse_policy

    _check_options(policy, option, register, needs_register=bool(alias or force or require_promotion))
    registration = None
    if register is not None:
        registration = Registration(name=register, aliases=alias or [], margin=margin, force=force, trust=trust)
    home = sweeps.find(storage, name)
    with Progress() as progress:
        choice = choosing.select(
            home, policy=None if policy is None else parse_policy(policy, option or []),
            limits=_limits(at_most, at_least, home.measures()), confirm=confirm, rivals=rivals, register=registration,
            again=again, address=address, observers=[progress],
        )  # fmt: skip
    if as_json:
        console.show_json(choice.document)
    else:
        console.show_choice(choice)
    if require_promotion and not choice.document["model"]["promoted"]:
        raise NotPromoted(choice.document["model"]["why"])


def _check_options(policy: str | None, option: list[str] | None, register: str | None, *, needs_register: bool) -> None:
    if register is None and needs_register:
        raise InputError("--alias, --force and --require-promotion need --register NAME.")
    if policy is None and option:
        raise InputError("--option needs --policy NAME.")


def _limits(at_most: list[str] | None, at_least: list[str] | None, measures: Collection[str]) -> Limits | None:
    """Return the bounds of the command line; None without any, so that the spec's apply."""
    from tutelage.objectives import Limits

    if not at_most and not at_least:
        return None
    return Limits(max=bounds(at_most, measures), min=bounds(at_least, measures))


def rollback(
    model: Annotated[str, typer.Argument(help="The registered model's name.")],
    tracking_uri: TrackingUri = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Make the previous champion of a registered model the champion again. A second call undoes it."""
    from dataclasses import asdict

    from tutelage.export import registry
    from tutelage.spec.loading import default_tracking_uri

    done = registry.roll_back(default_tracking_uri(storage) if tracking_uri is None else tracking_uri, model)
    console.show_mapping({"version": 1, **asdict(done)}, as_json)
