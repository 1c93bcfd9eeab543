"""How a signal ends the work: where it is, saved, with an exit code that says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived: the work ends where it is, saved, and can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


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


class LoopSignals:
    """SIGINT and SIGTERM while Ray's loop runs: the loop ends its step, then all is put away.

    Ray's loop itself ends in order on SIGUSR1, so the first signal is handed on as that one and
    remembered in `number`; a second one raises `Interrupted` at once. Only the main thread can
    receive signals: elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> LoopSignals:
        self.listen()
        return self

    def listen(self) -> None:
        """Take the signals, again where something else has taken them since (Ray takes SIGTERM)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
            handler = self._early if number == signal.SIGUSR1 else self._hand_on
            before = signal.signal(number, handler)
            self._before.setdefault(number, before)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hand_on(self, number: int, _frame: FrameType | None) -> None:
        if self.number is not None:
            raise Interrupted(number)
        self.number = number
        os.kill(os.getpid(), signal.SIGUSR1)

    def _early(self, _number: int, _frame: FrameType | None) -> None:
        """SIGUSR1 before Ray's loop listens to it, or after."""
        if self.number is not None:
            raise Interrupted(self.number)
