"""Estimates how many student updates a study still makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_WEIGHT = 4
"""Trials' worth of trust in the simulated cost of a trial, against those that have ended."""


def mean_updates(simulated: float, ended: Sequence[int]) -> float:
    """Updates that a trial of a study takes on average.

    Args:
        simulated: the mean on simulated curves, as `--dry-run` has it. Of the trials that have
            ended alone a mean would be too low: those that are stopped early end first.
        ended: updates of each trial that has ended.

    >>> mean_updates(200.0, []), mean_updates(200.0, [100, 100, 100, 100])
    (200.0, 150.0)
    """
    return (_WEIGHT * simulated + sum(ended)) / (_WEIGHT + len(ended))


def updates_left(done: int, whole: int, mean: float) -> float:
    """Updates that a running trial still makes on average.

    It is the mean before its first update, and the whole rest for one that is nearly complete,
    since the scheduler has let it pass so many rungs.

    Args:
        done: updates that it has made.
        whole: updates of a trial that nothing stops.
        mean: updates that a trial takes on average.

    >>> updates_left(0, 240, 120.0), updates_left(120, 240, 120.0), updates_left(240, 240, 120.0)
    (120.0, 90.0, 0.0)
    """
    share = min(1.0, mean / whole)
    return (whole - done) * (share + (1 - share) * done / whole)


def study_updates_left(
    running: Iterable[int], ended: Sequence[int], trials: int, whole: int, simulated: float
) -> float:
    """Updates that all trials of a search still make.

    Args:
        running: updates made by each trial that runs.
        ended: updates made by each trial that has ended.
        trials: how many trials the study is to have.
        whole: updates of a trial that nothing stops.
        simulated: the mean of a trial on simulated curves.

    >>> study_updates_left([120], [240, 240, 60, 60], 8, 240, 150.0)
    547.5
    """
    mean, begun = mean_updates(simulated, ended), list(running)
    new = max(0, trials - len(begun) - len(ended))
    return new * mean + sum(updates_left(done, whole, mean) for done in begun)
