"""A race of configurations over seeds: after each seed, those that are behind drop out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, NamedTuple

P: Final = 0.05
"""The most likely share of races of equal configurations in which one drops out as behind."""
_FIRST_LOOK: Final = 2
"""Seeds before which nobody drops out: one gives no spread."""


@dataclass(frozen=True)
class Look:
    """How the racers stand after a seed.

    A randomised block design with the seeds as blocks: the spread is pooled over all racers, from
    what is left of the scores without the means of racer and seed, (racers - 1) x (seeds - 1)
    degrees of freedom. With few seeds pooling finds what a t test of one pair cannot.
    """

    seeds: int
    means: Mapping[str, float]
    """By racer, its mean score over the seeds, in dB."""
    error: float
    """Standard error of the difference of two means, in dB."""
    freedom: int
    """Degrees of freedom of that error."""
    share: float
    """The p below which a racer drops out at this look."""

    @property
    def leader(self) -> str:
        """The racer of the best mean; of equal ones the first."""
        return max(self.means, key=lambda name: self.means[name])

    def p(self, name: str, ahead: str) -> float:
        """The chance that a racer is as far behind another though both are equal.

        One-sided, of Student's t, times the number of other racers (Bonferroni).
        """
        gap = self.means[ahead] - self.means[name]
        if self.error == 0:
            return 0.0 if gap > 0 else 1.0
        tail = 1 - _student(self.freedom, gap / self.error)
        return min(1.0, (len(self.means) - 1) * tail)

    @property
    def half_width(self) -> float:
        """Half the interval of a difference that excludes 0 exactly where a racer drops out."""
        from scipy.special import stdtrit

        tail = self.share / (len(self.means) - 1)
        return float(stdtrit(self.freedom, 1 - tail)) * self.error


class Dropped(NamedTuple):
    """How a racer left a race."""

    seeds: int
    """The number of the seed after which it did."""
    p: float | None
    """Of being behind the leader; None where a training of it failed."""


@dataclass
class Race:
    """A race as far as its scores go."""

    racers: tuple[str, ...]
    """The first is the one to beat: once it has dropped out, the race is over."""
    trainings: int
    """How many it may take."""
    spent: int = 0
    """Trainings of the rounds that are complete."""
    alive: list[str] = field(default_factory=list)
    dropped: dict[str, Dropped] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    due: tuple[tuple[str, int], ...] = ()
    """Racers whose training with a seed, by number, is to end next; empty once the race is over."""

    @property
    def winner(self) -> str | None:
        """The racer that is better than the first; None where none is shown to be."""
        beaten = self.dropped.get(self.racers[0])
        return self.looks[-1].leader if beaten is not None and beaten.p is not None else None

    def last_look(self, *names: str) -> Look | None:
        """The last look at which all of some racers were compared; None without one."""
        looks = (look for look in reversed(self.looks) if look.means.keys() >= set(names))
        return next(looks, None)


def race(
    racers: Sequence[str], scores: Mapping[str, Mapping[int, float | None]], trainings: int
) -> Race:
    """Run a race one seed at a time, as far as the scores go: a pure function of them.

    After each seed from the second on, a racer drops out that is behind the leader with a p below
    its look's share: the 5 % of the whole race times the share of its trainings that were made
    since the look before. So the 5 % hold over all looks together (Bonferroni; alpha spending
    linear in information, Lan and DeMets 1983).

    Args:
        racers: two or more; the first is the one to beat.
        scores: by racer and number of the seed, from 1: a score in dB, None for a training that
            failed; a seed is missing where a training has not ended.
        trainings: no seed is begun that would take more than these.

    >>> scores = {"a": {1: 30.0, 2: 30.1, 3: 30.0}, "b": {1: 30.5, 2: 30.6, 3: 30.5}}
    >>> found = race(["a", "b"], scores, 6)
    >>> found.winner, found.dropped["a"].seeds
    ('b', 2)
    """
    found = Race(tuple(racers), trainings, alive=list(racers))
    seed, looked = 0, 0
    while len(found.alive) > 1 and found.racers[0] in found.alive:
        seed += 1
        if found.spent + len(found.alive) > trainings:
            break
        due = [name for name in found.alive if seed not in scores.get(name, {})]
        if due:
            found.due = tuple((name, seed) for name in due)
            break
        found.spent += len(found.alive)
        for name in found.alive:
            if scores[name][seed] is None:
                found.dropped[name] = Dropped(seed, None)
        found.alive = [name for name in found.alive if name not in found.dropped]
        if seed < _FIRST_LOOK or len(found.alive) < 2:
            continue
        share = P * (found.spent - looked) / trainings
        looked = found.spent
        _drop(found, _look({name: scores[name] for name in found.alive}, seed, share))
    return found


def _drop(found: Race, look: Look) -> None:
    """Take a look into account."""
    found.looks.append(look)
    for name in found.alive:
        if name != look.leader and (p := look.p(name, look.leader)) < look.share:
            found.dropped[name] = Dropped(look.seeds, p)
    found.alive = [name for name in found.alive if name not in found.dropped]


def _look(scores: Mapping[str, Mapping[int, float | None]], seeds: int, share: float) -> Look:
    rows = {name: [_known(each[k]) for k in range(1, seeds + 1)] for name, each in scores.items()}
    means = {name: fmean(row) for name, row in rows.items()}
    overall = fmean(means.values())
    of_seeds = [fmean(column) for column in zip(*rows.values(), strict=True)]
    squares = (
        (value - means[name] - of_seed + overall) ** 2
        for name, row in rows.items()
        for value, of_seed in zip(row, of_seeds, strict=True)
    )
    freedom = (len(rows) - 1) * (seeds - 1)
    error = math.sqrt(2 * sum(squares) / freedom / seeds)
    return Look(seeds, means, error, freedom, share)


def _known(score: float | None) -> float:
    if score is None:
        raise ValueError("a racer with a failed training has dropped out")
    return score


def _student(freedom: int, quantile: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, quantile))
