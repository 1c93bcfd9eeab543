"""`DistillTrainable`, its verbs called as Ray would; tests/tune_sr has it within a study."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray import tune
from ray.tune.registry import get_trainable_cls
from ray.tune.utils import validate_save_restore

import trainables
from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.job import Job
from trainables.methods import METHODS
from trainables.ray_trainable import (
    FAILED,
    FAULT,
    HEARD,
    NOTES,
    PLACE,
    REPORT,
    TRIAL,
    DistillTrainable,
    MethodTrainable,
    register_trainables,
    trainable_for,
)
from trainables.run import Run, RunImages

Toy = Callable[..., dict[str, Any]]
Begin = Callable[..., DistillTrainable]
BUDGET = {"steps": 12, "steps_per_report": 4}


@pytest.fixture
def begin(toy: Toy, images: RunImages, tmp_path: Path) -> Begin:
    """`begin("dfsr", {"optimiser.lr": 0.1})`: a trainable as an actor of Ray holds it."""

    def make(
        method: str,
        point: Mapping[str, Any] | None = None,
        *,
        start: str = "start-001",
        costs: tuple[str, ...] = (),
        **ray: Any,
    ) -> DistillTrainable:
        def configure(given: Mapping[str, Any]) -> TrialConfig:
            raw = toy(method, budget=BUDGET, threads=None)  # type: ignore[arg-type]  # no section
            raw["optimiser"] = {path.partition(".")[2]: value for path, value in given.items()}
            return TrialConfig.parse(raw)

        trainable = DistillTrainable.__new__(DistillTrainable)
        job = Job(configure, tmp_path / "trials", start, threads=1, images=images, costs=costs)
        trainable.setup({TRIAL: "0000", **(point or {}), **ray}, job)
        return trainable

    return make


def told(result: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in result[REPORT] if key != "seconds_per_step"}


def by_run(method: str, toy: Toy, images: RunImages, **sections: Any) -> list[dict[str, float]]:
    run = Run(TrialConfig.parse(toy(method, budget=BUDGET, **sections)), images=images)
    return [{k: v for k, v in each.items() if k != "seconds_per_step"} for each in run.reports()]


@pytest.mark.parametrize("method", METHODS)
def test_it_reports_what_run_reports_also_as_the_second_trial_of_a_process(
    method: str, begin: Begin, toy: Toy, images: RunImages
) -> None:
    trainable = begin(method)
    assert [told(trainable.step()) for _ in range(3)] == by_run(method, toy, images)
    assert trainable.reset_config({TRIAL: "0001", "optimiser.lr": 0.01})
    expected = by_run(method, toy, images, optimiser={"lr": 0.01})
    assert [told(trainable.step()) for _ in range(3)] == expected


def test_the_first_result_of_each_trial_says_where_it_runs(begin: Begin) -> None:
    before, trainable = time.time(), begin("noise")
    node, gpu, began = trainable.step()[PLACE]
    assert (node, gpu) == (socket.gethostname(), None), "Ray has given no GPU"
    assert before <= began <= time.time()
    assert PLACE not in trainable.step()
    trainable.reset_config({"trial": "0001"})
    assert trainable.step()[PLACE][2] >= began


def test_an_unreadable_file_is_the_machines_fault_until_there_is_a_report(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(116, "Stale file handle")

    trainable = begin("dfsr")
    with monkeypatch.context() as patched:
        patched.setattr("trainables.ray_trainable.SavedRun", fails)
        told = trainable.step()
        assert told[FAULT] is True and "Stale file handle" in told[FAILED]
    trainable.step()
    assert trainable._saved is not None
    monkeypatch.setattr(trainable._saved.run, "advance", fails)
    told = trainable.step()
    assert FAILED in told and FAULT not in told
    assert trainable.reset_config({TRIAL: "0001"})
    monkeypatch.setattr(Run, "advance", fails)
    assert trainable.step()[FAULT] is True  # of another trial in the same process


LONG = [pytest.param(each, marks=pytest.mark.soak) for each in METHODS if each != "dfsr"]


@pytest.mark.parametrize("method", ["dfsr", *LONG])
def test_fifty_trials_of_one_process_leave_nothing_behind(method: str, begin: Begin) -> None:
    trainable = begin(method)
    held = []
    for number in range(1, 53):
        trainable.step()
        assert trainable.reset_config({TRIAL: f"{number:04d}"})
        if number in (2, 52):
            gc.collect()
            tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
            held.append((len(tensors), sum(each.nbytes for each in tensors), open_files()))
    assert held[0] == held[1]


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_a_checkpoint_that_nobody_has_heard_of_is_told_first(begin: Begin) -> None:
    first = begin("noise")
    reports = [told(first.step()) for _ in range(2)]
    assert told(begin("noise", start="start-002", **{HEARD: 4}).step()) == reports[1]
    assert told(begin("noise", start="start-002", **{HEARD: 8}).step())["step"] == 12


def test_where_a_power_cut_took_more_than_one_report_each_is_told_again(begin: Begin) -> None:
    first = begin("noise")
    reports = [told(first.step()) for _ in range(3)]
    again = begin("noise", start="start-002", **{HEARD: 4})
    assert [told(again.step()) for _ in range(2)] == reports[1:]
    assert told(begin("noise", start="start-003").step()) == reports[2]  # nobody says what he heard


def test_what_a_student_costs_stands_in_every_report_where_it_is_asked_for(begin: Begin) -> None:
    first = begin("noise", costs=("params", "macs", "latency_ms"))
    results = [first.step() for _ in range(2)]
    costs = [{key: each[key] for key in ("params", "macs")} for each in map(told, results)]
    assert costs[0] == costs[1]
    assert first._saved is not None
    student = first._saved.run.student
    assert costs[0]["params"] == sum(each.numel() for each in student.parameters())
    assert costs[0]["macs"] > 0
    assert all(told(each)["latency_ms"] > 0 for each in results)
    unread = begin("noise", start="start-002", costs=("params",), **{HEARD: 4}).step()
    assert told(unread) == {**told(begin("noise", start="start-003", **{HEARD: 4}).step()),
                            "params": costs[0]["params"]}  # fmt: skip


def test_a_damaged_checkpoint_is_noted_and_the_one_before_is_used(
    begin: Begin, tmp_path: Path
) -> None:
    first = begin("noise")
    reports = [told(first.step()) for _ in range(2)]
    (tmp_path / "trials/start-001/0000/checkpoint_000008/run.pt").write_bytes(b"")
    again = begin("noise", start="start-002", **{HEARD: 4}).step()
    assert told(again) == reports[1]
    assert "checkpoint_000008 is damaged; an earlier one is used" in again[NOTES][0]


def test_divergence_and_mistakes_are_answers_not_crashes(begin: Begin) -> None:
    diverged = begin("noise", {"optimiser.lr": 1e30, "optimiser.clip": None}).step()
    assert diverged[FAILED].startswith("diverged at step ")
    assert REPORT not in diverged
    invalid = begin("noise", {"optimiser.lr": -1.0}).step()
    assert "optimiser.lr" in invalid[FAILED] and "\n" not in invalid[FAILED]


def test_on_a_node_that_does_not_share_the_study_nothing_is_written(
    begin: Begin, tmp_path: Path
) -> None:
    elsewhere = begin("noise")
    elsewhere._job = replace(elsewhere._job, trials=tmp_path / "study" / "trials")
    assert "study is not on " in elsewhere.step()[FAILED]
    assert not (tmp_path / "study").exists()


def test_a_part_of_a_gpu_is_a_part_of_its_memory(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    parts: list[float] = []
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", parts.append)
    for part in (0.25, 0.0):
        trainable = begin("noise")
        trainable._job = replace(trainable._job, gpu_part=part)
        trainable.step()
    assert parts == [0.25]


def test_saved_and_loaded_elsewhere_it_goes_on_as_if_nothing_had_been(
    begin: Begin, toy: Toy, images: RunImages, tmp_path: Path
) -> None:
    first = begin("dfsr")
    reports = [told(first.step())]
    first.save_checkpoint(str(tmp_path / "saved"))
    other = begin("dfsr", **{TRIAL: "0007"})
    other.load_checkpoint(str(tmp_path / "saved"))
    reports += [told(other.step()) for _ in range(2)]
    assert reports == by_run("dfsr", toy, images)


def test_there_is_nothing_to_save_of_a_trial_that_failed(begin: Begin, tmp_path: Path) -> None:
    failed = begin("noise", {"optimiser.lr": 1e30, "optimiser.clip": None})
    assert FAILED in failed.step()
    (tmp_path / "saved").mkdir()
    failed.save_checkpoint(str(tmp_path / "saved"))
    assert not list((tmp_path / "saved").iterdir())
    with pytest.raises(ValueError, match="no checkpoint that can be relied on"):
        begin("noise").load_checkpoint(str(tmp_path / "saved"))


def own(
    folder: Path, method: str, config: dict[str, Any], images: RunImages | None = None
) -> MethodTrainable:
    """The trainable of a method, as an actor in a Tuner of one's own would hold it."""
    trainable = trainable_for(method).__new__(trainable_for(method))
    trainable._logdir, trainable._trial_info = str(folder), None
    trainable.setup(config, images)
    return trainable


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k not in ("seconds_per_step", "done")}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_a_trainable_of_its_name(
    method: str, toy: Toy, images: RunImages, tmp_path: Path
) -> None:
    kind = trainables.trainable_for(method)
    assert kind is trainable_for(method) and issubclass(kind, DistillTrainable)
    assert kind.__name__ == method
    nested = toy(method, budget=BUDGET)
    section = nested.pop("method")
    dotted = {f"method.{key}": value for key, value in section.items() if key != "name"}
    trainable = own(tmp_path, method, {**nested, **dotted}, images)
    results = [trainable.step() for _ in range(3)]
    assert [figures(each) for each in results] == by_run(method, toy, images)
    assert [each["done"] for each in results] == [False, False, True]


def test_ones_own_configuration_is_nested_or_dotted_or_both(toy: Toy, tmp_path: Path) -> None:
    whole = toy("dfsr", method={"w_R": 2.0})
    expected = TrialConfig.parse(whole)
    section = whole.pop("method")
    spelt: list[dict[str, Any]] = [
        {**whole, "method": section},
        {**whole, "method": {key: section[key] for key in section if key != "name"}},
        {**whole, **{f"method.{key}": value for key, value in section.items()}},
        {"method.w_R": 2.0, **whole, "method": {**section, "w_R": 0.5}, "method.latent": 8},
    ]
    given = [own(tmp_path, "dfsr", config)._job.configure(config) for config in spelt]
    assert given[:3] == [expected] * 3
    assert given[3].method.w_R == 0.5  # of two values the last


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method.w_r": 1.0}, r"method.w_r: unknown key; did you mean w_R\?"),
        ({"method": {"name": "noise"}}, "method.name: 'noise', and this is the trainable of dfsr"),
        ({"method": "dfsr"}, "method: takes a mapping; got 'dfsr'"),
        ({"seed.x": 1}, "seed is a value, not a mapping"),
    ],
)
def test_a_mistake_in_ones_own_configuration_is_raised(
    change: dict[str, Any], message: str, toy: Toy, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        own(tmp_path, "dfsr", {**toy("dfsr"), **change})


def test_a_trainable_is_asked_for_by_a_methods_name() -> None:
    with pytest.raises(ValueError, match=r"'dsfr'; did you mean dfsr\? known: scratch, "):
        trainable_for("dsfr")


def test_ones_own_trial_goes_on_where_its_process_died(
    toy: Toy, images: RunImages, tmp_path: Path
) -> None:
    config = toy("dfsr", budget=BUDGET)
    reports = by_run("dfsr", toy, images)
    first = own(tmp_path, "dfsr", config, images)
    assert [figures(first.step()) for _ in range(2)] == reports[:2]
    first.save_checkpoint(str(tmp_path / "of_ray"))
    again = own(tmp_path, "dfsr", config, images)
    assert [figures(again.step()) for _ in range(2)] == reports[1:]  # the last one is told again


def test_what_ray_restores_is_all_that_ones_own_trial_did(
    toy: Toy, images: RunImages, tmp_path: Path
) -> None:
    config = toy("dfsr", budget=BUDGET)
    trainable = own(tmp_path, "dfsr", config, images)
    trainable.step()
    trainable.save_checkpoint(str(tmp_path / "of_ray"))
    trainable.step()
    trainable.load_checkpoint(str(tmp_path / "of_ray"))
    assert not list(tmp_path.glob("checkpoints/*/checkpoint_*"))
    assert figures(trainable.step()) == by_run("dfsr", toy, images)[1]
    (left,) = tmp_path.glob("checkpoints/*/checkpoint_*")
    assert left.name == "checkpoint_000008"


class Host:
    """Holds trainables in a process of its own."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}

    def make(self, key: int, kind: type[Any], config: dict[str, Any]) -> None:
        self.held[key] = kind(config=config)

    def call(self, key: int, verb: str, *given: Any) -> Any:
        return getattr(self.held[key], verb)(*given)


@pytest.fixture(scope="module")
def hosts(ray_cluster: None) -> Iterator[list[Any]]:
    """Two processes of Ray's: to start two for each method would take a minute."""
    actors = [ray.remote(num_cpus=0)(Host).remote() for _ in range(2)]
    yield actors
    for actor in actors:
        ray.kill(actor)


@pytest.mark.ray
@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", METHODS)
def test_ray_saves_it_in_one_process_and_restores_it_in_another(
    method: str,
    hosts: list[Any],
    toy: Toy,
    toy_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys, turns = count(), cycle(hosts)

    class Hosted:
        """An actor's handle: `Hosted(key, host).train.remote()`."""

        def __init__(self, kind: type[Any], config: dict[str, Any]) -> None:
            self.key, self.host = next(keys), next(turns)
            self.host.make.remote(self.key, kind, config)

        def __getattr__(self, verb: str) -> Any:
            key, call = self.key, self.host.call
            return SimpleNamespace(remote=lambda *given: call.remote(key, verb, *given))

    def remote(**_: Any) -> Callable[[type[Any]], Any]:
        return lambda kind: SimpleNamespace(remote=lambda config: Hosted(kind, config))

    own_ray = SimpleNamespace(is_initialized=ray.is_initialized, get=ray.get, remote=remote)
    monkeypatch.setattr("ray.tune.utils.util.ray", own_ray)
    config = toy(method, budget={"steps": 12, "steps_per_report": 2})
    for section in {"heldout", "data"} & set(config):
        config[section]["images"] = str(toy_folder / "images")
    assert validate_save_restore(trainable_for(method), config)


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("ray_cluster")
def test_a_tuner_of_ones_own(toy: Toy, images: RunImages, tmp_path: Path) -> None:
    register_trainables()
    assert [get_trainable_cls(method).__name__ for method in METHODS] == [*METHODS]
    space = {**toy("dfsr", budget=BUDGET), "optimiser.lr": tune.grid_search([0.01, 1e30])}
    space["optimiser.clip"] = None
    tuner = tune.Tuner(
        tune.with_parameters(trainable_for("dfsr"), images=images),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="psnr_y_db_x2", mode="max", reuse_actors=True, max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="own", verbose=0),
    )
    good, bad = tuner.fit()
    last = by_run("dfsr", toy, images, optimiser={"lr": 0.01, "clip": None})[-1]
    assert {key: good.metrics[key] for key in last} == last
    assert good.checkpoint is not None and good.metrics["done"]
    assert bad.error is None and bad.metrics[FAILED].startswith("diverged at step ")
    assert tuner.get_results().get_best_result().path == good.path
