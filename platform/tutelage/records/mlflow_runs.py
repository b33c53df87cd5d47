"""What MLflow holds of a sweep: its run by its trials, and its trials' runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.store.entities.paged_list import PagedList

PAGE = 1000  # runs, or experiments, a request
T = TypeVar("T")


@dataclass
class Child:
    """What MLflow holds of a trial."""

    run_id: str
    start_ms: int
    ended: bool = False
    deleted: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    label: str = ""

    @classmethod
    def of(cls, run: Run) -> Child:
        """Return what a run that was found holds."""
        return cls(
            run_id=str(run.info.run_id), start_ms=int(run.info.start_time), ended=run.info.status != "RUNNING",
            deleted=run.info.lifecycle_stage != "active", metrics=dict(run.data.metrics), params=dict(run.data.params),
            label=run.data.tags.get("pareto", ""),
        )  # fmt: skip


def run_with(client: MlflowClient, name: str, started_ms: Mapping[str, int]) -> str | None:
    """Return the id of the run of a sweep `name` that has one of these trials, started at that time; None if there is none.

    It is looked for in all experiments.
    """
    sweeps = runs(client, experiments(client), f"tags.sweep = '{name}' and tags.stage = 'sweep'", ViewType.ACTIVE_ONLY)
    return next((str(run.info.run_id) for run in sweeps if _has_trial(client, run, started_ms)), None)


def _has_trial(client: MlflowClient, run: Run, started_ms: Mapping[str, int]) -> bool:
    query = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    some = client.search_runs([run.info.experiment_id], query, ViewType.ALL, PAGE)
    return any(started_ms.get(one.data.tags.get("trial_id", "")) == one.info.start_time for one in some)


def children(client: MlflowClient, experiment_id: str, parent: str) -> dict[str, Child]:
    """Return the runs of a sweep's trials, deleted ones too, by trial."""
    found = runs(client, [experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", ViewType.ALL)
    return {run.data.tags["trial_id"]: Child.of(run) for run in found if "trial_id" in run.data.tags}


def experiments(client: MlflowClient) -> list[str]:
    """Return the ids of all experiments."""
    found = _paged(lambda token: client.search_experiments(max_results=PAGE, page_token=token))
    return [str(one.experiment_id) for one in found]


def runs(client: MlflowClient, experiment_ids: Sequence[str], query: str, view: int) -> Iterator[Run]:
    """Give all runs that a query finds, page by page, those that started last first, as MLflow orders them."""
    return _paged(lambda token: client.search_runs(list(experiment_ids), query, view, PAGE, page_token=token))


def _paged(page_of: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """Give what MLflow returns page by page, by the token of each page."""
    token: str | None = None
    while True:
        page = page_of(token)
        yield from page
        token = page.token
        if not token:
            return
