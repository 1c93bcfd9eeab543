"""Prints lines so that a closed or full stream raises no error and no text controls a terminal."""

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
"""Replacements on a terminal that lacks a character of the live table or of rich's boxes."""


def one_line(text: str) -> str:
    r"""Join `text` to one line, escape control characters, and cut out the middle if it is long.

    At most `LINE_LENGTH` characters are kept, half from each end.

    >>> one_line("a\x1b[2J\n  b")
    'a\\x1b[2J b'
    """
    line = printable(" ".join(text.split()))
    half = LINE_LENGTH // 2
    return line if len(line) <= LINE_LENGTH else f"{line[:half]} ... {line[-half:]}"


def printable(text: str) -> str:
    r"""Replace the unprintable characters of `text` by their Python escape sequences.

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
    """Print lines; a stream that fails is never an error.

    After a failure (`| head`, a closed terminal, a full disk) nothing more is printed there. The
    secrets of addresses are removed from what goes to stderr, which service managers store.

    Args:
        text: one line or more.
        error: print to stderr in place of stdout.
    """
    say(sys.stderr if error else sys.stdout, redacted(text) if error else text)


def say(stream: TextIO | None, text: str) -> bool:
    """Write lines to a stream and flush it.

    Returns:
        Whether that worked; False where the stream is None, closed or failed.
    """
    if stream is None:
        return False
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except (OSError, ValueError):  # ValueError: closed, or it cannot encode a character
        _discard(stream)
        return False
    return True


def settle_streams() -> None:
    """Open stdin, stdout and stderr where they are closed; escape what output cannot be encoded.

    Service managers may close them; the files opened next would then take descriptors 0 to 2, and
    what libraries write to stderr would end up in a ledger. A character that the terminal's
    encoding lacks is printed as ASCII.
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
    """Redirect a failed stdout or stderr to the null device: else Python's last flush fails too."""
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        if number in (1, 2):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
