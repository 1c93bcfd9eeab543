"""Limits what is read of an untrusted torch file before it is known to be sound."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from trainables.limits import HEADER_BYTES, NESTING, NODES, READS

_DIRECTORY = {b"PK\x05\x06": ("<12xL", 22), b"PK\x06\x06": ("<40xQ", 56)}
"""The end records of zip archives (32 and 64 bits) by signature: the struct format that finds the
size of the directory, and the record's least length in bytes."""


class Described:
    """A readable file that allows at most `HEADER_BYTES` bytes and `READS` reads.

    Raises:
        ValueError: from any read that exceeds a limit.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left, self._reads = HEADER_BYTES, READS

    def read(self, count: int) -> bytes:
        """Read `count` bytes, as a file's `read`."""
        if count < 0:
            raise ValueError("it is damaged")
        self._take(count)
        return self._file.read(count)

    def readline(self) -> bytes:
        """Read a line, as a file's `readline`."""
        line = self._file.readline(self._left + 1)
        self._take(len(line))
        return line

    def _take(self, count: int) -> None:
        self._left -= count
        self._reads -= 1
        if self._reads < 0:
            raise ValueError(f"it describes its tensors in more than {READS:,} instructions")
        if self._left < 0:
            raise ValueError(f"it describes its tensors in more than {HEADER_BYTES:,} bytes")


def checked_keys(pairs: Iterable[Any]) -> list[Any]:
    """Check that the keys of key-value pairs are strings, or numbers of at most 64 bits.

    Raises:
        ValueError: a key is of another kind, of which a file could make 100,000 with equal hashes.
    """
    listed = list(pairs)
    for key, _ in listed:
        number = isinstance(key, int | float) and abs(key) < 2**63
        if not (number or isinstance(key, str | bytes)):
            raise ValueError("it has names that are no words")
    return listed


def directory_bytes(path: Path) -> int:
    """Return the bytes of a zip archive's directory, from its end record; 0 if not found."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2**17, 0))
        end = file.read()
    found = 0
    for word, (form, length) in _DIRECTORY.items():
        start = end.rfind(word)
        if start >= 0 and len(end) >= start + length:
            (size,) = struct.unpack_from(form, end, start)
            found = max(found, 0 if size == 2**32 - 1 else size)
    return found


class Budget:
    """Counts the objects reached in a pickle's content, which may contain one object many times."""

    def __init__(self) -> None:
        self._left = NODES

    def take(self, depth: int) -> None:
        """Count one more object, nested in `depth` others.

        Raises:
            ValueError: there are more than `NODES`, or more than `NESTING` levels.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it holds more than {NODES:,} names and modules")
        if depth > NESTING:
            raise ValueError(f"it is nested more than {NESTING} levels deep")
