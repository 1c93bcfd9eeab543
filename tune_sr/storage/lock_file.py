"""A driver's lock file: opened so that no other process changes it, read, its holder looked up."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class LockedError(ValueError):
    """The lock cannot be had, or was taken over; the message names the holder or the file."""


class Seen(NamedTuple):
    """A lock file at one moment."""

    holder: dict[str, Any] | None
    """None: new, or its owner died while writing it."""
    token: tuple[bytes, int, int]
    """Content, date and inode: one of them changes with every heartbeat, of older drivers too."""


class Process(NamedTuple):
    """What the kernel knows of a process."""

    state: str
    """Its letter: Z has ended, T is suspended."""
    began: str
    """When, in clock ticks since the boot: no two processes have both pid and this."""


@contextmanager
def guarded(path: Path, *, create: bool = False) -> Iterator[int]:
    """The lock file, opened; no other process looks at or changes it meanwhile.

    Raises:
        OSError: it is not there, is no regular file, or cannot be locked.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no regular file: remove it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Between opening and locking, its owner may have removed it: then this is a ghost.
            if _same(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def look_at(path: Path, descriptor: int) -> Seen:
    """What the file holds.

    Raises:
        LockedError: nothing that a driver has written.
    """
    content, status = os.pread(descriptor, 4096, 0), os.fstat(descriptor)
    token = content, status.st_mtime_ns, status.st_ino
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        if not content.strip(b" \n\0") or content.startswith(b'{"host"'):
            return Seen(None, token)
        holder = None
    if (
        isinstance(holder, dict)
        and isinstance(holder.get("host"), str)
        and type(holder.get("pid")) is int
        and holder["pid"] > 0
    ):
        return Seen(holder, token)
    rule = "holds nothing that a driver has written: where none works on this study, remove it"
    raise LockedError(f"{path}: {rule}")


def named(holder: dict[str, Any]) -> str:
    """What a person is told of a holder: `pid 7 on node3`."""
    host = "".join(each for each in holder["host"][:100] if each.isprintable())
    return f"pid {holder['pid']} on {host}"


def lives(holder: dict[str, Any]) -> bool | None:
    """Whether the process that holds a lock lives; None where only its heartbeat can tell."""
    near = whereabouts()
    if not near["boot"] or {key: holder.get(key) for key in near} != near:
        return None
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's process
        pass
    process = process_of(holder["pid"])
    if process is None or not holder.get("began"):
        return None
    if process.began != holder["began"] or process.state in "ZX":
        return False
    return None if process.state in "Tt" else True


def whereabouts() -> dict[str, str]:
    """What a pid has a meaning in: one boot of a host, and there one container's processes."""
    pids, boot = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
    return {
        "host": socket.gethostname(),
        "pids": str(pids.readlink()) if pids.exists() else "",
        "boot": boot.read_text().strip() if boot.exists() else "",
    }


def process_of(pid: int) -> Process | None:
    """None where the kernel does not show it: it has ended, or is another user's."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(words[0], words[19])


def why_not(error: OSError) -> str:
    """Why a lock file cannot be used, and the way out."""
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and what it leads to is left alone: remove it"
    if error.errno == errno.EISDIR:
        return "is a folder: remove it"
    if error.errno in _NO_FLOCK:
        way = "mount it with flock (Lustre: -o flock), or choose another --storage"
        return f"this file system has no locks ({error.strerror}): {way}"
    return f"cannot be locked: {error.strerror or error}"
