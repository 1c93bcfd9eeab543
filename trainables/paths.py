"""Paths as people write them, asked about without an error that nobody handles."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with `~` and `~user` replaced where there is such a home; else as it is.

    >>> expanded("~nobody-of-that-name/x.pt").as_posix()
    '~nobody-of-that-name/x.pt'
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's own raises RuntimeError


def is_folder(path: Path) -> bool:
    """Whether a folder is there; no error for a name that no file system can hold.

    >>> is_folder(Path("x" * 5000)), is_folder(Path("/"))
    (False, True)
    """
    return os.path.isdir(path)  # noqa: PTH112  # pathlib's own raises OSError for a long name


def why_no_file(path: Path) -> str | None:
    """Why `path` is no regular file that can be read; None where it is one.

    A FIFO, a socket or a device is none: whoever opened it might wait for ever.

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
