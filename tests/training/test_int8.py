"""A trial's networks quantised to int8: candidates of their own, measured on their files in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contexts import small_config
from tutelage.data import Examples
from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint, cost, onnx_format, onnx_int8, runtime
from tutelage.networks.trust import EVERYTHING
from tutelage.storage.local import LocalStorage
from tutelage.training import inference, int8, latency, student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import HERE


@pytest.fixture(scope="module")
def trained(taught: TrainingContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the directory of a trial's candidates, and its last row."""
    config = small_config()
    config["student"] |= {"model": {"mlp": {"hidden": 64}}, "epochs": 2}
    config["sparsity"] |= {"amount": 0.5, "quantise": True}
    home = tmp_path_factory.mktemp("students")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student_jobs, "fit", lambda function, workers: function())
        trial = student_jobs.StudentTrial(config, taught, 0, LocalStorage(home), "t0000", HERE, with_latency=True)
        row = trial.step()
        while not row["done"]:
            row = trial.step()
    return home, row


@pytest.mark.slow
def test_a_quantising_trial_gives_the_float_student_and_then_its_int8_file(trained: tuple[Path, dict[str, Any]]) -> None:
    home, row = trained
    assert sorted(path.name for path in home.iterdir()) == ["t0000.0", "t0000.1"]
    assert runtime.int8_file(home / "t0000.0") is None
    assert runtime.int8_file(home / "t0000.1") == home / "t0000.1" / runtime.INT8_FILE
    first, second = row["candidates"]
    assert (
        row["measures"] == first["measures"] and first["made"] == "channels by l2" and second["made"] == "channels by l2, int8"
    )
    assert first["amount"] == second["amount"] == 0.5


@pytest.mark.slow
def test_the_int8_measures_are_those_of_its_file(trained: tuple[Path, dict[str, Any]], taught: TrainingContext) -> None:
    home, row = trained
    float_, quantised = (one["measures"] for one in row["candidates"])
    path = home / "t0000.1" / runtime.INT8_FILE
    found = inference.measured(runtime.opened(path), taught.built_task, taught.splits["validation"], taught.measures)
    assert {name: quantised[name] for name in found} == pytest.approx(found)
    assert quantised["size_bytes"] == onnx_format.size_bytes(path) < float_["size_bytes"] / 2.5
    assert {name: quantised[name] for name in ("params", "macs")} == {name: float_[name] for name in ("params", "macs")}
    assert quantised["teacher_kl_nats"] != float_["teacher_kl_nats"], "its own outputs are compared"
    assert all(one["latency_p90_ms"] >= one["latency_ms"] > 0 for one in (float_, quantised))
    float_network, _ = checkpoint.read(home / "t0000.1", EVERYTHING)
    assert cost.size(float_network)["params"] == float_["params"], "its float network lies beside it"


@pytest.mark.slow
def test_what_is_read_as_it_is_deployed_is_the_int8_file(trained: tuple[Path, dict[str, Any]], taught: TrainingContext) -> None:
    home, _ = trained
    arguments = taught.splits["validation"].take(slice(20)).arguments
    float_, quantised = (runtime.read(home / name)(*arguments) for name in ("t0000.0", "t0000.1"))
    assert not torch.equal(float_, quantised)
    torch.testing.assert_close(quantised, float_.detach(), atol=0.3, rtol=0.1)


def test_ranges_come_from_training_examples_drawn_by_the_seed(context: TrainingContext) -> None:
    batches = list(int8.calibration(context))
    again = list(int8.calibration(context))
    assert sum(len(batch["inputs"]) for batch in batches) == int8.CALIBRATION_EXAMPLES
    assert all((one["inputs"] == other["inputs"]).all() for one, other in zip(batches, again, strict=True))
    train: Examples = context.splits["train"]
    known = {row.numpy().tobytes() for row in train.take(slice(None)).arguments[0]}
    assert all(row.tobytes() in known for batch in batches for row in batch["inputs"])


class Recurrent(nn.Module):
    """Rows of 8 pixels read by an LSTM, which onnxruntime does not quantise."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.lstm(inputs.squeeze(1))[0].mean(dim=1))
        return logits


@pytest.mark.slow
def test_operators_that_keep_float_weights_are_named(context: TrainingContext, tmp_path: Path) -> None:
    dense = checkpoint.seeded(context.architecture("mlp"), 0)
    assert int8.quantise(dense, context, tmp_path / "dense.onnx", {}) == ""
    assert int8.quantise(Recurrent(), context, tmp_path / "lstm.onnx", {}) == "LSTM"
    assert onnx_int8.float_weights(tmp_path / "lstm.onnx") == "LSTM"


@pytest.mark.slow
def test_a_network_that_the_runtime_cannot_quantise_is_an_error_with_its_reason(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no kernel for GridSample")

    monkeypatch.setattr(onnx_int8, "quantise_static", fails)
    with pytest.raises(WorkFailed, match=r"cannot quantise the network: .*no kernel for GridSample"):
        int8.quantise(checkpoint.seeded(context.architecture("mlp"), 0), context, tmp_path / "out.onnx", {})


@pytest.mark.slow
def test_no_latency_is_assumed_for_int8(trained: tuple[Path, dict[str, Any]], taught: TrainingContext) -> None:
    home, row = trained
    again = latency.latencies_ms({"int8": home / "t0000.1" / runtime.INT8_FILE}, taught)["int8"]
    assert row["candidates"][1]["measures"]["latency_ms"] != row["candidates"][0]["measures"]["latency_ms"]
    assert again["latency_ms"] > 0
