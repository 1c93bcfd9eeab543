"""The append-only file of a study's events."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tune_sr.ledger.events import (
    Event,
    NewEvent,
    StudyStarted,
    TrialEnded,
    TrialReported,
    TrialStarted,
    json_line,
)
from tune_sr.ledger.reading import Reader
from tune_sr.storage.append_file import AppendOnlyFile
from tune_sr.storage.layout import LEDGER

_SYNCED_LATER = {TrialStarted.kind, TrialReported.kind, TrialEnded.kind}
"""Kinds that are synced to the disk within 0.2 s, not at once. Losing one to a power cut is safe:
its trial's checkpoint holds the report, and the first event that depends on either, the next
`trial_added`, is synced at once."""
_log = logging.getLogger(__name__)


class Ledger:
    """An append-only file of events, one JSON object a line: all that is known of a study.

    A line counts when it is a whole JSON object; a line that a kill cut short is none, because its
    closing brace is its last character. No line is ever rewritten: one that was cut short stays
    where it is, is skipped on reading (with one log line that names it), and the next event begins
    a new line. One process appends (the study's lock ensures that), from any of its threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        writable: bool = True,
        before: Callable[[str], None] | None = None,
        failed: Callable[[OSError], None] | None = None,
    ) -> None:
        """Store the path; the file is opened by the first `append`.

        Args:
            path: the file, which need not exist.
            writable: whether `append` may be called.
            before: called with the kind of each event before it is written; may raise.
            failed: called with the error of an event that could not be written.
        """
        self.path = Path(path)
        self._writable = writable
        self._before, self._failed = before, failed
        self._lines = AppendOnlyFile(self.path)

    def append(self, event: NewEvent) -> Event:
        """Write one event; where the disk is full, wait until it is not, with a log warning.

        On return the line survives a crash of this process. It survives a power cut too, except
        `trial_started`, `reported` and `trial_ended`, which are synced within 0.2 s.

        Args:
            event: what happened. A number that is not finite is written as null, since JSON has
                no word for it.

        Returns:
            The event exactly as a reader of the file gets it, with `time` in seconds since 1970.

        Raises:
            RuntimeError: if this is a copy that was pickled into another process.
            OSError: it cannot be written, for another reason than a full disk.
        """
        if not self._writable:
            raise RuntimeError(
                f"{self.path}: only the driver that opened a ledger may append to it"
            )
        if self._before is not None:
            self._before(event.kind)
        line = json_line(event.to_dict(time.time()))
        try:
            self._lines.append(line.encode(), sync=event.kind not in _SYNCED_LATER)
        except OSError as error:
            if self._failed is not None:
                self._failed(error)
            raise
        read_back: Event = json.loads(line)
        return read_back

    def events(self) -> Iterator[Event]:
        """Every whole event so far that fits those before it, oldest first; none without a file.

        A log warning names file and line the first time that this process passes over a line.
        """
        if not self.path.exists():
            return
        reader = Reader(self.path)
        for line in self.path.read_bytes().split(b"\n"):
            event = reader.read(line)
            if event is not None:
                yield event

    def displaced(self) -> str | None:
        """Why appended events no longer reach the file at this path; None while they do.

        The file may have been removed, or replaced by another. The content of the file that this
        process has open is then saved beside it, and the reason names where.

        Raises:
            OSError: the file system does not answer.
        """
        why = self._lines.displaced()
        if why is None:
            return None
        saved = self._lines.saved(self.path.with_name(f"{self.path.stem}.saved.jsonl"))
        where = "" if saved is None else f"; all that it held is in {saved}"
        return f"{self.path} {why} while this driver wrote to it{where}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray pickles what a searcher or scheduler holds; the copy can read and must not write.
        return _read_only, (self.path,)


def _read_only(path: Path) -> Ledger:
    return Ledger(path, writable=False)


def read_events(folder: Path) -> list[Event]:
    """The ledger of the study in `folder`; empty where there is none.

    Raises:
        ValueError: what has its name is a folder, or another user's.
    """
    try:
        return list(Ledger(folder / LEDGER).events())
    except (IsADirectoryError, PermissionError) as error:
        why = (error.strerror or str(error)).lower()
        raise ValueError(f"{folder / LEDGER}: cannot be read: {why}") from None


def is_started(events: Sequence[Event]) -> bool:
    """Whether a ledger has a `study_started`: a driver may have died before it wrote one."""
    return any(event["event"] == StudyStarted.kind for event in events)
