"""`--confirm auto`: the best trials of a search race the first point over new seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tune_sr.statistics.race import Race, race

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tune_sr.ledger.history import History, TrialRecord
    from tune_sr.objectives.score import Scorer

SHARE: Final = 0.4
"""A race takes at most this share of the student updates of its search."""
CHALLENGERS: Final = 3
"""The best trials that race the first point, at most."""
_SEEDS: Final = 5
"""So many seeds of all racers must be affordable for more than one challenger to race."""
LEAST: Final = 6
"""Trainings below which there is no race: three seeds of two."""


def trainings(updates: float, steps: int) -> int:
    """How many whole trainings of `steps` updates a race may take after a search of `updates`.

    >>> trainings(1500, 240), trainings(6000, 240)
    (0, 10)
    """
    affordable = int(SHARE * updates / steps + 1e-9)
    return affordable if affordable >= LEAST else 0


def race_of(history: History, scorer: Scorer, steps: int) -> tuple[Race, list[TrialRecord]] | None:
    """The race as far as the ledger goes, and its racers: the first point's trial, then the best.

    A pure function of the ledger: a resumed race goes on as an uninterrupted one. None where no
    trial is better than the first point's, and after a search too short for a race.

    Args:
        history: a study that has a first point.
        scorer: the rule by which its trials are judged, by one objective.
        steps: student updates of a whole trial.
    """
    first = next(iter(history.trials.values()), None)
    ranked = sorted(
        scorer.scored(history.trials.values()), key=lambda each: (-each[1].value, each[0].number)
    )
    spent = sum(max(each.reports, default=0) for each in history.trials.values())
    allowed = trainings(spent, steps)
    if first is None or not ranked or ranked[0][0] is first or not allowed:
        return None
    most = max(1, min(CHALLENGERS, allowed // _SEEDS - 1))
    challengers = [record for record, _ in ranked if record is not first][:most]
    records = [first, *challengers]
    scores = {record.name: repeat_scores(history, scorer, record.name) for record in records}
    return race([record.name for record in records], scores, allowed), records


def repeat_scores(history: History, scorer: Scorer, name: str) -> Mapping[int, float | None]:
    """The scores of the repeats of a trial that have ended, by the number of their seed, in dB.

    `name` is a trial's, or one of `repeats`. None for a repeat without a score.
    """
    repeats = {} if history.confirmation is None else history.confirmation.trials
    scores: dict[int, float | None] = {}
    for record in repeats.values():
        if record.repeats == name and record.state is not None:
            score = scorer.score(record)
            scores[record.number] = None if score is None else score.value
    return scores
