"""What this package warned of while something ran, to be told where a person reads it."""

from __future__ import annotations

import logging


class Notes(logging.Handler):
    """Gathers this package's log warnings, which in a worker process nobody would read."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._gathered: list[str] = []

    def __enter__(self) -> list[str]:
        logging.getLogger("trainables").addHandler(self)
        return self._gathered

    def __exit__(self, *_: object) -> None:
        logging.getLogger("trainables").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message; an error's own report already says what went wrong."""
        if record.levelno == logging.WARNING:
            self._gathered.append(record.getMessage())
