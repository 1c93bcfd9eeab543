"""What the command modules share: one-line refusals, exit codes, and how a signal ends the work."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

DONE, FAILED, REFUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived: the work ends where it is, saved, and can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as every refusal of these commands is one line."""

    def error(self, message: str) -> NoReturn:
        """Name the mistake and where to read on; exit code 2."""
        self.exit(REFUSED, f"{self.prog}: {message} (--help lists what there is)\n")


def refuse(prog: str, error: ValueError) -> int:
    """Tell the user's mistake in one line; the exit code."""
    sys.stderr.write(f"{prog}: {' '.join(str(error).split())}\n")
    return REFUSED


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise `Interrupted` in the main thread, wherever that is."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
