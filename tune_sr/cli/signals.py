"""Turns SIGINT, SIGTERM, SIGUSR1 and SIGHUP into an exception: a command ends, its work saved."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Ctrl-C; a cluster's stop; SLURM's warning before a job's end; the end of the terminal or
connection. SIGHUP is left alone where it is ignored, as under nohup."""


class Interrupted(KeyboardInterrupt):
    """Raised when one of `STOP_SIGNALS` arrives: the work so far is saved and can be resumed.

    Attributes:
        exit_code: 128 plus the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` in the main thread when one of `STOP_SIGNALS` arrives in the context."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        leave_terminal(number)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in signals_taken()}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Delay `STOP_SIGNALS` while Ray starts: the first one is delivered when the context is left.

    An exception raised by a signal inside Ray's compiled code ends the process by SIGSEGV. Ray's
    own SIGTERM handler, which it installs as it starts, is not installed. Processes started within
    the context ignore SIGHUP, so that Ray outlives its terminal and a study can be saved.
    """
    if not in_main_thread():
        yield
        return
    arrived: list[int] = []
    take = signal.signal

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    def pass_over(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in before else take(number, handler)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in before:
        take(number, signal.SIG_IGN if number == signal.SIGHUP else remember)
    signal.signal = pass_over  # type: ignore[assignment]  # for the time of one call
    try:
        yield
    finally:
        signal.signal = take
        for number, handler in before.items():
            take(number, handler)
        if arrived:
            os.kill(os.getpid(), arrived[0])


def signals_taken() -> list[signal.Signals]:
    """List the `STOP_SIGNALS` that this process handles: all but a SIGHUP that is ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in STOP_SIGNALS if not (each == signal.SIGHUP and ignored)]


def end_this_process() -> None:
    """Send this process SIGINT, as Ctrl-C does; callable from any thread."""
    os.kill(os.getpid(), signal.SIGINT)


def in_main_thread() -> bool:
    """Whether this is the thread that receives signals."""
    return threading.current_thread() is threading.main_thread()


def leave_terminal(number: int) -> None:
    """After SIGHUP, redirect stdout and stderr from a closed terminal to the null device.

    Printing to it would raise an error and lose results.

    Args:
        number: the signal that arrived; nothing happens for any other.
    """
    if number != signal.SIGHUP:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            # A terminal that has hung up is a device still, and answers no question of terminals.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)
