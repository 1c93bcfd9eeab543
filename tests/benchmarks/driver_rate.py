"""How many results a driver takes, ledger and MLflow on, next to Ray Tune's own ways.

    python tests/benchmarks/driver_rate.py

Every row runs the same toy trial, whose reports cost nothing, in the same Ray:

* ours: a study with all that belongs to it;
* ours, no reuse: the same with a new process for every trial;
* Ray + MLflow: Ray's ASHA with its stock `MLflowLoggerCallback` on a database of its own;
* Ray alone: the same without MLflow, so without any record.

`results/s` counts from the first result to the last. `loop ms` is what a result costs inside Ray's
loop beside what Ray itself does: scheduler, searcher and callbacks. `CPU ms` is the driver's
process, all its threads. Prints a Markdown table, and the ratios of `ours`.

Trials give up to 80 reports of twelve numbers, four at a time, and the clock begins when all of
their processes have started.

Measured on two cores with nothing else to do: 1,096 results/s, 0.86 times Ray alone, 82 times Ray +
MLflow, 15 times no reuse; `loop ms` 0.17. The first row alone, three times more: 1,120, 1,088 and
1,092 results/s; of 500 trials whose searcher learns (`--searcher tpe`) 938, `loop ms` 0.31. Two
trials at a time, which wait for the way there and back: 896 and 938. Trials of 20 reports at most:
805 and 839, and Ray alone 892, since a trial costs Ray some ten results. On cores that something
else uses, all of it is less.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from toys import STEPS, Meter, run, stock, study

from tune_sr.execution.session import local_ray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4, help="trials at a time")
    parser.add_argument("--searcher", default="random", help="ours; Ray's draws at random")
    parser.add_argument("--slow", type=int, default=6, help="trials of the two slow rows")
    arguments = parser.parse_args()
    many, few, workers = arguments.trials, arguments.slow, arguments.workers
    with local_ray(workers), tempfile.TemporaryDirectory() as folder:
        rows: dict[str, Callable[[Path], Meter]] = {
            "ours": lambda at: run(study(at, many, workers, searcher=arguments.searcher)),
            "Ray alone": lambda at: theirs(at, many, workers, record=False),
            "Ray + MLflow": lambda at: theirs(at, few, workers, record=True),
            "ours, no reuse": lambda at: run(study(at, few, workers), reuse=False),
        }
        print("| | results | results/s | loop ms | CPU ms |\n" + "|---" * 5 + "|")
        rates: dict[str, float] = {}
        for number, (name, measured) in enumerate(rows.items()):
            meter = measured(Path(folder) / str(number))
            rates[name] = meter.rate
            results = len(meter.moments)
            costs = f"{1000 * meter.inside / results:.2f} | {1000 * meter.cpu:.2f}"
            print(f"| {name} | {results} | {meter.rate:.0f} | {costs} |", flush=True)
    told = [f"{rates['ours'] / rates[name]:.2f} times {name}" for name in list(rows)[1:]]
    print(f"\nours takes results at {', '.join(told)}")


def theirs(folder: Path, trials: int, workers: int, *, record: bool) -> Meter:
    """The same trials as Ray Tune runs them, with its stock callback or none."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import AsyncHyperBandScheduler

    folder.mkdir()
    same = study(folder, trials, workers)
    grace = same.scheduler.grace_period * same.space.budget.steps_per_report
    meter, uri = Meter(), f"sqlite:///{folder}/mlflow.db"
    mlflow = MLflowLoggerCallback(tracking_uri=uri, experiment_name="toy")
    tuner = tune.Tuner(
        tune.with_resources(stock(), {"cpu": 1}),
        param_space={"trial": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(
            metric="psnr_y_db",
            mode="max",
            scheduler=AsyncHyperBandScheduler(
                "step", max_t=STEPS, grace_period=grace, reduction_factor=2
            ),
            num_samples=trials,
            max_concurrent_trials=workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            verbose=0,
            callbacks=[mlflow] if record else [],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with (
        meter.at(AsyncHyperBandScheduler, "on_trial_result", counts=True),
        meter.at(MLflowLoggerCallback, "log_trial_start", "log_trial_result", "log_trial_end"),
    ):
        tuner.fit()
    return meter


if __name__ == "__main__":
    main()
