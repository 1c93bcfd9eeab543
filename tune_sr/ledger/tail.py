"""Reads a ledger while it is being written."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from tune_sr.ledger.events import Event
from tune_sr.ledger.reading import Reader

_CHUNK = 1 << 20
"""Bytes read at a time, and held at most."""


class Tail:
    """Reads on in a ledger that is being written, from its first line.

    Args:
        path: the ledger's file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._rest = path, 0, b""
        self._reader = Reader(path, warns=False)  # the driver, which read it whole, has warned

    def read(self) -> list[Event]:
        """Some of the events written since the last call, oldest first; empty if none were."""
        while fresh := _read_from(self._path, self._offset):
            self._offset += len(fresh)
            *lines, self._rest = (self._rest + fresh).split(b"\n")
            if events := self._events(lines):
                return events
        return []

    def rest(self) -> list[Event]:
        """The event on a last line without its newline, once nothing more will be written."""
        return self._events([self._rest])

    def _events(self, lines: Iterable[bytes]) -> list[Event]:
        return [event for line in lines if (event := self._reader.read(line)) is not None]


def follow(path: Path, stop: threading.Event, poll_s: float = 0.2) -> Iterator[Event]:
    """Yield the events of a ledger as they are written, from its first line on.

    Blocks while there is nothing new, or no file yet. After `stop` is set, the events that the file
    then holds are still yielded, and the iteration ends.
    """
    tail = Tail(path)
    while True:
        stopping = stop.is_set()
        while events := tail.read():
            yield from events
        if stopping:
            yield from tail.rest()
            return
        stop.wait(poll_s)


def _read_from(path: Path, offset: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK)
