"""The share of tokens that a language model predicts rightly."""

from __future__ import annotations

from tutelage.measure import Array, Measure, neg_log10_error


def share_of(contributions: Array) -> float:
    """Return the share of right tokens, from each example's right ones and its tokens `[n, 2]`; 1 without any."""
    right, tokens = contributions.sum(axis=0)
    return float(right / tokens) if tokens else 1.0


MEASURE = Measure(
    name="next_token_accuracy",
    label="next-token accuracy",
    unit="share",
    direction="maximise",
    meaning="share of all next tokens that have the largest probability",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    available="each_epoch",
    spread="corpus",
    aggregate=share_of,
)
