"""One driver at a time on a study: a lock file that names who holds it and shows he is alive."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

HEARTBEAT_S = 10.0
STALE_S = 60.0
"""A lock whose file has not been touched for so long belongs to nobody."""


class LockedError(ValueError):
    """Another driver is at work on this study; its message names host and pid."""


class DriverLock:
    """Holds `path` for one driver while in use as a context; touches it every ten seconds.

    A lock is stale when its process is gone (same host, and the same container there) or its
    heartbeat is older than a minute.
    Should a driver lose its lock (it slept for longer than that, and another took over), `on_lost`
    is called from the heartbeat's thread: it must stop writing.
    """

    def __init__(self, path: Path, on_lost: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._on_lost = on_lost
        self._mine = {**_whereabouts(), "pid": os.getpid(), "since": time.time()}
        self._released, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="driver-lock", daemon=True)

    def __enter__(self) -> DriverLock:
        """Take the lock.

        Raises:
            LockedError: a living driver holds it.
        """
        with _guarded(self._path) as file:
            holder = _holder(file)
            if holder is not None and _alive(holder, file):
                where = f"pid {holder['pid']} on {holder['host']}"
                raise LockedError(
                    f"{self._path.parent}: another driver works on this study ({where}): wait for "
                    f"it, or stop it; its lock counts while it is touched every {STALE_S:.0f} s"
                )
            _write(file, self._mine)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back; the file goes."""
        self._released.set()
        self._thread.join()
        with _guarded(self._path) as file:
            if _holder(file) == self._mine:
                self._path.unlink()

    def check(self) -> None:
        """Make sure that this driver may still write.

        Raises:
            LockedError: it has lost its lock.
        """
        if self._lost.is_set():
            raise LockedError(f"{self._path.parent}: another driver has taken this study over")

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with _guarded(self._path) as file:
                if _holder(file) != self._mine:
                    self._lost.set()
                    self._on_lost()
                    return
                os.utime(self._path)


@contextmanager
def _guarded(path: Path) -> Iterator[IO[str]]:
    """The lock file, opened; no other process looks at or changes it meanwhile."""
    while True:
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Between opening and locking, its owner may have removed it: then this is a ghost.
            if _same(path, file):
                yield file
                return


def _same(path: Path, file: IO[str]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> dict[str, Any] | None:
    file.seek(0)
    try:
        holder = json.loads(file.read())
    except ValueError:  # new and empty, or its owner died while writing it
        return None
    return dict(holder)


def _alive(holder: dict[str, Any], file: IO[str]) -> bool:
    near = _whereabouts()
    if {key: holder.get(key) for key in near} == near and not _running(holder["pid"]):
        return False
    return time.time() - os.fstat(file.fileno()).st_mtime < STALE_S


def _whereabouts() -> dict[str, str]:
    """What a pid means something in: a host, and there the processes of one container."""
    pids = Path("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "pids": str(pids.readlink()) if pids.exists() else ""}


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    status = Path(f"/proc/{pid}/stat")
    # A process that was killed and that its parent has not looked after yet is not running.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def _write(file: IO[str], holder: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder))
    file.flush()
    os.fsync(file.fileno())
