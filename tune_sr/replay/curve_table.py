"""The learning curve of any point of a space, predicted from a study's whole trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from trainables.dotted import look_up
from trainables.errors import ConfigError
from tune_sr.objectives.score import Scorer
from tune_sr.searchers.unit_cube import UnitCube
from tune_sr.space.points import read_point

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from tune_sr.ledger.history import History, TrialRecord
    from tune_sr.objectives.objective import Objective
    from tune_sr.space.search_space import SearchSpace

    Array = npt.NDArray[np.float64]

LEAST_TRIALS = 16
"""Whole trials that a table needs at least."""

_TREES = 100
_FOLDS = 5
_SEED = 0
"""Of the forest and its folds: one study gives one table."""


class Quality(NamedTuple):
    """How well a table predicts trials that it was not fitted to, by five-fold cross-validation."""

    rank_correlation: float
    """Spearman's, of predicted and recorded final values."""
    error_db: float
    """Root mean square of their differences, in dB."""


class CurveTable:
    """Predicts learning curves by a forest of randomised trees over a study's whole trials.

    Geurts et al., "Extremely Randomized Trees", Machine Learning 2006: a model of another kind than
    any searcher's, so that it favours none.

    Args:
        space: the space of the recorded study.
        history: its trials, of which those with every report count.
        objective: what it maximises.

    Raises:
        ConfigError: fewer than `LEAST_TRIALS` trials are whole.
    """

    def __init__(self, space: SearchSpace, history: History, objective: Objective) -> None:
        self._space, self._key = space, objective.value
        self._cube = UnitCube(space)
        every, count = space.budget.steps_per_report, space.budget.reports
        self._steps = [every * (number + 1) for number in range(count)]
        whole = [record for record in history.trials.values() if self._is_whole(record)]
        if len(whole) < LEAST_TRIALS:
            rule = f"{len(whole)} trials with every report; a table of curves needs {LEAST_TRIALS}"
            raise ConfigError(space.name, f"{rule}: record more, with --set study.scheduler=none")
        self._inputs = self._cube.vectors(self._cube.rows([record.point for record in whole]))
        self._curves = np.array([self._curve_of(record) for record in whole])
        self._forest = _fitted(self._inputs, self._curves)
        self.seed_spread = _seed_spread(history, objective, self._curves)
        """Standard deviation, in dB, of equal trials with different seeds."""

    @property
    def trials(self) -> int:
        """How many trials it was fitted to."""
        return len(self._curves)

    def curves(self, configs: Sequence[TrialConfig]) -> list[dict[int, float]]:
        """Return each trial's predicted value by report, without the spread of seeds.

        Raises:
            ConfigError: a setting lies outside the recorded space.
        """
        rows = self._cube.rows([self._point(config) for config in configs])
        predicted = self._forest.predict(self._cube.vectors(rows))
        return [dict(zip(self._steps, map(float, each), strict=True)) for each in predicted]

    def _point(self, config: TrialConfig) -> dict[str, Any]:
        nested = config.model_dump()
        values: dict[str, Any] = {}
        for path in self._space.dimensions:
            with suppress(KeyError):  # a setting that another method or schedule has
                values[path] = look_up(nested, path)
        rule = "the recorded study searched it, and the point has no value of it"
        return read_point(self._space.dimensions, self._space.fixed, values, rule)

    def quality(self) -> Quality:
        """Cross-validate the table's final values."""
        order = np.random.default_rng(_SEED).permutation(self.trials)
        predicted = np.empty(self.trials)
        for fold in range(_FOLDS):
            held = order[fold::_FOLDS]
            rest = np.setdiff1d(order, held)
            forest = _fitted(self._inputs[rest], self._curves[rest])
            predicted[held] = forest.predict(self._inputs[held])[:, -1]
        recorded = self._curves[:, -1]
        error = float(np.sqrt(np.mean((predicted - recorded) ** 2)))
        return Quality(float(spearmanr(predicted, recorded).statistic), error)

    def _is_whole(self, record: TrialRecord) -> bool:
        values = (record.reports[s].report.get(self._key, math.nan) for s in record.reports)
        whole = record.state == "completed" and set(record.reports) >= set(self._steps)
        return whole and all(map(math.isfinite, values))

    def _curve_of(self, record: TrialRecord) -> list[float]:
        return [record.reports[step].report[self._key] for step in self._steps]


def _fitted(inputs: Array, curves: Array) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=_SEED).fit(inputs, curves)


def _seed_spread(history: History, objective: Objective, curves: Array) -> float:
    """Return the spread of seeds: from repeats where there are some, else from the curves' wobble.

    The wobble is the median step between two reports in the last third of the curves, which is
    close to the spread of seeds (measured on DFSR: 0.05 and 0.045 dB).
    """
    repeats = {} if history.confirmation is None else history.confirmation.trials
    groups: dict[str | None, list[float]] = {}
    for record, score in Scorer(objective).scored(repeats.values()):
        groups.setdefault(record.repeats, []).append(score.value)
    spreads = [np.var(values, ddof=1) for values in groups.values() if len(values) > 1]
    if spreads:
        return float(np.sqrt(np.mean(spreads)))
    late = curves[:, -max(2, curves.shape[1] // 3) :]
    return float(np.median(np.abs(np.diff(late, axis=1))))
