"""The mean average precision of boxes over IoUs from 0.5 to 0.95, the primary measure of COCO (Lin et al., 2014)."""

from __future__ import annotations

from tutelage.measure import Measure, neg_log10_error
from tutelage.measures._average_precision import mean_over_thresholds

MEASURE = Measure(
    name="mean_average_precision",
    label="mAP@0.5:0.95",
    unit="share",
    direction="maximise",
    meaning="area under precision over recall, mean over classes and over the IoUs 0.50, 0.55 … 0.95 at which a box is right",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    available="each_epoch",
    spread="corpus",
    aggregate=mean_over_thresholds,
)
