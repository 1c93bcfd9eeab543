"""Attempts on the command line: each is one line and exit 2, or does what it was asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from attempts import (
    Attempt,
    Promise,
    Ran,
    done,
    harmless,
    refused,
    run_command,
    unique,
)
from spaces import space_in, study_in

from tune_sr import evaluate, search, train

PW = "hunter2"


def dry(*words: object) -> Callable[[Path], Ran]:
    """A dry run of the search with these words; `{folder}` in one is the attempt's own."""
    return lambda folder: run_command(
        search.main, "--space", space_in(folder), "--dry-run", *_filled(words, folder)
    )


def command(main: Callable[[Sequence[str]], int], *words: object) -> Callable[[Path], Ran]:
    return lambda folder: run_command(main, *_filled(words, folder))


def _filled(words: Sequence[object], folder: Path) -> list[str]:
    return [str(word).replace("{folder}", str(folder)) for word in words]


def resume(*words: object) -> Callable[[Path], Ran]:
    def act(folder: Path) -> Ran:
        study = study_in(folder)
        known = ["--resume", "--name", "toy", "--storage", study.parent, "--dry-run"]
        return run_command(search.main, *known, *_filled(words, folder))

    return act


def without_home(folder: Path) -> Ran:
    before = os.environ.pop("HOME", None)
    try:
        return run_command(
            search.main, "--space", space_in(folder), "--dry-run", "--storage", "~/x"
        )
    finally:
        if before is not None:
            os.environ["HOME"] = before


def hidden(promise: Promise) -> Promise:
    """As `promise`, and no word of the output is the password."""

    def both(ended: Any) -> None:
        assert PW not in ended.out + ended.err
        promise(ended)

    return both


ADDRESSES = {
    "plain": f"http://me:{PW}@h",
    "a slash in it": f"http://me:a/{PW}@h",
    "a blank in it": f"http://me:a {PW}@h",
    "a second @ in it": f"http://me:a@{PW}@h",
    "a question mark in it": f"http://me:a?{PW}@h",
    "brackets in it": f"http://me:[{PW}@h",
    "as a token": f"http://h?token={PW}",
    "in a query": f"http://h?x=1&password={PW}",
    "in a fragment": f"http://h/#access_token={PW}",
    "for odbc": f"mssql+pyodbc:///?odbc_connect=UID=me;PWD={PW}",
    "for odbc, by name": f"mssql+pyodbc://h/d?driver=x;PWD={PW}",
    "for a database": f"postgresql://me:{PW}@h/d?password={PW}",
    "for a database that nobody knows": f"nosuch://me:{PW}@h",
    "with one slash": f"http:/me:{PW}@h",
    "without a scheme": f"me:{PW}@h",
    "in a list": f"[http://me:{PW}@h]",
}

ATTEMPTS = unique(
    [
        *(
            Attempt(f"a password of the store, {name}, by {way}", dry(*words), hidden(harmless()))
            for name, address in ADDRESSES.items()
            for way, words in {
                "a flag": ["--tracking-uri", address],
                "--set": ["--set", f"study.tracking_uri={address}"],
                "a flag that is none": [f"--tracking={address}"],
            }.items()
        ),
        Attempt(
            "an address without its secret",
            dry("--tracking-uri", "http://***@h"),
            refused("stands for a secret"),
        ),
        Attempt(
            "an address that is a folder",
            dry("--tracking-uri", "{folder}"),
            refused("not in a folder"),
        ),
        Attempt(
            "a database that is a folder",
            dry("--tracking-uri", "sqlite:///{folder}"),
            refused("is a folder, not a database"),
        ),
        Attempt(
            "a database in a file",
            dry("--tracking-uri", "sqlite:///{folder}/toy.yaml/x.db"),
            refused("not a directory"),
        ),
        Attempt(
            "a database that is a space",
            dry("--tracking-uri", "sqlite:///{folder}/toy.yaml"),
            refused("cannot be used"),
        ),
        Attempt(
            "a database in memory", dry("--tracking-uri", "sqlite://"), refused("names no file")
        ),
        Attempt(
            "an escape code in an address",
            dry("--tracking-uri", "http://h\x1b[2J"),
            refused(r"\x1b", "control character"),
        ),
        Attempt(
            "a newline in an address", dry("--tracking-uri", "http://h\nx"), refused("control")
        ),
        Attempt(
            "an address with an empty variable",
            dry("--tracking-uri", "http://${}"),
            refused("is not set"),
        ),
        Attempt(
            "a study called mlflow.db", dry("--name", "mlflow.db"), refused("records lie there")
        ),
        Attempt("a study called mlartifacts", dry("--name", "mlartifacts"), refused("records lie")),
        *(
            Attempt(f"a storage called {name!r}", dry("--storage", "{folder}/" + name), done())
            for name in (
                "a?b",
                "a%20b",
                "a#b",
                "a b",
                "é",
                "***",
                "a@b",
                "-x",
                "'",
                '"',
                "$(id)",
                "~",
            )
        ),
        *(
            Attempt(f"a study called {name!r}", dry("--name", name), refused())
            for name in (
                "",
                ".",
                "..",
                "a/b",
                "../x",
                "-x",
                "a b",
                "a\nb",
                "\x1b[2J",
                "é",
                "a;b",
                "$(id)",
                "a\x00b",
                "*",
            )
            if name
        ),
        *(
            Attempt(f"a {flag} of {value!r}", dry(f"--{flag}={value}"), refused())
            for flag, values in {
                "trials": ("0", "-1", "1.5", "x", "", "1e3", "0x10", "nan"),
                "hours": ("0", "-1", "nan", "x", ""),
                "gpu-hours": ("0", "-1", "nan", "1"),
                "concurrent": ("0", "-1", "1.5", "x"),
                "cpus-per-trial": ("0", "-1", "nan", "inf", "1e9"),
                "gpus-per-trial": ("-1", "1.5", "x", "nan", "1e9"),
                "seed": ("-1", "x", "1.5"),
                "address": ("", "x", "x:", ":1", "x:99999999", "http://x:1", "ray://x:1"),
            }.items()
            for value in values
        ),
        *(
            Attempt(f"--set {override!r}", dry("--set", override), refused("--set"))
            for override in (
                "",
                "=",
                "x",
                "=1",
                ".",
                "a..b=1",
                ".a=1",
                "fixed.device=cpu",
                "a=[",
                "a={",
                "a=*x",
                "a=&x 1",
                "budget=1",
                "budget.steps=x",
                "study=1",
                "study.x=1",
                "study.=1",
                "study.trials.x=1",
                "\x1b[2J=1",
                "budget.steps=${TUNE_SR_NO}",
            )
        ),
        Attempt("a flag cut short", dry("--tri", "5"), refused("unrecognized arguments: --tri")),
        Attempt("a flag without a value", dry("--trials"), refused("expected one argument")),
        Attempt("words that are no flags", dry("a", "b"), refused("unrecognized arguments: a b")),
        Attempt("what follows --", dry("--", "--trials", "5"), refused("unrecognized")),
        Attempt("an escape code as a flag", dry("--\x1b[2J"), refused(r"--\x1b[2J")),
        Attempt("no space at all", command(search.main, "--dry-run"), refused("say --space FILE")),
        Attempt("a space that is a folder", command(search.main, "--space", "{folder}"), refused()),
        Attempt(
            "a space that is not there", command(search.main, "--space", "{folder}/x"), refused()
        ),
        Attempt(
            "a space that is a device", command(search.main, "--space", "/dev/null"), refused()
        ),
        Attempt("no HOME", without_home, harmless()),
        Attempt("a storage that is a file", dry("--storage", "{folder}/toy.yaml"), refused()),
        Attempt(
            "a storage in /proc", dry("--storage", "/proc/x"), refused("nothing can be written")
        ),
        Attempt(
            "a resume of nothing",
            command(search.main, "--resume", "--name", "x", "--storage", "{folder}"),
            refused("no study to resume"),
        ),
        Attempt("a resume as it was", resume(), done()),
        Attempt("a resume with fewer trials", resume("--trials", "1"), refused("has 3 already")),
        Attempt("a resume with another seed", resume("--seed", "5"), refused("study.seed")),
        Attempt("a resume with --set alone", resume("--set", "batch.images=3"), refused("--set")),
        Attempt("train: no space", command(train.main), refused("--space")),
        Attempt(
            "train: a seed that is no number",
            lambda folder: run_command(train.main, "--space", space_in(folder), "--seed", "x"),
            refused(),
        ),
        Attempt(
            "train: a resume of nothing",
            lambda folder: run_command(
                train.main, "--space", space_in(folder), "--resume", "--output", folder / "x"
            ),
            refused("holds no training"),
        ),
        Attempt(
            "evaluate: a network that is not there",
            command(evaluate.main, "--network", "{folder}/x"),
            refused("no such file"),
        ),
        Attempt(
            "evaluate: a folder that is not there",
            command(evaluate.main, "--data", "{folder}/x"),
            refused("no folder"),
        ),
        Attempt("evaluate: scale 5", command(evaluate.main, "--scales", "5"), refused("--scales")),
        Attempt("evaluate: no tile", command(evaluate.main, "--tile-pixels", "0"), refused()),
    ]
)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_it_holds(attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    attempt.check(tmp_path)
