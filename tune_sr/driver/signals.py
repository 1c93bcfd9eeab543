"""Handles SIGINT, SIGTERM, SIGUSR1 and SIGHUP while Ray's loop runs."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from tune_sr.cli.signals import Interrupted, in_main_thread, leave_terminal, signals_taken


class LoopSignals:
    """A context that ends Ray's loop in order when one of `STOP_SIGNALS` arrives.

    Ray's loop ends after its current step on SIGUSR1, so the first signal is stored in `number` and
    sent on as SIGUSR1; a second SIGINT or SIGTERM raises `Interrupted` at once. Only the main
    thread can receive signals: in another thread this does nothing.

    Between `await_loop` and `wrap_ray_handler` Ray's compiled code may be running, in which an
    exception would end the process by SIGSEGV: a signal is only stored, and ends the loop after its
    first step.

    Attributes:
        number: the first signal that arrived; None before.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._awaiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> LoopSignals:
        self.listen()
        return self

    def listen(self) -> None:
        """Install the handlers; call again where they were replaced, as Ray does with SIGTERM's."""
        if not in_main_thread():
            return
        for number in signals_taken():
            handler = self._on_early_sigusr1 if number == signal.SIGUSR1 else self._on_signal
            before = signal.signal(number, handler)
            self._before.setdefault(number, before)

    def arrived(self) -> bool:
        """Whether one of the signals has arrived."""
        return self.number is not None

    def await_loop(self) -> None:
        """From now on, until `wrap_ray_handler`, only store a signal that arrives."""
        self._awaiting = True

    def wrap_ray_handler(self) -> None:
        """Wrap Ray's SIGUSR1 handler so that the signal is also stored in `number`.

        Ray does not report the signal to its caller. A signal that arrived since `await_loop` is
        delivered now. Call it once Ray's loop has installed its handler.
        """
        if not in_main_thread():
            return
        loop: Any = signal.getsignal(signal.SIGUSR1)

        def store_and_pass_on(number: int, frame: FrameType | None) -> None:
            self.number = self.number or number
            loop(number, frame)

        signal.signal(signal.SIGUSR1, store_and_pass_on)
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
        # Ray's own SIGTERM handler, in place while it starts, exits with the signal's number.
        if isinstance(error, SystemExit) and error.code == signal.SIGTERM:
            raise Interrupted(signal.SIGTERM) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return LoopSignals, ()  # Ray pickles what its loop calls; a copy has no handlers

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        leave_terminal(number)
        if self._awaiting:
            self.number = self.number or number
            return
        if self.number is not None:
            raise Interrupted(number)
        self.number = number
        os.kill(os.getpid(), signal.SIGUSR1)

    def _on_early_sigusr1(self, number: int, _frame: FrameType | None) -> None:
        """Handle SIGUSR1, sent by `_on_signal` or from outside, before Ray has its handler."""
        self.number = self.number or number
        if not self._awaiting:
            raise Interrupted(self.number)
