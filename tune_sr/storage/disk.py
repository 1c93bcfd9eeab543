"""Checks that a folder is writable and has space, waits while a disk is full, replaces files."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOOK_AGAIN_S = 1.0
"""Seconds between two attempts to write to a full disk."""
_Made = TypeVar("_Made")
_log = logging.getLogger(__name__)


def check_writable(folder: Path, way_out: str = "choose another --storage") -> None:
    """Check that `folder` can be created and written to; leaves nothing behind.

    Args:
        folder: need not exist yet.
        way_out: the advice at the end of the refusal.

    Raises:
        ValueError: it cannot; names the folder and the reason.
    """
    there = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        rule = f"nothing can be written to {there}: {why}; {way_out}"
        raise ValueError(f"{folder}: {rule}") from None


def check_room(folder: Path, needed: int) -> None:
    """Check that the file system of `folder` has `needed` bytes free, the size of a checkpoint.

    Raises:
        ValueError: it has fewer; names both numbers and the way out.
    """
    free = free_bytes(folder)
    if free < needed:
        rule = (
            f"{megabytes(free)} are free, and one checkpoint of a trial takes {megabytes(needed)}"
        )
        raise ValueError(f"{folder}: {rule}; make room, or choose another --storage")


def retry_while_disk_full(path: Path, write: Callable[[], _Made]) -> _Made:
    """Call `write` every second until the disk has space for it, and return its result.

    Logs one warning with the advice to make room. A second signal ends a driver that is blocked
    here.

    Args:
        path: what is written, for the warning.
        write: safe to call again after it failed on a full disk.

    Raises:
        OSError: `write` failed for another reason than a full disk.
    """
    warned = False
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not warned:
                _log.warning("%s: %s; waiting: make room there", path, error.strerror)
            warned = True
            time.sleep(_LOOK_AGAIN_S)


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system of `folder`, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


def megabytes(count: int) -> str:
    """Format a number of bytes in megabytes of 10**6 bytes.

    >>> megabytes(1_234_567_890)
    '1,234.6 MB'
    """
    return f"{count / 1e6:,.1f} MB"


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest ancestor that exists; a dead link counts as existing."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is no such file, or it holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_atomically(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` in one step: no reader sees a part of it."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, of its suffix, which takes its place without an error."""
    fresh = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
