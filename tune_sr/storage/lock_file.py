"""Opens and reads a driver's lock file under flock, and looks up whether its holder is running."""

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
    """Raised when a study's lock cannot be taken or was taken over; names its holder or file."""


class Seen(NamedTuple):
    """The content and identity of a lock file when it was read."""

    holder: dict[str, Any] | None
    """The driver that holds the lock; None: the file is new, or its owner died while writing it."""
    token: tuple[bytes, int, int]
    """Content, date (ns) and inode: every heartbeat changes one of them, in older versions too."""


class Process(NamedTuple):
    """State and start time of a process, from `/proc/<pid>/stat`."""

    state: str
    """The kernel's letter: Z or X has ended, T or t is suspended."""
    began: str
    """Start time in clock ticks since boot; together with the pid it identifies a process."""


@contextmanager
def guarded(path: Path, *, create: bool = False) -> Iterator[int]:
    """Open the lock file under an exclusive flock; yields its descriptor.

    Args:
        path: the lock file; symbolic links are not followed.
        create: whether to create it if it does not exist.

    Raises:
        OSError: it does not exist, is no regular file, or cannot be locked.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        descriptor = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no regular file: remove it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Its owner may have removed it between open and flock: then open the new file.
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
    """Read the open lock file.

    Args:
        path: its path, for the refusal.
        descriptor: as yielded by `guarded`.

    Raises:
        LockedError: its content is not a driver's.
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
    """Format a lock's holder for a message: `pid 7 on node3`."""
    host = "".join(each for each in holder["host"][:100] if each.isprintable())
    return f"pid {holder['pid']} on {host}"


def lives(holder: dict[str, Any]) -> bool | None:
    """Whether the process that holds a lock is running; None where that cannot be looked up.

    It cannot for a process of another host, boot or container, one whose `/proc` entry is hidden,
    and one that is suspended.
    """
    near = whereabouts()
    if not near["boot"] or {key: holder.get(key) for key in near} != near:
        return None
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        pass
    process = process_of(holder["pid"])
    if process is None or not holder.get("began"):
        return None
    if process.began != holder["began"] or process.state in "ZX":
        return False
    return None if process.state in "Tt" else True


def whereabouts() -> dict[str, str]:
    """Identify the pid namespace of this process: host name, container (`pids`) and boot id.

    A pid can be looked up only where all three are equal.
    """
    pids, boot = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
    return {
        "host": socket.gethostname(),
        "pids": str(pids.readlink()) if pids.exists() else "",
        "boot": boot.read_text().strip() if boot.exists() else "",
    }


def process_of(pid: int) -> Process | None:
    """Look up a process; None where `/proc` hides it: it has ended, or is another user's."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(words[0], words[19])


def why_not(error: OSError) -> str:
    """Explain, for a refusal, why a lock file cannot be opened or locked, and the way out."""
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and what it leads to is left alone: remove it"
    if error.errno == errno.EISDIR:
        return "is a folder: remove it"
    if error.errno in _NO_FLOCK:
        way = "mount it with flock (Lustre: -o flock), or choose another --storage"
        return f"this file system has no locks ({error.strerror}): {way}"
    return f"cannot be locked: {error.strerror or error}"
