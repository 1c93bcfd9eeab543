"""The correlation of rungs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tune_sr.statistics.curves import rung_correlation


def test_a_rung_that_orders_trials_as_the_end_does_has_correlation_one():
    early = np.arange(8.0)
    found = rung_correlation(90, early, early**3)
    assert (found.rho, found.trials, found.step) == (1.0, 8, 90)
    assert found.low == pytest.approx(1.0)
    turned = rung_correlation(90, early, -early)
    assert turned.rho == -1.0
    noisy = rung_correlation(90, early, [1, 0, 3, 2, 5, 4, 7, 6])
    assert noisy.low < noisy.rho < 1.0 and noisy.rho == pytest.approx(1 - 6 * 8 / (8 * 63))


def test_few_trials_have_no_interval_and_two_no_correlation():
    assert rung_correlation(90, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0])[2:] == (0.5, None, None)
    assert rung_correlation(90, [1.0, 2.0], [1.0, 2.0]).rho is None
    assert rung_correlation(90, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).rho is None
