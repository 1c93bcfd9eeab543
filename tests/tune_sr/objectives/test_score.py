"""By which report a trial is judged, and which trials are best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from events import added, as_read, cloned, ended, read, reported

from tune_sr.ledger.history import History, TrialRecord
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.objectives.score import Scorer

AND_SIZE = Objective("psnr_y_db", "params")


class Growing:
    """A scorer of students that grow after the updates in their points, and what it asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.scorer = Scorer(PSNR_ONLY, self._configure)

    def _configure(self, point: Mapping[str, Any]) -> Any:
        self.asked.append(point)
        if "bad" in point:
            raise ValueError("cannot be trained")
        return SimpleNamespace(growth_steps=lambda: point["growths"])


def record(*events: Any) -> TrialRecord:
    return History.from_events(read(*events)).trials["0000"]


@pytest.mark.parametrize(
    ("state", "growths", "step"),
    [
        ("completed", [], 10),  # ties go to the earlier
        ("completed", [3, 17], 20),
        ("completed", [20], 40),  # the report at the growth itself is of the student before it
        ("stopped", [50], 10),  # stopped before it had grown
        ("failed", [], None),
    ],
)
def test_a_score_is_the_best_report_since_the_last_growth(
    state: Any, growths: list[int], step: int | None
) -> None:
    values = {10: 31.0, 15: 31.0, 20: 30.0, 30: math.nan, 40: 29.0}
    reports = [reported(0, step, value) for step, value in values.items()]
    trial = record(added(0, {"growths": growths}), *reports, ended(0, state))
    scorer = Growing().scorer
    score = scorer.score(trial)
    assert (score and score.step) == step
    judged = scorer.judged(trial)
    assert judged is not None and judged.value == values[judged.step]


def test_without_a_finite_report_or_a_sound_point_there_is_no_score() -> None:
    scorer = Growing().scorer
    assert scorer.judged(record(added(0, {"growths": []}))) is None
    assert Growing().scorer.judged(record(added(0, {"bad": 1}), reported(0, 1, 30.0))) is None
    nothing = record(added(0, {"growths": []}), reported(0, 1, math.nan))
    assert scorer.judged(nothing) is None


def test_a_score_follows_each_report_and_a_point_is_configured_once() -> None:
    history, growing = History(), Growing()
    history.apply(as_read(added(0, {"growths": [15]})))
    trial, steps = history.trials["0000"], []
    for event in (
        *(reported(0, 10, 31.0), reported(0, 20, 29.0), reported(0, 30, 30.0)),
        cloned(0, 0, 30, {"growths": [99]}),  # its own growth is that of the point it began with
        reported(0, 40, 28.0),
    ):
        history.apply(as_read(event))
        score = growing.scorer.score(trial)
        assert score is not None
        steps.append(score.step)
    assert steps == [10, 20, 30, 30, 30]
    assert growing.asked == [{"growths": [15]}]


def test_the_best_is_the_cheapest_of_equals_then_the_earliest_and_never_failed() -> None:
    figures = [(28.0, 9.0), (28.5, 20.0), (28.5, 15.0), (28.5, 15.0), (28.0, 9.5), (29.0, 1.0)]
    events = []
    for number, (psnr, params) in reversed(list(enumerate(figures))):
        report = {"psnr_y_db": psnr, "params": params}
        state = "failed" if psnr == 29.0 else "completed"
        events += [added(number), reported(number, 1, report), ended(number, state)]
    trials = History.from_events(read(*events)).trials.values()
    scorer = Scorer(AND_SIZE)
    best = scorer.best(trials)
    assert best is not None and best.name == "0002"
    assert [each.name for each in scorer.front(trials)] == ["0000", "0002"]
    alone = Scorer(PSNR_ONLY)
    assert [each.name for each in alone.front(trials)] == ["0001"]
    assert [score.cost for _, score in alone.scored(trials)] == [0.0] * 5
    assert alone.best([]) is None and alone.front([]) == []
