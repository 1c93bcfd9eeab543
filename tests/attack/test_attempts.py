"""The attack's own machinery: what falls is seen, what holds is let pass."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attempts import Attempt, Ran, done, harmless, refused, run_command

from tune_sr.cli.parser import Parser, refuse


def _raise(error: Exception) -> Callable[[Any], object]:
    def act(_: Any) -> object:
        raise error

    return act


def _print(code: int, err: str, out: str = "") -> Callable[[Any], object]:
    def act(_: Any) -> object:
        def main(_: object) -> int:
            sys.stderr.write(err)
            sys.stdout.write(out)
            return code

        return run_command(main)

    return act


def _warn(_: Any) -> object:
    warnings.warn("DecompressionBombWarning", stacklevel=1)
    raise ValueError("refused")


def _take(gib: float) -> Callable[[Any], object]:
    return lambda _: np.ones(int(gib * 2**30), np.uint8).sum()


def _spin(_: Any) -> None:
    while True:
        pass


FALLS = [
    (Attempt("traceback", _raise(KeyError("x")), harmless()), "a traceback"),
    (Attempt("passes", lambda _: 1, refused()), "exit 0"),
    (Attempt("other words", _raise(ValueError("no")), refused("yes")), "'yes'"),
    (Attempt("exit 1", _print(1, "no\n"), refused()), "exit 1"),
    (Attempt("two lines", _print(2, "a\nb\n"), refused()), "2 lines"),
    (Attempt("a line and a result", _print(2, "a\n", "b\n"), refused()), "b"),
    (Attempt("an escape code", _print(2, "a\x1b[2J\n"), refused()), "control characters"),
    (Attempt("a screenful", _print(2, "x" * 5000), refused()), "characters"),
    (Attempt("a warning beside", _warn, refused()), "2 lines"),
    (Attempt("refused", _raise(ValueError("no")), done()), "exit 2"),
    (Attempt("wrong result", lambda _: 3, done(lambda value: value == 4)), "3"),
    (Attempt("memory", _take(1.3), done(), seconds=60), "MiB"),
    (Attempt("memory in a child", _take(1.3), done(), dangerous=True, seconds=60), "MiB"),
    (Attempt("all memory", _take(9), done(), dangerous=True), "traceback"),
    (Attempt("time", lambda _: sum(range(10**7)), done(), seconds=0.01), "CPU time"),
    (Attempt("hangs", _spin, done(), dangerous=True), "hangs"),
    (
        Attempt("dies", lambda _: os.kill(os.getpid(), signal.SIGSEGV), done(), dangerous=True),
        "signal 11",
    ),
    (Attempt("traceback in a child", _raise(KeyError("x")), done(), dangerous=True), "KeyError"),
]


@pytest.mark.parametrize(("attempt", "words"), FALLS, ids=[str(a) for a, _ in FALLS])
def test_what_falls_is_seen(
    attempt: Attempt, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attempts._WAIT", 2.0 if words == "hangs" else 20.0)
    with pytest.raises(AssertionError) as fell:
        attempt.check(tmp_path)
    assert words in str(fell.value)


@pytest.mark.parametrize("dangerous", [False, True])
def test_what_holds_passes(dangerous: bool, tmp_path: Path) -> None:
    parser = Parser(prog="python -m x")
    for act, promise in (
        (_raise(ValueError("a\n b")), refused("a b")),
        (lambda _: refuse_as_command("no"), refused("x: no")),
        (lambda _: run_command(parser.parse_args, "--nothing"), refused("--nothing")),  # type: ignore[arg-type]  # refuses, so it returns no exit code
        (lambda _: 4, done(lambda value: value == 4)),
        (lambda _: Ran(0, "table"), done(lambda shown: shown == "table")),
        (lambda _: 4, harmless()),
        (_raise(ValueError("no")), harmless()),
    ):
        Attempt("holds", act, promise, dangerous=dangerous).check(tmp_path)


def refuse_as_command(words: str) -> Ran:
    return run_command(lambda _: refuse("x", ValueError(words)))
