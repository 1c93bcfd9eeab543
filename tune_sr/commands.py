"""What the command modules share: one-line refusals and the exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from trainables.limits import LINE_LENGTH

DONE, FAILED, REFUSED = 0, 1, 2
"""Beside these: 130, 143, 138 after SIGINT, SIGTERM, SIGUSR1, the work saved and resumable."""


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as every refusal of these commands is one line."""

    def error(self, message: str) -> NoReturn:
        """Name the mistake and where to read on; exit code 2."""
        self.exit(REFUSED, f"{self.prog}: {message} (--help lists what there is)\n")


def refuse(prog: str, error: Exception) -> int:
    """Print the user's mistake in one line; the exit code."""
    sys.stderr.write(f"{prog}: {one_line(str(error))}\n")
    return REFUSED


def one_line(text: str) -> str:
    r"""`text` as one line that changes no terminal; of a screenful, its beginning and its end.

    >>> one_line("a\x1b[2J\n  b")
    'a\\x1b[2J b'
    """
    line = printable(" ".join(text.split()))
    half = LINE_LENGTH // 2
    return line if len(line) <= LINE_LENGTH else f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    r"""`text` with what is no character on a screen written as Python writes it.

    >>> printable("caf\xe9 \x1b\u202e")
    'caf\xe9 \\x1b\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


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
