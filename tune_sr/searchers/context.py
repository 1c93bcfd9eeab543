"""The input of a searcher."""

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
"""Ended trials as Optuna's `FrozenTrial`s, by name, state, reason and number of reports."""


@dataclass(frozen=True)
class ProposalContext:
    """The study and its trials so far, from which a searcher proposes one point."""

    space: SearchSpace
    """The space that the point belongs to."""
    number: int
    """Number of the trial to propose, from 0."""
    study_seed: int
    """The study's seed, the same for all its points."""
    seed: int
    """The seed of this point, below 2**32."""
    ended: Sequence[TrialRecord] = ()
    """The ended trials with a lower number, by number."""
    running: Sequence[TrialRecord] = ()
    """The running trials with a lower number, by number."""
    objective: Objective = PSNR_ONLY
    """The report key to maximise, and the cost to minimise if there is one."""
    cache: FrozenTrialCache = field(default_factory=dict)
    """Conversions shared by all proposals of a study; each adds what is missing."""
