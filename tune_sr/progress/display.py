"""Shows a running study: a live table on a terminal, else one plain line for each event."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from tune_sr.cli.streams import say
from tune_sr.ledger.tail import follow
from tune_sr.progress.event_lines import event_line, opening_line
from tune_sr.progress.live_table import render
from tune_sr.progress.status import StudyOutline, StudyStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_OTHER_LINES = 9
"""Lines of the live table that are not trials: title, marks, best, head, what is left out."""


class Progress:
    """Shows the events of a ledger, which it follows in a thread of the driver.

    On a terminal a live table; otherwise one plain line per event that is written from `start` on,
    so a resumed study does not print its past again. With `quiet` only what `say` is given.

    Args:
        ledger: the study's, which need not exist yet.
        outline: what is known of the study before it starts.
        quiet: whether events are not shown.
        stream: where to; None: the standard output.
    """

    def __init__(
        self,
        ledger: Path,
        outline: StudyOutline,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._ledger = ledger
        self._stream = stream or sys.stdout
        self._mode: Literal["quiet", "plain", "live"] = (
            "quiet" if quiet else "live" if self._stream.isatty() else "plain"
        )
        self._status = StudyStatus(outline)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._since = 0.0
        self._thread = threading.Thread(target=self._read, name="progress", daemon=True)
        self._live: Live | None = None

    def start(self) -> None:
        """Begin to show events; call before this driver's first event."""
        self._since = time.time()
        if self._mode == "quiet":
            return
        if self._mode == "plain":
            self._write(opening_line(self._status))
        else:
            self._live = self._begin_live()
        self._thread.start()

    def say(self, message: str) -> None:
        """Print one line that the person must see, also when quiet (then on stderr)."""
        if self._live is not None:
            with suppress(OSError, ValueError):  # the terminal is closed; the study goes on
                self._live.console.print(message, markup=False, highlight=False, soft_wrap=True)
        elif self._mode == "quiet":
            say(sys.stderr, message)
        else:
            self._write(message)

    def close(self) -> None:
        """Show the events that are left, leave the last table standing, end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._live is not None:
            with suppress(OSError, ValueError):
                self._live.stop()
            self._live = None

    def _read(self) -> None:
        for event in follow(self._ledger, self._stop):
            with self._lock:
                repeated = self._status.apply(event)
                line = event_line(self._status, event, repeated=repeated)
            if line and self._mode == "plain" and event["time"] >= self._since:
                self._write(line)

    def _write(self, line: str) -> None:
        if not say(self._stream, line):  # the stream is closed; the study goes on
            self._mode = "quiet"

    def _begin_live(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream)
        live = Live(
            get_renderable=lambda: self._render(console), console=console, refresh_per_second=4
        )
        live.start()
        return live

    def _render(self, console: Console) -> RenderableType:
        with self._lock:
            rows = max(3, console.height - _OTHER_LINES)
            return render(self._status, time.time(), rows=rows, width=console.width)
