"""The lines of a ledger as events that fit; a disk, or a person, may have damaged some."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

Event = dict[str, Any]

_log = logging.getLogger(__name__)

_DECISIONS = ("continue", "stop", "complete")
_STATES = ("completed", "stopped", "failed")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_report(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        each is None or _is_number(each) for each in value.values()
    )


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


_OF_ALL: Mapping[str, Callable[[Any], bool]] = {"time": _is_number}
_NEEDED: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "study_started": {"space": _is_mapping},
    "driver_started": {},
    "trial_added": {"trial": _is_text, "number": _is_whole, "point": _is_mapping},
    "attempt": {"trial": _is_text, "reason": _or_none(_is_text)},
    "reported": {
        "trial": _is_text,
        "step": _is_whole,
        "report": _is_report,
        "decision": _DECISIONS.__contains__,
    },
    "cloned": {
        "trial": _is_text,
        "from": _is_text,
        "step": _is_whole,
        "point": _is_mapping,
        "caveat": _or_none(_is_text),
    },
    "trial_ended": {"trial": _is_text, "state": _STATES.__contains__},
    "retried": {"trial": _is_text},
    "study_ended": {"finished": lambda value: isinstance(value, bool)},
}
"""Fields without which an event of a kind cannot be taken into account."""
_GIVEN: Mapping[str, Callable[[Any], bool]] = {
    "marks": _is_mapping,
    "study": _is_mapping,
    "digests": _is_mapping,
    "micro_batch": _or_none(_is_whole),
    "caveat": _or_none(_is_text),
    "reason": _or_none(_is_text),
}
"""Fields that a ledger may lack, from before they were written; where there is one, it fits."""
_SAID: set[tuple[str, object]] = set()
"""Of which lines and trials this process has warned: a start reads its ledger several times."""


class Reader:
    """The lines of a ledger, one after the other from the first, as events that fit.

    An event fits that has the fields of its kind and speaks of a trial that was added before.
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
            key = why if why.startswith("trial ") else self._number  # one word for all of a trial
            self._pass_over(f"{why}: passed over", key)
            return None
        if event["event"] == "trial_added":
            self._trials.add(event["trial"])
        return event

    def _pass_over(self, why: str, key: object) -> None:
        said = str(self._path), key
        if self._warns and key is not None and said not in _SAID:
            _SAID.add(said)
            _log.warning("%s:%d: %s", self._path, self._number, why)


def parse_line(line: bytes) -> Event | None:
    """The event on one line, or None for a blank or half-written one."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # cut short, also inside a character; or no driver's
        return None
    return event if isinstance(event, dict) and "event" in event else None


def misfit(event: Event, trials: Collection[str]) -> str | None:
    """Why an event cannot be taken into account; None where it can.

    Of a kind that is unknown here nothing is asked but its time.

    Args:
        event: one line of a ledger.
        trials: the names of those added before it.

    >>> misfit({"event": "trial_ended", "time": 0.0, "trial": "0001", "state": "failed"}, ["0000"])
    'trial 0001 was never added'
    """
    needed = _NEEDED.get(str(event["event"]), {})
    for key, fits in {**_OF_ALL, **needed}.items():
        if key not in event:
            return f"{event['event']} without {key}"
        if not _holds(fits, event[key]):
            return f"{event['event']}: {key} is {_short(event[key])}"
    for key, fits in _GIVEN.items():
        if key in event and not _holds(fits, event[key]):
            return f"{event['event']}: {key} is {_short(event[key])}"
    if event["event"] == "trial_added":
        named = event["trial"] == f"{event['number']:04d}"
        return None if named else f"trial_added: {_short(event['trial'])} is not its number's name"
    if "trial" in needed and event["trial"] not in trials:
        return f"trial {_short(event['trial'])[1:-1]} was never added"
    return None


def _holds(fits: Callable[[Any], bool], value: Any) -> bool:
    try:
        return fits(value)
    except TypeError:  # a list among words
        return False


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def json_line(event: Event) -> str:
    """An event as strict JSON on one line; a number that is not finite becomes null."""
    try:
        return json.dumps(event, allow_nan=False)
    except (ValueError, TypeError):  # a number that is not finite, a mapping that is no dict
        return json.dumps(_finite(event))


def _finite(value: Any) -> Any:
    """`value` with every float that JSON cannot write replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


State = Literal["completed", "stopped", "failed"]
