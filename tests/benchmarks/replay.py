"""How much searchers and schedulers lose on recorded curves, by trials and trials at a time.

    python tests/benchmarks/replay.py runs/recorded-dfsr --space search_spaces/dfsr.yaml

The first argument is the folder of a study whose trials are whole (`tests/benchmarks/recorded/` has
the spaces that are recorded for this); `--space` is the space to search on its curves, by default
the recorded one. Prints how well the table of curves predicts trials that it was not fitted to,
then a Markdown table: dB below the best predicted point, mean over `--seeds` replayed studies and
its standard error. With `--worst-first` the space's first point is replaced by its worst corner,
which shows what a belief around it costs where it is wrong.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tune_sr.cli.progress_bar import bar
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.replay.curve_table import CurveTable
from tune_sr.replay.race import Contender, Race, loss_table
from tune_sr.space.dimension import combinations
from tune_sr.study.config import StudyConfig
from tune_sr.study.resume import load_stored_study
from tune_sr.study.space_file import load_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recorded", type=Path)
    parser.add_argument("--space", type=Path)
    parser.add_argument("--searchers", nargs="+", default=["auto", "tpe", "gp", "random"])
    parser.add_argument("--schedulers", nargs="+", default=["asha", "none"])
    parser.add_argument("--trials", nargs="+", type=int, default=[8, 16, 32, 64])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--worst-first", action="store_true")
    arguments = parser.parse_args()

    events = read_events(arguments.recorded)
    recorded, settings = load_stored_study(arguments.recorded, events)
    table = CurveTable(recorded, History.from_events(events), settings.objective)
    study = load_study(arguments.space) if arguments.space else (recorded, settings)
    config = StudyConfig(*study, Path("replayed"))
    if arguments.worst_first:
        config = worst_first(config, table)
    race, quality = Race(config, table), table.quality()
    print(
        f"{table.trials} whole trials; rank correlation {quality.rank_correlation:.2f}, error "
        f"{quality.error_db:.3f} dB, seeds {table.seed_spread:.3f} dB; "
        f"the first point loses {race.first_loss_db() or 0.0:.3f} dB"
    )
    contenders = [
        Contender(searcher, scheduler, workers)
        for workers in arguments.workers
        for scheduler in arguments.schedulers
        for searcher in arguments.searchers
    ]
    losses = []
    with bar(arguments.seeds * len(contenders)) as tick:
        for contender in contenders:
            losses += race.losses(
                contender, arguments.trials, arguments.seeds, lambda: tick("replayed")
            )
    print("\n".join(loss_table(losses, arguments.trials)))


def worst_first(config: StudyConfig, table: CurveTable) -> StudyConfig:
    """The study with the corner of its space of the lowest predicted end as its first point."""
    space = config.space
    dimensions = list(space.dimensions.values())
    corners = [*combinations(dimensions, space.fixed, lambda each: each.corner_values())]
    ends = [
        curve[max(curve)] for curve in table.curves([space.trial_config(each) for each in corners])
    ]
    worst = corners[ends.index(min(ends))]
    return replace(config, space=replace(space, first_points=(worst,)))


if __name__ == "__main__":
    main()
