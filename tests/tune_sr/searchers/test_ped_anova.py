"""PED-ANOVA of Optuna on our trials: failed ones, conditional quantities, choices of any kind."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tune_sr.searchers.ped_anova import top_shares
from tune_sr.space.dimension import Dimension

DIMENSIONS = {
    each.path: each
    for each in (
        Dimension("m.lr", "loguniform", (1e-4, 1.0)),
        Dimension("m.nothing", "uniform", (0.0, 1.0)),
        Dimension("m.P", "choice", (1, 2)),
        Dimension("m.part", "uniform", (0.0, 1.0), {"m.P": (2,)}),
        Dimension("m.name", "choice", ("a", None)),
    )
}


def test_what_decides_has_the_largest_share_and_shares_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    points, values = [], []
    for number in range(64):
        point = {"m.lr": float(10 ** rng.uniform(-4, 0)), "m.nothing": float(rng.uniform()),
                 "m.P": 1 + number % 2, "m.name": ("a", None)[number % 2]}  # fmt: skip
        if point["m.P"] == 2:
            point["m.part"] = float(rng.uniform())
        points.append(point)
        failed = number in (3, 40)
        height = -abs(math.log10(point["m.lr"]) + 2) + 0.05 * rng.standard_normal()
        values.append(-math.inf if failed else float(height))
    found = top_shares(DIMENSIONS, points, values)
    assert max(found, key=found.__getitem__) == "m.lr" and found["m.lr"] > 0.8
    assert sum(found.values()) == pytest.approx(1.0)
    assert set(found) == set(DIMENSIONS)
    assert found == top_shares(DIMENSIONS, points, values)
