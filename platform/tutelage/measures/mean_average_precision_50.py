"""The mean average precision of boxes at an IoU of 0.5, the measure of Pascal VOC by COCO's interpolation."""

from __future__ import annotations

from tutelage.measure import Measure, neg_log10_error
from tutelage.measures._average_precision import at_a_half

MEASURE = Measure(
    name="mean_average_precision_50",
    label="mAP@0.5",
    unit="share",
    direction="maximise",
    meaning="area under precision over recall, mean over classes, with boxes right from an IoU of 0.5 on",
    low=0.0,
    high=1.0,
    scale=neg_log10_error,
    reference=0.0,
    available="each_epoch",
    spread="corpus",
    aggregate=at_a_half,
)
