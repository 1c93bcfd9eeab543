from __future__ import annotations

from typing import Any

from tune_sr.ledger.usage import GpuMeter

Events = list[dict[str, Any]]


def events(*told: tuple[Any, ...]) -> Events:
    kinds = [dict(zip(("time", "event", "trial"), each[:3], strict=False)) for each in told]
    for event, each in zip(kinds, told, strict=True):
        if event["event"] == "driver_started":
            event["study"] = {"gpus_per_trial": each[2]} if len(each) > 2 else {}
    return kinds


def test_a_trial_uses_what_it_is_given_from_its_issue_to_its_end() -> None:
    told = events(
        (0, "study_started"),
        (0, "driver_started", 0.5),
        (10, "trial_added", "0000"),
        (12, "trial_added", "0001"),
        (20, "reported", "0000"),
        (30, "trial_ended", "0000"),
    )
    assert GpuMeter.from_events(told).seconds() == 0.5 * (20 + 18)
    assert GpuMeter.from_events(told).seconds(now=40) == 0.5 * (20 + 28)
    assert GpuMeter.from_events([*told, *events((32, "study_ended"))]).seconds(now=40) == 0.5 * (
        20 + 20
    )


def test_after_the_last_word_of_a_driver_that_died_nothing_is_used() -> None:
    told = events(
        (0, "driver_started", 1.0),
        (0, "trial_added", "0000"),
        (10, "reported", "0000"),
        (1000, "driver_started", 2.0),  # of which trials are given more
        (1001, "attempt", "0000"),
        (1011, "trial_ended", "0000"),
    )
    assert GpuMeter.from_events(told).seconds(now=2000) == 10 + 2 * 10


def test_a_process_that_was_lost_is_counted_once() -> None:
    told = events(
        (0, "driver_started", 1.0),
        (0, "trial_added", "0000"),
        (10, "attempt", "0000"),
        (15, "trial_ended", "0000"),
        (15, "trial_ended", "0000"),
    )
    assert GpuMeter.from_events(told).seconds(now=99) == 15


def test_a_ledger_from_before_gpus_were_given_used_none() -> None:
    told = events((0, "driver_started"), (0, "trial_added", "0000"))
    assert GpuMeter.from_events(told).seconds(now=99) == 0
