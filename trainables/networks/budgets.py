"""What may be looked at of a file of torch's before it is known to be sound."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from trainables.limits import HEADER_BYTES, NESTING, NODES, READS

_DIRECTORY = {b"PK\x05\x06": ("<12xL", 22), b"PK\x06\x06": ("<40xQ", 56)}
"""An archive's last record, or the one before it of a 64-bit archive: where the size of its
directory stands in it, and how long it is at least."""


class Described:
    """The part of a file that describes its tensors, up to the budget for it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left, self._reads = HEADER_BYTES, READS

    def read(self, count: int) -> bytes:
        """As a file's."""
        if count < 0:
            raise ValueError("it is damaged")
        self._take(count)
        return self._file.read(count)

    def readline(self) -> bytes:
        """As a file's."""
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
    """Pairs of key and value, whose keys are words or numbers of 64 bits.

    Raises:
        ValueError: another key, of which a file could make a hundred thousand with one hash.
    """
    listed = list(pairs)
    for key, _ in listed:
        number = isinstance(key, int | float) and abs(key) < 2**63
        if not (number or isinstance(key, str | bytes)):
            raise ValueError("it has names that are no words")
    return listed


def directory_bytes(path: Path) -> int:
    """How long an archive's own list of its entries is, as its last record has it."""
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
    """Counts down what is reached of a pickle, which may hold one thing at many places."""

    def __init__(self) -> None:
        self._left = NODES

    def take(self, depth: int) -> None:
        """One more, inside `depth` others.

        Raises:
            ValueError: there are too many, or too many inside each other.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it holds more than {NODES:,} names and modules")
        if depth > NESTING:
            raise ValueError(f"it is nested more than {NESTING} levels deep")
