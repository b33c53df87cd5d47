"""A network that takes the inputs of other data in its own normalisation and its own columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.signature import Column, InputSpec, OutputSpec, Signature

HEIGHT = Column(name="height", kind="number")
AGE = Column(name="age", kind="number")
SOIL = Column(name="soil", kind="words", words=("clay", "loam", "sand"))


def spec(*columns: Column, mean: tuple[float, ...], std: tuple[float, ...]) -> InputSpec:
    width = sum(column.width for column in columns)
    words = width - len(mean)
    return InputSpec(
        name="inputs", kind="vector", shape=(width,), columns=columns, mean=(*mean, *[0.0] * words), std=(*std, *[1.0] * words)
    )  # fmt: skip


def made(taken: InputSpec, model: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    signature = Signature(inputs=(taken,), outputs=(OutputSpec(name="class", names=("a", "b")),))
    architecture = {"model": model, "signature": signature.document()}
    return checkpoint.seeded(architecture, 0).eval(), architecture


TAKEN = spec(HEIGHT, SOIL, mean=(20.0,), std=(5.0,))
GIVEN = spec(
    AGE, HEIGHT, Column(name="soil", kind="words", words=("peat", "sand", "clay")), mean=(3.0, 17.0), std=(2.0, 10.0)
)  # fmt: skip


def test_a_network_takes_other_columns_and_another_normalisation_as_its_own(tmp_path: Path) -> None:
    model, architecture = made(TAKEN, {"mlp": {"hidden": 8}})
    adapted, about = checkpoint.for_inputs(model, architecture, [GIVEN])
    checkpoint.write(tmp_path, adapted, about)
    reread, _ = checkpoint.read(tmp_path)
    age, height = torch.tensor([4.0, 9.0]), torch.tensor([12.0, 31.0])
    given = torch.stack([(age - 3) / 2, (height - 17) / 10, *torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])], dim=1)
    taken = torch.stack([(height - 20) / 5, torch.zeros(2), torch.zeros(2), torch.tensor([0.0, 1.0])], dim=1)
    with torch.inference_mode():
        torch.testing.assert_close(adapted(given), model(taken))
        torch.testing.assert_close(reread(given), model(taken))
    assert set(adapted.state_dict()) == set(model.state_dict())


def test_images_are_normalised_again_channel_by_channel() -> None:
    own = InputSpec(name="inputs", kind="image", shape=(2, 8, 8), mean=(10.0, 20.0), std=(2.0, 4.0))
    other = InputSpec(name="inputs", kind="image", shape=(2, 8, 8), mean=(11.0, 30.0), std=(3.0, 5.0))
    model, architecture = made(own, {"convnet": {}})
    adapted, about = checkpoint.for_inputs(model, architecture, [other])
    stored = torch.rand(3, 2, 8, 8) * 30

    def seen(one: InputSpec) -> torch.Tensor:
        return (stored - torch.tensor(one.mean).view(-1, 1, 1)) / torch.tensor(one.std).view(-1, 1, 1)

    with torch.inference_mode():
        torch.testing.assert_close(adapted(seen(other)), model(seen(own)))
    again, _ = checkpoint.for_inputs(adapted, about, [own])
    with torch.inference_mode():
        torch.testing.assert_close(again(seen(own)), model(seen(own)))


def test_alike_inputs_and_other_shapes_change_nothing() -> None:
    model, architecture = made(TAKEN, {"mlp": {"hidden": 8}})
    for given in (TAKEN, InputSpec(name="inputs", kind="vector", shape=(9,))):
        assert checkpoint.for_inputs(model, architecture, [given]) == (model, architecture)


def test_a_column_that_the_data_lack_or_that_has_another_kind_is_an_error() -> None:
    model, architecture = made(TAKEN, {"mlp": {"hidden": 8}})
    with pytest.raises(InputError, match="takes the column 'height', which the data lack"):
        checkpoint.for_inputs(model, architecture, [spec(Column(name="heigth", kind="number"), mean=(1.0,), std=(1.0,))])
    words = Column(name="height", kind="words", words=("low", "high"))
    with pytest.raises(InputError, match="'height' as number, and it has words in the data"):
        checkpoint.for_inputs(model, architecture, [spec(words, SOIL, mean=(), std=())])
