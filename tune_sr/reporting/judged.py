"""How each trial stood at the rungs where the scheduler compared it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from tune_sr.ledger.events import Event, TrialReported, typed
from tune_sr.ledger.history import History
from tune_sr.ledger.reports import Judged
from tune_sr.results.results import Results
from tune_sr.schedulers.decide import Decider


def judged_of(results: Results, events: Iterable[Event]) -> dict[str, dict[int, Judged]]:
    """By trial and step of the rung: how a trial stood, as recorded.

    Ledgers of earlier versions do not hold it: there the scheduler decides again on each report, in
    the order in which they were written.
    """
    settings, history = results.settings, History()
    decider = Decider(
        settings.scheduler, results.space.budget, history, settings.objective, settings.seed
    )
    found: defaultdict[str, dict[int, Judged]] = defaultdict(dict)
    for event in events:
        made = typed(event)
        if isinstance(made, TrialReported) and made.trial in history.trials:
            report = {
                key: math.nan if value is None else value for key, value in made.report.items()
            }
            recorded = Judged.from_dict(made.judged)
            judged = recorded or decider.judge(made.trial, made.step, report).judged
            if judged is not None:
                found[made.trial].setdefault(made.step, judged)
        history.apply(event)
    return found
