"""What is packed away reads as it did before."""

from __future__ import annotations

import math

import pytest
from events import added, as_read, ended, reported

from tune_sr.ledger.history import History
from tune_sr.ledger.reports import Judged, PackedReports, Reported, pack


def told(count: int) -> dict[int, Reported]:
    return {
        10 * number: Reported(
            {"psnr_y_db": 30 + number / 7, "params": 1e5},
            "continue" if number < count else "stop",
            number / 7,
            Judged(30 + number / 7, -math.inf, 1, number) if number % 3 == 0 else None,
        )
        for number in range(1, count + 1)
    }


def test_packed_reports_are_the_same_mapping() -> None:
    reports = told(30)
    small = pack(reports)
    assert isinstance(small, PackedReports)
    assert dict(small) == reports and len(small) == 30 and max(small) == 300
    assert list(small.items()) == list(reports.items())
    assert 15 not in small and small.get(310) is None
    with pytest.raises(KeyError, match="5"):
        small[5]


def test_a_figure_that_was_not_finite_is_still_not() -> None:
    small = pack({1: Reported({"psnr_y_db": math.nan}, "continue", 1.0)})
    assert math.isnan(small[1].report["psnr_y_db"])


@pytest.mark.parametrize(
    "reports",
    [
        {},
        {2: Reported({"a": 1.0}, "continue", 1.0), 1: Reported({"a": 1.0}, "continue", 1.0)},
        {1: Reported({"a": 1.0}, "continue", 1.0), 2: Reported({}, "continue", 1.0)},
    ],
)
def test_what_is_out_of_order_stays_as_it_is(reports: dict[int, Reported]) -> None:
    assert pack(reports) is reports


def test_a_history_of_few_figures_says_of_them_what_a_whole_one_says() -> None:
    events = [as_read(added(0))]
    values = [30.0, 31.5, None, 31.0]
    for number, value in enumerate(values, start=1):
        report = {"psnr_y_db": value, "ssim": 0.8, "loss/kd": 1.0}
        decision = "stop" if number == len(values) else "continue"
        events.append(as_read(reported(0, 10 * number, report, decision)))
    events.append(as_read(ended(0, "stopped")))
    whole, few = History.from_events(events), History.from_events(events, keys=("psnr_y_db",))
    full, small = whole.trials["0000"], few.trials["0000"]
    assert isinstance(small.reports, PackedReports)
    assert small.reports[20] == Reported({"psnr_y_db": 31.5}, "continue", 0.0)
    assert small.best("psnr_y_db") == full.best("psnr_y_db") == 20
    assert small.best("psnr_y_db", since=26) == full.best("psnr_y_db", since=26) == 40
    few.apply({**events[1], "step": 50})  # a report after the end is taken as well
    assert list(small.reports) == [10, 20, 30, 40, 50]


def test_how_a_report_stood_survives_the_ledger() -> None:
    for judged in (Judged(31.59, 31.74, 6, 7), Judged(30.0, -math.inf, 1, 1)):
        event = as_read(reported(0, 10, 31.59, "stop", judged))
        history = History.from_events([as_read(added(0)), event])
        assert history.trials["0000"].reports[10].judged == judged
        assert history.trials["0000"].stopped_by == (10, judged)
    assert event["judged"]["needed"] is None, "JSON has no infinity"
    nothing = Judged.from_dict(Judged(math.nan, 31.0, 2, 2).to_dict())
    assert nothing is not None and math.isnan(nothing.value) and nothing.needed == 31.0
    assert Judged.from_dict({"value": 1.0}) is None, "of another version"
    older = as_read(reported(0, 10, 31.59, "stop"))
    assert "judged" not in older
    assert History.from_events([as_read(added(0)), older]).trials["0000"].stopped_by is None
