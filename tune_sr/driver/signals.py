"""SIGINT, SIGTERM and SIGUSR1 while Ray's loop runs."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from tune_sr.cli.signals import Interrupted, in_main_thread, leave_terminal, signals_taken


class LoopSignals:
    """The same signals while Ray's loop runs: the loop ends its step, then all is put away.

    Ray's loop itself ends in order on SIGUSR1, so the first signal is handed on as that one and
    remembered in `number`; a second SIGINT or SIGTERM raises `Interrupted` at once. Only the main
    thread can receive signals: elsewhere this does nothing.

    Between `await_loop` and `overhear` Ray's compiled code may be at work, in which an exception
    would end the process by SIGSEGV: a signal is only remembered, and ends the loop's first step.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._awaiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> LoopSignals:
        self.listen()
        return self

    def listen(self) -> None:
        """Take the signals, again where something else has taken them since (Ray takes SIGTERM)."""
        if not in_main_thread():
            return
        for number in signals_taken():
            handler = self._early if number == signal.SIGUSR1 else self._hand_on
            before = signal.signal(number, handler)
            self._before.setdefault(number, before)

    def arrived(self) -> bool:
        """Whether one of them has arrived."""
        return self.number is not None

    def await_loop(self) -> None:
        """From now on, until `overhear`, only remember what arrives."""
        self._awaiting = True

    def wrap_ray_handler(self) -> None:
        """Hear SIGUSR1 beside Ray's loop, which by now has taken it, and would not say so."""
        if not in_main_thread():
            return
        loop: Any = signal.getsignal(signal.SIGUSR1)

        def hear(number: int, frame: FrameType | None) -> None:
            self.number = self.number or number
            loop(number, frame)

        signal.signal(signal.SIGUSR1, hear)
        self._awaiting = False
        if self.number is not None:
            os.kill(os.getpid(), signal.SIGUSR1)

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
        leave_terminal(number)
        if self._awaiting:
            self.number = self.number or number
            return
        if self.number is not None:
            raise Interrupted(number)
        self.number = number
        os.kill(os.getpid(), signal.SIGUSR1)

    def _early(self, number: int, _frame: FrameType | None) -> None:
        """SIGUSR1, our own or not, before Ray's loop listens to it."""
        self.number = self.number or number
        if not self._awaiting:
            raise Interrupted(self.number)
