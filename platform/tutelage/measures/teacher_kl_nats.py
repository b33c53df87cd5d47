"""The Kullback–Leibler divergence of a student from its teacher."""

from __future__ import annotations

from tutelage.measure import Measure, log10

MEASURE = Measure(
    name="teacher_kl_nats",
    label="divergence from the teacher",
    unit="nats",
    direction="minimise",
    meaning="mean Kullback–Leibler divergence of the student from its teacher, KL(teacher ‖ student), at temperature 1",
    low=0.0,
    scale=log10,
    spread="mean",
    format=".4g",
    detail=True,
)
