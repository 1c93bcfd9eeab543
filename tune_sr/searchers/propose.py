"""The next point to try: a pure function of the seed and of what the ledger holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables.values import derive_seed
from tune_sr.ledger.history import History, TrialRecord
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.searchers.algorithms import SEARCHERS, random
from tune_sr.searchers.context import ProposalCache, ProposalContext

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace

_REDRAWS = 20
"""Random points that are tried in place of one that was tried before."""


def propose(
    searcher: str,
    space: SearchSpace,
    seed: int,
    history: History,
    number: int,
    objective: Objective = PSNR_ONLY,
    cache: ProposalCache | None = None,
) -> dict[str, Any]:
    """The point of trial `number`: dotted path to value, active quantities only.

    Pure, so a driver that resumes a study proposes what the one that died would have: there is no
    state beside the ledger. A space's `first` points come first. What a running trial has reported
    teaches nothing. A point that an earlier trial has is replaced by a random one: trials share
    one seed, so it could only repeat what is known. A space that is used up repeats.

    Args:
        searcher: a key of `SEARCHERS`.
        space: what can be chosen.
        seed: the study's.
        history: what has happened; of it, the trials with a lower number count.
        number: from 0, over the whole study.
        objective: the keys of reports that are to be large and small.
        cache: what earlier calls for the same study and objective have computed, to which this
            one adds; it changes how long a call takes, and nothing else.
    """
    if number < len(space.first_points):
        return dict(space.first_points[number])

    earlier = sorted(
        (_as_proposed(each) for each in history.trials.values() if each.number < number),
        key=lambda record: record.number,
    )
    question = ProposalContext(
        space=space,
        number=number,
        study_seed=seed,
        seed=derive_seed(seed, "searcher", number) % 2**32,
        ended=[record for record in earlier if record.state is not None],
        running=[record for record in earlier if record.state is None],
        objective=objective,
        cache=cache or ProposalCache(space, objective),
    )
    point = SEARCHERS[searcher](question)
    tried = [record.point for record in earlier]
    for attempt in range(_REDRAWS):
        if point not in tried:
            break
        other = derive_seed(seed, "searcher", number, attempt) % 2**32
        point = random(replace(question, seed=other))
    return point


def _as_proposed(record: TrialRecord) -> TrialRecord:
    """What a proposed point came to: of a trial that became a copy of another, what was before."""
    if not record.clones:
        return record
    first = record.clones[0]
    reports = {step: each for step, each in record.reports.items() if step <= first.step}
    return replace(record, point=first.point, reports=reports, state="stopped", clones=[])
