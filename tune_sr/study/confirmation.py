"""Which trials a study repeats with other seeds after its search, to tell a gain from noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import ConfigError
from trainables.values import derive_seed
from tune_sr.ledger.events import TrialAdded
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.ledger.repeats import ablated_name, repeat_name, two_changes_name
from tune_sr.objectives.score import Scorer
from tune_sr.space.points import read_point
from tune_sr.study.ablation import point_of_two, two_changes
from tune_sr.study.config import StudyConfig
from tune_sr.study.racing import race_of, trainings


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


def ablated_points(config: StudyConfig, history: History) -> dict[str, dict[str, Any]]:
    """The best point with one quantity set back to the first point's, by that quantity's path.

    One for each quantity that has another value in the first point. A quantity that comes into
    being with it has the best point's value, or else the first's. Empty where nothing is confirmed.
    """
    trials = confirmed_trials(config, history)
    if not trials:
        return {}
    space, first, best = config.space, trials[0].point, trials[1].point
    changed = [path for path in best if path in first and best[path] != first[path]]
    return {
        path: read_point(
            space.dimensions, space.fixed, {**first, **best, path: first[path]}, "missing"
        )
        for path in changed
    }


def most_repeats(config: StudyConfig) -> int:
    """How many repeats a study's confirmation has at most; 0 without a first point."""
    if not config.space.first_points:
        return 0
    steps = config.space.budget.steps
    if config.settings.confirm == "auto":
        return trainings(config.settings.trials * steps, steps)
    changes = len(config.space.first_points[0])
    ablated = changes + (changes > 2) if config.settings.ablate else 0
    return (2 + ablated) * config.settings.confirm


def missing_repeats(config: StudyConfig, history: History) -> list[TrialAdded]:
    """The repeats that a study's confirmation still lacks, in the order in which they are trained.

    Repeat k of each trial has the same seed, so that scores are compared in pairs. With
    `study.ablate` the best trial is also repeated with one quantity set back, and after that the
    first point with the two most important changes alone. A pure function of
    the ledger and of both settings. Of a race (`confirm: auto`), those of its next seed.
    """
    known = {} if history.confirmation is None else history.confirmation.trials
    trials = confirmed_trials(config, history)
    points: dict[str, Mapping[str, Any]] = {record.name: record.point for record in trials}
    if config.settings.confirm == "auto":
        return [each for each in _due(config, history) if each.trial not in known]
    if config.settings.ablate:
        ablated = ablated_points(config, history)
        points |= {ablated_name(trials[1].name, path): point for path, point in ablated.items()}
        points |= _two_alone(config, history, trials, list(ablated))
    return [
        repeat
        for number in range(1, config.settings.confirm + 1)
        for name, point in points.items()
        if (repeat := _repeat(config, name, point, number)).trial not in known
    ]


def _two_alone(
    config: StudyConfig, history: History, trials: Sequence[TrialRecord], paths: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """The first point with the two most important changes alone, once the ablation names them."""
    if not trials:
        return {}
    scorer, (first, best) = Scorer(config.settings.objective, config.trial_config), trials[:2]
    seeds = int(config.settings.confirm)
    changes = two_changes(history, scorer, best.name, paths, seeds)
    if changes is None:
        return {}
    point = point_of_two(config.space, first.point, best.point, changes)
    return {two_changes_name(best.name, changes): point}


def _due(config: StudyConfig, history: History) -> list[TrialAdded]:
    """The repeats whose end a race waits for."""
    if not config.space.first_points:
        return []
    scorer = Scorer(config.settings.objective, config.trial_config)
    found = race_of(history, scorer, config.space.budget.steps)
    if found is None:
        return []
    race, records = found
    points = {record.name: record.point for record in records}
    return [_repeat(config, name, points[name], number) for name, number in race.due]


def lacks_repeats(config: StudyConfig, history: History) -> bool:
    """Whether a study's confirmation still has repeats to train."""
    begun = history.confirmation
    return bool(missing_repeats(config, history) or (begun is not None and begun.running()))


def _repeat(config: StudyConfig, repeats: str, point: Mapping[str, Any], number: int) -> TrialAdded:
    point = {**point, "seed": derive_seed(config.settings.seed, "confirm", number)}
    try:
        caveat = config.trial_config(point).caveat
    except ConfigError:  # its trial ends at once, with the reason
        caveat = None
    name = repeat_name(repeats, number)
    return TrialAdded(
        trial=name, number=number, point=point, caveat=caveat or None, repeats=repeats
    )
