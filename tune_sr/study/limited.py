"""Checks the cost of a trial's student against the objective's limit, before it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import ConfigError
from trainables.student_cost import student_cost

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from tune_sr.objectives.limit import Limit


class LimitError(ConfigError):
    """A student costs what the study's objective does not allow."""


def check_limit(limit: Limit | None, config: TrialConfig) -> None:
    """Refuse a configuration whose student is beyond the limit, if there is one.

    Raises:
        LimitError: with the cost, the limit, and how far apart they are.
    """
    problem = None if limit is None else limit.problem(student_cost(config, limit.key))
    if problem is not None:
        raise LimitError("study.objective", problem)
