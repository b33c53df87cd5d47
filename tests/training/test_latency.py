"""Latency in the exported form, here, on a node of the cluster, and by a command that prints milliseconds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tutelage.errors import InputError, WorkFailed
from tutelage.networks import checkpoint, runtime, timing
from tutelage.spec.search_sections import LatencyConfig
from tutelage.training import latency
from tutelage.training.context import TrainingContext


@pytest.fixture(scope="module")
def network(context: TrainingContext) -> nn.Module:
    return checkpoint.seeded(context.architecture({"mlp": {"hidden": 3}}), 0).eval()


@pytest.fixture(scope="module")
def file(network: nn.Module, context: TrainingContext) -> bytes:
    return runtime.onnx_bytes(network, context.signature)


def with_latency(context: TrainingContext, **config: Any) -> TrainingContext:
    return replace(context, latency=LatencyConfig(**config))


def printing(code: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; {code}"]


@pytest.mark.slow
def test_networks_are_timed_as_onnx_files_on_the_stated_threads(
    context: TrainingContext, network: nn.Module, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def latencies_ms(models: dict[str, nn.Module], arguments: tuple[Tensor, ...], threads: int) -> dict[str, Any]:
        assert threads == 3 and [len(one) for one in arguments] == [1]
        for module in models.values():
            assert isinstance(module, runtime.Runnable), "onnxruntime runs it"
            torch.testing.assert_close(module(*arguments), network(*arguments).detach())
        return {name: {"latency_ms": 1.0, "latency_p90_ms": 2.0} for name in models}

    monkeypatch.setattr(timing, "latencies_ms", latencies_ms)
    found = latency.latencies_ms({"a": network, "b": file}, with_latency(context, threads=3))
    assert set(found) == {"a", "b"}


class OfWords(nn.Module):
    """A network that says why it has no exported form."""

    why_not_exported = "its tokenizer is no operation"

    def forward(self, images: Tensor) -> Tensor:
        """Return the images."""
        return images


@pytest.mark.slow
def test_a_network_without_an_exported_form_is_timed_in_torch_beside_files(
    context: TrainingContext, file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere only files are run, so there it has no latency."""

    def latencies_ms(models: dict[str, nn.Module], *_: Any) -> dict[str, Any]:
        assert isinstance(models["b"], runtime.Runnable) and models["a"] is around
        return {name: {"latency_ms": 1.0} for name in models}

    around = nn.Sequential(OfWords())
    monkeypatch.setattr(timing, "latencies_ms", latencies_ms)
    assert set(latency.latencies_ms({"a": around, "b": file}, context)) == {"a", "b"}
    for elsewhere in ({"command": ["measure"]}, {"node": {"device": "phone"}}):
        assert not latency.is_not_exported(around, LatencyConfig(**elsewhere))
    assert not latency.is_not_exported(file, context.latency) and not latency.is_not_exported(nn.Flatten(), context.latency)


def test_with_the_runtime_torch_modules_are_timed_as_they_are(
    context: TrainingContext, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "latencies_ms", lambda models, arguments, threads: models)
    assert latency.latencies_ms({"a": network}, with_latency(context, runtime="torch")) == {"a": network}


@pytest.mark.parametrize(
    "code",
    ["print(1.5, 2)", "print('warming up'); print('{\"latency_ms\": 1.5, \"latency_p90_ms\": 2}')"],
    ids=["numbers", "json"],
)
def test_a_command_gets_the_exported_file_and_prints_milliseconds(context: TrainingContext, file: bytes, code: str) -> None:
    check = f"assert len(open(sys.argv[1], 'rb').read()) == {len(file)}; {code}"
    found = latency.latencies_ms({"a": file}, with_latency(context, command=printing(check)))
    assert found == {"a": {"latency_ms": 1.5, "latency_p90_ms": 2.0}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('fast')", "printed 'fast'. Its last line must be two positive numbers"),
        ("print(1.5)", "printed '1.5'"),
        ("pass", "printed ''"),
        ("print(0, 1)", "printed '0 1'"),
        ("print('nan', 1)", "printed 'nan 1'"),
        ("print('{\"latency_ms\": 1}')", "latency_p90_ms"),
        ("print(3, 2)", "the 90th percentile is below the median"),
        ("sys.exit('no phone is plugged in')", "exit code 1: no phone is plugged in"),
        ("import time; time.sleep(30)", r"did not end within 0.5 s"),
    ],
)
def test_a_command_that_gives_no_milliseconds_is_an_error_with_its_output(
    context: TrainingContext, file: bytes, code: str, said: str
) -> None:
    timeout_s = 0.5 if "sleep" in code else 60.0
    with pytest.raises(WorkFailed, match=r"resources\.latency\.command") as caught:
        latency.latencies_ms({"a": file}, with_latency(context, command=printing(code), timeout_s=timeout_s))
    assert said in str(caught.value)


def test_a_command_that_is_not_found_is_an_error_before_training() -> None:
    latency.check(LatencyConfig(command=[sys.executable]))
    with pytest.raises(InputError, match="the program 'measure-on-phone' is not found or not executable"):
        latency.check(LatencyConfig(command=["measure-on-phone"]))


def test_one_place_measures() -> None:
    with pytest.raises(ValidationError, match="not both"):
        LatencyConfig(command=["x"], node={"a": "b"})
    with pytest.raises(ValidationError, match="run ONNX files"):
        LatencyConfig(command=["x"], runtime="torch")


class Nodes:
    """A cluster whose second node has a label."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        labels = [{"zone": "a"}, {"device": "phone", "zone": "b"}]
        self.selected: dict[str, str] = {}
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Labels": one} for one in labels])
        monkeypatch.setattr(ray, "remote", self.remote)
        monkeypatch.setattr(ray, "get", lambda found, timeout: found)

    def remote(self, num_cpus: int, label_selector: dict[str, str], max_retries: int) -> Any:
        self.selected = label_selector
        return lambda function: SimpleNamespace(remote=function)


def test_a_node_with_the_labels_measures(context: TrainingContext, file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Nodes(monkeypatch)
    found = latency.latencies_ms({"a": file}, with_latency(context, node={"device": "phone"}))
    assert cluster.selected == {"device": "phone"} and 0 < found["a"]["latency_ms"] <= found["a"]["latency_p90_ms"]
    with pytest.raises(
        WorkFailed, match=r"no node of the cluster has the labels \{'device': 'tablet'\}; the nodes have: zone=a"
    ):
        latency.latencies_ms({"a": file}, with_latency(context, node={"device": "tablet"}))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_node_of_a_cluster_that_has_the_labels_measures(
    context: TrainingContext, file: bytes, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of a real cluster: the network is timed in a process of the one with the label, not in this one."""
    phone, timed = nodes.add_node(labels={"device": "phone"}), latency._timed

    def timed_by(*given: Any) -> Any:
        node = ray.get_runtime_context().get_node_id()
        return {name: {**one, "node": node} for name, one in timed(*given).items()}

    monkeypatch.setattr(latency, "_timed", timed_by)
    found = latency.latencies_ms({"a": file, "b": file}, with_latency(context, node={"device": "phone"}))
    assert {one["node"] for one in found.values()} == {phone.node_id} != {ray.get_runtime_context().get_node_id()}
    assert all(0 < one["latency_ms"] <= one["latency_p90_ms"] for one in found.values())
    with pytest.raises(WorkFailed, match=r"no node of the cluster has the labels \{'device': 'tablet'\}.*device=phone"):
        latency.latencies_ms({"a": file}, with_latency(context, node={"device": "tablet"}))


def test_a_network_that_cannot_be_written_as_onnx_is_an_error(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reads(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1)[:, :10] * float(inputs.sum())

    with pytest.raises(WorkFailed, match="cannot be exported"):
        latency.latencies_ms({"a": Reads()}, context)


@pytest.mark.slow
def test_the_floor_is_that_of_the_exported_form(context: TrainingContext, network: nn.Module) -> None:
    arguments = context.splits["validation"].take(slice(1)).arguments
    assert 0 < latency.fastest_ms(network, context, arguments) < 50


def test_the_file_is_gone_after_the_measurement(context: TrainingContext, file: bytes, tmp_path: Path) -> None:
    note = tmp_path / "path"
    code = f"open({str(note)!r}, 'w').write(sys.argv[1]); print(1, 1)"
    latency.latencies_ms({"a": file}, with_latency(context, command=printing(code)))
    assert not Path(note.read_text()).exists()
