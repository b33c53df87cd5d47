"""Does teaching help a small reader of lines, and which knowledge: the outputs, the features, or both?

    python tests/benchmarks/ocr.py [--set KEY=VALUE …] [--only ARM …] [--seeds 3] [--weight 0.7] [--storage .tutelage] [--json]

Teacher, student and data are those of search_spaces/ocr.yaml, with the lowest value of what is searched. The arms of a seed
have the same network, initial weights, epochs and order of examples, and nothing was tuned for any of them. Error rates are
those of the test lines, whose digits are in no other line. One process on one thread; what is finished is kept, so an
interrupted benchmark continues.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, pair, smoke, teaching
from tutelage.spec import loading
from tutelage.spec.sections import TrialConfig

METHODS: dict[str, Any] = {
    "kd": "kd",
    "ctc_blank": "ctc_blank",
    "fitnet": "fitnet",
    "ctc_blank + fitnet": {"mixture": {"terms": {"ctc_blank": 1.0, "fitnet": 1.0}}},
}
TINY = [
    "data.digit_lines.lines=64", "data.digit_lines.test_lines=20", "data.digit_lines.validation_lines=20", "teacher.epochs=1",
    "student.epochs=1", "student.model={crnn: {width: 4, hidden: 8}}",
]  # fmt: skip


def main() -> None:
    parser = smoke.Parser(__doc__, seeds=2, overrides=TINY, storage=lambda: str(smoke.scratch()))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--only", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weight", type=float, default=0.7)
    parser.add_argument("--storage", default=".tutelage")
    options = parser.parse_args()
    pair.one_thread()
    loaded = loading.load(smoke.ROOT / "search_spaces" / "ocr.yaml", options.overrides)
    home = Path(options.storage) / "benchmarks" / f"ocr-{options.weight:g}"
    home.mkdir(parents=True, exist_ok=True)
    found = teaching.Kept(home / "results.json")
    room = teaching.taught(loaded, home, found, frozenset({"features"}))
    arms = {teaching.ALONE: "kd", **{name: METHODS[name] for name in options.only}}
    lowest = next(iter(loaded.space.corners()))
    for seed in range(options.seeds):
        for name, method in arms.items():
            distillation = {"method": method, "weight": options.weight, "temperature": 4.0}
            config = TrialConfig.model_validate({**lowest, "distillation": distillation})
            kind = teaching.ALONE if name == teaching.ALONE else teaching.DISTILLED
            found.make(
                f"{name}/{seed}", lambda config=config, kind=kind, seed=seed: teaching.of_student(config, kind, seed, room)
            )
    alone = found.of(teaching.ALONE, "character_error_rate")
    rows = [
        {
            "network": name, "params": f"{found.of(name, 'params')[0]:,.0f}",
            "character error rate": pair.spread(found.of(name, "character_error_rate")),
            "exact match": pair.spread(found.of(name, "exact_match")),
            "error rate less that by labels alone, points (95 %)": "", "verdict": "",
        }
        for name in (teaching.TEACHER, *arms)
    ]  # fmt: skip
    for row in rows[2:]:
        own = found.of(row["network"], "character_error_rate")
        row["error rate less that by labels alone, points (95 %)"] = pair.gain(own, alone)
        row["verdict"] = teaching.verdict([b - a for a, b in zip(own, alone, strict=True)])
    machine.show(f"Lines of digits: test split, {options.seeds} paired seeds (mean ± sd)", rows, as_json=options.json)


if __name__ == "__main__":
    main()
