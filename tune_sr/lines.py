"""A line added to a file for good, as soon as there is room for it."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOOK_AGAIN_S = 1.0
"""How long a full disk is left alone before the next try."""
_log = logging.getLogger(__name__)


def append_line(path: Path, line: bytes) -> None:
    """Add `line` on a line of its own, even after a line that was cut short; fsync.

    A full disk is waited for, and a log warning says what to do: whoever writes here has nothing
    else to go on with, and a second signal ends a driver that waits.
    """
    said = False
    while True:
        try:
            _append(path, line + b"\n")
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not said:
                _log.warning("%s: %s; waiting: make room there", path, error.strerror)
            said = True
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


def _append(path: Path, line: bytes) -> None:
    created = not path.exists()
    with path.open("a+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) and not _ends_line(file.fileno()):
            line = b"\n" + line
        remaining = memoryview(line)
        while remaining:  # a nearly full disk writes less than it was given before it refuses
            remaining = remaining[file.write(remaining) :]
        os.fsync(file.fileno())
    if created:
        _sync_folder(path.parent)


def _ends_line(descriptor: int) -> bool:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1) == b"\n"


def _sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power cut, as fsync does for its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
