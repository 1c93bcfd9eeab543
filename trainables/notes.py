"""Collects this package's log warnings, to be passed on with a result."""

from __future__ import annotations

import logging


class Notes(logging.Handler):
    """A context that collects the package's log warnings; yields the list of their messages.

    For worker processes, whose logs users do not read.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def __enter__(self) -> list[str]:
        logging.getLogger("trainables").addHandler(self)
        return self._messages

    def __exit__(self, *_: object) -> None:
        logging.getLogger("trainables").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of a warning; errors are part of the result already."""
        if record.levelno == logging.WARNING:
            self._messages.append(record.getMessage())
