"""The input of a searcher: the study's trials so far, and what it believes before the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trainables.values import Config
from tune_sr.ledger.history import TrialRecord
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.objectives.score import Scorer

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from tune_sr.space.search_space import SearchSpace


class PriorConfig(Config):
    """The belief that a searcher begins with."""

    around: Literal["first"] = "first"
    """The points that good ones are thought to lie near: the space's `first` points."""
    confidence: Literal["low", "medium", "high"] = "medium"
    """How near: numbers within about 0.5, 0.25 or 0.12 of their range."""


DEFAULT_PRIOR = PriorConfig()
"""The belief of a study that names none."""


class ProposalCache:
    """What the proposals of one study have computed and need again; each adds to it."""

    def __init__(self, space: SearchSpace, objective: Objective = PSNR_ONLY) -> None:
        self.scorer = Scorer(objective, space.trial_config)
        self.trials: dict[tuple[str, str | None, str | None, int], FrozenTrial] = {}
        """Ended trials in Optuna's form, by name, state, reason and number of reports."""


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
    cache: ProposalCache
    """Shared by the proposals of one study."""
    ended: Sequence[TrialRecord] = ()
    """The ended trials with a lower number, by number."""
    running: Sequence[TrialRecord] = ()
    """The running trials with a lower number, by number."""
    objective: Objective = PSNR_ONLY
    """The report key to maximise, and the cost to minimise if there is one."""
    prior: PriorConfig | None = None
    """The belief that a searcher with one begins with; None: every point is as likely."""
