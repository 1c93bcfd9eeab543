"""Two thousand trials through one driver: what it and its workers hold stays small.

Measured three times: 1,048, 1,064 and 1,088 results a second, 111,025 to 111,175 in all; 17, 22 and
18 KiB a trial in the driver, much of it Ray's own record, never more than 41 files; in a worker 0.1
MiB over some four hundred and fifty trials. Four minutes on two cores.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.cloudpickle import register_pickle_by_value
from toys import REPORTS, START_S, by_value, pause

from trainables.ray_trainable import DistillTrainable
from tune_sr.driver.run_study import run_study
from tune_sr.execution.state import StudyState
from tune_sr.ledger.events import Event
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

TRIALS, LOOK_EVERY, WORKERS = 2000, 250, 4
PER_TRIAL = 48 * 1024
"""Bytes that the driver may keep of each trial: Ray's record, and the ledger's."""
WORKER = 16 * 1024**2
"""Bytes by which a worker may grow over five hundred trials."""


def held() -> tuple[int, int]:
    """This process's memory in bytes, and its open files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize(), len(list(Path("/proc/self/fd").iterdir()))


def toy_trainable() -> type:
    """Reports at once, and what its process held before its first report."""
    register_pickle_by_value(sys.modules[__name__])
    by_value()
    together = time.time() + START_S

    class Toy(DistillTrainable):
        def _begin(self, config: Mapping[str, Any]) -> None:
            self.height, self.step_now = 30 + int(config["trial"]) * 37 % 100 / 100, 0
            self.held = held()

        def _report(self) -> dict[str, float]:
            pause(together - time.time())
            self.step_now += 4
            return {
                "step": float(self.step_now),
                "psnr_y_db": self.height - 1 / self.step_now,
                "worker/pid": float(os.getpid()),
                "worker/bytes": float(self.held[0]),
                "worker/files": float(self.held[1]),
            }

    return Toy


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_two_thousand_trials_leave_memory_and_files_as_they_were(
    toy_space: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ray_cluster: None,
) -> None:
    study = {"trials": TRIALS, "searcher": "random"}
    study |= {"concurrent": WORKERS, "cpus_per_trial": 2 / WORKERS}  # the suite's Ray has two CPUs
    scheduler = {"name": "asha", "grace_period": 35, "reduction_factor": 2}
    budget = {"steps": 4 * REPORTS, "steps_per_report": 4}
    changes = {"study": {**study, "scheduler": scheduler}, "fixed": {"budget": budget}}
    study = load_study(toy_space("thousands", **changes))
    config = StudyConfig(*study, tmp_path / "runs" / "thousands")
    looks: list[tuple[int, int]] = []
    moments: list[float] = []
    ended = Counter[str]()
    append = StudyState.append

    def looking(self: StudyState, event: str, **fields: Any) -> Event:
        ended[event] += 1
        if event == "reported":
            moments.append(time.perf_counter())
        if event == "trial_ended" and ended[event] % LOOK_EVERY == 0:
            looks.append(held())
        return append(self, event, **fields)

    monkeypatch.setattr(StudyState, "append", looking)
    monkeypatch.setattr("tune_sr.execution.tuner.DistillTrainable", toy_trainable())
    monkeypatch.setattr("tune_sr.driver.observers._CLOSE_S", 1800.0)  # nobody waits for this MLflow
    run_study(config, quiet=True)

    records = History.from_events(read_events(config.folder)).trials
    assert Counter(record.state for record in records.values()).keys() == {"completed", "stopped"}
    assert len(records) == TRIALS
    grown = looks[-1][0] - looks[1][0]
    rate = (len(moments) - 1) / (moments[-1] - moments[0])
    print(f"{len(moments)} results, {rate:.0f} a second")
    print("driver:", [(bytes_ >> 20, files) for bytes_, files in looks])
    assert grown < PER_TRIAL * (TRIALS - 2 * LOOK_EVERY)
    assert max(files for _, files in looks[1:]) <= looks[1][1] + 8
    check_workers(records)
    check_mlflow(config)


def check_workers(records: Any) -> None:
    """Each process has made hundreds of trials, and holds what it held after the first ones."""
    by_worker: dict[float, list[tuple[float, float]]] = {}
    for record in records.values():
        report = record.reports[max(record.reports)].report
        told = report["worker/bytes"], report["worker/files"]
        by_worker.setdefault(report["worker/pid"], []).append(told)
    print("workers:", {pid: (len(each), each[50], each[-1]) for pid, each in by_worker.items()})
    assert len(by_worker) <= WORKERS  # one, where the other has not started before all is done
    for looks in by_worker.values():
        assert len(looks) > 50  # each a reuse
        assert looks[-1][0] - looks[50][0] < WORKER
        assert looks[-1][1] <= looks[50][1] + 4


def check_mlflow(config: StudyConfig) -> None:
    """One run a trial, each at its end, each with all of its values."""
    assert config.settings.tracking_uri is not None
    database = sqlite3.connect(config.settings.tracking_uri.removeprefix("sqlite:///"))
    runs = dict(
        database.execute(
            "select tags.value, runs.run_uuid from tags join runs using (run_uuid) "
            "join experiments using (experiment_id) "
            "where tags.key = 'tune_sr.trial' and experiments.name = ? and status = 'FINISHED'",
            (config.settings.experiment,),
        )
    )
    (values,) = database.execute(
        "select count(*) from metrics where key = 'psnr_y_db' and run_uuid in "
        f"({','.join('?' * len(runs))})",
        tuple(runs.values()),
    ).fetchone()
    records = History.from_events(read_events(config.folder)).trials
    assert set(runs) == set(records)
    assert values == sum(len(record.reports) for record in records.values())
