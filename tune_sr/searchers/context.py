"""What a searcher knows when it proposes a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tune_sr.ledger.history import TrialRecord
from tune_sr.objectives.objective import PSNR_ONLY, Objective

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from tune_sr.space.search_space import SearchSpace


FrozenTrialCache = dict[tuple[str, str | None, str | None, int], "FrozenTrial"]
"""Trials that have ended, in Optuna's words, by name, state, reason and number of reports."""


@dataclass(frozen=True)
class ProposalContext:
    """What a searcher knows when it is asked for a point."""

    space: SearchSpace
    number: int
    """Of the trial, from 0."""
    study_seed: int
    seed: int
    """For this point alone, below 2**32."""
    ended: Sequence[TrialRecord] = ()
    """By number, all before the point's own."""
    running: Sequence[TrialRecord] = ()
    objective: Objective = PSNR_ONLY
    told: FrozenTrialCache = field(default_factory=dict)
    """What questions of the same study share; each adds what it has to work out."""
