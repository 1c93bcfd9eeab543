"""Replays whole studies on a table of curves, and what each searcher and scheduler loses there."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tune_sr.ledger.history import History, TrialRecord
from tune_sr.objectives.score import Scorer
from tune_sr.searchers.context import ProposalCache
from tune_sr.searchers.unit_cube import UnitCube
from tune_sr.study.settings import StudySettings
from tune_sr.study.simulation import simulate

if TYPE_CHECKING:
    from tune_sr.replay.curve_table import CurveTable
    from tune_sr.space.dimension import Point
    from tune_sr.study.config import StudyConfig

_SEARCHED = 2_000
"""Random points among which the table's best is looked for, beside those that are replayed."""


class Contender(NamedTuple):
    """A searcher with a scheduler, and how many trials run at a time."""

    searcher: str
    scheduler: str
    workers: int


class Loss(NamedTuple):
    """What a contender lost over several seeds, in dB below the table's best point."""

    contender: Contender
    trials: int
    mean_db: float
    error_db: float
    """Standard error of the mean."""
    updates: float
    """Mean number of student updates, in whole trials."""


class Race:
    """Replays a study's space on a table of curves with other searchers, schedulers and seeds.

    Args:
        config: the study whose space, first points and settings are replayed.
        table: recorded curves of a space that contains it.

    Raises:
        ConfigError: a point of the space lies outside the recorded one.
    """

    def __init__(self, config: StudyConfig, table: CurveTable) -> None:
        self._config, self._table = config, table
        self._known: dict[str, dict[int, float]] = {}
        self._best = max(self._worths(self._random_points()))

    def first_loss_db(self) -> float | None:
        """What the space's first point loses; None where it has none."""
        points = self._config.space.first_points
        return self._best - self._worth(points[0]) if points else None

    def losses(
        self,
        contender: Contender,
        trials: Sequence[int],
        seeds: int,
        on_study: Callable[[], None] = lambda: None,
    ) -> Iterator[Loss]:
        """Yield the loss after each number of `trials`, over `seeds` replayed studies.

        The best of the first N trials of the longest study counts as the best of a study of N.
        `on_study` is called before each study.
        """
        lost: dict[int, list[float]] = {count: [] for count in trials}
        updates: dict[int, list[float]] = {count: [] for count in trials}
        for seed in range(seeds):
            on_study()
            config = self._reseeded(contender, seed)
            history = self._replayed(config, contender.workers, max(trials))
            scorer = Scorer(config.settings.objective, config.trial_config)
            for count in trials:
                records = [each for each in history.trials.values() if each.number < count]
                best = scorer.best(records)
                assert best is not None, "every curve of a table is finite"
                lost[count].append(self._best - self._worth(best.point))
                steps = sum(max(each.reports, default=0) for each in records)
                updates[count].append(steps / config.space.budget.steps)
        for count in trials:
            error = statistics.stdev(lost[count]) / seeds**0.5 if seeds > 1 else float("nan")
            mean, used = statistics.fmean(lost[count]), statistics.fmean(updates[count])
            yield Loss(contender, count, mean, error, used)

    def _reseeded(self, contender: Contender, seed: int) -> StudyConfig:
        section = {**self._config.settings.to_dict(), "searcher": contender.searcher, "seed": seed}
        section["scheduler"] = {**section["scheduler"], "name": contender.scheduler}
        return replace(self._config, settings=StudySettings.from_dict(section))

    def _replayed(self, config: StudyConfig, workers: int, trials: int) -> History:
        settings, budget = config.settings, config.space.budget
        rng = np.random.default_rng(settings.seed)
        offsets = rng.normal(0.0, self._table.seed_spread, trials)
        cache = ProposalCache(config.space, settings.objective)

        def report(record: TrialRecord, step: int) -> dict[str, float]:
            (curve,) = self._curves([record.point])
            return {settings.objective.value: curve[step] + float(offsets[record.number])}

        return simulate(
            settings, budget, trials, workers, report,
            lambda history, number: config.propose(history, number, cache),
        )  # fmt: skip

    def _random_points(self) -> list[Point]:
        cube = UnitCube(self._config.space)
        rng = np.random.default_rng(0)
        rows = cube.settle(rng.random((_SEARCHED, len(cube.dimensions))))
        return [*map(cube.point, rows), *self._config.space.first_points]

    def _worth(self, point: Point) -> float:
        return self._worths([point])[0]

    def _worths(self, points: Sequence[Point]) -> list[float]:
        """The ends of points' curves: what their students are worth without the luck of a seed."""
        return [curve[max(curve)] for curve in self._curves(points)]

    def _curves(self, points: Sequence[Point]) -> list[dict[int, float]]:
        keys = [repr(sorted(point.items())) for point in points]
        new = {
            key: point for key, point in zip(keys, points, strict=True) if key not in self._known
        }
        if new:
            configs = [self._config.trial_config(point) for point in new.values()]
            self._known.update(zip(new, self._table.curves(configs), strict=True))
        return [self._known[key] for key in keys]


def loss_table(losses: Sequence[Loss], trials: Sequence[int]) -> list[str]:
    """Return the lines of a Markdown table: one row a contender, one column a number of trials."""
    rows: dict[Contender, list[Loss]] = {}
    for loss in losses:
        rows.setdefault(loss.contender, []).append(loss)
    head = ["searcher", "scheduler", "at a time", *(f"{count} trials" for count in trials)]
    lines = ["| " + " | ".join([*head, "updates, in whole trials"]) + " |"]
    lines.append("|---" * (len(head) + 1) + "|")
    for contender, found in rows.items():
        cells = [contender.searcher, contender.scheduler, str(contender.workers)]
        cells += [f"{each.mean_db:.3f} ±{each.error_db:.3f}" for each in found]
        lines.append("| " + " | ".join([*cells, f"{found[-1].updates:.1f}"]) + " |")
    return lines
