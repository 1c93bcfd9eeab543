"""The text of `--replay`: what searchers and schedulers lose on recorded curves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import ConfigError
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.replay.curve_table import CurveTable
from tune_sr.replay.race import Contender, Loss, Race, loss_table
from tune_sr.study.resume import load_stored_study

if TYPE_CHECKING:
    from tune_sr.study.config import StudyConfig

TRIALS = (8, 16, 32)
"""Numbers of trials after which losses are given."""

SEEDS = 20
"""Studies that are replayed of each searcher with each scheduler."""


def contenders(config: StudyConfig, concurrent: int) -> list[Contender]:
    """Return the searchers and schedulers to compare, the study's own first."""
    settings = config.settings
    searchers = dict.fromkeys([settings.searcher, "auto", "tpe", "random"])
    searchers.pop("grid", None)
    schedulers = dict.fromkeys([settings.scheduler.name, "asha", "none"])
    schedulers.pop("pbt", None)
    return [
        Contender(searcher, scheduler, concurrent)
        for searcher in searchers
        for scheduler in schedulers
    ]


def replay_text(
    config: StudyConfig, recorded: Path, concurrent: int, on_study: Callable[[str], None]
) -> str:
    """Replay a study's space on the curves of the study in `recorded`, and describe what was lost.

    Args:
        config: the study that would be started.
        recorded: folder of a study whose space contains its own.
        concurrent: trials at a time.
        on_study: called with a description before each replayed study.

    Raises:
        ValueError: there is no study in `recorded`, or its curves do not fit, in one line.
    """
    if config.settings.objective.cost is not None:
        raise ConfigError("study.objective", "--replay compares studies of one objective")
    events = read_events(recorded)
    space, settings = load_stored_study(recorded, events)
    if space.budget != config.space.budget:
        ours, theirs = config.space.budget, space.budget
        rule = f"{ours.steps} updates, {theirs.steps} in {recorded}: they must be the same"
        raise ConfigError("budget", rule)
    table = CurveTable(space, History.from_events(events), settings.objective)
    race, quality = Race(config, table), table.quality()
    losses: list[Loss] = []
    for contender in contenders(config, concurrent):
        doing = f"{contender.searcher}, {contender.scheduler}"
        losses += race.losses(contender, TRIALS, SEEDS, partial(on_study, doing))
    first = race.first_loss_db()
    return "\n".join(
        [
            f"# replayed on {table.trials} whole trials of {recorded}",
            f"  predicted against held-out trials: rank correlation "
            f"{quality.rank_correlation:.2f}, error {quality.error_db:.3f} dB; "
            f"equal trials differ by {table.seed_spread:.3f} dB",
            f"  dB below the best predicted point, mean of {SEEDS} studies and its standard error"
            + ("" if first is None else f"; the first point: {first:.3f}"),
            "",
            *loss_table(losses, TRIALS),
        ]
    )
