"""1,797 real scans of handwritten digits, 8×8 grey levels, bundled with scikit-learn (Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from tutelage.data import Examples, SplitName, classified
from tutelage.data._splitting import LabelledPerClass, how_split, training_labels
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
GREY_LEVELS = 16.0


class Config(PluginConfig):
    """The shares of the splits, which are stratified by class."""

    validation_share: float = Field(0.2, gt=0.0, lt=0.5, description="share of all scans for validation, used by the search")
    test_share: float = Field(0.2, gt=0.0, lt=0.5, description="share of all scans for the final test")
    labelled_per_class: LabelledPerClass = None


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs `[n, 1, 8, 8]` in [-1, 1], classes `[n]`.

    The test split does not depend on `validation_share`, so test scores stay comparable when that share changes.
    """
    scans = load_digits()
    rest, test = train_test_split(
        np.arange(len(scans.target)), test_size=config.test_share, stratify=scans.target, random_state=seed
    )
    num_validation = round(config.validation_share * len(scans.target))
    train, validation = train_test_split(rest, test_size=num_validation, stratify=scans.target[rest], random_state=seed)
    rows = np.sort({"train": train, "validation": validation, "test": test}[split])
    inputs = torch.from_numpy(scans.images[rows]).float().unsqueeze(1) / (GREY_LEVELS / 2) - 1
    labels = training_labels(scans.target, rows, seed, config.labelled_per_class if split == "train" else None)
    found = classified(inputs, torch.from_numpy(labels).long(), tuple(str(name) for name in scans.target_names))
    return replace(found, notes=how_split(config.validation_share, config.test_share))
