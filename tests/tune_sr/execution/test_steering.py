"""A person ends a trial or adds a point while a study is under way."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from events import ended, study_started
from ray.tune.search import Searcher

from tune_sr import search
from tune_sr.driver.run_study import seconds_left
from tune_sr.execution.scheduler import LedgerScheduler
from tune_sr.execution.searcher import LedgerSearcher
from tune_sr.execution.state import StudyState
from tune_sr.execution.steering import STOPPED_BY, Steering
from tune_sr.ledger.history import History
from tune_sr.ledger.ledger import Ledger, read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.requests import Request, write_request
from tune_sr.study.space_file import load_study

POINT = {"method.w_R": 2.0, "method.P": 1, "optimiser.lr": 0.05}


@pytest.fixture
def config(toy_space: Callable[..., Path], tmp_path: Path) -> StudyConfig:
    return StudyConfig(*load_study(toy_space(study={"trials": 2})), tmp_path / "runs" / "toy")


@pytest.fixture
def live(config: StudyConfig) -> StudyState:
    config.folder.mkdir(parents=True)
    live = StudyState(Ledger(config.folder / "ledger.jsonl"))
    live.append(study_started(config.to_dict()))
    return live


def ask(config: StudyConfig, **asked: Any) -> Path:
    return write_request(config.folder, "1" * 32, Request(**asked))


def kinds(live: StudyState) -> list[str]:
    return [event["event"] for event in live.ledger.events()]


def report(scheduler: LedgerScheduler, name: str, step: int) -> str:
    values = {"step": float(step), "psnr_y_db": 20.0}
    trial = SimpleNamespace(config={"trial": name})
    return scheduler.on_trial_result(None, trial, {"report": tuple(values.items())})


def test_a_trial_ends_with_its_next_report_and_after_a_kill_before_it(
    config: StudyConfig, live: StudyState
) -> None:
    searcher, steering = LedgerSearcher(config, live), Steering(config, live)
    scheduler = LedgerScheduler(config, live, steering)
    searcher.suggest("a"), searcher.suggest("b")
    assert report(scheduler, "0000", 4) == scheduler.CONTINUE
    path = ask(config, stop_trial="0000")
    steering.take()
    assert kinds(live)[-1] == "stop_asked" and not path.exists()
    again = StudyState(Ledger(live.ledger.path))
    Steering(config, again).end_what_was_asked()  # as the next start does after a kill here
    assert again.history.trials["0000"].state == "stopped"
    assert again.history.trials["0001"].state is None
    live = StudyState(Ledger(live.ledger.path))
    assert kinds(live)[-1] == "trial_ended" and live.history.trials["0000"].reason == STOPPED_BY


def test_its_last_report_decides_on_its_end(config: StudyConfig, live: StudyState) -> None:
    searcher, steering = LedgerSearcher(config, live), Steering(config, live)
    scheduler = LedgerScheduler(config, live, steering)
    searcher.suggest("a")
    ask(config, stop_trial="0000")
    steering.take()
    assert report(scheduler, "0000", 4) == scheduler.STOP
    *_, reported, end = live.ledger.events()
    assert (reported["decision"], end["state"], end["reason"]) == ("stop", "stopped", STOPPED_BY)
    assert History.from_events(live.ledger.events()).trials["0000"].state == "stopped"


def test_a_point_is_one_trial_more_and_comes_next(config: StudyConfig, live: StudyState) -> None:
    searcher, steering = LedgerSearcher(config, live), Steering(config, live)
    ask(config, add_point=POINT)
    steering.take()
    first = searcher.suggest("a")
    assert isinstance(first, dict) and first["method.P"] == 2, "the first point stays the first"
    second = searcher.suggest("b")
    assert isinstance(second, dict) and {key: second[key] for key in POINT} == POINT
    resumed = StudyState(Ledger(live.ledger.path))
    assert resumed.history.asked.unanswered() == {}
    third = LedgerSearcher(config, resumed).suggest("c")
    assert isinstance(third, dict) and third["trial"] == "0000", "what has not ended comes first"
    assert isinstance(searcher.suggest("c"), dict), "two of the study's own, and one asked for"
    assert searcher.suggest("d") is None
    for number, ray_id in enumerate("abc"):
        live.append(ended(number))
        searcher.on_trial_complete(ray_id)
    assert searcher.suggest("d") == Searcher.FINISHED
    assert seconds_left(config) is None
    ask(config, add_point={**POINT, "method.w_R": 0.5})
    assert seconds_left(config) == float("inf"), "a finished study has something to do again"


def test_a_kill_between_event_and_file_neither_doubles_nor_loses(
    config: StudyConfig, live: StudyState
) -> None:
    path = ask(config, add_point=POINT)
    text = path.read_text()
    Steering(config, live).take()
    path.write_text(text)  # as if the driver had died before it deleted the file
    again = StudyState(Ledger(live.ledger.path))
    Steering(config, again).take()
    assert kinds(again).count("point_asked") == 1 and not path.exists()
    assert list(again.history.asked.unanswered().values()) == [POINT]


def test_what_is_no_request_of_this_study_is_passed_over_once(
    config: StudyConfig, live: StudyState, caplog: pytest.LogCaptureFixture
) -> None:
    folder = config.folder / "requests"
    folder.mkdir()
    foreign = {"study": "2" * 32, "stop_trial": "0000", "add_point": None}
    contents = ["{", "[]", "null", json.dumps(foreign), json.dumps({**foreign, "more": 1})]
    own = {**foreign, "study": "1" * 32}
    contents += [json.dumps({**own, "stop_trial": 7}), json.dumps({**own, "add_point": {}})]
    contents += ["[" * 100_000]
    for number, content in enumerate(contents):
        (folder / f"{number}.json").write_text(content)
    (folder / "8.json").mkdir()
    (folder / "9.json").symlink_to("/etc/hostname")
    (folder / "notes.txt").write_text("x")
    before, steering = kinds(live), Steering(config, live)
    with caplog.at_level(logging.WARNING):
        steering.take()
        steering.take()
    assert kinds(live) == before and len(list(folder.iterdir())) == 11
    assert len(caplog.records) == 10
    assert all(len(each.getMessage().splitlines()) == 1 for each in caplog.records)


def test_what_cannot_be_met_any_more_is_named_and_gone(
    config: StudyConfig, live: StudyState, caplog: pytest.LogCaptureFixture
) -> None:
    LedgerSearcher(config, live).suggest("a")
    ask(config, stop_trial="0000")
    live.append(ended(0))
    before = kinds(live)
    Steering(config, live).take()
    assert kinds(live) == before and not list((config.folder / "requests").iterdir())
    assert "trial 0000: has ended already (completed)" in caplog.text


@pytest.mark.parametrize(
    ("flag", "value", "rule"),
    [
        ("--stop-trial", "0007", "trial '0007': the study has none of this name; running: 0001"),
        ("--stop-trial", "../x", "the study has none of this name"),
        ("--stop-trial", "0000", "trial 0000: has ended already (completed)"),
        ("--add-point", {**POINT, "method.w_R": 9.0}, "method.w_R"),
        ("--add-point", {"method.w_R": 1.0}, "method.P"),
        ("--add-point", {**POINT, "method.tau": 1.0}, "method.tau"),
        ("--add-point", {**POINT, "optimiser.lr": "fast"}, "optimiser.lr"),
    ],
)
def test_what_a_study_cannot_do_is_refused_in_one_line(
    config: StudyConfig,
    live: StudyState,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    value: Any,
    rule: str,
) -> None:
    searcher = LedgerSearcher(config, live)
    searcher.suggest("a"), searcher.suggest("b")
    live.append(ended(0))
    if isinstance(value, dict):
        file = tmp_path / "point.yaml"
        file.write_text(json.dumps(value))
        value = str(file)
    words = ["--resume", "--name", "toy", "--storage", str(tmp_path / "runs"), flag, value]
    assert search.main(words) == 2
    said = capsys.readouterr().err
    assert rule in said and said.count("\n") == 1
    assert not (config.folder / "requests").exists()


def test_the_command_leaves_requests_and_starts_nothing(
    config: StudyConfig, live: StudyState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LedgerSearcher(config, live).suggest("a")
    file = tmp_path / "point.yaml"
    file.write_text(json.dumps(POINT))
    words = ["--resume", "--name", "toy", "--storage", str(tmp_path / "runs")]
    before = read_events(config.folder)
    assert search.main([*words, "--stop-trial", "0000", "--add-point", str(file)]) == 0
    assert "a driver of toy takes it within seconds" in capsys.readouterr().out
    assert read_events(config.folder) == before
    Steering(config, live).take()
    assert kinds(live)[-2:] == ["stop_asked", "point_asked"]
