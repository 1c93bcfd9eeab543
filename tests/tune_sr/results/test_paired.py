"""Verdicts on differences over seeds: by hand, by simulation, and against scipy's own tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tune_sr.results.paired import PairedDifference, paired_difference

BEST = [32.337, 32.319, 32.310, 32.352, 32.223]
FIRST = [32.288, 32.190, 32.279, 32.291, 32.234]
"""The default study's best and first point with seeds 101 to 105, as trained by hand."""


def of(values: list[float]) -> PairedDifference:
    return paired_difference(values, [0.0] * len(values))


def test_the_default_study_as_worked_out_by_hand() -> None:
    found = paired_difference(BEST, FIRST)
    assert found.values == pytest.approx([0.049, 0.129, 0.031, 0.061, -0.011])
    assert (found.mean, found.sd) == pytest.approx((0.0518, 0.0511), abs=1e-4)
    assert (found.low, found.high) == pytest.approx((-0.0116, 0.1152), abs=1e-4)
    assert found.correlation == pytest.approx(0.42, abs=0.01)
    assert found.verdict == "inside the noise" and found.seeds_needed == 10
    assert found.visible_db == pytest.approx(0.0634, abs=1e-4)


def test_the_interval_is_that_of_students_paired_test() -> None:
    found, theirs = paired_difference(BEST, FIRST), stats.ttest_rel(BEST, FIRST)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.10, 0.12, 0.11], "better"),
        ([-0.10, -0.12, -0.11], "worse"),
        ([0.004, -0.004, 0.001], "equal"),
        ([0.0, 0.0], "equal"),
        ([0.30, -0.10, 0.05], "inside the noise"),
        ([0.010, 0.012, 0.011], "better"),  # small, and sure
    ],
)
def test_the_four_verdicts(values: list[float], verdict: str) -> None:
    assert of(values).verdict == verdict


def test_how_many_seeds_would_do() -> None:
    assert of([0.10, 0.12, 0.11]).seeds_needed == 3
    assert of([0.30, -0.28, 0.01]).seeds_needed is None  # more than 50
    assert of([0.1, -0.1]).seeds_needed is None
    values = [0.05, 0.15, 0.10, 0.20, -0.05]
    needed = of(values).seeds_needed
    assert needed is not None
    power = []
    for seeds in (needed - 1, needed):  # that of Student's test, in the usual approximation
        quantiles = stats.t.ppf(0.975, seeds - 1) + stats.t.ppf(0.8, seeds - 1)
        power.append(np.mean(values) >= quantiles * np.std(values, ddof=1) / math.sqrt(seeds))
    assert power == [False, True]


def test_the_sign_flip_test_counts_all_choices_of_signs() -> None:
    assert of([0.1] * 5).p is None
    assert of([0.1] * 6).p == pytest.approx(2 / 2**6)
    values = [0.3, -0.1, 0.2, 0.25, -0.05, 0.1, 0.15]
    theirs = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert of(values).p == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_interval_covers_the_truth_in_95_of_100_confirmations(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    drawn = rng.normal(0.05, 0.065, (4000, seeds))
    covered = [found.low <= 0.05 <= found.high for found in map(of, drawn.tolist())]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_of_equal_points_few_are_called_better_and_a_plain_gain_is_found() -> None:
    """With the spread between seeds of the default study, 0.045 dB, and 5 seeds."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.0, 0.045, (1000, 2, 5))
    null = [paired_difference(*each).verdict for each in scores.tolist()]
    assert null.count("better") <= 50
    gained = [paired_difference(a + 0.15, b).verdict for a, b in scores]
    assert gained.count("better") >= 800


def test_one_pair_says_nothing() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        paired_difference([1.0], [2.0])
