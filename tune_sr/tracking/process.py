"""The process that sends a ledger to MLflow: how a driver starts it, and what it does.

It is a plain child process, not one of `multiprocessing`: that would import the program's main
module again (a program that calls `run_study` without a guard would begin a second study) and
keep a process of its own beside it. Settings, with the secrets of the store's address, travel by
the pipe: arguments are shown to all who list processes, an environment to every child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from tune_sr.cli.signals import STOP_SIGNALS
from tune_sr.tracking.messages import Channel, TrackingSettings
from tune_sr.tracking.sender import LedgerSender

_ENTRY = "from tune_sr.tracking.process import main; main()"
_NICENESS = 5
"""Added to the driver's: trials and Ray's loop come first where processors are scarce."""
EXIT_S = 5.0
"""Seconds that a process may take to end once it has closed its pipe."""


class SenderProcess:
    """A running process that sends a ledger to MLflow, as its driver holds it.

    It ends by itself once its pipe closes, so that none outlives a driver that was killed; and it
    is in a session of its own, so that Ctrl-C and the end of a terminal reach the driver alone.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        search_path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _ENTRY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": search_path},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)
        self._channel.send("settings", **settings.to_dict())

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the process sends, until it ends or is killed."""
        return self._channel.receive()

    def answer(self, params: Mapping[str, Any], last_growth: int | None) -> None:
        """Answer a message `params_wanted`."""
        self._channel.send("params", params=dict(params), last_growth=last_growth)

    def close(self) -> None:
        """Ask the process to send the rest and end; returns at once."""
        self._channel.send("close")

    def kill(self) -> None:
        """End the process wherever it is; returns at once."""
        self._process.kill()

    def wait(self) -> str:
        """Wait for its end, which `messages` has shown, and return how it ended, in a few words."""
        try:
            self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # of what it was sent after its end
                pipe.close()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"the process that sends to it ended {how}"


def main() -> None:
    """Be the process: send until the driver asks for the end, or is gone."""
    for number in STOP_SIGNALS:  # SLURM sends them to every process; the driver decides
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    channel = Channel(*_take_standard_streams())
    messages = channel.receive()
    first = next(messages, None)
    if first is None:
        return
    del first["kind"]
    answers: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def ask(point: Mapping[str, Any], key: str) -> Any:
        channel.send("params_wanted", point=dict(point))
        return answers.get()[key]

    sender = LedgerSender(
        TrackingSettings.from_dict(first),
        partial(ask, key="params"),
        growth_of=partial(ask, key="last_growth"),
        on_failure=lambda reason: channel.send("failed", reason=reason),
        on_success=lambda: channel.send("up_to_date"),
    )
    listener = threading.Thread(target=_listen, args=(messages, sender, answers), daemon=True)
    listener.start()
    sender.run()
    channel.send("closed", view=sender.view)
    os._exit(0)  # all is sent; libraries' exit handlers may take seconds


def _listen(
    messages: Iterator[dict[str, Any]], sender: LedgerSender, answers: SimpleQueue[dict[str, Any]]
) -> None:
    """Pass the driver's messages on; end this process where the driver is gone."""
    for message in messages:
        if message["kind"] == "params":
            answers.put(message)
        elif message["kind"] == "close":
            sender.stop()
    os._exit(0)  # also out of a request that nobody answers


def _take_standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output for the channel alone; libraries find them empty and swallowed."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return incoming, outgoing
