"""Population based training: trials that lag continue as changed copies of better ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.errors import ConfigError
from trainables.values import derive_seed
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.schedulers.rungs import rungs
from tune_sr.space.dimension import Dimension

if TYPE_CHECKING:
    from trainables.config import BudgetConfig, TrialConfig

_FACTORS = (0.8, 1.2)
"""A perturbed quantity is multiplied by one of these, as in the paper."""
_RESAMPLE_PROBABILITY = 0.25
"""Probability that a quantity is drawn from its range instead: a weight of 0 would stay 0."""
_CONTINUOUS = ("uniform", "loguniform", "quniform")
_RATES = ("optimiser.lr", "optimiser.clip")
_WHEN_IT_GROWS = "method.part_fraction"
_CAVEAT = "became a changed copy of better trials on its way: its configuration is that of its end"


class Replacement(NamedTuple):
    """The copy as which a trial continues."""

    source: str
    """Name of the trial whose checkpoint at `step` is copied."""
    step: int
    """Student updates done at the exchange."""
    point: Mapping[str, Any]
    """The source's point at `step`, with perturbed weights and rates."""
    caveat: str
    """The footnote shown beside the trial's result from then on."""


class PopulationBasedTraining:
    """Decides which trials of a study become copies of others, and how their points are perturbed.

    Jaderberg et al., "Population Based Training of Neural Networks", 2017, made asynchronous: at
    each exchange step a trial is ranked by its report among all trials that have reported at that
    step, ended ones included. One of the lowest share becomes a copy of one of the highest and
    continues at the same step, so every trial costs exactly its budget. Only trials of the same
    method and the same student are ranked together. Their growth steps may differ: the first
    exchange comes after the last growth of every point (see `least_grace`).

    Pure in the ledger and the seed; only the peer group of each point is cached. The trials of a
    space's `first` points are never changed, since they serve as references.
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
        """Store the rule's parameters.

        Args:
            steps: student updates at which trials may become copies; empty: never.
            share: the lowest 1/share of the trials copy the highest 1/share.
            dimensions: the space's dimensions by dotted path.
            configure: converts a point to a whole configuration.
            seed: the study's seed, from which sources and changes are drawn.
            objective: the report key by which trials are ranked.
            unchanged: trials with a lower number may be copied but never become copies.
        """
        self._steps, self._share, self._dimensions = frozenset(steps), share, dimensions
        self._configure, self._seed, self._objective = configure, seed, objective
        self._unchanged = unchanged
        self._peer_groups: dict[tuple[str, int], Hashable] = {}

    def copy(self, history: History, trial: str, step: int) -> Replacement | None:
        """Choose the copy as which `trial` continues after its report at `step`.

        Args:
            history: the study's trials; that report is its last one.
            trial: the trial's name.
            step: student updates done.

        Returns:
            None where the trial continues unchanged.
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
        if _CAVEAT not in caveat:
            caveat = "; ".join(filter(None, [caveat, _CAVEAT]))
        return Replacement(source.name, step, self._changed(before, trial, step), caveat)

    def unwritten_replacement(self, events: Sequence[Event]) -> tuple[str, Replacement] | None:
        """Return the trial and the copy that a killed driver decided on but did not write, if any.

        Only the ledger's last event can lack one: a report and the copy that follows from it are
        appended together.
        """
        last: Event = events[-1] if events else {"event": ""}
        if last["event"] != "reported" or last["decision"] != "continue":
            return None
        trial, step = last["trial"], last["step"]
        before = History.from_events(events[:-1]).trials
        if trial not in before:
            return None  # a repeat of a confirmation copies no other
        if step in before[trial].reports:
            return None  # a repeated report: its copy was decided on at the first one
        copy = self.copy(History.from_events(events), trial, step)
        return None if copy is None else (trial, copy)

    def _ranked(self, history: History, trial: str, step: int) -> list[TrialRecord]:
        """Return the peers of `trial` that have reported at `step`, the lowest value first."""
        group = self._peer_group(history.trials[trial], step)
        peers = [
            record for record in history.reached[step] if self._peer_group(record, step) == group
        ]
        return sorted(peers, key=lambda record: (self._value(record, step), -record.number))

    def _value(self, record: TrialRecord, step: int) -> float:
        value = record.reports[step].report.get(self._objective, math.nan)
        return value if math.isfinite(value) else -math.inf

    def _peer_group(self, record: TrialRecord, step: int) -> Hashable:
        """Return a key that is equal for trials that may copy each other at `step`."""
        key = record.name, sum(each.step < step for each in record.clones)
        if key not in self._peer_groups:
            config = self._configure(record.point_at(step))
            self._peer_groups[key] = config.method.name, config.student.model_dump_json()
        return self._peer_groups[key]

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
    """Return the student updates at which a trial may become a copy; none but for `pbt`."""
    return rungs(scheduler, budget) if SCHEDULERS[scheduler.name].is_population_based else ()


def is_perturbable(dimension: Dimension) -> bool:
    """Whether a running trial can continue with another value of a dimension.

    It can for continuous parameters of the method, such as loss weights, and for the optimiser's
    learning rate and clipping. It cannot for `method.part_fraction`: when a student grows belongs
    to its architecture.

    >>> is_perturbable(Dimension("optimiser.lr", "loguniform", (0.001, 0.1)))
    True
    """
    path = dimension.path
    followed = path in _RATES or path.startswith("method.")
    return dimension.distribution in _CONTINUOUS and followed and path != _WHEN_IT_GROWS


def perturb(dimension: Dimension, value: float, how: float, where: float) -> float:
    """Multiply `value` by 0.8 or 1.2, clipped to the range; in one of four cases draw it anew.

    Args:
        dimension: one that `is_perturbable`.
        value: the source's.
        how: a uniform number in [0, 1); below 0.25 the value is drawn anew.
        where: a uniform number in [0, 1): from 0.5 on the factor is 1.2, below it 0.8; or the
            quantile of the range that is drawn.

    >>> perturb(Dimension("method.w_R", "uniform", (0.0, 3.0)), 2.0, how=0.5, where=0.1)
    1.6
    """
    low, high = dimension.args[0], dimension.args[1]
    if how >= _RESAMPLE_PROBABILITY:
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
    """Check that a space has a dimension that `pbt` can perturb, if that is the scheduler.

    Raises:
        ConfigError: it has none; names what could be searched.
    """
    if SCHEDULERS[scheduler].is_population_based and not any(
        map(is_perturbable, dimensions.values())
    ):
        rule = f"{scheduler} changes weights and rates while trials run, and none is searched"
        wanted = "search optimiser.lr or a continuous quantity of the method"
        raise ConfigError("study.scheduler.name", f"{rule}: {wanted}")
