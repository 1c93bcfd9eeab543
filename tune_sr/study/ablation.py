"""Which two changes an ablation finds to matter most, and the point with these two alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tune_sr.ledger.repeats import ablated_name
from tune_sr.space.points import read_point
from tune_sr.study.racing import repeat_scores

if TYPE_CHECKING:
    from tune_sr.ledger.history import History
    from tune_sr.objectives.score import Scorer
    from tune_sr.space.search_space import SearchSpace


def two_changes(
    history: History, scorer: Scorer, best: str, paths: Sequence[str], seeds: int
) -> tuple[str, str] | None:
    """The two quantities that give the most alone, in the order of `paths`.

    A pure function of the ledger. None before the ablation has ended for all of its seeds, of fewer
    than three changes, which two would be all but one of, and where no pair of scores tells.

    Args:
        history: the study.
        scorer: the rule by which its trials are judged.
        best: the name of the best trial.
        paths: the quantities that differ between its point and the first.
        seeds: with how many each was set back.
    """
    if len(paths) < 3:
        return None
    own = repeat_scores(history, scorer, best)
    gives: dict[str, float] = {}
    for path in paths:
        theirs = repeat_scores(history, scorer, ablated_name(best, path))
        if any(k not in own or k not in theirs for k in range(1, seeds + 1)):
            return None
        pairs = [(own[k], theirs[k]) for k in sorted(own.keys() & theirs.keys())]
        known = [a - b for a, b in pairs if a is not None and b is not None]
        if len(known) >= 2:
            gives[path] = fmean(known)
    if len(gives) < 2:
        return None
    first, second = sorted(sorted(gives, key=lambda path: -gives[path])[:2], key=paths.index)
    return first, second


def point_of_two(
    space: SearchSpace,
    first: Mapping[str, Any],
    best: Mapping[str, Any],
    changes: Sequence[str],
) -> dict[str, Any]:
    """The first point with two quantities as in the best.

    A quantity that comes into being with one of them has the best point's value.
    """
    values = {**best, **first, **{path: best[path] for path in changes}}
    return read_point(space.dimensions, space.fixed, values, "missing")
