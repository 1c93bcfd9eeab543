"""An append-only file of lines that survive a crash, and, once synced, a power cut."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from pathlib import Path

from tune_sr.storage.disk import retry_while_disk_full

_SYNC_S = 0.2
"""Seconds by which the fsync of a line appended with `sync=False` is delayed; it serves all lines
appended meanwhile."""
_log = logging.getLogger(__name__)


class AppendOnlyFile:
    """A file to which one process appends lines, from any of its threads; never rewritten.

    Args:
        path: the file, created by the first append if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._lock = threading.Lock()
        self._unsynced: list[bytes] = []
        self._refused = False
        """Whether a delayed fsync failed, so that the unsynced lines must be written once more."""
        self._syncing: threading.Timer | None = None

    def append(self, line: bytes, *, sync: bool = True) -> None:
        """Append `line` on a line of its own, even after one that was cut short.

        On return the line survives a crash of this process. With `sync` it and every line before it
        survive a power cut too; without, they do so 0.2 s later.

        While the disk is full this call blocks, after a log warning: a driver can do nothing useful
        without its ledger. A second signal ends a driver that is blocked here.

        Args:
            line: without its line end.
            sync: whether to fsync before returning.

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
        """Explain why appended lines no longer reach the file at `path`; None while they do.

        Raises:
            OSError: the file system does not respond.
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
        """Copy all lines to a new file `path`, even if the open file was removed or replaced.

        Returns:
            The path; None where it cannot be written or already exists.
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
        while remaining:  # a nearly full disk writes a part before it fails
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
            os.fsync(descriptor)  # without the lock, so that other threads can append meanwhile
        except OSError as error:  # some file systems report a full disk only here
            with self._lock:
                self._unsynced, self._refused = lines + self._unsynced, True
            _log.warning("%s: %s; to be written once more", self._path, error.strerror)


def _line_end(descriptor: int) -> bytes:
    """Return the newline that the file's last line lacks if it was cut short, else nothing."""
    size = os.fstat(descriptor).st_size
    return b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"


def sync_to_disk(path: Path) -> None:
    """Fsync a file's content, or a folder's list of names, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
