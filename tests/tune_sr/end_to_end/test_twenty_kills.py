"""Every scheduler and every searcher, its driver killed at twenty random moments of one study.

    pytest -m soak -n 0 tests/tune_sr/end_to_end/test_twenty_kills.py

Drivers join one Ray that outlives them: a life then costs seconds, and the trials of a driver that
died are Ray's to end.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from drivers import DriverServer, when_grown

from trainables.values import derive_seed
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.schedulers.rules import SCHEDULERS
from tune_sr.searchers.algorithms import SEARCHERS

pytestmark = [pytest.mark.ray, pytest.mark.kill, pytest.mark.soak, pytest.mark.timeout(1800)]
KILLS, LEFT = 20, 10
"""How often, and what is then left to happen: a study that has ended cannot be killed."""
A_REPORT_S = 0.1
"""A kill comes within so long of an event: while trials train, write and are written about."""
CLOCK = "seconds_per_step"
"""What no study can repeat."""


def pairs() -> list[tuple[str, str]]:
    """Each scheduler and each searcher at least once: neither knows of the other."""
    most = max(len(SCHEDULERS), len(SEARCHERS))
    schedulers, searchers = itertools.cycle(SCHEDULERS), itertools.cycle(SEARCHERS)
    return list(itertools.islice(zip(schedulers, searchers, strict=False), most))


def lives(history: History) -> list[Any]:
    """What became of each trial: its points, reports, decisions, copies and end, in order."""
    return [
        (
            record.name,
            dict(record.point),
            record.clones,
            [
                (step, {**told.report, CLOCK: 0.0}, told.decision)
                for step, told in record.reports.items()
            ],
            record.state,
            record.reason,
        )
        for record in history.trials.values()
    ]


def things(history: History) -> int:
    """How much has happened: trials, reports, copies and ends; drivers and repeats left out."""
    return sum(
        1 + len(each.reports) + len(each.clones) + (each.state is not None)
        for each in history.trials.values()
    )


def check_mlflow(folder: Path, tracking_uri: str, experiment: str) -> None:
    """One run a trial, none running, and of each curve the ledger's values, each once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    runs = [
        run
        for run in client.search_runs([found.experiment_id], max_results=1000)
        if run.data.tags["tune_sr.study"] == folder.name
    ]
    trials = History.from_events(read_events(folder)).trials
    names = sorted(run.data.tags.get("tune_sr.trial", "the study") for run in runs)
    assert names == [*trials, "the study"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if (name := run.data.tags.get("tune_sr.trial")) is not None:
            record = trials[name]
            assert run.data.tags["state"] == record.state
            curve = client.get_metric_history(run.info.run_id, "psnr_y_db")
            told = [(step, each.report["psnr_y_db"]) for step, each in record.reports.items()]
            assert [(point.step, point.value) for point in curve] == told


@pytest.mark.parametrize(("scheduler", "searcher"), pairs())
def test_killed_at_twenty_random_moments_a_study_is_the_one_never_killed(
    scheduler: str,
    searcher: str,
    toy_space: Callable[..., Path],
    toy_folder: Path,
    driver_server: DriverServer,
    ray_cluster: None,
) -> None:
    tracking_uri = f"sqlite:///{toy_folder / 'mlflow.db'}"
    halves = {"reduction_factor": 2} if SCHEDULERS[scheduler].uses_reduction_factor else {}
    space = toy_space(
        f"{scheduler}-{searcher}",
        fixed={"budget": {"steps": 16, "steps_per_report": 2}},
        search={
            "method.w_R": {"quniform": [0.0, 3.0, 0.25]},
            "optimiser.lr": {"quniform": [0.002, 0.1, 0.002]},
        },
        study={
            "scheduler": {"name": scheduler, "grace_period": 3, **halves},
            "searcher": searcher,
            "trials": 8,
        },
    )
    runs = space.parent / "runs"
    address = ("--address", ray.get_runtime_context().gcs_address, "--quiet")
    study = ("--space", space, *address, "--name")
    assert driver_server.run(*study, "whole") == 0, driver_server.told()
    whole = History.from_events(read_events(runs / "whole"))
    order = partial(derive_seed, 0, scheduler, searcher)
    moments = sorted(range(1, things(whole) - LEFT), key=order)[:KILLS]
    folder, ledger = runs / "killed", b""
    for moment in sorted(moments):
        earlier = History.from_events(read_events(folder))
        begun, starts = ("--resume",) if earlier.study else (), earlier.starts

        def reached(moment: int = moment, starts: int = starts) -> bool:
            now = History.from_events(read_events(folder))
            if now.starts == starts or things(now) < moment:
                return False
            time.sleep(A_REPORT_S * derive_seed(1, scheduler, searcher, moment) / 2**63)
            return True

        code = driver_server.run(
            *study, "killed", *begun, until=when_grown(folder / "ledger.jsonl", reached)
        )
        assert code == -signal.SIGKILL, driver_server.told()
        before, ledger = ledger, (folder / "ledger.jsonl").read_bytes()
        assert ledger.startswith(before)
    assert driver_server.run(*study, "killed", "--resume") == 0, driver_server.told()
    assert (folder / "ledger.jsonl").read_bytes().startswith(ledger)

    killed = History.from_events(read_events(folder))
    assert killed.finished and killed.starts == KILLS + 1
    assert lives(killed) == lives(whole)
    assert killed.repeats <= KILLS  # one trial runs at a time, and a report is a checkpoint
    check_mlflow(folder, tracking_uri, space.stem)
