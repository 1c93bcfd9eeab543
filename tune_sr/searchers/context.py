"""What a searcher knows when it proposes a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tune_sr.ledger.history import TrialRecord
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.objectives.score import Scorer

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from tune_sr.space.search_space import SearchSpace


class ProposalCache:
    """What the proposals of one study have computed and need again; each adds to it."""

    def __init__(self, space: SearchSpace, objective: Objective = PSNR_ONLY) -> None:
        self.scorer = Scorer(objective, space.trial_config)
        self.trials: dict[tuple[str, str | None, str | None, int], FrozenTrial] = {}
        """Ended trials in Optuna's form, by name, state, reason and number of reports."""


@dataclass(frozen=True)
class ProposalContext:
    """What a searcher knows when it is asked for a point."""

    space: SearchSpace
    number: int
    """Of the trial, from 0."""
    study_seed: int
    seed: int
    """For this point alone, below 2**32."""
    cache: ProposalCache
    """Shared by the proposals of one study."""
    ended: Sequence[TrialRecord] = ()
    """By number, all before the point's own."""
    running: Sequence[TrialRecord] = ()
    objective: Objective = PSNR_ONLY
