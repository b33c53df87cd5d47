"""A network evaluated on other data than its own: its normalisation and its columns hold, not those of the new data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tutelage.errors import InputError
from tutelage.export import evaluate
from tutelage.networks import checkpoint
from tutelage.spec.loading import from_dict
from tutelage.spec.sections import TeacherConfig
from tutelage.spec.spec import Spec
from tutelage.sweep import external_teacher
from tutelage.training.context import TrainingContext, context_of

SOILS = ("clay", "loam", "sand")


def rows(seed: int, low: float, high: float, soils: tuple[str, ...] = SOILS) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    height = draw.uniform(low, high, 200)
    frame = pd.DataFrame({"height": height, "soil": draw.choice(soils, 200)})
    return frame.assign(kind=np.where((height > 15) ^ (frame["soil"] == "sand"), "elm", "ash"))


def spec_of(path: Path, **changes: Any) -> Spec:
    return from_dict({
        "name": "trees", "data": {"table": {"path": str(path), "label": "kind"}}, "task": "tabular_classification",
        "teacher": {"model": {"mlp": {"hidden": 8}}, "epochs": 1}, "student": {"model": {"mlp": {"hidden": 4}}, "epochs": 1},
        "storage": str(path.parent / "storage"), **changes,
    })  # fmt: skip


def fitted(context: TrainingContext, directory: Path) -> None:
    """Write a network into `directory` that tells the classes of `rows` apart by heights around 15 and the word sand."""
    architecture = context.architecture({"mlp": {"hidden": 32}})
    model = checkpoint.seeded(architecture, 0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    batch = context.splits["train"].take(slice(None))
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(*batch.arguments), batch.targets["class"]).backward()
        optimizer.step()
    checkpoint.write(directory, model, architecture)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned heights of 0 to 30 on every soil, without an error."""
    folder = tmp_path_factory.mktemp("network")
    rows(0, 0, 30).to_csv(folder / "own.csv", index=False)
    fitted(context_of(spec_of(folder / "own.csv")), folder / "net")
    return folder / "net"


def accuracy(network: Path, folder: Path, frame: pd.DataFrame) -> dict[str, Any]:
    frame.to_csv(folder / "new.csv", index=False)
    found = evaluate.evaluate_model(str(network), spec_of(folder / "new.csv"), "validation", folder / "storage")
    return {**found, "notes": [note for note in found["notes"] if not note.startswith("splits: ")]}


@pytest.mark.slow
def test_a_network_is_evaluated_by_its_own_normalisation_columns_and_words(network: Path, tmp_path: Path) -> None:
    new = rows(1, 14, 30, ("loam", "sand"))[["kind", "soil", "height"]].assign(age=7)
    found = accuracy(network, tmp_path, new)
    assert found["accuracy"] > 0.9, "by the mean and deviation of these data it would be near 0.6"
    assert not found["notes"]


@pytest.mark.slow
def test_another_unit_and_an_unseen_word_are_named(network: Path, tmp_path: Path) -> None:
    new = rows(1, 0, 30, (*SOILS, "peat")).assign(height=lambda frame: frame["height"] * 100)
    unit, word = accuracy(network, tmp_path, new)["notes"][::-1]
    assert "column 'height' has mean 1" in unit and "in another unit?" in unit
    assert word.startswith("validation rows with a word that training lacks: 'soil' in ")


def test_a_missing_column_or_one_of_another_type_is_an_error(network: Path, tmp_path: Path) -> None:
    new = rows(1, 0, 30)
    with pytest.raises(InputError, match=r"no column 'soil'. Did you mean 'soils'\? The table has height, soils, kind"):
        accuracy(network, tmp_path, new.rename(columns={"soil": "soils"}))
    with pytest.raises(InputError, match=r"column 'height' holds 'tall' in row 0 .* numeric in training"):
        accuracy(network, tmp_path, new.assign(height="tall"))


def test_a_teacher_from_a_path_takes_new_data_in_its_own_way(network: Path, tmp_path: Path) -> None:
    new = rows(1, 14, 30, ("loam", "sand"))[["kind", "soil", "height"]].assign(age=7)
    new.to_csv(tmp_path / "new.csv", index=False)
    context = context_of(spec_of(tmp_path / "new.csv"))
    train = context.splits["train"]
    teacher, about = external_teacher.read_teacher(TeacherConfig(path=str(network)), context.architecture(""), train, "")
    batch = train.take(slice(None))
    with torch.inference_mode():
        right = teacher(*batch.arguments).argmax(1) == batch.targets["class"]
    assert right.float().mean() > 0.9
    assert about["signature"]["inputs"] == context.signature.document()["inputs"]
