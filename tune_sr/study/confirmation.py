"""Which trials a study repeats with other seeds after its search, to tell a gain from noise."""

from __future__ import annotations

from trainables.errors import ConfigError
from trainables.values import derive_seed
from tune_sr.ledger.events import TrialAdded
from tune_sr.ledger.history import History, TrialRecord, repeat_name
from tune_sr.objectives.score import Scorer
from tune_sr.study.config import StudyConfig


def confirmed_trials(config: StudyConfig, history: History) -> list[TrialRecord]:
    """The trials that a confirmation repeats: the first point's, then the best.

    Of a study with two objectives also the cheapest of the front. Empty where the space has no
    first point to compare with, and where nothing is better than it.
    """
    first = next(iter(history.trials.values()), None) if config.space.first_points else None
    front = Scorer(config.settings.objective, config.trial_config).front(history.trials.values())
    if first is None or not front:
        return []
    trials = {record.name: record for record in (first, front[-1], front[0])}
    return list(trials.values()) if len(trials) > 1 else []


def missing_repeats(config: StudyConfig, history: History) -> list[TrialAdded]:
    """The repeats that a study's confirmation still lacks, in the order in which they are trained.

    Repeat k of each trial has the same seed, so that scores are compared in pairs. A pure function
    of the ledger and of `study.confirm`.
    """
    known = {} if history.confirmation is None else history.confirmation.trials
    trials = confirmed_trials(config, history)
    return [
        repeat
        for number in range(1, config.settings.confirm + 1)
        for record in trials
        if (repeat := _repeat(config, record, number)).trial not in known
    ]


def lacks_repeats(config: StudyConfig, history: History) -> bool:
    """Whether a study's confirmation still has repeats to train."""
    begun = history.confirmation
    return bool(missing_repeats(config, history) or (begun is not None and begun.running()))


def _repeat(config: StudyConfig, record: TrialRecord, number: int) -> TrialAdded:
    point = {**record.point, "seed": derive_seed(config.settings.seed, "confirm", number)}
    try:
        caveat = config.trial_config(point).caveat
    except ConfigError:  # its trial ends at once, with the reason
        caveat = None
    name = repeat_name(record.name, number)
    return TrialAdded(
        trial=name, number=number, point=point, caveat=caveat or None, repeats=record.name
    )
