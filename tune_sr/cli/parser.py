"""The commands' argument parser, its argument types, one-line refusals and exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from trainables.limits import THREADS
from tune_sr.cli.redaction import redacted_words
from tune_sr.cli.streams import one_line, tell

DONE, FAILED, REFUSED = 0, 1, 2
"""Exit codes of success, of failed work and of a refused command line or setting.

The others are 130, 143, 138 and 129, after SIGINT, SIGTERM, SIGUSR1 and SIGHUP: the work is saved
and can be resumed."""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose refusals are one line and hide the secrets of the command line.

    Flags cannot be abbreviated: a flag added later could make an abbreviation ambiguous.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and keep the words so that `error` can redact them."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the mistake and a pointer to `--help` in one line, and exit with code 2."""
        for word, shown in zip(self._words, redacted_words(self._words), strict=True):
            message = message.replace(word, shown) if word != shown else message
        raise SystemExit(refuse(self.prog, ValueError(f"{message} (--help lists what there is)")))


def refuse(prog: str, error: Exception) -> int:
    """Print the user's mistake in one line on stderr, and return exit code 2."""
    tell(f"{prog}: {one_line(str(error))}", error=True)
    return REFUSED


@contextmanager
def refusing() -> Iterator[None]:
    """Turn file system errors and lack of memory within the context into one-line refusals.

    For preparations: both then follow from the user's settings.

    Raises:
        ValueError: in place of an `OSError`, or of an error that means too little memory.
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
    """Parse an argument that is a whole number of at least 1.

    Raises:
        ValueError: it is not.
    """
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def threads(text: str) -> int:
    """Parse an argument that is a number of CPU threads.

    Raises:
        ArgumentTypeError: it is not one of 1 to `THREADS`.
    """
    if not 1 <= int(text) <= THREADS:
        raise argparse.ArgumentTypeError(f"takes 1 to {THREADS:,}; got {text}")
    return int(text)


def number_or_auto(kind: Callable[[str], float]) -> Callable[[str], float | str]:
    """Make a parser of arguments that are a number (read by `kind`: int or float) or `auto`."""

    def read(text: str) -> float | str:
        if text == "auto":
            return text
        try:
            return kind(text)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"takes {number}, or auto; got {text!r}") from None

    return read
