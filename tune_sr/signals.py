"""How a signal ends the work: where it is, saved, with an exit code that says so."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""A person's Ctrl-C, a cluster's stop, what SLURM sends some time before a job's end, and the end
of the terminal or connection; the last one is left alone where it is ignored, as under nohup."""


class Interrupted(KeyboardInterrupt):
    """One of `ASKED_TO_END` arrived: the work ends where it is, saved, and can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it those signals raise `Interrupted` in the main thread, wherever that is."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        _leave_terminal(number)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in _taken()}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Delay those signals while Ray starts: the first one arrives when the context is left.

    An exception raised by a signal inside Ray's compiled code ends the process by SIGSEGV. Ray
    takes SIGTERM itself as it starts; that is passed over. Processes started within ignore SIGHUP,
    so that Ray outlives its terminal and a study can be saved.
    """
    if not _in_main_thread():
        yield
        return
    arrived: list[int] = []
    take = signal.signal

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    def pass_over(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in before else take(number, handler)

    before = {number: signal.getsignal(number) for number in ASKED_TO_END}
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


def _taken() -> list[signal.Signals]:
    """Those of `ASKED_TO_END` that this process takes."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in ASKED_TO_END if not (each == signal.SIGHUP and ignored)]


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
        if not _in_main_thread():
            return
        for number in _taken():
            handler = self._early if number == signal.SIGUSR1 else self._hand_on
            before = signal.signal(number, handler)
            self._before.setdefault(number, before)

    def arrived(self) -> bool:
        """Whether one of them has arrived."""
        return self.number is not None

    def await_loop(self) -> None:
        """From now on, until `overhear`, only remember what arrives."""
        self._awaiting = True

    def overhear(self) -> None:
        """Hear SIGUSR1 beside Ray's loop, which by now has taken it, and would not say so."""
        if not _in_main_thread():
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
        _leave_terminal(number)
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


def _leave_terminal(number: int) -> None:
    """After SIGHUP, drop what is printed to a terminal that is gone: it would end in an error."""
    if number != signal.SIGHUP:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            # A terminal that has hung up is a device still, and answers no question of terminals.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
