"""Ensures one driver at a time on a study: a lock file that names its holder, with a heartbeat."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tune_sr.storage.lock_file import (
    LockedError,
    Seen,
    guarded,
    lives,
    look_at,
    named,
    process_of,
    whereabouts,
    why_not,
)

__all__ = ["DriverLock", "LockedError", "StudyLostError"]

HEARTBEAT_S = 10.0
"""Seconds between two heartbeats of the lock's holder."""
STALE_S = 60.0
"""Seconds without a heartbeat, seen by a waiting driver, after which a lock may be taken."""
UNTOUCHED_S = 40.0
"""Seconds without a successful heartbeat after which the holder stops, before `STALE_S` is over."""
LOOK_S = 0.5
"""Seconds between two reads of the lock file by a driver that waits for it to become stale."""

_LENGTH = 400
"""Bytes of the file, fixed: overwriting it in place needs no space on a full disk."""
_BEATS = "beats"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger(__name__)


class StudyLostError(RuntimeError):
    """Raised when a driver may no longer write, and no other is known to have taken its study."""


class DriverLock:
    """A context that holds the lock file `path` for one driver, with a heartbeat every ten seconds.

    The file names host, boot, container and process, and has a number that each heartbeat
    increments. A lock is stale when its process has ended (seen from the same boot of the same host
    and the same container), or when a waiting driver sees no change of the file for a minute.
    Clocks of different machines are never compared.

    A heartbeat that fails is repeated at the next one. The lock is lost when the file is gone,
    belongs to another driver, or had no successful heartbeat for 40 seconds. `on_lost` is then
    called once, in the thread that noticed; the driver must stop writing. Leaving the context
    raises what `check` raises, in place of any other error.

    Args:
        path: the lock file.
        on_lost: called once when the lock is lost.
    """

    def __init__(self, path: Path, on_lost: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._on_lost = on_lost
        began = process_of(os.getpid())
        self._mine: dict[str, Any] = {
            **whereabouts(),
            "pid": os.getpid(),
            "began": began.began if began else "",
            "since": time.time(),
        }
        self._beats, self._touched = 0, 0.0
        self._lost: LockedError | StudyLostError | None = None
        self._watched: list[Callable[[], str | None]] = []
        self._released, self._turn = threading.Event(), threading.RLock()
        self._thread = threading.Thread(target=self._beat, name="driver-lock", daemon=True)

    def __enter__(self) -> DriverLock:
        """Take the lock; where its holder cannot be looked up, wait up to a minute for a heartbeat.

        Raises:
            LockedError: a running driver holds it, or the file cannot be locked.
        """
        try:
            self._take()
        except OSError as error:
            raise LockedError(f"{self._path}: {why_not(error)}") from None
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock and remove its file.

        Raises:
            LockedError: another driver had taken the study over.
            StudyLostError: the lock had been lost in another way.
        """
        self._released.set()
        self._thread.join(timeout=HEARTBEAT_S)  # bounded: the file system may hang
        if not self._thread.is_alive():
            with suppress(OSError, LockedError), guarded(self._path) as descriptor:
                if self._is_mine(look_at(self._path, descriptor).holder):
                    self._path.unlink()
        if self._lost is not None and error is not self._lost:
            raise self._lost from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_lock, ()  # Ray pickles what its loop calls; a copy must not hold the lock

    def watch(self, look: Callable[[], str | None]) -> None:
        """Call `look` at each heartbeat and each full `check`; a reason it returns loses the lock.

        Args:
            look: returns None while all is well, else the reason. An `OSError` of it is ignored.
        """
        self._watched.append(look)

    def check(self, *, lately: bool = False) -> None:
        """Check by a heartbeat that this driver still holds the lock and may write.

        Args:
            lately: accept a successful heartbeat of the last 20 seconds in place of a new one.

        Raises:
            LockedError: another driver has taken the study over.
            StudyLostError: the lock file is gone or had no successful heartbeat for 40 seconds, or
                a function given to `watch` returned a reason.
        """
        recent = time.monotonic() - self._touched < 2 * HEARTBEAT_S
        if self._lost is None and not (lately and recent):
            self._try_touch()
        if self._lost is not None:
            raise self._lost

    def lose(self, error: LockedError | StudyLostError) -> None:
        """Mark the lock as lost and call `on_lost`; without effect if it is lost already.

        Args:
            error: what `check` raises from now on.
        """
        with self._turn:
            if self._lost is not None:
                return
            self._lost = error
        self._on_lost()

    def _beat(self) -> None:
        while self._lost is None and not self._released.wait(HEARTBEAT_S):
            self._try_touch()

    def _try_touch(self) -> None:
        try:
            with self._turn:
                self._touch()
            for look in self._watched:
                with suppress(OSError):
                    if (why := look()) is not None:
                        raise StudyLostError(why)
        except (LockedError, StudyLostError) as error:
            self.lose(error)
        except OSError as error:
            silent = time.monotonic() - self._touched
            if silent >= UNTOUCHED_S:
                why = f"could not be touched for {silent:.0f} s ({error.strerror or error})"
                self.lose(StudyLostError(f"{self._path} {why}: another driver may take the study"))

    def _touch(self) -> None:
        try:
            with guarded(self._path) as descriptor:
                holder = look_at(self._path, descriptor).holder
                if not self._is_mine(holder):
                    by = "" if holder is None else f" ({named(holder)})"
                    taken = f"{self._path.parent}: another driver has taken this study over{by}"
                    raise LockedError(taken)
                self._write(descriptor)
        except FileNotFoundError:
            why = "it, or the study's folder, was removed or moved while this driver worked on it"
            raise StudyLostError(f"{self._path.name} is gone ({self._path}): {why}") from None

    def _take(self) -> None:
        first: Seen | None = None
        since = time.monotonic()
        while True:
            with guarded(self._path, create=True) as descriptor:
                seen = look_at(self._path, descriptor)
                alive = False if seen.holder is None else lives(seen.holder)
                if first is not None and seen.token != first.token:
                    alive = True  # a heartbeat of its holder, or another driver was faster
                if alive is False or (alive is None and time.monotonic() - since >= STALE_S):
                    self._write(descriptor)
                    os.fsync(descriptor)
                    return
            assert seen.holder is not None, "nobody's lock has just been taken"
            if alive:
                raise LockedError(
                    f"{self._path.parent}: another driver works on this study "
                    f"({named(seen.holder)}): wait for it, or stop it; its lock counts while "
                    f"it is touched every {STALE_S:.0f} s"
                )
            if first is None:
                first, what = seen, "cannot be asked from here: its lock is watched for up to"
                _log.warning("%s: %s %s %.0f s", self._path, named(seen.holder), what, STALE_S)
            time.sleep(LOOK_S)

    def _is_mine(self, holder: dict[str, Any] | None) -> bool:
        return {key: value for key, value in (holder or {}).items() if key != _BEATS} == self._mine

    def _write(self, descriptor: int) -> None:
        self._beats += 1
        content = json.dumps({**self._mine, _BEATS: self._beats}).ljust(_LENGTH).encode()
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
        except OSError as error:
            if error.errno not in _NO_ROOM or self._beats == 1:
                raise
            os.utime(descriptor)  # a changed date is a heartbeat too
        self._touched = time.monotonic()


def _no_lock() -> None:
    return None
