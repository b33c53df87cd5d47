"""The perplexity of a language model: the exponential of its mean negative log likelihood of a token."""

from __future__ import annotations

from math import exp

from tutelage.measure import Array, Measure, log10

MOST_NATS = 700.0  # the exponential of more is not finite


def perplexity_of(contributions: Array) -> float:
    """Return exp(all nats over all tokens), from each example's nats and tokens `[n, 2]`; 1 without any."""
    nats, tokens = contributions.sum(axis=0)
    return exp(min(float(nats / tokens), MOST_NATS)) if tokens else 1.0


MEASURE = Measure(
    name="perplexity",
    label="perplexity",
    unit="tokens",
    direction="minimise",
    meaning="exponential of the mean cross-entropy of all next tokens in nats",
    low=1.0,
    scale=log10,
    reference=256.0,
    available="each_epoch",
    spread="corpus",
    aggregate=perplexity_of,
)
