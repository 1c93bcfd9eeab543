"""Expands and checks paths given by users, without raising for names no file system can hold."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Replace `~` and `~user` at the start of a path; unchanged where there is no such home.

    >>> expanded("~nobody-of-that-name/x.pt").as_posix()
    '~nobody-of-that-name/x.pt'
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's own raises RuntimeError


def is_folder(path: Path) -> bool:
    """Whether `path` is an existing folder; False for a name that no file system can hold.

    >>> is_folder(Path("x" * 5000)), is_folder(Path("/"))
    (False, True)
    """
    return os.path.isdir(path)  # noqa: PTH112  # pathlib's own raises OSError for a long name


def why_no_file(path: Path) -> str | None:
    """Explain why `path` is not a readable regular file; None where it is one.

    A FIFO, a socket or a device is refused, since opening it may block for ever.

    >>> why_no_file(Path("x" * 5000)), why_no_file(Path("/")), why_no_file(Path("/dev/zero"))
    ('file name too long', 'a folder, not a file', 'not a regular file')
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return (getattr(error, "strerror", None) or str(error)).lower()
    if stat.S_ISDIR(mode):
        return "a folder, not a file"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    return None if os.access(path, os.R_OK) else "permission denied"
