"""The package's measures as a table: what each decides depends on these fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage import plugins
from tutelage.measure import identity, log10, neg_log10_error
from tutelage.measures.character_error_rate import log10_raised

# direction, when it is known, interval, scale, worst value, MLflow key
TABLE = {
    "accuracy": ("maximise", "each_epoch", "share", neg_log10_error, 0.0, "quality/accuracy"),
    "intent_accuracy": ("maximise", "each_epoch", "share", neg_log10_error, 0.0, "quality/intent_accuracy"),
    "sentence_accuracy": ("maximise", "each_epoch", "share", neg_log10_error, 0.0, "quality/sentence_accuracy"),
    "slot_f1": ("maximise", "each_epoch", "corpus", neg_log10_error, 0.0, "quality/slot_f1"),
    "exact_match": ("maximise", "each_epoch", "share", neg_log10_error, 0.0, "quality/exact_match"),
    "character_error_rate": ("minimise", "each_epoch", "corpus", log10_raised, 1.0, "quality/character_error_rate"),
    "mean_average_precision": ("maximise", "each_epoch", "corpus", neg_log10_error, 0.0, "quality/mean_average_precision"),
    "mean_average_precision_50": (
        "maximise",
        "each_epoch",
        "corpus",
        neg_log10_error,
        0.0,
        "quality/mean_average_precision_50",
    ),
    "agreement": ("maximise", "at_end", "mean", neg_log10_error, 0.0, "quality/agreement"),
    "teacher_kl_nats": ("minimise", "at_end", "mean", log10, None, "quality/teacher_kl_nats"),
    "calibration_error": ("minimise", "at_end", "corpus", identity, None, "quality/calibration_error"),
    "params": ("minimise", "before_training", None, log10, None, "size/params"),
    "size_bytes": ("minimise", "before_training", None, log10, None, "size/bytes"),
    "macs": ("minimise", "before_training", None, log10, None, "cost/macs"),
    "nonzero_params": ("minimise", "at_end", None, log10, None, "size/nonzero_params"),
    "latency_ms": ("minimise", "on_device", None, log10, None, "cost/latency_ms"),
    "latency_p90_ms": ("minimise", "on_device", None, log10, None, "cost/latency_p90_ms"),
}


def test_every_measure_is_in_the_table_or_has_a_test_of_its_own() -> None:
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert set(TABLE) <= set(plugins.names("measures")) <= tested | set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_measure_has_the_fields_of_the_table(name: str) -> None:
    found = plugins.measure(name)
    fields = (found.direction, found.available, found.spread, found.scale, found.reference, found.mlflow_key)
    assert fields == TABLE[name]


def test_halving_the_error_is_one_equal_step_down_to_a_thousandth() -> None:
    steps = [neg_log10_error(1 - error) - neg_log10_error(1 - 2 * error) for error in (0.4, 0.2, 0.1)]
    assert steps == pytest.approx([0.301] * 3, abs=0.005)
    assert neg_log10_error(1.0) == pytest.approx(3.0)
