"""The section `guard` of a spec: what a selected student may lose, certified on examples that no choice has used."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tutelage.spec.sections import Section


class GuardConfig(Section):
    """A certified bound of what a smaller student loses. With it, the search sees one half of validation only."""

    max_drop: float = Field(
        gt=0, description="most that the student may lose of the primary measure, in the measure's unit: 0.01 is a point"
    )
    confidence: float = Field(0.95, ge=0.5, lt=1, description="confidence level of the certificate")
    against: Literal["dense", "best", "teacher"] = Field(
        "dense",
        description="what the student is compared with; dense: the student of the same trial before the removal (where a trial "
        "gives one student only, as best); best: the most accurate student of the front; teacher: the teacher",
    )
    disagreement: float = Field(
        0.02,
        gt=0,
        le=1,
        description="expected share of examples on which only one of the two is right; decides which max_drop is an error",
    )
