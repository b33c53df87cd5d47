"""What fits a cluster: how many jobs its nodes can run at once, and why a job would never run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.errors import UnreachableError

UNITS = 10_000  # Ray counts resources in ten-thousandths


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of a cluster: its CPUs and GPUs as Ray counts them."""

    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a job takes: `workers` times `cpus` and `gpus`, where each worker is on one node and all start together.

    `name` is its section of the spec.
    """

    name: str
    workers: int
    cpus: float
    gpus: float

    def text(self) -> str:
        """Return the demand in words."""
        each = f"{_number(self.cpus, 'CPU')}" + (f" and {_number(self.gpus, 'GPU')}" if self.gpus else "")
        return each if self.workers == 1 else f"{self.workers} workers of {each} each"


def nodes_of(documents: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Return the living nodes that `ray.nodes()` describes."""
    held = [one["Resources"] for one in documents if one["Alive"]]
    return [Node(cpus=one.get("CPU", 0.0), gpus=one.get("GPU", 0.0)) for one in held]


def jobs_at_once(nodes: Iterable[Node], demand: Demand) -> int:
    """Return how many such jobs the nodes can run at once, each of them with all its workers; 0 if none."""
    return sum(_workers_on(node, demand) for node in nodes) // demand.workers


def check(nodes: Sequence[Node], demands: Iterable[Demand]) -> None:
    """Raise `UnreachableError` for the first job that the nodes can never run, with what there is."""
    for demand in demands:
        if not jobs_at_once(nodes, demand):
            there = describe(nodes)
            most = sum(_workers_on(node, demand) for node in nodes)
            why = f"there is room for {most} of these workers" if most else "no node has that much"
            raise UnreachableError(
                f"resources.{demand.name} asks for {demand.text()}, and {why}: there {there}. "
                f"Ask for less under resources.{demand.name}, or give a larger cluster with --address."
            )


def free_text(resources: Mapping[str, float]) -> str:
    """Return what is free by `ray.available_resources()`, in words."""
    return f"{_has(Node(cpus=resources.get('CPU', 0.0), gpus=resources.get('GPU', 0.0)))} are free"


def waits_for(nodes: Sequence[Node], resources: Mapping[str, float], demand: Demand) -> str:
    """Return in words what a job that starts now has to wait for; "" if that much is free."""
    free = Node(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))
    if jobs_at_once([free], replace(demand, workers=1)) >= demand.workers:
        return ""
    return f"a job waits for {demand.text()}: there {describe(nodes)}, of which {free_text(resources)}"


def describe(nodes: Sequence[Node]) -> str:
    """Return in words what the nodes have."""
    if not nodes:
        return "are no nodes"
    if len(nodes) == 1:
        return f"is one node with {_has(nodes[0])}"
    largest = max(nodes, key=lambda node: (node.gpus, node.cpus))
    total = Node(cpus=sum(node.cpus for node in nodes), gpus=sum(node.gpus for node in nodes))
    return f"are {len(nodes)} nodes with {_has(total)} together, the largest with {_has(largest)}"


def _workers_on(node: Node, demand: Demand) -> int:
    fitting = [_times(node.cpus, demand.cpus)] if demand.cpus else []
    if 0 < demand.gpus < 1:  # shares of one GPU, never of two
        fitting.append(int(node.gpus) * _times(1, demand.gpus))
    elif demand.gpus:
        fitting.append(_times(node.gpus, demand.gpus))
    return min(fitting)


def _times(held: float, amount: float) -> int:
    return round(held * UNITS) // max(1, round(amount * UNITS))


def _has(node: Node) -> str:
    return f"{_number(node.cpus, 'CPU')} and {_number(node.gpus, 'GPU')}"


def _number(amount: float, unit: str) -> str:
    return f"{amount:g} {unit}{'' if amount == 1 else 's'}"
