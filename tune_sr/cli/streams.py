"""Printing for a person: streams that cannot fail, and texts that change no terminal."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from typing import TextIO

from trainables.limits import LINE_LENGTH
from tune_sr.cli.redaction import redacted

_ERRORS = "tune_sr.plain"
_PLAIN = {
    "━": "=", "─": "-", "●": "*", "…": "...", "│": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+",
}  # fmt: skip
"""What a terminal shows that has no such character: of the live table, and of rich's boxes."""


def one_line(text: str) -> str:
    r"""`text` as one line that changes no terminal; of a screenful, its beginning and its end.

    >>> one_line("a\x1b[2J\n  b")
    'a\\x1b[2J b'
    """
    line = printable(" ".join(text.split()))
    half = LINE_LENGTH // 2
    return line if len(line) <= LINE_LENGTH else f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    r"""`text` with what is no character on a screen written as Python writes it.

    >>> printable("caf\xe9 \x1b\u202e")
    'caf\xe9 \\x1b\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def tell(text: str, *, error: bool = False) -> None:
    """Print lines for the person; what becomes of them is no matter of the work.

    Where nobody listens any more (`| head`, a terminal that was closed, a full disk) nothing is
    printed from now on. No secret of an address goes to stderr, which service managers keep.

    Args:
        text: one line or more.
        error: to stderr, not to stdout.
    """
    say(sys.stderr if error else sys.stdout, redacted(text) if error else text)


def say(stream: TextIO | None, text: str) -> bool:
    """Write lines to a stream and see them off; whether somebody listens there."""
    if stream is None:
        return False
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except (OSError, ValueError):  # also closed; or no such character, where nobody settled it
        _discard(stream)
        return False
    return True


def settle_streams() -> None:
    """Give this process stdin, stdout and stderr that can be written to, come what may.

    Service managers may close them; the files that are opened next would then take their numbers,
    and what libraries write to stderr would stand in a ledger. A terminal that lacks a character is
    given another in its place.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(descriptor, True)
    codecs.register_error(_ERRORS, _plain)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        if number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    shown = (_PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in text)
    return "".join(shown), error.end


def _discard(stream: TextIO) -> None:
    """Let what is left in a stream that failed go nowhere: else Python's last flush fails too."""
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        if number in (1, 2):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
