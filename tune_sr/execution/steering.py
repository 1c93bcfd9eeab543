"""Takes what a person asks of a running study into its ledger."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tune_sr.ledger.events import TrialEnded
from tune_sr.study.requests import RequestFolder

if TYPE_CHECKING:
    from tune_sr.execution.state import StudyState
    from tune_sr.study.config import StudyConfig

_EVERY_S = 2.0
"""Seconds between two looks at the folder of requests."""
STOPPED_BY = "a person asked for its end"
"""The reason of a trial that ends so."""


class Steering:
    """The requests of one study: taken at a start, and then every two seconds."""

    def __init__(self, config: StudyConfig, live: StudyState) -> None:
        self._config, self._live = config, live
        self._folder, self._looked = RequestFolder(config.folder), 0.0

    def take(self) -> None:
        """Write the events of new requests, each before its file is deleted."""
        for path, event in self._folder.pending(self._config, self._live.history):
            if event is not None and path.stem not in self._live.history.asked.requests:
                self._live.append(event)
            path.unlink(missing_ok=True)

    def take_now_and_then(self) -> None:
        """The same, at most every two seconds: Ray's loop calls it ten times a second."""
        now = time.monotonic()
        if now - self._looked >= _EVERY_S:
            self._looked = now
            self.take()

    def end_what_was_asked(self) -> None:
        """End the trials whose end was asked for while no process trains them: at a start."""
        for record in self._live.history.running():
            if record.stop_asked:
                self._live.append(TrialEnded(trial=record.name, state="stopped", reason=STOPPED_BY))
