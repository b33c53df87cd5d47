"""One image, one class: a sequence of one step."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import UNKNOWN
from tutelage.measures.accuracy import MEASURE as ACCURACY
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Image classification has no options."""


class ImageClassification:
    """Classes of single images; the primary measure is the share of images classified right."""

    measures = (ACCURACY,)

    def predict(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Return `[batch, 1, classes]` logits of `[batch, …]` examples."""
        logits: Tensor = model(inputs)
        return logits.unsqueeze(1)

    def label_losses(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the cross-entropy in nats of every example `[batch]`, the mean over its steps, 0 where a label is unknown."""
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=UNKNOWN, label_smoothing=smoothing, reduction="none"
        )
        return losses.view(labels.shape).mean(dim=1)

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return where the largest logit is the label's; ties go to the lowest class."""
        return logits.argmax(dim=-1) == labels


def build(config: Config) -> ImageClassification:
    """Return the task."""
    return ImageClassification()
