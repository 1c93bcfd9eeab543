"""Whether a study can be written down where it is to lie: before it starts, and when it cannot."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOOK_AGAIN_S = 1.0
"""How long a full disk is left alone before the next try."""
_Made = TypeVar("_Made")
_log = logging.getLogger(__name__)


def check_writable(folder: Path, way_out: str = "choose another --storage") -> None:
    """Make sure that `folder` can be made and written to; nothing is left behind.

    Args:
        folder: need not be there yet.
        way_out: what a refusal advises.

    Raises:
        ValueError: names the folder that cannot, and why.
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
    """Make sure that `needed` bytes fit where `folder` lies.

    Raises:
        ValueError: says how many are free, and what to do.
    """
    free = free_bytes(folder)
    if free < needed:
        rule = (
            f"{megabytes(free)} are free, and one checkpoint of a trial takes {megabytes(needed)}"
        )
        raise ValueError(f"{folder}: {rule}; make room, or choose another --storage")


def retry_while_disk_full(path: Path, write: Callable[[], _Made]) -> _Made:
    """What `write` gives; while the disk is full it is called again and again.

    A log warning says once what to do. A second signal ends a driver that waits.

    Args:
        path: what is written, for the warning.
        write: leaves nothing behind, when it finds no room, that a later call stumbles over.

    Raises:
        OSError: it cannot be written, for another reason than a full disk.
    """
    said = False
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not said:
                _log.warning("%s: %s; waiting: make room there", path, error.strerror)
            said = True
            time.sleep(_LOOK_AGAIN_S)


def free_bytes(folder: Path) -> int:
    """How much may still be written where `folder` lies, or will."""
    return shutil.disk_usage(_existing(folder)).free


def megabytes(count: int) -> str:
    """A number of bytes for a person.

    >>> megabytes(1_234_567_890)
    '1,234.6 MB'
    """
    return f"{count / 1e6:,.1f} MB"


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest thing above it that is there, if only as a dead link."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def write_atomically(path: Path, text: str) -> None:
    """Make `text` the content of `path` in one step: a reader never sees half of it."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
