"""Reads the lines of a ledger, and passes over those that a disk or a person has damaged."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tune_sr.ledger.events import FIELDS, Event, TrialAdded, parse_line
from tune_sr.ledger.history import trial_name
from tune_sr.ledger.json_types import is_number
from tune_sr.ledger.repeats import repeat_name, repeated_trial

_log = logging.getLogger(__name__)

_WARNED: set[tuple[str, object]] = set()
"""Lines and trials of which this process has warned: a start reads its ledger several times."""


class Reader:
    """Reads the lines of one ledger in order, from the first on.

    An event fits that has the fields of its kind and names a trial that was added before.
    """

    def __init__(self, path: Path, *, warns: bool = True) -> None:
        self._path, self._warns = path, warns
        self._number, self._trials = 0, set[str]()

    def read(self, line: bytes) -> Event | None:
        """The event on the next line; None for one that is blank, cut short or does not fit."""
        self._number += 1
        event = parse_line(line)
        if event is None:
            self._pass_over("a half-written line is skipped", self._number if line else None)
            return None
        why = misfit(event, self._trials)
        if why is not None:
            key = why if why.startswith("trial ") else self._number  # one warning for each trial
            self._pass_over(f"{why}: passed over", key)
            return None
        if event["event"] == TrialAdded.kind:
            self._trials.add(event["trial"])
        return event

    def _pass_over(self, why: str, key: object) -> None:
        warning = str(self._path), key
        if self._warns and key is not None and warning not in _WARNED:
            _WARNED.add(warning)
            _log.warning("%s:%d: %s", self._path, self._number, why)


def misfit(event: Event, trials: Collection[str]) -> str | None:
    """Why an event cannot be taken into account; None where it can.

    Of a kind that is unknown to this version only the time is checked.

    Args:
        event: one line of a ledger.
        trials: the names of those added before it.

    >>> misfit({"event": "trial_ended", "time": 0.0, "trial": "0001", "state": "failed"}, ["0000"])
    'trial 0001 was never added'
    """
    kind, known = event["event"], FIELDS.get(str(event["event"]), ())
    checks = [("time", is_number, True), *((each.key, each.fits, each.required) for each in known)]
    for key, fits, required in checks:
        if key not in event:
            if required:
                return f"{kind} without {key}"
        elif not fits(event[key]):
            return f"{kind}: {key} is {_short(event[key])}"
    if kind == TrialAdded.kind:
        repeats, number = event.get("repeats"), event["number"]
        named = event["trial"] == (repeat_name(repeats, number) if repeats else trial_name(number))
        if named and repeats and repeated_trial(repeats)[0] not in trials:
            return f"trial {_short(repeats)[1:-1]} was never added"
        return None if named else f"trial_added: {_short(event['trial'])} is not its number's name"
    if any(each.key == "trial" for each in known) and event["trial"] not in trials:
        return f"trial {_short(event['trial'])[1:-1]} was never added"
    return None


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
