"""How many jobs fit a cluster whole, and what is refused."""

from __future__ import annotations

import pytest

from tutelage.errors import UnreachableError
from tutelage.placement import Demand, Node, check, jobs_at_once, nodes_of, waits_for


def node(cpus: float, gpus: float = 0.0) -> Node:
    return Node(cpus=cpus, gpus=gpus)


def demand(workers: int = 1, cpus: float = 1.0, gpus: float = 0.0) -> Demand:
    return Demand(name="trial", workers=workers, cpus=cpus, gpus=gpus)


@pytest.mark.parametrize(
    ("nodes", "asked", "fitting"),
    [
        ([node(2)], demand(), 2),
        ([node(2)], demand(workers=2), 1),
        ([node(1), node(1)], demand(workers=2), 1),
        ([node(1), node(1)], demand(cpus=2), 0),
        ([node(3), node(3)], demand(cpus=2), 2),
        ([node(3), node(3)], demand(workers=2, cpus=2), 1),
        ([node(3), node(3), node(3)], demand(workers=2), 4),
        ([node(0.3)], demand(cpus=0.1), 3),
        ([node(8, gpus=2)], demand(gpus=0.5), 4),
        ([node(8, gpus=2)], demand(gpus=0.7), 2),
        ([node(1, gpus=2)], demand(gpus=0.5), 1),
        ([node(8, gpus=1), node(8, gpus=1)], demand(gpus=2), 0),
        ([node(8, gpus=1), node(8, gpus=1)], demand(workers=2, gpus=1), 1),
        ([node(8)], demand(gpus=0.5), 0),
        ([], demand(), 0),
    ],
)
def test_a_job_fits_where_all_of_its_workers_fit_each_on_one_node(nodes: list[Node], asked: Demand, fitting: int) -> None:
    assert jobs_at_once(nodes, asked) == fitting


@pytest.mark.parametrize(
    ("nodes", "asked", "words"),
    [
        ([node(2)], demand(cpus=3), "asks for 3 CPUs, and no node has that much: there is one node with 2 CPUs and 0 GPUs"),
        ([node(2)], demand(gpus=0.5), "asks for 1 CPU and 0.5 GPUs, and no node has that much"),
        ([node(2)], demand(workers=100), "asks for 100 workers of 1 CPU each, and there is room for 2 of these workers"),
        ([node(1), node(1)], demand(cpus=2), "2 nodes with 2 CPUs and 0 GPUs together, the largest with 1 CPU and 0 GPUs"),
        ([], demand(), "there are no nodes"),
    ],
)
def test_a_demand_that_no_node_meets_is_an_error_with_what_the_nodes_have(nodes: list[Node], asked: Demand, words: str) -> None:
    with pytest.raises(UnreachableError, match=r"resources\.trial") as caught:
        check(nodes, [demand(cpus=1) if nodes else asked, asked])
    assert words in str(caught.value) and "--address" in str(caught.value)


def test_dead_nodes_give_nothing() -> None:
    documents = [
        {"Alive": True, "Resources": {"CPU": 2.0, "memory": 1e9}},
        {"Alive": False, "Resources": {"CPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}},
    ]
    assert nodes_of(documents) == [node(2), node(4, gpus=1)]


def test_the_message_of_a_waiting_job_has_its_demand_and_what_is_free() -> None:
    assert waits_for([node(2)], {"CPU": 2.0}, demand(workers=2)) == ""
    said = waits_for([node(4), node(2, gpus=1)], {"CPU": 1.0, "memory": 1e9}, demand(cpus=2, gpus=1))
    assert said == (
        "a job waits for 2 CPUs and 1 GPU: there are 2 nodes with 6 CPUs and 1 GPU together, "
        "the largest with 2 CPUs and 1 GPU, of which 1 CPU and 0 GPUs are free"
    )


@pytest.mark.parametrize(("share", "count"), [(0.3, 6), (0.4, 4), (0.6, 2)])
def test_a_share_of_a_gpu_is_never_of_two(share: float, count: int) -> None:
    """Two GPUs hold 2 / 0.4 = 5 shares in sum, of which one would lie on both."""
    demand = Demand(name="trial", workers=1, cpus=1.0, gpus=share)
    assert jobs_at_once([Node(cpus=16.0, gpus=2.0)], demand) == count
