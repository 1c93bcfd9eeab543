"""Drivers of studies as tests start, interrupt and kill them.

They are real processes, forked from one that has imported everything: a driver's own imports take
seconds of CPU, which a test of kills would pay for every life of its study.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")},
    "RAY_AUTH_MODE": "token",  # which Ray reads when it is imported
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray looks for 127.0.0.1 at another address
    "HOME": "/proc/none",  # as in a container that has none for its user
}


class DriverServer:
    """A process with everything imported, which forks one driver after the other.

    Args:
        log: the file that takes what drivers print.
    """

    def __init__(self, log: Path) -> None:
        self._log, self._before = log, 0
        self.ray_folders: set[str] = set()
        """The folders of the Rays that the last driver had when its end was asked for."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_ENVIRONMENT,
        )

    def run(self, *words: Any, until: Callable[[], bool] | None = None,
            end_by: signal.Signals = signal.SIGKILL) -> int:  # fmt: skip
        """Run `tune_sr.search` with `words` and return its exit code.

        It is sent `end_by` as soon as `until` holds. One that joins a Ray is given its token.
        """
        assert self._process.stdin is not None
        self._before = self._log.stat().st_size if self._log.exists() else 0
        joins = "--address" in words
        token = {"RAY_AUTH_TOKEN": os.environ["RAY_AUTH_TOKEN"]} if joins else {}
        request = [[str(word) for word in words], token]
        print(json.dumps(request), file=self._process.stdin, flush=True)
        pid = self._number()
        if until is not None:
            while Path(f"/proc/{pid}").exists() and not until():
                time.sleep(0.002)
            self.ray_folders = ray_folders_of(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, end_by)
        return self._number()

    def told(self) -> str:
        """What the last driver has printed."""
        with self._log.open() as log:
            log.seek(self._before)
            return log.read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def serve(log: str) -> None:
    """Fork a driver for each line of stdin; answer with its pid, and with its exit code."""
    import optuna
    import torch
    from ray import tune

    from trainables.run import Run
    from tune_sr.search import main

    del optuna, tune, Run  # they are imported for the drivers
    torch.export.export(torch.nn.ReLU(), (torch.zeros(2),))  # and so is what tracing needs
    with Path(log).open("ab") as told:
        for line in sys.stdin:
            pid = os.fork()
            if pid == 0:
                os.dup2(told.fileno(), 1)
                os.dup2(told.fileno(), 2)
                words, token = json.loads(line)
                os.environ.update(token)
                sys.exit(main(words))
            print(pid, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def when_grown(ledger: Path, reached: Callable[[], bool]) -> Callable[[], bool]:
    """`reached`, asked only where `ledger` has grown: its driver and trials need the CPU."""
    seen = 0

    def asked() -> bool:
        nonlocal seen
        size = ledger.stat().st_size if ledger.exists() else 0
        grown, seen = size > seen, size
        return grown and reached()

    return asked


def children_of(pid: int) -> list[str]:
    """The command lines of a process's children."""
    lines = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parent = entry.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            words = entry.joinpath("cmdline").read_text().split("\0")
            lines += [" ".join(words)] if int(parent) == pid else []
    return lines


def ray_folders_of(pid: int) -> set[str]:
    """The folders in which the Rays work that a driver has started."""
    return set(re.findall(r"/tmp/tsr-\w+", " ".join(children_of(pid))))


def words_of(command: str) -> Sequence[str]:
    """What follows the module in a command that a driver printed."""
    return shlex.split(command.strip().removeprefix("python -m tune_sr.search"))


if __name__ == "__main__":
    serve(sys.argv[1])
