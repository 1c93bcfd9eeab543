"""MLflow holds what the ledger holds, whatever happened to the driver or to the server.

These tests run in one process what runs in a process of its own: tests/tune_sr/tracking/
test_tracker.py has the process.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import threading
import zlib
from contextlib import contextmanager

import pytest
from events import (
    added,
    cloned,
    driver_started,
    ended,
    reported,
    retried,
    study_ended,
    study_started,
)
from tracked_studies import (
    SPACE,
    add,
    begin,
    by_trial,
    held,
    images,
    models,
    report,
    sender,
    track,
    wait_until,
    whole_study,
    without_ids,
    write_outcome,
    write_pictures,
)

from tune_sr.ledger.ledger import Ledger
from tune_sr.ledger.reports import Judged


@contextmanager
def running(ledger, storage):
    """While in use the ledger is followed; on leaving, the rest is sent."""
    following = sender(ledger, storage)
    thread = threading.Thread(target=following.run)
    thread.start()
    yield
    following.stop()
    thread.join()


def test_a_finished_study_is_one_run_with_one_nested_run_a_trial(ledger, storage):
    whole_study(ledger)
    runs = by_trial(track(ledger, storage))
    assert set(runs) == {None, "0000", "0001", "0002"}
    parent = runs.pop(None)
    assert parent["status"] == "FINISHED"
    assert (
        parent["tags"].items()
        >= {
            "tune_sr.study": "dfsr",
            "searcher": "tpe",
            "method": "dfsr",
            "teacher": "vdsr shipped",
            "student": "vdsr 6x8",
        }.items()
    )
    assert {run["tags"]["mlflow.parentRunId"] for run in runs.values()} == {parent["id"]}
    ends = {trial: (run["status"], run["tags"]["state"]) for trial, run in runs.items()}
    assert ends == {
        "0000": ("FINISHED", "completed"),
        "0001": ("FINISHED", "stopped"),
        "0002": ("FAILED", "failed"),
    }
    assert runs["0002"]["tags"]["reason"] == "diverged"
    assert runs["0000"]["params"] == {
        "method.name": "dfsr",
        "method.P": "2",
        "method.w_R": "0.5",
        "student.name": "vdsr",
        "student.blocks": "6",
        "student.features": "8",
        "teacher.name": "vdsr",
        "teacher.weights": "shipped",
    }


def test_a_caveat_is_a_tag_of_its_trial_and_of_the_study_whose_best_it_is(ledger, storage):
    caveat = "features: random is not CSD's VGG19: not comparable"
    begin(ledger)
    ledger.append(added(0, {}, caveat))
    ledger.append(added(1))
    for trial in ("0000", "0001"):
        report(ledger, trial, 10, 27.0, "complete")
    summary = {"best": {"trial": "0000", "caveat": caveat}}
    (ledger.path.parent / "summary.json").write_text(json.dumps(summary))
    runs = by_trial(track(ledger, storage))
    assert runs["0000"]["tags"]["caveat"] == runs[None]["tags"]["caveat"] == caveat
    assert "caveat" not in runs["0001"]["tags"]


def test_a_copy_is_told_by_tags_since_parameters_cannot_change(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    ledger.append(cloned(0, 1, 10, {"optimiser.lr": 0.5}, "a copy of trial 0001"))
    report(ledger, "0000", 20, 28.0, "complete")
    run = by_trial(track(ledger, storage))["0000"]
    assert run["tags"]["cloned"] == "from 0001 at step 10"
    assert run["tags"]["caveat"] == "a copy of trial 0001"
    assert [(step, value) for step, _, value in run["curves"]["point/optimiser.lr"]] == [(20, 0.5)]


def test_curves_run_over_student_steps_with_the_times_of_the_ledger(ledger, storage):
    whole_study(ledger)
    curves = by_trial(track(ledger, storage))["0000"]["curves"]
    times = [
        round(1000 * event["time"])
        for event in ledger.events()
        if event["event"] == "reported" and event["trial"] == "0000"
    ]
    assert curves["psnr_y_db"] == [(10, times[0], 27.0), (20, times[1], 28.0)]
    assert set(curves) == {
        *("psnr_y_db", "psnr_y_db_x2", "ssim", "loss/kd"),
        *("score_db", "ssim_at_score", "score_step"),  # this study has no bicubic to gain over
    }


def test_sending_again_changes_nothing(ledger, storage):
    whole_study(ledger)
    assert track(ledger, storage) == track(ledger, storage)


def test_a_study_cut_at_every_line_ends_as_the_one_never_cut(ledger, storage, tmp_path):
    whole_study(ledger)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    cut = Ledger(tmp_path / "cut" / "dfsr" / "ledger.jsonl")
    cut.path.parent.mkdir(parents=True)
    for each in (ledger, cut):
        write_outcome(each.path.parent)
        write_pictures(each.path.parent)
    shutil.copy(storage / "mlflow.db", tmp_path / "cut" / "mlflow.db")
    for end in range(len(lines)):
        # also half of the next line, as a kill in the middle of a write leaves it
        cut.path.write_bytes(b"".join(lines[:end]) + lines[end][: len(lines[end]) // 2])
        for run in track(cut, tmp_path / "cut").values():
            assert run["status"] != "RUNNING"
    shutil.copy(ledger.path, cut.path)
    never_cut = track(ledger, storage)
    assert without_ids(track(cut, tmp_path / "cut")) == without_ids(never_cut)
    assert models(tmp_path / "cut") == models(storage) != []
    assert images(tmp_path / "cut") == images(storage) != {}


def test_runs_of_unfinished_trials_are_reopened_and_finished_later(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    interrupted = by_trial(track(ledger, storage))
    assert {run["status"] for run in interrupted.values()} == {"KILLED"}

    ledger.append(driver_started(2))
    with running(ledger, storage):
        wait_until(lambda: {run["status"] for run in held(storage).values()} == {"RUNNING"})
        # killed here; the next driver finds the runs as they were left
        report(ledger, "0000", 20, 28.0, "complete")
        ledger.append(study_ended())
    finished = by_trial(held(storage))
    assert {run["status"] for run in finished.values()} == {"FINISHED"}
    assert finished["0000"]["id"] == interrupted["0000"]["id"]
    assert [step for step, *_ in finished["0000"]["curves"]["psnr_y_db"]] == [10, 20]


def test_reports_arrive_while_the_study_runs(ledger, storage):
    begin(ledger)
    with running(ledger, storage):
        add(ledger, 0)
        report(ledger, "0000", 10, 27.0)
        wait_until(lambda: "psnr_y_db" in by_trial(held(storage)).get("0000", {}).get("curves", {}))
        assert by_trial(held(storage))["0000"]["status"] == "RUNNING"
    assert by_trial(held(storage))["0000"]["status"] == "KILLED"


def test_a_report_made_twice_is_one_point(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    report(ledger, "0000", 10, 27.5)
    curve = by_trial(track(ledger, storage))["0000"]["curves"]["psnr_y_db"]
    assert [value for _, _, value in curve] == [27.0]


def test_a_last_decision_without_its_end_is_an_end(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0, "stop")
    run = by_trial(track(ledger, storage))["0000"]
    assert (run["status"], run["tags"]["state"]) == ("FINISHED", "stopped")


def test_an_extended_study_runs_again(ledger, storage):
    whole_study(ledger)
    track(ledger, storage)
    ledger.append(driver_started(2))
    add(ledger, 3)
    runs = by_trial(track(ledger, storage))
    assert (runs[None]["status"], runs["0003"]["status"]) == ("KILLED", "KILLED")
    assert runs["0000"]["status"] == "FINISHED"


@pytest.mark.parametrize("seen", [True, False], ids=["while it failed", "afterwards"])
def test_a_failed_trial_that_is_tried_again_is_one_run_with_its_new_end(ledger, storage, seen):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 4, 20.0)
    lost = "its process was lost 4 times"
    ledger.append(ended(0, "failed", lost))
    if seen:
        assert by_trial(track(ledger, storage))["0000"]["status"] == "FAILED"
    ledger.append(driver_started(2))
    ledger.append(retried(0, lost))
    assert by_trial(track(ledger, storage))["0000"]["status"] == "KILLED"
    ledger.append(driver_started(3))
    report(ledger, "0000", 8, 21.0, "complete")
    ledger.append(ended(0, "completed"))
    run = by_trial(track(ledger, storage))["0000"]
    assert (run["status"], run["tags"]["state"]) == ("FINISHED", "completed")
    assert run["tags"].get("reason", "") == ""
    assert [step for step, *_ in run["curves"]["psnr_y_db"]] == [4, 8]


def test_a_study_of_which_every_trial_failed_has_failed(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    ledger.append(ended(0, "failed", "diverged"))
    ledger.append(study_ended())
    assert by_trial(track(ledger, storage))[None]["status"] == "FAILED"


def test_two_studies_of_one_name_keep_their_runs_apart(ledger, storage, tmp_path):
    other = Ledger(tmp_path / "elsewhere.jsonl")
    for number, book in enumerate((ledger, other)):
        begin(book, identity=str(number))
        add(book, 0)
        report(book, "0000", 10, 27.0 + number)
        track(book, storage)
    runs = held(storage)
    assert len(runs) == 4
    assert runs["0", "0000"]["curves"]["psnr_y_db"][0][2] == 27.0
    assert runs["1", "0000"]["curves"]["psnr_y_db"][0][2] == 28.0


def test_the_studys_files_and_the_best_trials_go_with_it(ledger, storage):
    whole_study(ledger)
    folder = ledger.path.parent
    (folder / "best").mkdir()
    summary = {
        "best": {"trial": "0000", "psnr_y_db": 28.0, "ssim": 0.8},
        "front": [{"trial": "0001"}, {"trial": "0000"}],
        "bicubic": {"psnr_y_db": 26.0, "ssim": 0.7},
        "teacher": None,
        "student_steps": 40,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "front" / "0001").mkdir(parents=True)
    files = ("space.yaml", "results.csv", "best/panel.png", "best/student.safetensors")
    for name in (*files, "front/0001/config.yaml"):
        (folder / name).write_text("x")
    runs = by_trial(track(ledger, storage))
    assert runs[None]["files"] == ["panel.png", "results.csv", "space.yaml", "summary.json"]
    assert runs["0000"]["files"] == ["panel.png", "student.safetensors"]
    assert runs["0001"]["files"] == ["config.yaml"]
    assert runs["0002"]["files"] == []
    assert [(step, value) for step, _, value in runs[None]["curves"]["best/psnr_y_db"]] == [
        (40, 28.0)
    ]
    assert (storage / "mlartifacts").is_dir()


def test_long_values_are_cut_and_numbers_that_json_has_no_word_for_left_out(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, math.nan)
    runs = track(ledger, storage, params_of=lambda point: {"a": {"long": "x" * 10_000}})
    run = by_trial(runs)["0000"]
    assert len(run["params"]["a.long"]) <= 500
    assert "psnr_y_db" not in run["curves"]
    assert "ssim" in run["curves"]


def test_of_two_runs_of_one_trial_one_is_kept(ledger, storage):
    from mlflow import MlflowClient

    whole_study(ledger)
    before = by_trial(track(ledger, storage))
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("laptop").experiment_id
    tags = {name: text for name, text in before["0000"]["tags"].items() if name != "state"}
    client.create_run(experiment, 1, tags)  # as a request leaves it whose answer was lost
    assert by_trial(track(ledger, storage)) == before  # `held` refuses two


def test_requests_that_fail_a_third_of_the_time_leave_nothing_out(ledger, storage, monkeypatch):
    from mlflow import MlflowClient

    whole_study(ledger)
    undisturbed = without_ids(track(ledger, storage))
    calls = {"log_batch": 0, "create_run": 0, "set_terminated": 0}
    calls |= {"create_logged_model": 1, "log_outputs": 1, "finalize_logged_model": 2}

    def failing(name, real):
        def call(self, *args, **kwargs):
            calls[name] += 1
            # The server has done it, and its answer is lost: the worst way to fail.
            result = real(self, *args, **kwargs)
            if zlib.crc32(f"{name}{calls[name]}".encode()) % 3 == 0:
                raise ConnectionError("gone")
            return result

        return call

    for name in calls:
        monkeypatch.setattr(MlflowClient, name, failing(name, getattr(MlflowClient, name)))
    reasons = []
    flaky = {"experiment": "flaky", "period_s": 0.01, "on_failure": reasons.append}
    assert without_ids(track(ledger, storage, **flaky)) == undisturbed
    assert sum(calls.values()) > 20  # it had to ask again
    assert set(reasons) == {"gone"}


def test_a_locked_database_is_waited_for(ledger, storage):
    whole_study(ledger)
    lock = sqlite3.connect(storage / "mlflow.db", check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    threading.Timer(2.0, lock.rollback).start()
    assert set(by_trial(track(ledger, storage))) == {None, "0000", "0001", "0002"}


def scored_study(ledger):
    """A study with photographs and two quantities; 0001 is best, 0002 was stopped at a rung."""
    marks = {"bicubic": {"psnr_y_db": 26.0}, "teacher": None}
    search = {**SPACE["search"], "method.part": {"uniform": [0, 1]}}
    digests = {"heldout.images=photos": "ab" * 32}
    space = {**SPACE, "search": search}
    ledger.append(
        study_started(space, name="dfsr", identity="a" * 32, marks=marks, digests=digests)
    )
    ledger.append(driver_started())
    for number, values in enumerate([(27.0, 27.5, 27.4), (29.0, 28.0, 27.9), (26.5,)]):
        ledger.append(added(number, {"method.w_R": 0.5 + number}))
        for place, value in enumerate(values, start=1):
            judged = Judged(26.5, 27.25, 3, 3) if number == 2 else None
            decision = "stop" if number == 2 else "continue"
            report = {"psnr_y_db": value, "ssim": round(0.8 + place / 100, 2)}
            ledger.append(reported(number, 10 * place, report, decision, judged))
        ledger.append(ended(number, "stopped" if number == 2 else "completed"))
    ledger.append(study_ended())


def test_runs_sort_as_results_do_and_say_what_stopped_them(ledger, storage):
    from mlflow import MlflowClient

    scored_study(ledger)
    best = {"trial": "0001", "psnr_y_db": 28.0}
    summary = {"best": best, "first": {"trial": "0000"}, "bicubic": {"psnr_y_db": 26.0}}
    (ledger.path.parent / "summary.json").write_text(json.dumps(summary))
    # Students grow at update 10: what 0001 reported before counts for nothing.
    sending = sender(ledger, storage, growth_of=lambda point: 10)
    sending.stop()
    sending.run()
    runs = by_trial(held(storage))
    scores = {trial: run["curves"]["score_db"][-1][2] for trial, run in runs.items() if trial}
    assert scores == {"0000": 27.5, "0001": 28.0, "0002": 26.5}
    single = {key: runs["0001"]["curves"][key] for key in ("gain_db", "score_step")}
    assert [(len(points), points[0][0]) for points in single.values()] == [(1, 0), (1, 0)]
    assert [points[0][2] for points in single.values()] == [2.0, 20.0]
    assert runs["0001"]["curves"]["ssim_at_score"][0][2] == 0.82
    tags = {trial: run["tags"] for trial, run in runs.items()}
    assert (tags["0002"]["stopped_at"], tags["0002"]["needed"]) == ("10", "27.25")
    assert [tags[each].get("best") for each in ("0000", "0001", "0002")] == [None, "true", None]
    assert [tags[each].get("first") for each in ("0000", "0001", "0002")] == ["true", None, None]
    assert tags["0001"]["mlflow.runName"] == "0001 w_R 1.5"
    assert "method.part" not in runs["0001"]["params"], "nothing is grown there"
    assert runs[None]["params"]["search.method.part"] == "uniform [0, 1]"
    assert runs[None]["params"]["student.blocks"] == "6"
    assert tags[None]["mlflow.note.content"].startswith("best 28.00 dB (trial 0001), +2.00 over")
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("laptop")
    assert "mlflow.sharedViewState.tune_sr-dfsr" in experiment.tags
    assert "best 28.00 dB" in experiment.tags["mlflow.note.content"]
    assert sending.view.endswith("&viewStateShareKey=tune_sr-dfsr")
    (used,) = client.get_run(runs["0001"]["id"]).inputs.dataset_inputs
    assert used.dataset.name == "photos (held out)"
    # A person's own note stays; a better trial takes the tag over.
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "my notes")
    summary["best"] = {"trial": "0000", "psnr_y_db": 28.5}
    (ledger.path.parent / "summary.json").write_text(json.dumps(summary))
    again = by_trial(track(ledger, storage))
    assert [again[each]["tags"].get("best") for each in ("0000", "0001")] == ["true", None]
    assert client.get_experiment_by_name("laptop").tags["mlflow.note.content"] == "my notes"
