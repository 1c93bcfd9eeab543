"""What a study may say of its best trial, worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from events import added, as_read, attempt, driver_started, ended, read, repeat, reported

from tune_sr.ledger.events import NewEvent
from tune_sr.ledger.history import History
from tune_sr.ledger.reports import Judged
from tune_sr.results.verdict import gain, seconds_to_confirm, stopped, teachers_share, wobble


def curve(number: int, values: list[float], state: Any = "completed") -> list[NewEvent]:
    told = [reported(number, 10 * place, value) for place, value in enumerate(values, start=1)]
    return [added(number), *told, ended(number, state)]


def moves(*events: NewEvent) -> float | None:
    return wobble(History.from_events(read(*events)).trials.values(), "psnr_y_db")


def test_a_curve_moves_by_the_median_of_its_last_third() -> None:
    rising = [20.0, 25.0, 28.0, 30.0, 31.0, 31.5]
    late = [31.4, 31.6, 31.55]  # after two thirds of 90 updates: -0.1, +0.2, -0.05
    assert moves(*curve(0, [*rising, *late])) == pytest.approx(0.1)
    steady = curve(1, [30.0] * 9)  # three moves of nothing: the median of six is 0.05 / 2
    assert moves(*curve(0, [*rising, *late]), *steady) == pytest.approx(0.025)


def test_only_completed_trials_with_finite_reports_tell_how_a_curve_moves() -> None:
    assert moves() is None
    assert moves(*curve(0, [30.0])) is None
    assert moves(*curve(0, [30.0, 31.0, 30.0], "stopped")) is None
    assert moves(*curve(0, [30.0, math.nan, 30.0])) is None
    assert moves(*curve(0, [30.0, 31.0, 30.5])) == 0.5


@pytest.mark.parametrize(
    ("best", "moves_by", "verdict"),
    [
        (32.28, 0.05, "+0.02 dB, not shown to be a gain (a curve moves by 0.05 between reports)"),
        (32.40, 0.05, "+0.14 dB, not shown to be a gain (a curve moves by 0.05 between reports)"),
        (32.42, 0.05, "+0.16 dB, not confirmed yet: one seed, best of 8"),
        (32.28, None, "+0.02 dB, not confirmed yet: one seed, best of 8"),
    ],
)
def test_one_run_of_each_shows_no_gain_below_three_wobbles(
    best: float, moves_by: float | None, verdict: str
) -> None:
    found = gain(best, 32.26, moves_by, 8)
    assert (str(found), found.confirmed) == (verdict, False)
    assert found.to_dict()["text"] == verdict


def test_what_was_confirmed_comes_before_any_guess() -> None:
    confirmed = {"difference": {"mean": 0.052, "verdict": "inside the noise"}}
    found = gain(33.0, 32.0, 0.01, 8, confirmed)
    assert (str(found), found.confirmed) == ("+0.052 dB, confirmed: inside the noise", True)
    one_seed = gain(33.0, 32.0, 0.01, 8, {"difference": None})
    assert one_seed.verdict == "not confirmed yet", "one seed of each compares nothing"


def test_the_share_of_the_teachers_gain() -> None:
    assert teachers_share(28.0, 27.0, 31.0) == 0.25
    assert teachers_share(26.0, 27.0, 31.0) == -0.25
    assert teachers_share(28.0, 27.0, None) is teachers_share(28.0, 27.0, 27.0) is None


def test_the_stopped_are_told_by_rung() -> None:
    low, high = Judged(31.59, 31.74, 6, 7), Judged(32.07, 32.10, 2, 3)
    events = [*map(added, range(4)), reported(2, 60, 30.0)]
    events += [reported(2, 180, 32.07, "stop", high), reported(1, 90, 31.59, "stop", low)]
    events += [reported(0, 90, 31.0, "stop"), reported(3, 240, 32.0, "complete")]
    assert stopped(History.from_events(read(*events))) == {
        90: [("0000", None), ("0001", low)],
        180: [("0002", high)],
    }


def test_a_confirmation_takes_as_long_as_its_trials_did() -> None:
    events = [(0.0, driver_started()), (0.0, added(0)), (0.0, added(1))]
    events += [(60.0, ended(0)), (100.0, ended(1))]  # two at a time, 80 s each on average
    history = History.from_events(as_read(event, time) for time, event in events)
    assert seconds_to_confirm(history, 5) == pytest.approx(10 * 80 / 1.6)
    assert seconds_to_confirm(History(), 5) is None


def test_the_seconds_of_a_trial_are_those_of_its_attempts() -> None:
    told = [(0.0, driver_started()), (10.0, added(0)), (25.0, reported(0, 10, 30.0))]
    told += [(1000.0, driver_started(2)), (1005.0, attempt(0)), (1010.0, ended(0))]
    told += [(1020.0, repeat(0, 1)), (2000.0, ended(7))]
    usage = History.from_events(as_read(event, time) for time, event in told[:-1]).usage
    assert usage.trial_seconds("0000") == 20.0, "15 until the driver died, and 5"
    assert (usage.trial_seconds("0000.s1"), usage.trial_seconds("0009")) == (0.0, 0.0)
