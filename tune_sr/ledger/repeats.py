"""The names of what a confirmation repeats: a trial, or one with a quantity set back."""

from __future__ import annotations


def repeat_name(trial: str, number: int) -> str:
    """The name of repeat `number`, from 1, of a trial: `0003.s1`."""
    return f"{trial}.s{number}"


def ablated_name(trial: str, path: str) -> str:
    """The name of a trial with one quantity set back to the first point's.

    >>> ablated_name("0003", "optimiser.lr")
    '0003.optimiser.lr'
    """
    return f"{trial}.{path}"


def repeated_trial(repeats: str) -> tuple[str, str | None]:
    """The trial that a repeat repeats, and the quantity that is set back in it, if any.

    >>> repeated_trial("0003.optimiser.lr"), repeated_trial("0003")
    (('0003', 'optimiser.lr'), ('0003', None))
    """
    trial, _, path = repeats.partition(".")
    return trial, path or None
