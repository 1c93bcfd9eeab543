"""Errors that the packages raise themselves. Imports nothing, so that refusals need no torch."""

from __future__ import annotations

from collections.abc import Mapping


class ConfigError(ValueError):
    """A user's mistake in a configuration.

    Attributes:
        path: the dotted path of the wrong value; empty for the whole.
        rule: the rule that it breaks, and the way out.
    """

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(f"{path}: {rule}" if path else rule)
        self.path = path
        self.rule = rule


class Diverged(RuntimeError):  # noqa: N818  the outcome of a run rather than an error
    """Raised when a loss is not finite or has exploded.

    Attributes:
        step: the update at which that was found.
        losses: the last losses, by name.
    """

    def __init__(self, step: int, reason: str, losses: Mapping[str, float]) -> None:
        super().__init__(f"diverged at step {step}: {reason}")
        self.step = step
        self.losses = dict(losses)


class EnvironmentFault(RuntimeError):  # noqa: N818  a fault of the machine, not of a program
    """A fault of the machine or of its files, for which no configuration is to blame.

    Examples are a file that was readable when the study was prepared and is missing now, or whose
    digest differs from the recorded one. A trial that meets one before its first report is tried
    again after a pause and is never recorded as failed.
    """
