"""Who drops out of a race over seeds, and how often a race is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tune_sr.statistics.race import Race, race

SPREAD = 0.05
"""Standard deviation over seeds of one configuration's score in the default study, in dB."""


def raced(*gains: float, trainings: int, seed: int, spread: float = SPREAD) -> Race:
    """A race of configurations whose true scores lie `gains` above the first one's."""
    drawn = np.random.default_rng(seed)
    true = {str(number): 30.0 + gain for number, gain in enumerate((0.0, *gains))}
    scores = {
        name: dict(enumerate(drawn.normal(value, spread, trainings).tolist(), start=1))
        for name, value in true.items()
    }
    found = race(list(true), scores, trainings)
    assert found.spent <= trainings and not found.due
    return found


@pytest.mark.parametrize(("trainings", "challengers"), [(10, 1), (16, 2), (24, 3)])
def test_null_races_name_no_winner_and_a_planted_gain_is_found(
    trainings: int, challengers: int
) -> None:
    null, planted, races = [0.0] * challengers, [0.15] + [0.0] * (challengers - 1), range(200)
    false = sum(raced(*null, trainings=trainings, seed=each).winner is not None for each in races)
    right = sum(raced(*planted, trainings=trainings, seed=each).winner == "1" for each in races)
    assert false <= 0.05 * len(races)
    assert right >= 0.80 * len(races)


def test_a_race_waits_for_a_seed_of_all_before_the_next() -> None:
    scores: dict[str, dict[int, float | None]] = {"a": {}, "b": {}, "c": {}}
    assert race("abc", scores, 9).due == (("a", 1), ("b", 1), ("c", 1))
    scores |= {"a": {1: 30.0}, "c": {1: 30.1}}
    assert race("abc", scores, 9).due == (("b", 1),)
    scores["b"] = {1: 30.2}
    waiting = race("abc", scores, 9)
    assert waiting.due == (("a", 2), ("b", 2), ("c", 2)) and not waiting.looks
    assert race("abc", scores, 5).due == (), "a second seed would take 6"


def test_who_is_behind_or_has_failed_drops_out() -> None:
    first = {1: 30.0, 2: 30.02, 3: 30.01}
    scores = {"a": first, "b": {k: value - 1 for k, value in first.items()}, "c": {1: None}}
    found = race("abc", scores, 12)
    assert found.dropped["c"] == (1, None)
    assert found.dropped["b"].seeds == 2 and found.winner is None
    assert found.alive == ["a"] and found.due == () and found.spent == 3 + 2
    first_failed = race("ab", {"a": {1: None}, "b": {1: 30.0}}, 12)
    assert first_failed.winner is None and first_failed.due == ()


def test_a_look_by_hand() -> None:
    # Residuals without racer and seed: +-0.05 each, four of them, one degree of freedom.
    look = race("ab", {"a": {1: 30.0, 2: 30.2}, "b": {1: 30.3, 2: 30.3}}, 4).looks[0]
    assert look.freedom == 1 and look.error == pytest.approx((2 * 4 * 0.05**2 / 2) ** 0.5)
    assert look.share == pytest.approx(0.05)
    # Student's t of one degree of freedom is Cauchy's: t = 0.2 / 0.1 = 2.
    assert look.p("a", "b") == pytest.approx(0.1475836, abs=1e-6)
    assert look.half_width > look.means["b"] - look.means["a"], "so nobody dropped out"
    equal = race("ab", {"a": {1: 30.0, 2: 30.0}, "b": {1: 30.0, 2: 30.0}}, 4)
    assert equal.looks[0].p("b", "a") == 1.0 and equal.alive == ["a", "b"]
