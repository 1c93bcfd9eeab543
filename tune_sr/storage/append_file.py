"""Lines added to a file for good, each as soon as there is room for it."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from pathlib import Path

from tune_sr.storage.disk import retry_while_disk_full

_SYNC_S = 0.2
"""How long a line may wait for the disk where it can: others come meanwhile, and one wait is for
all of them."""
_log = logging.getLogger(__name__)


class AppendOnlyFile:
    """A file to which one process adds lines, from any of its threads; it is never rewritten.

    Args:
        path: the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._lock = threading.Lock()
        self._unsynced: list[bytes] = []
        self._refused = False
        """Whether the disk has not taken what is unsynced: it must be written once more."""
        self._syncing: threading.Timer | None = None

    def append(self, line: bytes, *, sync: bool = True) -> None:
        """Add `line` on a line of its own, even after a line that was cut short.

        When this returns the line is there whatever becomes of this process; with `sync` also after
        a power cut, and every line before it, else from a fifth of a second later on.

        A full disk is waited for, and a log warning says what to do: whoever writes here has
        nothing else to go on with, and a second signal ends a driver that waits.

        Raises:
            OSError: the file cannot be written, for another reason than a full disk.
        """
        with self._lock:
            refused = self._unsynced if self._refused else []
            content, at_once = b"".join([*refused, line, b"\n"]), sync or self._refused
            retry_while_disk_full(self._path, lambda: self._write(content, sync=at_once))
            if at_once:
                self._unsynced, self._refused = [], False
            else:
                self._unsynced.append(line + b"\n")
                self._sync_soon()

    def displaced(self) -> str | None:
        """Why lines no longer reach the file of this name; None while they do.

        Raises:
            OSError: the file system does not answer.
        """
        descriptor = self._descriptor
        if descriptor is None:
            return None
        try:
            there = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "was removed or moved"
        return None if os.path.samestat(there, os.fstat(descriptor)) else "was replaced"

    def saved(self, path: Path) -> Path | None:
        """Write all lines of the file, also of one that has lost its name, to a new file `path`.

        Returns:
            The path; None where nothing can be written there, or something is there already.
        """
        assert self._descriptor is not None, "lines were written"
        try:
            with path.open("xb") as copy:
                size = os.fstat(self._descriptor).st_size
                copy.write(os.pread(self._descriptor, size, 0))
        except OSError:
            return None
        return path

    def _write(self, content: bytes, *, sync: bool) -> None:
        descriptor = self._opened()
        remaining = memoryview(_line_end(descriptor) + content)
        while remaining:  # a nearly full disk writes less than it was given before it refuses
            remaining = remaining[os.write(descriptor, remaining) :]
        if sync:
            os.fsync(descriptor)

    def _opened(self) -> int:
        if self._descriptor is None:
            created = not self._path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o666)
            weakref.finalize(self, os.close, self._descriptor)
            if created:
                sync_to_disk(self._path.parent)
        return self._descriptor

    def _sync_soon(self) -> None:
        if self._syncing is None:
            self._syncing = threading.Timer(_SYNC_S, self._sync)
            self._syncing.daemon = True
            self._syncing.start()

    def _sync(self) -> None:
        with self._lock:
            self._syncing = None
            lines, self._unsynced = self._unsynced, []
            descriptor = self._opened()
        try:
            os.fsync(descriptor)  # meanwhile others may write
        except OSError as error:  # some file systems find here that there is no room
            with self._lock:
                self._unsynced, self._refused = lines + self._unsynced, True
            _log.warning("%s: %s; to be written once more", self._path, error.strerror)


def _line_end(descriptor: int) -> bytes:
    """What ends the last line, which may have been cut short."""
    size = os.fstat(descriptor).st_size
    return b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"


def sync_to_disk(path: Path) -> None:
    """What a file holds, or which names a folder has, survives a power cut from now on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
