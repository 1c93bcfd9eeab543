"""Trials an hour: the default space as a study, and as plain Ray Tune with the authors' loop.

    python tests/benchmarks/study.py
    python tests/benchmarks/study.py --space search_spaces/dfsr.yaml --trials 16 --out FOLDER
    python tests/benchmarks/study.py --quick                                # toys: a dry run

study      the space as `python -m tune_sr.search` runs it: ledger, checkpoints, MLflow's database,
           results, pictures and page included
plain      Ray's ASHA over `bare_loops.released`, DFSR's loop as its authors released it, a report
           at a time, with no record and no checkpoint

Both have the same points as far as a searcher draws them before a trial has ended, the same budget,
reports, evaluation, scheduler's settings and processes, in one Ray, which is started before the
clock. They take turns, `--rounds` times. Trials end where ASHA ends them, so that updates an hour
stand beside trials an hour. Writes study.json into --out, one row a run, and prints a Markdown
table of medians; the last column is the median over rounds of the ratio to `plain`.

Not measured yet: the machines at hand were shared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tune_sr.driver.preflight import prepare
from tune_sr.driver.run_study import run_study
from tune_sr.execution.resources import local_workers
from tune_sr.execution.session import local_ray
from tune_sr.ledger.events import TrialAdded
from tune_sr.ledger.history import History, trial_name
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

SPACE = Path(__file__).parents[2] / "search_spaces" / "dfsr.yaml"
QUICK = (
    "budget.steps=40",
    "budget.steps_per_report=10",
    "batch.images=1",
    "batch.patch=16",
    "student.features=8",
    "student.blocks=6",
    "heldout.crop=48",
)

Row = dict[str, Any]


def configured(arguments: argparse.Namespace, folder: Path) -> StudyConfig:
    """The study, with its folder in `folder` and no confirmation."""
    own = [f"study.tracking_uri=sqlite:///{folder}/mlflow.db", "study.confirm=0"]
    own += [f"study.seed={arguments.seed}"]
    own += [] if arguments.trials is None else [f"study.trials={arguments.trials}"]
    quick = QUICK if arguments.quick else ()
    space, settings = load_study(arguments.space, [*quick, *own, *arguments.overrides])
    if space.fixed["method"]["name"] != "dfsr":
        raise SystemExit(f"{arguments.space}: the authors' loop is DFSR's alone")
    settings = settings.with_overrides({"name": "study", "storage": str(folder)}, space)
    return StudyConfig(space, settings, folder / "study")


def as_study(config: StudyConfig) -> Row:
    """Run it whole, from reading images to its page."""
    results = run_study(config, prepare(config), quiet=True)
    trials = results.history.trials.values()
    updates = sum(max(each.reports, default=0) for each in trials)
    best = max(each.report["psnr_y_db"] for trial in trials for each in trial.reports.values())
    completed = sum(each.state == "completed" for each in trials)
    return {"trials": len(trials), "completed": completed, "updates": updates, "best_db": best}


def points_of(config: StudyConfig) -> list[dict[str, Any]]:
    """As many points as the study has trials, proposed while none of them has ended."""
    history = History()
    for number in range(config.settings.trials):
        point = config.propose(history, number)
        added = TrialAdded(trial=trial_name(number), number=number, point=point)
        history.apply(added.to_dict(time=0.0))
    return [dict(each.point) for each in history.trials.values()]


def plain_trainable(config: StudyConfig, points: list[dict[str, Any]], threads: int) -> type:
    """One trial as a user of Ray Tune writes it: a report of the authors' loop at each step."""
    import bare_loops
    from ray import tune
    from ray.cloudpickle import register_pickle_by_value

    for module in (bare_loops, sys.modules[__name__]):  # which Ray's processes cannot import
        register_pickle_by_value(module)

    class Plain(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            from trainables.run import Run

            chosen = {"precision": "fp32", "threads": threads}
            trial = space.trial_config(points[config["number"]], seed).model_copy(update=chosen)
            self._run, self._done, self._best = Run(trial), 0, 0.0
            self._update = released(self._run)

        def step(self) -> dict[str, Any]:
            from trainables.metrics.evaluate import evaluate

            run, budget = self._run, self._run.config.budget
            losses = [
                float(self._update()["loss/kd"])  # read each time, as plain loops do
                for _ in range(budget.steps_per_report)
            ]
            self._done += len(losses)
            parts = run.method.pupil.parts  # type: ignore[attr-defined]  # DFSR's
            active = parts.depths[parts.at(self._done - 1)]
            report = evaluate(lambda x, s: plain(run.student, x, s, active), run.heldout)
            self._best = max(self._best, report["psnr_y_db"])
            done = {"updates": self._done, "done": self._done >= budget.steps}
            return {**done, **report, "best_db": self._best}

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: Any) -> None: ...

    space, seed = config.space, config.settings.seed
    plain, released = bare_loops.plain, bare_loops.released
    return Plain


def as_plain_ray(config: StudyConfig) -> Row:
    """The same points under Ray's own ASHA, or all whole where the space has no scheduler."""
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

    points, budget, rule = points_of(config), config.space.budget, config.settings.scheduler
    halving = AsyncHyperBandScheduler(
        "updates",
        max_t=budget.steps,
        grace_period=(rule.grace_period or 1) * budget.steps_per_report,
        reduction_factor=rule.reduction_factor,
    )
    tuner = tune.Tuner(
        tune.with_resources(
            plain_trainable(config, points, config.threads), {"cpu": config.threads}
        ),
        param_space={"number": tune.grid_search(list(range(len(points))))},
        tune_config=tune.TuneConfig(
            metric="psnr_y_db",
            mode="max",
            scheduler=FIFOScheduler() if rule.name == "none" else halving,
            max_concurrent_trials=local_workers(config),
        ),
        run_config=tune.RunConfig(
            storage_path=str(config.folder.parent / "plain"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    grid = tuner.fit()
    if grid.errors:
        raise grid.errors[0]
    last = [result.metrics or {} for result in grid]
    updates = sum(each["updates"] for each in last)
    completed = sum(each["updates"] >= budget.steps for each in last)
    best = max(each["best_db"] for each in last)
    return {"trials": len(last), "completed": completed, "updates": updates, "best_db": best}


WAYS: dict[str, Callable[[StudyConfig], Row]] = {"study": as_study, "plain": as_plain_ray}


def timed(way: str, config: StudyConfig) -> Row:
    """What a way found, and its rates."""
    began = time.perf_counter()
    found = WAYS[way](config)
    seconds = time.perf_counter() - began
    rates = {f"{key}_per_hour": 3600 * found[key] / seconds for key in ("trials", "updates")}
    return {"way": way, "seconds": round(seconds, 2), **found, **rates}


def table(rows: list[Row]) -> str:
    """Medians by way as Markdown."""
    shown = "seconds", "trials_per_hour", "updates_per_hour", "best_db"
    lines = ["| | " + " | ".join(each.replace("_", " ") for each in shown) + " | ratio |"]
    lines.append("|---" * (len(shown) + 2) + "|")
    rates = {way: [row["trials_per_hour"] for row in rows if row["way"] == way] for way in WAYS}
    for way, own in rates.items():
        means = (statistics.median(r[key] for r in rows if r["way"] == way) for key in shown)
        ratio = statistics.median(a / b for a, b in zip(own, rates["plain"], strict=True))
        lines.append(f"| {way} | " + " | ".join(f"{m:,.2f}" for m in means) + f" | {ratio:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--trials", type=int, help="the space's own number by default")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--quick", action="store_true", help="toys: a dry run")
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        config = configured(arguments, Path(folder))
        with local_ray(local_workers(config)):
            for number in range(arguments.rounds):
                ways = list(WAYS) if number % 2 == 0 else list(reversed(WAYS))
                for way in ways:
                    own = Path(folder) / f"{number}-{way}"
                    row = timed(way, replace(config, folder=own / "study"))
                    rows.append({"round": number, **row})
                    print(f"<!-- {json.dumps(rows[-1])} -->", flush=True)
                    lines = ",\n".join(json.dumps(each) for each in rows)
                    (arguments.out / "study.json").write_text(f"[\n{lines}\n]\n")
    print(table(rows))


if __name__ == "__main__":
    main()
