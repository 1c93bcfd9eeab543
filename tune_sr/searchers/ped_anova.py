"""How much each quantity decides whether a trial is among the best: Optuna's PED-ANOVA.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces", IJCAI 2023; of conditional quantities as Optuna 5 extends it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from tune_sr.searchers.optuna_trials import distribution_of
from tune_sr.space.dimension import Dimension

_TOP = 5
"""Trials among the best: Optuna's documentation asks for as many."""


def top_quantile(trials: int) -> float:
    """The share of trials that count as the best: five of them, within a tenth and a half.

    >>> top_quantile(8), top_quantile(20), top_quantile(500)
    (0.5, 0.25, 0.1)
    """
    return max(0.1, min(0.5, _TOP / trials))


def top_shares(
    dimensions: Mapping[str, Dimension],
    points: Sequence[Mapping[str, Any]],
    values: Sequence[float],
) -> dict[str, float]:
    """Each quantity's share, 0 to 1, in what tells the best trials from the others; their sum is 1.

    Args:
        dimensions: by dotted path.
        points: of each trial, active quantities only.
        values: of each trial at one budget, higher is better; -inf for one that failed.
    """
    finite = [value for value in values if math.isfinite(value)]
    worst = min(finite, default=0.0) - 1.0
    study = optuna.study.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(point),
            distributions={path: distribution_of(dimensions[path]) for path in point},
            value=value if math.isfinite(value) else worst,
        )
        for point, value in zip(points, values, strict=True)
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=top_quantile(len(points))
    )
    found = evaluator.evaluate(study, params=list(dimensions))
    total = sum(found.values())
    return {path: share / total if total > 0 else 0.0 for path, share in found.items()}
