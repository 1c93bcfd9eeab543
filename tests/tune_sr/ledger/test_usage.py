from __future__ import annotations

from events import added, as_read, attempt, driver_started, ended, reported, study_ended

from tune_sr.ledger.events import NewEvent
from tune_sr.ledger.history import History
from tune_sr.ledger.usage import Usage


def usage(*timed: tuple[float, NewEvent]) -> Usage:
    """That of a ledger with these events, each at its time in seconds."""
    return History.from_events(as_read(event, time) for time, event in timed).usage


def driver(gpus: float) -> NewEvent:
    return driver_started(study={"gpus_per_trial": gpus})


def test_a_trial_uses_what_it_is_given_from_its_issue_to_its_end() -> None:
    told = [
        (0, driver(0.5)),
        (10, added(0)),
        (12, added(1)),
        (20, reported(0, 1, 30.0)),
        (30, ended(0)),
    ]
    assert usage(*told).gpu_seconds() == 0.5 * (20 + 18)
    assert usage(*told).gpu_seconds(now=40) == 0.5 * (20 + 28)
    assert usage(*told, (32, study_ended())).gpu_seconds(now=40) == 0.5 * (20 + 20)


def test_after_the_last_word_of_a_driver_that_died_nothing_is_used() -> None:
    told = usage(
        (0, driver(1.0)),
        (0, added(0)),
        (10, reported(0, 1, 30.0)),
        (1000, driver(2.0)),  # of which trials are given more
        (1001, attempt(0)),
        (1011, ended(0)),
    )
    assert told.gpu_seconds(now=2000) == 10 + 2 * 10
    assert told.driver_seconds() == 10 + 11


def test_a_process_that_was_lost_is_counted_once() -> None:
    told = usage((0, driver(1.0)), (0, added(0)), (10, attempt(0)), (15, ended(0)), (15, ended(0)))
    assert told.gpu_seconds(now=99) == 15


def test_a_ledger_from_before_gpus_were_given_used_none() -> None:
    assert usage((0, driver_started()), (0, added(0))).gpu_seconds(now=99) == 0


def test_a_driver_that_has_not_started_has_not_worked() -> None:
    assert Usage().driver_seconds() == usage((7, added(0))).driver_seconds() == 0.0


def test_the_seconds_of_a_trial_are_those_of_its_attempts() -> None:
    usage = Usage()
    usage.start(0.0, gpus_per_trial=0.0)
    assert usage.trial_seconds("0000") == 0.0
    usage.issue("0000", 10.0)
    usage.last = 25.0  # the driver dies here
    assert usage.trial_seconds("0000") == 15.0
    usage.start(1000.0, gpus_per_trial=0.0)
    usage.issue("0000", 1005.0)
    usage.release("0000", 1010.0)
    usage.last = 2000.0
    assert usage.trial_seconds("0000") == 20.0
