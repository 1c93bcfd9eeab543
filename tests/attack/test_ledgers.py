"""Attempts on the ledger of a study: what it says is read, what it cannot say is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attempts import Attempt, Ran, done, harmless, refused, run_command, unique
from events import study_started
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spaces import study_in

from tune_sr import search
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import Ledger, is_started, read_events
from tune_sr.results.results import write_results

Lines = list[bytes]
Change = Callable[[Lines], Lines]


def damaged(folder: Path, change: Change) -> Path:
    """A study whose ledger's lines were changed."""
    study = study_in(folder)
    ledger = study / "ledger.jsonl"
    lines = change(ledger.read_bytes().splitlines())
    ledger.write_bytes(b"".join(each + b"\n" for each in lines))
    return study


def words(study: Path) -> list[str]:
    return ["--resume", "--name", "toy", "--storage", str(study.parent), "--dry-run"]


def planned(change: Change) -> Callable[[Path], Ran]:
    """A dry run of a resume of such a study."""
    return lambda folder: run_command(search.main, *words(damaged(folder, change)))


def resumed(change: Change) -> Callable[[Path], Ran]:
    """What a resume reads of such a study, and what is left of its results."""

    def act(folder: Path) -> Ran:
        study = damaged(folder, change)
        search._opened(search.parse_arguments(words(study)))  # a dry run's first half
        write_results(study)
        json.loads((study / "summary.json").read_text())
        return Ran(0)

    return act


def put(line: bytes, at: int | None = None) -> Change:
    """One more line, at the end or before another."""
    return lambda lines: [*lines[:at], line, *(lines[at:] if at is not None else [])]


def instead(place: int, line: bytes | None = None, **fields: Any) -> Change:
    """Another line in place of one, or that with other fields; a field of None is left out."""

    def change(lines: Lines) -> Lines:
        now = line
        if now is None:
            event = {**json.loads(lines[place]), **fields}
            now = json.dumps({key: value for key, value in event.items() if value != OUT}).encode()
        return [*lines[:place], now, *lines[place + 1 :]]

    return change


OUT = "left out"
NAMES = (
    "study_started",
    "driver_started",
    "trial_added",
    "reported",
    "trial_added",
    "reported",
    "reported",
    "trial_ended",
)
"""The events of the study, by line."""
FIELDS = {
    "study_started": ("name", "id", "space", "seed", "marks"),
    "driver_started": ("host", "pid", "start", "study"),
    "trial_added": ("trial", "number", "point"),
    "reported": ("trial", "step", "report", "decision"),
    "trial_ended": ("trial", "state", "reason"),
}
VALUES = (OUT, None, -1, 1e308, "x", [], {}, "\x1b[2J", True)

ATTEMPTS = unique(
    [
        Attempt("as it is", planned(lambda lines: lines), done()),
        Attempt("empty", planned(lambda lines: []), refused("no study to resume")),
        Attempt("blank lines", planned(lambda lines: [b"", *lines, b"", b"  "]), done()),
        Attempt(
            "every line twice",
            planned(lambda lines: [each for each in lines for _ in "ab"]),
            done(),
        ),
        Attempt(
            "the whole of it twice",
            planned(lambda lines: lines * 2),
            done(),
        ),
        Attempt("backwards", planned(lambda lines: lines[::-1]), harmless()),
        Attempt("without its first line", planned(lambda lines: lines[1:]), refused()),
        Attempt(
            "CRLF",
            planned(lambda lines: [each + b"\r" for each in lines]),
            done(),
        ),
        Attempt(
            "a BOM", planned(lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]]), harmless()
        ),
        Attempt("a folder in its place", lambda folder: _folder(folder), refused()),
        *(
            Attempt(
                f"line {number} ({NAMES[number]}) {how}", resumed(instead(number, line)), harmless()
            )
            for number in range(len(NAMES))
            for how, line in {
                "cut short": b'{"event": "' + NAMES[number].encode() + b'", "tri',
                "gone": b"",
                "no JSON": b"\x00" * 40,
                "no event": b"{}",
                "a list": b"[1]",
                "a number": b"1" * 5000,
                "an event that is a list": b'{"event": []}',
                "an event and nothing else": b'{"event": "' + NAMES[number].encode() + b'"}',
                "not UTF-8": b'{"event": "\xff\xfe"}',
                "nested deeply": b'{"event": "x", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            }.items()
        ),
        *(
            Attempt(
                f"{field} of line {number} ({NAMES[number]}) is {value!r}",
                resumed(instead(number, **{field: value})),
                harmless(),
            )
            for number in (0, 1, 2, 3, 7)
            for field in FIELDS[NAMES[number]]
            for value in VALUES
        ),
        *(
            Attempt(
                f"one more line: {line[10:].decode()}",
                resumed(put(line)),
                harmless(),
            )
            for line in (
                b'{"event": "nonsense", "time": 1}',
                b'{"event": "reported", "time": 1, "trial": "0099", "step": 4, "report": {}, '
                b'"decision": "continue"}',
                b'{"event": "trial_ended", "time": 1, "trial": "0099", "state": "failed"}',
                b'{"event": "attempt", "time": 1, "trial": "0099"}',
                b'{"event": "cloned", "time": 1, "trial": "0000", "from": "0099", "step": 4, '
                b'"point": {}, "caveat": null}',
                b'{"event": "trial_added", "time": 1, "trial": "0000", "number": 0, '
                b'"point": {"a": 1}}',
                b'{"event": "trial_added", "time": 1, "trial": "../../x", "number": 2, '
                b'"point": {}}',
                b'{"event": "reported", "time": 1, "trial": "0001", "step": 8, "report": '
                b'{"psnr_y_db": null}, "decision": "complete"}',
                b'{"event": "reported", "time": 1, "trial": "0001", "step": 8, "report": '
                b'{"psnr_y_db": NaN}, "decision": "complete"}',
                b'{"event": "reported", "time": 1, "trial": "0001", "step": 8, "report": '
                b'{"psnr_y_db": "31"}, "decision": "complete"}',
                b'{"event": "study_ended", "time": 1}',
                b'{"event": "study_started", "time": 1}',
            )
        ),
    ]
)


def _folder(folder: Path) -> Ran:
    study = study_in(folder)
    (study / "ledger.jsonl").unlink()
    (study / "ledger.jsonl").mkdir()
    return run_command(search.main, *words(study))


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_holds(attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    attempt.check(tmp_path)


# --- lines that nobody thought of -------------------------------------------------------------

WORDS = st.sampled_from(["0000", "0001", "x", "", "completed", "stop", "psnr_y_db", "step"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUE = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3)
)
KINDS = st.sampled_from([*FIELDS, "attempt", "cloned", "study_ended", "repeated", ""])
KEYS = st.sampled_from(
    [
        *dict.fromkeys(field for fields in FIELDS.values() for field in fields),
        "time",
        "from",
        "caveat",
    ]
) | st.sampled_from(["micro_batch", "finished"])
EVENTS = st.builds(
    lambda kind, fields: {"event": kind, **fields}, KINDS, st.dictionaries(KEYS, VALUE, max_size=6)
)
EVENT_LINES = EVENTS.map(lambda event: json.dumps(event).encode())
BAD_LINES = st.binary(max_size=60) | st.builds(
    lambda line, end: line[: end % (len(line) + 1)], EVENT_LINES, st.integers(0, 500)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 8), EVENT_LINES | BAD_LINES), max_size=5))
def test_no_line_keeps_a_study_from_its_events(
    tmp_path: Path, added: list[tuple[int, bytes]]
) -> None:
    """Whatever is added, the fold of it stands, and what else there is, is read."""
    study = tmp_path / "runs" / "toy"
    if not study.exists():
        study_in(tmp_path)
    ledger = study / "ledger.jsonl"
    whole = tmp_path / "whole.jsonl"
    if not whole.exists():
        whole.write_bytes(ledger.read_bytes())
    lines = whole.read_bytes().splitlines()
    for place, line in added:
        lines.insert(place, line.replace(b"\n", b" "))
    ledger.write_bytes(b"\n".join(lines) + b"\n")
    events = read_events(study)
    assert len(events) >= 8
    history = History.from_events(events)
    assert is_started(events) and {"0000", "0001"} <= set(history.trials)
    history.usage.driver_seconds()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUE, max_size=3))
def test_what_is_appended_is_what_is_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    written = ledger.append(study_started(fields))
    *_, read = ledger.events()
    assert read == written
