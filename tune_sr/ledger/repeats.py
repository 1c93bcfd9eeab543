"""The names of what a confirmation repeats: a trial, or one with quantities set back."""

from __future__ import annotations

from collections.abc import Sequence

_ONLY = "only."
"""No section of a configuration is called so."""


def repeat_name(trial: str, number: int) -> str:
    """The name of repeat `number`, from 1, of a trial: `0003.s1`."""
    return f"{trial}.s{number}"


def ablated_name(trial: str, path: str) -> str:
    """The name of a trial with one quantity set back to the first point's.

    >>> ablated_name("0003", "optimiser.lr")
    '0003.optimiser.lr'
    """
    return f"{trial}.{path}"


def two_changes_name(trial: str, paths: Sequence[str]) -> str:
    """The name of the first point with two quantities as in a trial.

    >>> two_changes_name("0003", ["method.P", "optimiser.lr"])
    '0003.only.method.P+optimiser.lr'
    """
    return f"{trial}.{_ONLY}{'+'.join(paths)}"


def changed_alone(path: str | None) -> list[str] | None:
    """The two quantities of `two_changes_name`, read back from its second part; None of another.

    >>> changed_alone("only.method.P+optimiser.lr"), changed_alone("optimiser.lr")
    (['method.P', 'optimiser.lr'], None)
    """
    if path is None or not path.startswith(_ONLY):
        return None
    return path.removeprefix(_ONLY).split("+")


def repeated_trial(repeats: str) -> tuple[str, str | None]:
    """The trial that a repeat repeats, and the quantity that is set back in it, if any.

    >>> repeated_trial("0003.optimiser.lr"), repeated_trial("0003")
    (('0003', 'optimiser.lr'), ('0003', None))
    """
    trial, _, path = repeats.partition(".")
    return trial, path or None
