import dataclasses
import math

import numpy as np
import pytest
from events import added, as_read, reported
from scipy.stats import norm
from searched import SPACE

from tune_sr.ledger.history import History
from tune_sr.searchers import auto
from tune_sr.searchers.belief import Belief, draw_near
from tune_sr.searchers.context import PriorConfig
from tune_sr.searchers.gaussian_process import (
    GaussianProcess,
    _negative_log_likelihood,
    _squares,
    log_expected_improvement,
)
from tune_sr.searchers.propose import propose
from tune_sr.searchers.unit_cube import UnitCube
from tune_sr.study.space_file import read_resolved

SPACE_OBJECT, _ = read_resolved(SPACE)
CUBE = UnitCube(SPACE_OBJECT)
FIRST = SPACE_OBJECT.first_points[0]


def column(path):
    return list(SPACE_OBJECT.dimensions).index(path)


def test_points_survive_the_way_to_the_cube_and_back():
    points = [propose("random", SPACE_OBJECT, 0, History(), n) for n in range(1, 60)] + [FIRST]
    rows = CUBE.rows(points)
    assert np.nanmin(rows) >= 0
    assert np.nanmax(rows) <= 1
    np.testing.assert_allclose(CUBE.settle(rows), rows, atol=1e-12)
    for point, row in zip(points, rows, strict=True):
        back = CUBE.point(row)
        assert list(back) == list(point)
        for path, value in point.items():
            assert type(back[path]) is type(value)
            same = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            assert back[path] == same


def test_places_are_those_of_the_distributions():
    row = CUBE.rows([FIRST])[0]
    assert row[column("method.w_R")] == pytest.approx(1 / 3)
    assert row[column("method.P")] == 0.5  # the second of three numbers
    assert row[column("optimiser.lr")] == pytest.approx(math.log(0.1 / 0.03) / math.log(10))
    assert row[column("method.update_ratio")] == pytest.approx(math.log(5) / math.log(49))
    assert row[column("optimiser.clip")] == 0.5  # of three words the second share's middle


def test_what_does_not_exist_has_no_place_and_is_half_a_length_away():
    with_parts = CUBE.rows([FIRST])
    one_part = with_parts.copy()
    one_part[0, column("method.P")] = 0.0
    one_part = CUBE.settle(one_part)
    gone = [column("method.part_fraction"), column("method.new_block_init")]
    assert np.isnan(one_part[0, gone]).all()
    assert not np.isnan(with_parts).any()
    off = CUBE.vectors(with_parts)[0] - CUBE.vectors(one_part)[0]
    fraction = off[CUBE.quantities == gone[0]]
    assert fraction == pytest.approx([0.25 - 0.5, -0.5])  # 0.15 is a quarter of 0.1 to 0.3
    word = off[CUBE.quantities == gone[1]]
    assert word == pytest.approx([math.sqrt(0.5) / 2, -math.sqrt(0.5) / 2, -0.5])


def test_two_words_are_one_length_apart():
    rows = np.repeat(CUBE.rows([FIRST]), 2, axis=0)
    rows[1, column("method.new_block_init")] = 0.75
    one, other = CUBE.vectors(rows)
    assert np.linalg.norm(one - other) == pytest.approx(1.0)


def test_the_belief_is_a_density_whose_draws_it_describes():
    belief = Belief(SPACE_OBJECT, CUBE, PriorConfig(confidence="medium"))
    rng = np.random.default_rng(0)
    uniform = CUBE.settle(rng.random((40_000, len(CUBE.dimensions))))
    density = np.exp(belief.log_density(uniform))
    numbers = ["method.w_R", "optimiser.lr"]  # continuous: the mean over the cube is exactly 1
    only = CUBE.rows([{path: FIRST[path] for path in numbers}])
    belief._centres = only
    assert np.exp(belief.log_density(uniform)).mean() == pytest.approx(1, abs=0.03)
    assert density.max() > 20 * density.mean() > 0
    drawn = draw_near(CUBE, np.repeat(only, 4000, axis=0), 0.25, 0.3, rng)
    inside = norm.cdf(0.2 / 0.25) - norm.cdf(-0.2 / 0.25)
    near = np.abs(drawn[:, column("method.w_R")] - 1 / 3) < 0.2
    assert near.mean() == pytest.approx(0.7 * inside + 0.3 * 0.4, abs=0.03)


def test_the_process_is_that_of_the_textbook():
    inputs = np.array([[0.0, 0.2], [0.5, 0.9], [1.0, 0.4]])
    values, quantities = np.array([-1.0, 1.2, -0.2]), np.array([0, 1])
    process = GaussianProcess(inputs, values, quantities)
    scales, noise = np.exp(process._log_scales), process._noise

    def kernel(one, other):
        r = np.linalg.norm((one - other) / scales)
        return (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r)

    place = np.array([0.3, 0.6])
    covariance = np.array([[kernel(a, b) for b in inputs] for a in inputs]) + noise * np.eye(3)
    cross = np.array([kernel(place, each) for each in inputs])
    mean, deviation = process.predict(place[None])
    assert mean[0] == pytest.approx(cross @ np.linalg.solve(covariance, values))
    variance = 1 - cross @ np.linalg.solve(covariance, cross)
    assert deviation[0] == pytest.approx(math.sqrt(variance))
    before = process.predict(place[None])
    process.believe(place[None])
    after = process.predict(place[None])
    assert after[0] == pytest.approx(before[0])
    assert after[1][0] < before[1][0]


def test_the_likelihood_has_the_slope_that_it_states():
    rng = np.random.default_rng(1)
    inputs, values = rng.random((7, 3)), rng.normal(size=7)
    squares = _squares(inputs, inputs, np.array([0, 0, 1]))
    at = np.array([-0.4, 0.3, -2.0])
    _, slope = _negative_log_likelihood(at, squares, values)
    for index in range(3):
        step = np.eye(3)[index] * 1e-5
        above, _ = _negative_log_likelihood(at + step, squares, values)
        below, _ = _negative_log_likelihood(at - step, squares, values)
        assert slope[index] == pytest.approx((above - below) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("z", [3.0, 0.0, -0.9, -1.1, -5.0, -30.0])
def test_expected_improvement_is_that_of_the_formula(z):
    value = log_expected_improvement(np.array([2 * z]), np.array([2.0]), 0.0)[0]
    if z > -10:
        assert value == pytest.approx(math.log(2 * (norm.pdf(z) + z * norm.cdf(z))), rel=1e-6)
    else:  # its asymptote, where the formula is 0 in floating point
        assert value == pytest.approx(math.log(2) + norm.logpdf(z) - 2 * math.log(-z), rel=1e-3)


def trials(*worths):
    """Completed trials at random points with these scores; the first is at the space's `first`."""
    history = History()
    for number, worth in enumerate(worths):
        point = propose("random", SPACE_OBJECT, 3, history, number)
        for event in (added(number, point), reported(number, 100, worth, "complete")):
            history.apply(as_read(event))
    return history


def distance_from_first(history, prior):
    number = len(history.trials)
    points = [
        propose("auto", SPACE_OBJECT, seed, history, number, prior=prior) for seed in range(12)
    ]
    off = np.abs(CUBE.rows(points) - CUBE.rows([FIRST]))
    return float(np.nanmean(off))


def test_proposals_begin_near_the_first_point_as_closely_as_the_belief_is_confident():
    history = trials(32.0)
    off = [
        distance_from_first(history, PriorConfig(confidence=confidence))
        for confidence in ("high", "medium", "low")
    ]
    assert off[0] < off[1] < off[2] < distance_from_first(history, None)


def test_the_belief_is_given_up_where_the_first_point_is_poor():
    history = trials(30.0, 31.0, 31.5, 32.0)
    far, without = (distance_from_first(history, prior) for prior in (PriorConfig(), None))
    assert far == without
    assert distance_from_first(trials(33.0, 31.0, 31.5, 32.0), PriorConfig()) < far
    rows, values = CUBE.rows([each.point for each in history.trials.values()]), np.arange(4.0)
    assert auto._misleads(CUBE.rows([FIRST])[0], rows, values)
    assert not auto._misleads(CUBE.rows([FIRST])[0], rows, -values)
    assert not auto._misleads(CUBE.rows([FIRST])[0], rows[:3], values[:3])


def test_a_space_without_a_first_point_has_no_belief():
    space = dataclasses.replace(SPACE_OBJECT, first_points=())
    points = [propose("auto", space, seed, History(), 0) for seed in range(40)]
    rates = CUBE.rows(points)[:, column("optimiser.lr")]
    assert rates.min() < 0.15
    assert rates.max() > 0.85


def test_values_far_below_the_others_do_not_flatten_them():
    values = auto._standardised(np.array([30.0, 30.1, 30.2, 5.0]))
    assert values.mean() == pytest.approx(0)
    assert values.std() == pytest.approx(1)
    assert values[2] - values[0] > 0.5
    assert (auto._standardised(np.array([30.0, 30.0])) == 0).all()
