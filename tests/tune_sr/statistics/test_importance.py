"""What is called important is, and chance is called chance."""

from __future__ import annotations

import numpy as np
import pytest

from tune_sr.statistics.importance import Quantity, importances, value_at
from tune_sr.statistics.ranks import adjusted_r2, average_ranks, basis, design_of_numbers


def quantities(rng, count, numbers=4):
    made = [Quantity(f"x{n}", list(rng.random(count)), is_choice=False) for n in range(numbers)]
    words = [("a", "b", "c")[n] for n in rng.integers(0, 3, count)]
    sometimes = [
        None if word == "a" else value for word, value in zip(words, rng.random(count), strict=True)
    ]
    return [
        *made,
        Quantity("word", words, is_choice=True),
        Quantity("some", sometimes, is_choice=False),
    ]


def drifting(rng, made, count):
    """Two quantities that a searcher narrows down while its trials get better for other reasons."""
    late = np.arange(count) / count
    narrowed = [
        Quantity(each.path, list((1 - late) * each.values + late * 0.3), is_choice=False)
        for each in made[:2]
    ]
    return [*narrowed, *made[2:]], 0.3 * late


def null_studies_that_name_one(count, studies, drift):
    named = 0
    for study in range(studies):
        rng = np.random.default_rng([study, count])
        made, trend = quantities(rng, count), 0.0
        if drift:
            made, trend = drifting(rng, made, count)
        found = importances(trend + 0.05 * rng.standard_normal(count), made, seed=study)
        named += bool(found.found())
    return named / studies


@pytest.mark.parametrize("drift", [False, True], ids=["random", "searcher that learns"])
def test_where_nothing_matters_nothing_leaves_the_band(drift):
    assert null_studies_that_name_one(24, 30, drift) <= 0.17  # 5 % expected: above it 1 in 100 runs


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("drift", [False, True], ids=["random", "searcher that learns"])
@pytest.mark.parametrize("count", [16, 32, 64])
def test_where_nothing_matters_nothing_leaves_the_band_in_nine_of_ten_of_200_studies(count, drift):
    assert null_studies_that_name_one(count, 200, drift) <= 0.1


def test_the_quantity_that_matters_is_found_with_its_direction():
    rng = np.random.default_rng(0)
    made = quantities(rng, 40)
    x, some = rng.permutation(np.linspace(0, 1, 40)), 0.01 * rng.standard_normal(40)
    made[2] = Quantity("x2", list(x), is_choice=False)
    found = importances(-((x - 0.5) ** 2) + some, made)
    top = found.bars[0]
    assert top.path == "x2" and top in found.found()
    assert top.r2 > 0.5 > found.chance > 0
    assert top.low < top.r2 < top.high + 0.1
    assert top.direction.startswith("best near 0.")
    assert float(top.direction.split()[-1]) == pytest.approx(0.5, abs=0.15)
    rising = importances(x + some, made).bars[0]
    assert (rising.path, rising.direction) == ("x2", "higher is better")
    assert importances(-x + some, made).bars[0].direction == "higher is worse"


def test_a_choice_that_matters_is_found_by_its_groups():
    rng = np.random.default_rng(1)
    made = quantities(rng, 32)
    gain = {"a": 0.0, "b": 1.0, "c": 0.2}
    values = np.array([gain[word] for word in made[-2].values]) + 0.05 * rng.standard_normal(32)
    top = importances(values, made).bars[0]
    assert (top.path, top.direction, top.trials) == ("word", "best: b", 32)


def test_only_trials_that_have_a_quantity_count_and_failed_ones_are_lowest():
    rng = np.random.default_rng(2)
    made = quantities(rng, 24)
    exists = [value is not None for value in made[-1].values]
    values = [-np.inf if has and value > 0.7 else float(rng.random()) for has, value in
              zip(exists, made[-1].values, strict=True)]  # fmt: skip
    found = {bar.path: bar for bar in importances(values, made).bars}
    assert found["some"].trials == sum(exists)
    assert found["some"].direction == "higher is worse"
    assert all(np.isfinite(bar.r2) for bar in found.values())


def test_fifteen_trials_have_no_bars_and_one_seed_gives_one_answer():
    rng = np.random.default_rng(3)
    made, values = quantities(rng, 16), rng.standard_normal(16)
    assert (
        importances(values[:15], [Quantity(q.path, q.values[:15], q.is_choice) for q in made])
        is None
    )
    assert importances(values, made, seed=5) == importances(values, made, seed=5)


def test_adjusted_r2_by_hand():
    # Ranks 1 2 3 4 as r = -1, -1/3, 1/3, 1; y = r + (1, -1, -1, 1) is fitted by 1, r, r^2 exactly.
    design = design_of_numbers([0.1, 5.0, 7.0, 900.0])
    r = design[:, 1]
    exact = r + np.array([1.0, -1.0, -1.0, 1.0])
    assert adjusted_r2(basis(design), exact[:, None])[0] == pytest.approx(1.0)
    # y = (1, -1, 1, -1): on 1, r, r^2 it leaves 4 - 0.8 = 3.2 of 4: 1 - (3.2 / 1) / (4 / 3).
    zigzag = np.array([1.0, -1.0, 1.0, -1.0])
    assert adjusted_r2(basis(design), zigzag[:, None])[0] == pytest.approx(1 - 3.2 * 3 / 4)


def test_ranks_of_ties_and_the_value_at_a_budget_by_hand():
    assert average_ranks([-np.inf, 3.0, 1.0, 3.0, -np.inf]).tolist() == [1.5, 4.5, 3, 4.5, 1.5]
    assert value_at([10, 20, 30], [np.nan, 5.0, 6.0], 20) == 5.0
    assert value_at([10], [5.0], 5) == -np.inf
