"""Networks of users' own read back from their weights: shared weights, unsaved buffers, and layers with channels removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.plain import architecture_of
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.networks.trust import EVERYTHING
from tutelage.networks.weights import load, shared_names, weights_of
from tutelage.sparsity import Calibration, channels


class Unsaved(nn.Module):
    """A network with a buffer that is not saved and a tensor that is a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 64), persistent=False)
        self.shift = torch.arange(64.0) / 64
        self.head = nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(inputs.flatten(1) * self.scale + self.shift)
        return logits


class Shared(nn.Module):
    """An autoencoder whose decoder has the encoder's weight, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(inputs.flatten(1)).relu()).relu())
        return logits


class Recurrent(nn.Module):
    """A recurrent network over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(inputs.squeeze(1))[0][:, -1])
        return logits


OWN = {"Unsaved": Unsaved, "Shared": Shared, "Recurrent": Recurrent}


def own(name: str) -> str:
    return f"{__name__}:{name}"


@pytest.mark.parametrize("name", OWN)
def test_a_network_of_a_users_own_has_the_same_outputs_after_it_is_read(name: str, tmp_path: Path) -> None:
    about, inputs = architecture_of(own(name)), torch.randn(3, 1, 8, 8)
    model = checkpoint.seeded(about, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(inputs).square().sum().backward()
    optimizer.step()
    checkpoint.write(tmp_path / "net", model, about)
    again, _ = checkpoint.read(tmp_path / "net", EVERYTHING)
    assert torch.equal(again(inputs), model.eval()(inputs))
    assert shared_names(again) == shared_names(model)


def test_the_file_has_a_shared_weight_under_each_name_as_exported_programs_do(tmp_path: Path) -> None:
    model, other, inputs = Shared().eval(), Shared().eval(), torch.randn(2, 1, 8, 8)
    checkpoint.write(tmp_path, model, architecture_of(own("Shared")))
    program = torch.export.export(other, (inputs,)).module()
    program.load_state_dict(load_file(tmp_path / checkpoint.WEIGHTS))
    torch.testing.assert_close(program(inputs), model(inputs))


def test_values_that_differ_end_the_sharing() -> None:
    model = Shared()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert shared_names(load(Shared(), state)) == {"second.weight": "first.weight"}
    state["second.weight"] += 1
    apart = load(Shared(), state)
    assert shared_names(apart) == {} and torch.equal(apart.state_dict()["second.weight"], state["second.weight"])


def image_network(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    body = [nn.Conv2d(1, 8, 3, padding=1), norm(8), nn.ReLU(), nn.ConvTranspose2d(8, 8, 3, padding=1), nn.PReLU(8)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def row_network() -> nn.Sequential:
    body = [nn.Flatten(1, 2), nn.Conv1d(8, 16, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 3, groups=16)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 12), nn.LayerNorm(12), nn.Linear(12, 10))


SHRUNK: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: image_network(nn.BatchNorm2d),
    "group": lambda: image_network(lambda width: nn.GroupNorm(2, width)),
    "instance": lambda: image_network(lambda width: nn.InstanceNorm2d(width, affine=True)),
    "rows": row_network,
}  # fmt: skip


@pytest.mark.parametrize("name", SHRUNK)
def test_layers_of_every_kind_are_resized_to_weights_with_channels_removed(name: str) -> None:
    arguments = (torch.randn(4, 1, 8, 8),)
    model = channels.remove_channels(channels.Config(), SHRUNK[name](), Calibration(arguments=arguments), 0.5).eval()
    again = load(SHRUNK[name](), weights_of(model)).eval()
    assert sum(p.numel() for p in again.parameters()) < 0.6 * sum(p.numel() for p in SHRUNK[name]().parameters())
    assert torch.equal(again(*arguments), model(*arguments))
    assert repr(again) == repr(model)


def test_channels_of_a_shared_weight_are_an_error_with_its_names() -> None:
    with pytest.raises(InputError, match=r"first\.weight.*one shared tensor|second\.weight.*one shared tensor"):
        channels.remove_channels(channels.Config(), Shared(), Calibration(arguments=(torch.randn(2, 1, 8, 8),)), 0.5)


class Reshaped(nn.Module):
    """A network whose code counts the channels before its head."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(8 * 8 * 8, 10), nn.Conv2d(1, 8, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs).relu().view(-1, 8 * 8 * 8))
        return logits


def test_a_fixed_reshape_after_removed_channels_is_an_error_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"channels cannot be removed from this network.*keep_width"):
        channels.remove_channels(channels.Config(), Reshaped(), Calibration(arguments=(torch.randn(2, 1, 8, 8),)), 0.5)


@pytest.mark.parametrize("change", ["type", "axes", "layout", "name"])
def test_weights_of_another_type_or_layout_are_an_error_with_their_name(change: str, tmp_path: Path) -> None:
    about = architecture_of("mlp")
    checkpoint.write(tmp_path, checkpoint.build(about), about)
    weights = load_file(tmp_path / checkpoint.WEIGHTS)
    if change == "name":
        weights["head.weights"] = weights.pop("head.weight")
    else:
        head = weights["head.weight"]
        weights["head.weight"] = {"type": head.int(), "axes": head[None], "layout": head.T.contiguous()}[change]
    save_file(weights, tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match=rf"{checkpoint.WEIGHTS} does not fit .*head"):
        checkpoint.read(tmp_path)


def test_weights_of_half_precision_are_read_in_the_networks_own(tmp_path: Path) -> None:
    about = architecture_of("mlp")
    checkpoint.write(tmp_path, checkpoint.build(about).half(), about)
    assert checkpoint.read(tmp_path)[0](torch.zeros(1, 1, 8, 8)).dtype == torch.float32
