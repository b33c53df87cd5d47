"""The observer that keeps a sweep's metrics for Prometheus, in the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tutelage.records.observer import (
    Event,
    FrontChanged,
    KnowledgeReady,
    SuggestionEnded,
    TrialEnded,
    TrialPaused,
    TrialRetried,
    TrialStarted,
)
from tutelage.records.trial import TrialRecord

ENDS = ("finished", "stopped", "failed", "infeasible")  # states of an ended trial
CANDIDATES = ("front", "dominated", "stopped", "failed", "infeasible")  # labels of an ended trial's candidates


class Writer(Protocol):
    """The part of a tracker that metrics are read from."""

    @property
    def num_waiting(self) -> int: ...
    @property
    def written_s(self) -> float: ...


class Metrics(Collector):
    """Counts the events of a sweep; `collect` gives the metrics at a scrape, each with the label `sweep`.

    A replayed trial is a candidate, but counts neither as a result nor in the seconds: these are the present driver's.
    `gpu_share` returns the share of the cluster's GPUs in use. No mapping changes its keys, so that a scrape in another thread
    can read it, and every series is there from the first scrape.
    """

    def __init__(self, sweep: str, tracker: Writer, gpu_share: Callable[[], float]) -> None:
        self._sweep, self._tracker, self._gpu_share = sweep, tracker, gpu_share
        self._started_s: dict[int, float] = {}  # when trials that run were suggested, by number
        self._paused: set[int] = set()
        self._candidates, self._trials = dict.fromkeys(CANDIDATES, 0), dict.fromkeys(ENDS, 0)
        self._phases_s = dict.fromkeys(("suggest", "start", "train", "measure"), 0.0)
        self._views = {"cached": 0, "computed": 0}
        self._knowledge_bytes = self._num_retries = self._front_size = 0
        self._hypervolume = 0.0

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case KnowledgeReady():
                self._views |= {"cached": event.num_cached, "computed": event.num_computed}
                self._knowledge_bytes = event.num_bytes
            case SuggestionEnded():
                self._phases_s["suggest"] += event.elapsed_s
            case TrialStarted():
                self._started_s[event.record.number] = event.unix_time_s
                self._paused.discard(event.record.number)
            case TrialRetried():
                self._num_retries += 1
            case TrialPaused():
                self._leave(event.record)
                self._paused.add(event.record.number)
            case TrialEnded():
                self._end(event)
            case FrontChanged():
                self._candidates["front"] -= len(event.left)
                self._candidates["dominated"] += len(event.left)

    def _leave(self, record: TrialRecord) -> None:
        """Count the seconds until a trial that leaves its worker had one, by the clocks of two machines."""
        suggested_s = self._started_s.pop(record.number, None)
        if suggested_s is not None and record.started_s:
            self._phases_s["start"] += max(0.0, record.started_s - suggested_s)

    def _end(self, event: TrialEnded) -> None:
        record = event.record
        had_worker = record.number in self._started_s or record.number in self._paused
        self._leave(record)
        self._paused.discard(record.number)
        for label in event.labels.values():
            self._candidates[label] += 1
        self._front_size, self._hypervolume = event.front_size, event.hypervolume
        if event.is_replayed:
            return
        self._trials[record.state] += 1
        if had_worker:
            self._phases_s["train"] += record.step_s
            self._phases_s["measure"] += max(0.0, record.elapsed_s - record.step_s)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        states = {"running": len(self._started_s), "paused": len(self._paused), **self._candidates}
        yield self._gauge("candidates", "Candidates of ended trials, and trials that run or are paused", states, "state")
        yield self._gauge("front_size", "Students on the front", {"": self._front_size})
        yield self._gauge("hypervolume", "Hypervolume of the front against the reference points", {"": self._hypervolume})
        yield self._counter("trials", "Trials that have ended", self._trials, "state")
        phases_s = {**self._phases_s, "log": self._tracker.written_s}
        yield self._counter("phase_seconds", "Seconds of all ended trials by phase", phases_s, "phase")
        yield self._counter("retries", "Workers that were lost and whose trials continue", {"": self._num_retries})
        yield self._gauge("knowledge_views", "Views of the teachers' knowledge when the search started", self._views, "source")
        yield self._gauge("knowledge_bytes", "Bytes of the cached knowledge, at most", {"": self._knowledge_bytes})
        yield self._gauge("gpu_share", "Share of the cluster's GPUs that are reserved", {"": self._gpu_share()})
        yield self._gauge("spool_length", "Entries that wait for MLflow", {"": self._tracker.num_waiting})

    def _gauge(self, name: str, text: str, values: Mapping[str, float], label: str = "") -> Metric:
        return self._with(GaugeMetricFamily(f"tutelage_{name}", text, labels=_labels(label)), values)

    def _counter(self, name: str, text: str, values: Mapping[str, float], label: str = "") -> Metric:
        return self._with(CounterMetricFamily(f"tutelage_{name}", text, labels=_labels(label)), values)

    def _with(self, family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
        for name, value in values.items():
            family.add_metric([self._sweep, name] if name else [self._sweep], value)
        return family


def _labels(label: str) -> list[str]:
    return ["sweep", label] if label else ["sweep"]
