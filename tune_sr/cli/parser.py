"""The parser of the commands: one-line refusals, types of arguments, exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from tune_sr.cli.redaction import redacted_words
from tune_sr.cli.streams import one_line, tell

DONE, FAILED, REFUSED = 0, 1, 2
"""Beside these: 130, 143, 138 after SIGINT, SIGTERM, SIGUSR1, the work saved and resumable."""


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as every refusal of these commands is one line.

    A flag is written out: what `--sp` means today, another flag may mean tomorrow.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; a refusal shows none of the secrets of these words."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Name the mistake and where to read on; exit code 2."""
        for word, shown in zip(self._words, redacted_words(self._words), strict=True):
            message = message.replace(word, shown) if word != shown else message
        raise SystemExit(refuse(self.prog, ValueError(f"{message} (--help lists what there is)")))


def refuse(prog: str, error: Exception) -> int:
    """Print the user's mistake in one line; the exit code."""
    tell(f"{prog}: {one_line(str(error))}", error=True)
    return REFUSED


@contextmanager
def refusing() -> Iterator[None]:
    """Around preparations: what the machine refuses a user's settings is refused in one line.

    Raises:
        ValueError: a file system had an error, or there is too little memory for what was asked.
    """
    try:
        yield
    except OSError as error:
        named = f"{error.filename}: " if error.filename is not None else ""
        raise ValueError(f"{named}{(error.strerror or str(error)).lower()}") from None
    except (MemoryError, RuntimeError) as error:
        from trainables.memory import lacks_memory

        if not lacks_memory(error):
            raise
        way_out = "lower batch.patch, batch.images, features, or what else memory grows with"
        raise ValueError(f"out of memory before anything was started: {way_out}") from None


def positive(text: str) -> int:
    """A type of argument: a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def number_or_auto(kind: Callable[[str], float]) -> Callable[[str], float | str]:
    """A type of argument: a number of its kind, or the word auto."""

    def read(text: str) -> float | str:
        if text == "auto":
            return text
        try:
            return kind(text)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"takes {number}, or auto; got {text!r}") from None

    return read
