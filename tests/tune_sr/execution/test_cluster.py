"""A cluster that is joined: the suite's own Ray, which every driver of these tests finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from drivers import children_of

from tune_sr import search
from tune_sr.driver.run_study import run_study
from tune_sr.execution import cluster, shared_folder
from tune_sr.execution.cluster import max_concurrent
from tune_sr.execution.resources import Node, TrialResources, living_nodes
from tune_sr.execution.session import ClusterError, address_of
from tune_sr.execution.shared_folder import check_shared
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.usefixtures("ray_cluster", "untracked"),
]
ToySpace = Callable[..., Path]


def test_a_ray_of_this_machine_has_no_more_processes_than_trials_need() -> None:
    lines = children_of(os.getpid())
    assert any("gcs_server" in line for line in lines)
    assert not [line for line in lines if "log_monitor.py" in line or "monitor.py" in line]


def test_a_folder_that_nodes_share(tmp_path: Path) -> None:
    check_shared(tmp_path, living_nodes())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False], ids=["another folder", "no folder"])
def test_a_folder_that_is_another_one_elsewhere(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "_SEEN_S", 0.3)
    monkeypatch.chdir(tmp_path)
    here = Path("/proc/self/cwd") if exists else Path("/proc/self/cwd/runs")  # of each process
    here.mkdir(exist_ok=True)
    with pytest.raises(ClusterError, match="does not see what is written there; --storage must"):
        check_shared(here, living_nodes())
    assert [path.name for path in tmp_path.iterdir()] == ([] if exists else ["runs"])


def test_a_node_that_is_lost_while_it_is_asked_is_none_of_the_studys(tmp_path: Path) -> None:
    gone = Node("0" * 56, "gone", cpus=1, gpus=0)
    check_shared(tmp_path, [*living_nodes(), gone])
    assert list(tmp_path.iterdir()) == []


def test_a_refused_cluster_leaves_nothing(
    toy_space: ToySpace, capsys: pytest.CaptureFixture[str]
) -> None:
    space = toy_space()
    words = ["--space", str(space), "--address", "auto", "--gpus-per-trial", "1", "--quiet"]
    for more in ([], ["--dry-run"]):
        capsys.readouterr()
        assert search.main([*words, *more]) == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1
        assert "--gpus-per-trial 1: " in told.err and "has 0 GPUs; no trial could" in told.err
    assert not list(space.parent.glob("runs/*"))


def test_a_study_joins_and_leaves(
    toy_space: ToySpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert address_of(None) is None  # a shell's variable: where it hands jobs in
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    study = load_study(toy_space(study={"trials": 3, "concurrent": "auto"}))
    config = StudyConfig(*study, tmp_path / "runs" / "toy", address_of(None))
    assert config.address == "auto" and max_concurrent(config) == 2
    results = run_study(config, quiet=True)
    assert ray.is_initialized()
    assert results.summary()["finished"] and results.summary()["trials"]["total"] == 3


def test_gpu_hours_end_a_study_and_more_go_on_with_it(
    toy_space: ToySpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended = [each._replace(gpus=1.0) for each in living_nodes()]
    monkeypatch.setattr(cluster, "living_nodes", lambda: pretended)
    monkeypatch.setattr(TrialResources, "resources", lambda share: {"cpu": share.cpus})
    space, settings = load_study(toy_space(study={"trials": 2, "gpus_per_trial": 0.5}))

    def study(gpu_hours: float) -> StudyConfig:
        given = settings.with_overrides({"gpu_hours": gpu_hours}, space)
        return StudyConfig(space, given, tmp_path / "runs" / "toy", "auto")

    assert run_study(study(1e-6), quiet=True).summary()["finished"]
    events = read_events(tmp_path / "runs" / "toy")
    assert [event["event"] for event in events].count("trial_ended") == 0
    run_study(study(1e-6), quiet=True)  # they are used up
    assert read_events(tmp_path / "runs" / "toy") == events
    assert run_study(study(1.0), quiet=True).summary()["trials"]["completed"] >= 1
