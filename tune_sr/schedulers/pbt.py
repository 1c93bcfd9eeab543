"""Population based training: which trial goes on as a copy of which other one, and how changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.values import ConfigError, derive_seed
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.schedulers.rungs import rungs
from tune_sr.space.dimension import Dimension

if TYPE_CHECKING:
    from trainables.config import BudgetConfig, TrialConfig

_FACTORS = (0.8, 1.2)
"""By one of which a quantity is multiplied, as in the paper."""
_RESAMPLED = 0.25
"""How often it is drawn anew instead: a weight of 0 would stay 0."""
_CONTINUOUS = ("uniform", "loguniform", "quniform")
_RATES = ("optimiser.lr", "optimiser.clip")
_WHEN_IT_GROWS = "method.part_fraction"
_CAVEAT = "became a changed copy of better trials on its way: its configuration is that of its end"


class Replacement(NamedTuple):
    """What a trial goes on as."""

    source: str
    """The trial whose checkpoint at `step` it continues from."""
    step: int
    point: Mapping[str, Any]
    """The source's, its weights and rates changed."""
    caveat: str
    """What every reader of the ledger shall say beside the trial's result."""


class PopulationBasedTraining:
    """The trials of one study, which learn from one another while they run.

    Jaderberg et al., "Population Based Training of Neural Networks", 2017, without waiting: at each
    of its exchange steps a trial is ranked by its report there among all that have made one there,
    ended ones included. One of the lowest share becomes a copy of one of the highest (truncation
    selection). It continues at the same step, so every trial costs its budget and no more. Trials
    are ranked among those of the same method and the same student. When that grew does not matter:
    the grace period, and so the first exchange, ends after the last growth of every point.

    All of it is a function of the ledger and the seed; nothing is kept between calls but the kinds
    of points seen before. Trials of a space's `first` points stay as they are: the others are
    measured by them.
    """

    def __init__(
        self,
        steps: Sequence[int],
        share: int,
        dimensions: Mapping[str, Dimension],
        configure: Callable[[Mapping[str, Any]], TrialConfig],
        seed: int,
        objective: str = "psnr_y_db",
        unchanged: int = 0,
    ) -> None:
        """Take what decides.

        Args:
            steps: student updates after which trials are exchanged; empty: never.
            share: the lowest one in so many copies one of as many highest.
            dimensions: of the space.
            configure: a point as a whole configuration.
            seed: the study's.
            objective: the key of reports by which trials are ranked.
            unchanged: how many trials, the first ones, may be copied and never are copies.
        """
        self._steps, self._share, self._dimensions = frozenset(steps), share, dimensions
        self._configure, self._seed, self._objective = configure, seed, objective
        self._unchanged = unchanged
        self._kinds: dict[tuple[str, int], Hashable] = {}

    def copy(self, history: History, trial: str, step: int) -> Replacement | None:
        """What `trial` goes on as after its report at `step`, which `history` ends with.

        None: as itself.
        """
        if step not in self._steps or history.trials[trial].number < self._unchanged:
            return None
        ranked = self._ranked(history, trial, step)
        count = len(ranked) // self._share
        if trial not in [record.name for record in ranked[:count]]:
            return None
        own = self._value(history.trials[trial], step)
        sources = [
            record
            for record in ranked[len(ranked) - count :]
            if record.state != "failed" and self._value(record, step) > own
        ]
        if not sources:
            return None
        source = sources[derive_seed(self._seed, "source", trial, step) % len(sources)]
        before, caveat = source.point_at(step), source.caveat_at(step) or ""
        said = caveat if _CAVEAT in caveat else "; ".join(filter(None, [caveat, _CAVEAT]))
        return Replacement(source.name, step, self._changed(before, trial, step), said)

    def unwritten_replacement(self, events: Sequence[Event]) -> tuple[str, Replacement] | None:
        """The trial, and its copy, that a driver decided on and died before it could write.

        Only after the very last event can one be missing: both are written in one go.
        """
        last: Event = events[-1] if events else {"event": ""}
        if last["event"] != "reported" or last["decision"] != "continue":
            return None
        trial, step = last["trial"], last["step"]
        if step in History.from_events(events[:-1]).trials[trial].reports:
            return None  # the report had been made before, and what followed from it decided
        copy = self.copy(History.from_events(events), trial, step)
        return None if copy is None else (trial, copy)

    def _ranked(self, history: History, trial: str, step: int) -> list[TrialRecord]:
        """Those of the kind of `trial` that have reported at `step`, the lowest first."""
        kind = self._peer_group(history.trials[trial], step)
        peers = [
            record for record in history.reached[step] if self._peer_group(record, step) == kind
        ]
        return sorted(peers, key=lambda record: (self._value(record, step), -record.number))

    def _value(self, record: TrialRecord, step: int) -> float:
        value = record.reports[step].report.get(self._objective, math.nan)
        return value if math.isfinite(value) else -math.inf

    def _peer_group(self, record: TrialRecord, step: int) -> Hashable:
        """Equal for trials that may copy each other at `step`."""
        key = record.name, sum(each.step < step for each in record.clones)
        if key not in self._kinds:
            config = self._configure(record.point_at(step))
            self._kinds[key] = config.method.name, config.student.model_dump_json()
        return self._kinds[key]

    def _changed(self, point: Mapping[str, Any], trial: str, step: int) -> dict[str, Any]:
        changed = dict(point)
        for path in point:
            if is_perturbable(self._dimensions[path]):
                draws = [
                    derive_seed(self._seed, "change", trial, step, path, what) / 2**63
                    for what in ("how", "where")
                ]
                changed[path] = perturb(self._dimensions[path], point[path], *draws)
        return changed


def exploit_steps(scheduler: SchedulerConfig, budget: BudgetConfig) -> tuple[int, ...]:
    """Student updates after which a trial may go on as a copy of another; mostly none."""
    return rungs(scheduler, budget) if SCHEDULERS[scheduler.name].is_population_based else ()


def is_perturbable(dimension: Dimension) -> bool:
    """Whether a running trial can go on with another value of a quantity.

    So it is with the weights of losses and the rates of learning: continuous quantities of the
    method, and the optimiser's rate and clipping. When a student grows is part of its architecture.

    >>> is_perturbable(Dimension("optimiser.lr", "loguniform", (0.001, 0.1)))
    True
    """
    path = dimension.path
    followed = path in _RATES or path.startswith("method.")
    return dimension.distribution in _CONTINUOUS and followed and path != _WHEN_IT_GROWS


def perturb(dimension: Dimension, value: float, how: float, where: float) -> float:
    """`value` times 0.8 or 1.2, kept in range, or in one of four cases drawn anew.

    Args:
        dimension: a changeable one.
        value: of the source.
        how: a number in [0, 1) that decides between the two.
        where: another, which decides the factor, or is the quantile drawn.

    >>> perturb(Dimension("method.w_R", "uniform", (0.0, 3.0)), 2.0, how=0.5, where=0.1)
    1.6
    """
    low, high = dimension.args[0], dimension.args[1]
    if how >= _RESAMPLED:
        new = value * _FACTORS[where >= 0.5]
    elif dimension.distribution == "loguniform":
        new = low * (high / low) ** where
    else:
        new = low + (high - low) * where
    new = min(max(new, low), high)
    return float(
        dimension.validate(dimension.on_grid(new) if dimension.distribution == "quniform" else new)
    )


def check_exchanges(scheduler: str, dimensions: Mapping[str, Dimension]) -> None:
    """Refuse a space whose trials could not be changed, where `scheduler` would change them.

    Raises:
        ConfigError: says what is missing.
    """
    if SCHEDULERS[scheduler].is_population_based and not any(
        map(is_perturbable, dimensions.values())
    ):
        rule = f"{scheduler} changes weights and rates while trials run, and none is searched"
        wanted = "search optimiser.lr or a continuous quantity of the method"
        raise ConfigError("study.scheduler.name", f"{rule}: {wanted}")
