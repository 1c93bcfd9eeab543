"""Messages between a driver and its MLflow process arrive whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tune_sr.tracking.messages import Channel, TrackingSettings
from tune_sr.tracking.store import TrackingStore


@pytest.fixture
def ends() -> tuple[Channel, Channel]:
    pipes = [os.pipe(), os.pipe()]
    readers = [os.fdopen(each[0], "rb") for each in pipes]
    writers = [os.fdopen(each[1], "wb") for each in pipes]
    return Channel(readers[0], writers[1]), Channel(readers[1], writers[0])


def test_messages_arrive_in_order_with_all_that_they_hold(ends: tuple[Channel, Channel]) -> None:
    here, there = ends
    point = {"method.w_R": 0.1 + 0.2, "student.name": "größer\nzwei", "x": None, "y": [1, True]}
    here.send("params_wanted", point=point)
    here.send("closed")
    received = there.receive()
    assert next(received) == {"kind": "params_wanted", "point": point}
    assert next(received) == {"kind": "closed"}
    there.send("close")
    assert next(here.receive()) == {"kind": "close"}


@pytest.mark.parametrize("uri", [None, "http://me:hunter2@host:5000"])
def test_settings_arrive_as_they_were(uri: str | None, tmp_path: Path) -> None:
    store = TrackingStore.resolve(uri, tmp_path)
    ledger = tmp_path / "größer" / "ledger.jsonl"
    settings = TrackingSettings(ledger, store, "laptop", {"searcher": "tpe"}, ("ssim",), 0.5)
    reading, writing = os.pipe()
    channel = Channel(os.fdopen(reading, "rb"), os.fdopen(writing, "wb"))
    channel.send("settings", **settings.to_dict())
    message = next(channel.receive())
    assert message.pop("kind") == "settings"
    assert TrackingSettings.from_dict(message) == settings


def test_an_end_that_is_gone_ends_receiving_and_is_no_error_for_who_sends() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"kind": "up_to_date"}\n{"kind": "fai')  # killed as it wrote
    os.close(writing)
    other_reading, other_writing = os.pipe()
    os.close(other_reading)
    channel = Channel(os.fdopen(reading, "rb"), os.fdopen(other_writing, "wb", buffering=0))
    assert list(channel.receive()) == [{"kind": "up_to_date"}]
    channel.send("close")
