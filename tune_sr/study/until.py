"""The setting `study.until`: a search ends by itself once its trials no longer gain anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from trainables.values import Config

if TYPE_CHECKING:
    from tune_sr.ledger.history import History
    from tune_sr.objectives.score import Scorer


class UntilConfig(Config):
    """When a search ends before its last trial."""

    trials: int = Field(default=6, ge=1)
    """Latest ended trials, by number, none of which may have gained more than `gain_db`."""
    gain_db: float = Field(default=0.02, ge=0.0)
    """What one of them has to gain over the best trial before them, in dB, for the search to go
    on."""


def trials_wanted(trials: int, history: History) -> int:
    """How many trials a study is to have: `trials`, its setting, and the points asked for."""
    return trials + len(history.asked.points)


def is_settled(until: UntilConfig | None, history: History, scorer: Scorer) -> bool:
    """Whether a search has ended by `until`: a pure function of its trials; never without one.

    Running trials do not count, and a failed one gains nothing. Before a trial has a score, and
    until there are more than `until.trials` ended ones, no search is settled.
    """
    if until is None:
        return False
    ended = sorted(
        (record for record in history.trials.values() if record.state is not None),
        key=lambda record: record.number,
    )
    scores = [scorer.score(record) for record in ended]
    values = [-math.inf if score is None else score.value for score in scores]
    before, latest = values[: -until.trials], values[-until.trials :]
    best = max(before, default=-math.inf)
    return best > -math.inf and max(latest) <= best + until.gain_db
