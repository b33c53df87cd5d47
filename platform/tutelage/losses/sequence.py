"""Sequence-level distillation: the student learns the sequence that its teacher decodes (Kim and Rush, 2016)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Loss, real_steps
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
NEEDS: frozenset[Need] = frozenset({"decoded"})
SEQUENCES = "each"


class Config(PluginConfig):
    """The task decides how a sequence is decoded; there are no options."""


class DecodedSequence(nn.Module):
    """-ln softmax(z_s) of the labels that the teacher decodes, the mean over the steps, in nats.

    The labels are those of the task's `decode`, such as the most probable valid sequence of slot labels, and not the largest
    logit of each step. They are certain: neither the temperature nor a label smoothing changes them. (The paper's loss is the
    sum over the steps of a sentence.)
    """

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        assert teacher.decoded is not None
        own, labels = (real_steps(tensor, teacher.mask) for tensor in (student.logits, teacher.decoded))
        return functional.cross_entropy(precise(own), labels)


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss, which any pair of networks can use whose task decodes labels (`tasks.DecodesLabels`)."""
    return DecodedSequence()
