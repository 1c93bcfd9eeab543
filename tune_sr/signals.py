"""How a signal ends the work: where it is, saved, with an exit code that says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""A person's Ctrl-C, a cluster's stop, and what SLURM sends some time before a job's end."""


class Interrupted(KeyboardInterrupt):
    """One of `ASKED_TO_END` arrived: the work ends where it is, saved, and can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it those signals raise `Interrupted` in the main thread, wherever that is."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in ASKED_TO_END}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_this_process() -> None:
    """End this process as Ctrl-C does; from any thread."""
    os.kill(os.getpid(), signal.SIGINT)


class LoopSignals:
    """The same signals while Ray's loop runs: the loop ends its step, then all is put away.

    Ray's loop itself ends in order on SIGUSR1, so the first signal is handed on as that one and
    remembered in `number`; a second SIGINT or SIGTERM raises `Interrupted` at once. Only the main
    thread can receive signals: elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> LoopSignals:
        self.listen()
        return self

    def listen(self) -> None:
        """Take the signals, again where something else has taken them since (Ray takes SIGTERM)."""
        if not _in_main_thread():
            return
        for number in ASKED_TO_END:
            handler = self._early if number == signal.SIGUSR1 else self._hand_on
            before = signal.signal(number, handler)
            self._before.setdefault(number, before)

    def overhear(self) -> None:
        """Hear SIGUSR1 beside Ray's loop, which by now has taken it, and would not say so."""
        if not _in_main_thread():
            return
        loop: Any = signal.getsignal(signal.SIGUSR1)

        def hear(number: int, frame: FrameType | None) -> None:
            self.number = self.number or number
            loop(number, frame)

        signal.signal(signal.SIGUSR1, hear)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # While Ray starts it answers SIGTERM itself, and ends the process by that number.
        if isinstance(error, SystemExit) and error.code == signal.SIGTERM:
            raise Interrupted(signal.SIGTERM) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return LoopSignals, ()  # Ray pickles what its loop calls; a copy hears nothing

    def _hand_on(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            raise Interrupted(number)
        self.number = number
        os.kill(os.getpid(), signal.SIGUSR1)

    def _early(self, number: int, _frame: FrameType | None) -> None:
        """SIGUSR1, our own or not, before Ray's loop listens to it."""
        self.number = self.number or number
        raise Interrupted(self.number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
