"""A temporary folder for Ray that no other user of the machine can enter, guess or remove.

Ray opens the folder it is given, and those below it, to every user (mode 0777), and reads and runs
what lies there. So the folder it is given lies inside one of mode 0700.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX, _INSIDE = "tsr-", "r"
_LONGEST = 28
"""Characters of a parent folder below which Ray's sockets have names of at most 107 characters."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for Ray, held by this process, and remove it with its content afterwards.

    Its parent has mode 0700, a random name, and an flock that this process holds while it lives.
    The flock marks the folder as in use also for drivers that cannot see this process, and for
    programs that clean /tmp by age (systemd-tmpfiles), which skip it.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without flock: no driver will remove it either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        inside = folder / _INSIDE  # made last: a folder without it is not held yet
        inside.mkdir(mode=0o700)
        yield inside
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_leftovers() -> None:
    """Remove the folders that killed drivers of this user have left, whose flock is free."""
    for folder in _parent().glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it has gone, or belongs to another user
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if _is_abandoned(folder, descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _is_abandoned(folder: Path, descriptor: int) -> bool:
    """Whether a driver made this folder and lives no more: the folder's flock is free."""
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
        return False
    if not (folder / _INSIDE).exists():
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held; or a file system without flock
        return False
    return True


def _parent() -> Path:
    """The system's folder for temporary files, or /tmp where Ray could not use that safely."""
    system = Path(tempfile.gettempdir())
    with suppress(OSError):
        mode = system.stat().st_mode
        # Where others may write, only the sticky bit keeps them from renaming what is not theirs.
        shared = mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX
        if len(str(system)) <= _LONGEST and str(system).isascii() and not shared:
            return system
    return Path("/tmp")
