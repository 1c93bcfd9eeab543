"""Proposes the next point of a study: a pure function of its seed and its ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from trainables.values import derive_seed
from tune_sr.ledger.history import History, Taken, TrialRecord
from tune_sr.ledger.reports import Reported
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.searchers.algorithms import SEARCHERS, random
from tune_sr.searchers.context import DEFAULT_PRIOR, PriorConfig, ProposalCache, ProposalContext

if TYPE_CHECKING:
    from tune_sr.space.search_space import SearchSpace

Allowed = Callable[[Mapping[str, Any]], bool]
"""Whether a point may be trained."""
_REASKED, _REDRAWN = 8, 400
"""How often a searcher is asked again for a point that may be trained, and a random one drawn."""
_REDRAWS = 20
"""Random points drawn at most to replace a point that was tried before."""


def propose(
    searcher: str,
    space: SearchSpace,
    seed: int,
    history: History,
    number: int,
    objective: Objective = PSNR_ONLY,
    cache: ProposalCache | None = None,
    prior: PriorConfig | None = DEFAULT_PRIOR,
    allowed: Allowed | None = None,
) -> dict[str, Any]:
    """Return the point of trial `number`: dotted path to value, active dimensions only.

    Pure, with no state but the ledger, so a driver that resumes a study proposes what a killed one
    would have. The space's `first` points come first. Reports of running trials are not used. A
    point that an earlier trial has is replaced by a random one: all trials train with one seed, so
    it would repeat a known result. Once a space is exhausted, points do repeat. Trials taken from
    another study count as ended ones before all others.

    Args:
        searcher: a key of `SEARCHERS`.
        space: the space to search.
        seed: the study's seed.
        history: the study's trials, of which those with a lower number are used.
        number: the trial's number, from 0, counted over all starts of the study.
        objective: the report key to maximise, and the cost to minimise if there is one.
        cache: what earlier calls for the same study and objective have computed, to which this
            one adds; it changes the duration of a call and nothing else.
        prior: the belief that `auto` begins with; None: none.
        allowed: whether a point may be trained, see `_allowed`; None: every one may.
    """
    if number < len(space.first_points):
        return dict(space.first_points[number])

    before = (each for each in history.trials.values() if each.number < number)
    earlier = sorted(map(_as_proposed, before), key=lambda record: record.number)
    cache = cache or ProposalCache(space, objective)
    context = ProposalContext(
        space=space,
        number=number,
        study_seed=seed,
        seed=derive_seed(seed, "searcher", number) % 2**32,
        ended=[
            *_as_ended(history.taken, space.budget.steps, objective, earlier, cache),
            *(record for record in earlier if record.state is not None),
        ],
        running=[record for record in earlier if record.state is None],
        objective=objective,
        cache=cache,
        prior=prior,
    )
    point = _allowed(searcher, context, SEARCHERS[searcher](context), allowed)
    tried = [record.point for record in earlier]
    for attempt in range(_REDRAWS):
        if point not in tried:
            break
        other = derive_seed(seed, "searcher", number, attempt) % 2**32
        again = replace(context, seed=other)
        point = _allowed("random", again, random(again), allowed)
    return point


def _allowed(
    searcher: str, context: ProposalContext, point: dict[str, Any], allowed: Allowed | None
) -> dict[str, Any]:
    """A point that may be trained; the last one drawn where none is found.

    The searcher is asked again with other seeds, and after some refusals points are drawn at
    random. So no trial is spent on a point that may not be trained, and no model has to learn what
    is known. A grid's points stay as they are.
    """
    if allowed is None or searcher == "grid":
        return point
    for attempt in range(_REASKED + _REDRAWN):
        if allowed(point):
            break
        other = derive_seed(context.study_seed, "limit", context.number, attempt) % 2**32
        ask = SEARCHERS[searcher] if attempt < _REASKED else random
        point = ask(replace(context, seed=other))
    return point


def _as_ended(
    taken: Sequence[Taken],
    steps: int,
    objective: Objective,
    earlier: Sequence[TrialRecord],
    cache: ProposalCache,
) -> list[TrialRecord]:
    """Turn trials of another study into completed ones of this study, on the scale of its scores.

    That has the mean and the standard deviation of the own trials that have ended, a mean of 0 and
    a deviation of 0.1 dB as long as fewer than two have. Their names hold their values, by which
    searchers remember what they have converted.
    """
    ended = [record for record in earlier if record.state is not None] if taken else []
    own = [score.value for _, score in cache.scorer.scored(ended)]
    spread = (pstdev(own) if len(own) > 1 else 0.0) or 0.1
    centre = fmean(own) if own else 0.0
    records = []
    for place, each in enumerate(taken):
        value = centre + spread * each.score
        record = TrialRecord(f"taken {place} {value!r}", place - len(taken), each.point)
        report = {objective.value: value}
        record.reports = {steps: Reported(report, "complete", 0.0)}
        record.state = "completed"
        records.append(record)
    return records


def _as_proposed(record: TrialRecord) -> TrialRecord:
    """Cut a trial that became a copy of another down to its proposed point: stopped at the copy."""
    if not record.clones:
        return record
    first = record.clones[0]
    reports = {step: each for step, each in record.reports.items() if step <= first.step}
    return replace(record, point=first.point, reports=reports, state="stopped", clones=[])
