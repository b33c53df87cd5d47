"""What a candidate's card has beside the snapshot: the layers of a student that lost some, read from its files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.dashboard.records import new_sweep
from tests.plain import architecture_of
from tutelage.dashboard.candidate import detail, layers
from tutelage.networks import checkpoint
from tutelage.records.sweep_dir import SweepDir
from tutelage.sparsity import Calibration, channels, low_rank

DIGITS = Calibration(arguments=(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)),))
CONVNET = {"convnet": {"width": 8, "depth": 2}}


@pytest.fixture
def home(tmp_path: Path) -> SweepDir:
    return new_sweep(tmp_path)


def shown(home: SweepDir, name: str = "t0000") -> dict[str, tuple[Any, Any]]:
    """Return the shapes of each weight before and after, by name."""
    return {one["name"]: (one["before"], one["after"]) for one in layers(home.storage.uri, home.facts()["run_id"], name)}


def keep(home: SweepDir, model: torch.nn.Module, about: dict[str, Any]) -> None:
    checkpoint.write(home.students.writable_path("t0000"), model, about)


def test_a_student_that_lost_channels_shows_each_weight_before_and_after(home: SweepDir) -> None:
    about = architecture_of(CONVNET)
    whole = checkpoint.build(about)
    keep(home, channels.remove_channels(channels.Config(), checkpoint.build(about), DIGITS, 0.5), about)
    found = shown(home)
    before = {name: list(weight.shape) for name, weight in whole.named_parameters()}
    assert {name: first for name, (first, _) in found.items()} == before
    assert all(after is not None for _, after in found.values()), "no layer is gone"
    narrower = [name for name, (first, after) in found.items() if after != first]
    assert narrower and all(found[name][1][0] <= found[name][0][0] for name in narrower)
    assert sum(torch.Size(after).numel() for _, after in found.values()) < sum(map(torch.numel, whole.parameters()))


def test_a_weight_in_place_of_another_has_no_shape_before_and_the_other_none_after(home: SweepDir) -> None:
    about = architecture_of({"mlp": {"hidden": 32, "depth": 2}})
    method = low_rank.build(low_rank.Config(), 0.5)
    cut = method.remove(checkpoint.build(about), DIGITS)
    keep(home, cut, {**about, "surgeries": [{"method": "low_rank", "amount": 0.5, "surgery": method.surgery()}]})
    found = shown(home)
    gone, new = ({name for name, shapes in found.items() if shapes[end] is None} for end in (1, 0))
    weights = {name for name in gone if name.endswith(".weight")}
    assert weights and new == {
        f"{name.removesuffix('weight')}{end}" for name in weights for end in ("0.weight", "1.weight", "1.bias")
    }
    assert {name for name, (_, after) in found.items() if after} == {name for name, _ in cut.named_parameters()}


def test_statistics_of_a_normalisation_are_no_weights(home: SweepDir) -> None:
    about = architecture_of({"resnet": {"blocks": 1, "width": 4}})
    network = checkpoint.build(about)
    keep(home, network, about)
    assert dict(network.named_buffers()), "a normalisation has its running mean"
    assert shown(home).keys() == {name for name, _ in network.named_parameters()}


def test_layers_are_left_out_where_they_cannot_be_known(home: SweepDir) -> None:
    assert shown(home) == {}, "the student's files are not here"
    about = architecture_of(CONVNET)
    keep(home, checkpoint.build(about), about)
    assert len(shown(home)) > 4
    assert layers(home.storage.uri, "run of another sweep", "t0000") == []
    assert shown(home, "t9999") == {}
    checkpoint.write(home.files.writable_path("t0000"), checkpoint.build(about), about)
    assert shown(home, "../t0000") == shown(home, "x/../../t0000") == {}, "a name in a snapshot of others leads nowhere else"
    path = home.student_path("t0000") / checkpoint.WEIGHTS
    path.write_bytes(path.read_bytes()[:50])
    assert shown(home) == {}, "the weights are cut short"


def test_the_layers_are_those_of_the_sweeps_run(home: SweepDir) -> None:
    """Another MLflow may have a sweep of this name, whose files are elsewhere."""
    about = architecture_of(CONVNET)
    keep(home, checkpoint.build(about), about)
    run = SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(params={}, tags={}, metrics={}))
    for run_id, is_here in (("run", True), ("of another MLflow", False)):
        document = {"sweep": {"name": home.name, "run_id": run_id, "commands": {}}}
        reader: Any = SimpleNamespace(candidate=lambda *_, found=document: (found, run), curves=lambda run: {})
        assert bool(detail(reader, run_id, "t0000", home.storage.uri)["layers"]) is is_here


def test_the_code_of_a_users_own_network_is_not_run_for_its_card(home: SweepDir, tmp_path: Path) -> None:
    about = architecture_of({"tests.fragile:Fragile": {"marker": str(tmp_path / "marker")}})
    keep(home, checkpoint.build(about), about)
    assert shown(home) == {}
