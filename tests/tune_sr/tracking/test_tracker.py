"""MLflow holds what the ledger says, whatever happened to the driver or to the server."""

from __future__ import annotations

import json
import logging
import math
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib

import pytest
from events import (
    added,
    as_read,
    cloned,
    driver_started,
    ended,
    reported,
    retried,
    study_ended,
    study_started,
)

from tune_sr.ledger.ledger import Ledger
from tune_sr.tracking.runs import StudyRun
from tune_sr.tracking.store import TrackingStore
from tune_sr.tracking.tracker import MlflowTracker

SPACE = {
    "fixed": {
        "method": {"name": "dfsr", "P": 2},
        "student": {"name": "vdsr", "blocks": 6, "features": 8},
        "teacher": {"name": "vdsr", "weights": "shipped"},
    },
    "search": {"method.w_R": {"loguniform": [0.01, 10.0]}},
}


def params_of(point):
    searched = {"w_R": point.get("method.w_R", 1.0)}
    return {**SPACE["fixed"], "method": {**SPACE["fixed"]["method"], **searched}}


def report(ledger, trial, step, psnr, decision="continue"):
    values = {"step": float(step), "psnr_y_db": psnr, "psnr_y_db_x2": psnr, "ssim": 0.8}
    ledger.append(reported(int(trial), step, {**values, "loss/kd": 1.0 / step}, decision))


def begin(ledger, identity="a" * 32, name="dfsr"):
    ledger.append(study_started(SPACE, name=name, identity=identity))
    ledger.append(driver_started(1))


def add(ledger, number):
    ledger.append(added(number, {"method.w_R": 0.5 + number}))


def whole_study(ledger):
    """Three trials, one of each end, interleaved as two workers would."""
    begin(ledger)
    add(ledger, 0)
    add(ledger, 1)
    report(ledger, "0000", 10, 27.0)
    report(ledger, "0001", 10, 26.0, "stop")
    ledger.append(ended(1, "stopped"))
    add(ledger, 2)
    report(ledger, "0000", 20, 28.0, "complete")
    ledger.append(ended(0, "completed"))
    report(ledger, "0002", 10, 26.5)
    ledger.append(ended(2, "failed", "diverged"))
    ledger.append(study_ended())


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated database: MLflow takes seconds to make one."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def storage(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "runs, größer"
    (folder / "dfsr").mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def ledger(storage):
    return Ledger(storage / "dfsr" / "ledger.jsonl")


def tracker(ledger, store, said=None, **changes):
    settings = {"experiment": "laptop", "params_of": params_of, "tags": {"searcher": "tpe"}}
    say = (said if said is not None else []).append
    return MlflowTracker(ledger.path, store, say=say, **{**settings, **changes})


def track(ledger, storage, **changes):
    """A driver's life as the tracker sees it, from start to close."""
    said = []
    running = tracker(ledger, TrackingStore.resolve(None, storage), said, **changes)
    running.start()
    assert running.close(), said
    assert said == []
    return held(storage)


def held(storage, experiment="laptop"):
    """Everything MLflow holds: run name -> status, params, tags, curves; nested ones by parent."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    runs = {}
    for run in client.search_runs([found.experiment_id]) if found else ():
        key = (run.data.tags["tune_sr.study_id"], run.data.tags.get("tune_sr.trial"))
        assert key not in runs, "two runs of one trial"
        runs[key] = {
            "id": run.info.run_id,
            "status": run.info.status,
            "begin": run.info.start_time,
            "params": run.data.params,
            "tags": run.data.tags,
            "curves": {
                name: [
                    (point.step, point.timestamp, point.value)
                    for point in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
            },
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
    return runs


def by_trial(runs):
    return {trial: run for (_, trial), run in runs.items()}


def without_ids(runs):
    """What must not depend on how often the driver died."""
    plain = {}
    for key, run in runs.items():
        tags = {name: text for name, text in run["tags"].items() if "arent" not in name}
        plain[key] = {**run, "id": None, "tags": tags}
    return plain


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
    ledger.append(added(0, {}, caveat=caveat))
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
    assert set(curves) == {"psnr_y_db", "psnr_y_db_x2", "ssim", "loss/kd"}


def test_sending_again_changes_nothing(ledger, storage):
    whole_study(ledger)
    assert track(ledger, storage) == track(ledger, storage)


def test_a_study_cut_at_every_line_ends_as_the_one_never_cut(ledger, storage, tmp_path):
    whole_study(ledger)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    cut = Ledger(tmp_path / "cut" / "dfsr" / "ledger.jsonl")
    cut.path.parent.mkdir(parents=True)
    shutil.copy(storage / "mlflow.db", tmp_path / "cut" / "mlflow.db")
    for end in range(len(lines)):
        # also half of the next line, as a kill in the middle of a write leaves it
        cut.path.write_bytes(b"".join(lines[:end]) + lines[end][: len(lines[end]) // 2])
        for run in track(cut, tmp_path / "cut").values():
            assert run["status"] != "RUNNING"
    shutil.copy(ledger.path, cut.path)
    never_cut = track(ledger, storage)
    assert without_ids(track(cut, tmp_path / "cut")) == without_ids(never_cut)


def test_runs_of_unfinished_trials_are_reopened_and_finished_later(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    interrupted = by_trial(track(ledger, storage))
    assert {run["status"] for run in interrupted.values()} == {"KILLED"}

    ledger.append(driver_started(2))
    running = tracker(ledger, TrackingStore.resolve(None, storage))
    running.start()
    wait_until(lambda: {run["status"] for run in held(storage).values()} == {"RUNNING"})
    # killed here; the next driver finds the runs as they were left
    report(ledger, "0000", 20, 28.0, "complete")
    ledger.append(study_ended())
    assert running.close()
    finished = by_trial(held(storage))
    assert {run["status"] for run in finished.values()} == {"FINISHED"}
    assert finished["0000"]["id"] == interrupted["0000"]["id"]
    assert [step for step, *_ in finished["0000"]["curves"]["psnr_y_db"]] == [10, 20]


def test_reports_arrive_while_the_study_runs(ledger, storage):
    begin(ledger)
    running = tracker(ledger, TrackingStore.resolve(None, storage))
    running.start()
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    wait_until(lambda: "psnr_y_db" in by_trial(held(storage)).get("0000", {}).get("curves", {}))
    assert by_trial(held(storage))["0000"]["status"] == "RUNNING"
    assert running.close()


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


def test_a_point_that_cannot_be_configured_is_recorded_as_it_is(ledger, storage):
    def refuse(point):
        raise ValueError("method.w_R: no")

    begin(ledger)
    add(ledger, 0)
    ledger.append(ended(0, "failed", "invalid: no"))
    run = by_trial(track(ledger, storage, params_of=refuse))["0000"]
    assert run["params"] == {"method.w_R": "0.5"}


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

    def failing(name, real):
        def call(self, *args, **kwargs):
            calls[name] += 1
            # The server has done it, and its answer is lost: the worst way to fail.
            result = real(self, *args, **kwargs)
            if zlib.crc32(f"{name}{calls[name]}".encode()) % 3 == 0:
                raise ConnectionError("gone")
            return result

        return call

    monkeypatch.setattr("tune_sr.tracking.tracker._PERIOD_S", 0.01)
    for name in calls:
        monkeypatch.setattr(MlflowClient, name, failing(name, getattr(MlflowClient, name)))
    running = tracker(ledger, TrackingStore.resolve(None, storage), experiment="flaky")
    running.start()
    assert running.close()
    assert sum(calls.values()) > 20  # it had to ask again
    assert without_ids(held(storage, "flaky")) == undisturbed


def test_a_locked_database_is_waited_for(ledger, storage):
    whole_study(ledger)
    lock = sqlite3.connect(storage / "mlflow.db", check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    threading.Timer(2.0, lock.rollback).start()
    assert set(by_trial(track(ledger, storage))) == {None, "0000", "0001", "0002"}


@pytest.mark.parametrize("answers", [False, True], ids=["dead", "never answering"])
def test_a_server_out_of_reach_holds_nobody_up(ledger, storage, answers):
    whole_study(ledger)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not answers:
            listening.close()
        said = []
        store = TrackingStore.resolve(f"http://me:secret@127.0.0.1:{port}", storage)
        running = tracker(ledger, store, said)
        begun = time.monotonic()
        running.start()
        assert time.monotonic() - begun < 0.5
        assert running.close(timeout_s=4.0) is False
        assert time.monotonic() - begun < 6.0
    assert "--resume" in said[-1]
    assert "secret" not in "".join(said)
    assert set(by_trial(track(ledger, storage))) == {None, "0000", "0001", "0002"}  # sent later


class Server:
    """MLflow's own server, in this process; it can be away, and it can take its time."""

    def __init__(self, storage, port):
        self.port, self.answered = port, 0
        self.answers = threading.Event()
        self.answers.set()
        self._storage = storage
        self._served = None

    def __call__(self, environ, start_response):
        from mlflow.server import app

        assert self.answers.wait(30)
        self.answered += 1
        return app(environ, start_response)

    def start(self):
        from werkzeug.serving import make_server

        self._served = make_server("127.0.0.1", self.port, self, threaded=True)
        threading.Thread(target=self._served.serve_forever, daemon=True).start()

    def stop(self):
        self._served.shutdown()
        self._served.server_close()


@pytest.fixture
def server(storage, monkeypatch):
    """Not started yet."""
    from mlflow.server import handlers

    monkeypatch.setattr("tune_sr.tracking.tracker._PERIOD_S", 0.05)
    monkeypatch.setattr(handlers, "_tracking_store", None)
    handlers.initialize_backend_stores(
        f"sqlite:///{storage / 'mlflow.db'}", default_artifact_root=str(storage / "served")
    )
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return Server(storage, port)


def served(ledger, server, said):
    store = TrackingStore.resolve(f"http://127.0.0.1:{server.port}", ledger.path.parent)
    running = tracker(ledger, store, said, experiment="served")
    running.start()
    return running


def test_a_server_that_is_down_at_the_start_gets_everything_once_it_is_there(
    ledger, storage, server
):
    said = []
    running = served(ledger, server, said)
    whole_study(ledger)
    wait_until(lambda: said)
    assert "trials go on, what it misses is sent later" in said[0]
    server.start()
    wait_until(lambda: len(said) > 1)
    assert said[1].endswith("it answers again")
    assert running.close(), said
    server.stop()
    assert without_ids(held(storage, "served")) == without_ids(track(ledger, storage))


def test_a_server_that_is_killed_in_the_middle_misses_nothing(ledger, storage, server):
    said = []
    server.start()
    running = served(ledger, server, said)
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 10, 27.0)
    wait_until(
        lambda: "ssim" in by_trial(held(storage, "served")).get("0000", {"curves": ()})["curves"]
    )
    server.stop()
    add(ledger, 1)
    report(ledger, "0000", 20, 28.0, "complete")
    report(ledger, "0001", 10, 26.0, "stop")
    wait_until(lambda: said)
    server.start()
    ledger.append(study_ended())
    assert running.close(), said
    server.stop()
    assert without_ids(held(storage, "served")) == without_ids(track(ledger, storage))


def test_nobody_waits_for_a_server_that_takes_its_time(ledger, storage, server):
    said = []
    server.answers.clear()
    server.start()
    running = served(ledger, server, said)
    whole_study(ledger)  # a driver at work: it writes, and MLflow has not said a word
    assert server.answered == 0
    threading.Timer(1.0, server.answers.set).start()
    assert running.close(), said
    assert said == []
    server.stop()
    assert without_ids(held(storage, "served")) == without_ids(track(ledger, storage))


@pytest.mark.timeout(180)  # MLflow's migrations, twice, one after the other
def test_two_drivers_that_make_the_database_at_once_are_silent(ledger, storage):
    whole_study(ledger)
    (storage / "mlflow.db").unlink()  # its migrations want to speak, and break each other
    script = """
import sys
from pathlib import Path
from tune_sr.tracking.store import TrackingStore
from tune_sr.tracking.tracker import MlflowTracker
assert not {"mlflow", "torch", "ray"} & set(sys.modules)
ledger, storage, experiment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
store = TrackingStore.resolve(None, storage)
tracker = MlflowTracker(ledger, store, experiment=experiment, params_of=dict, say=print)
tracker.start()
assert tracker.close(timeout_s=150.0)
"""
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", script, ledger.path, storage, experiment],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for experiment in ("one", "two")
    ]
    assert [(driver.communicate()[0], driver.returncode) for driver in drivers] == [(b"", 0)] * 2
    for experiment in ("one", "two"):
        assert set(by_trial(held(storage, experiment))) == {None, "0000", "0001", "0002"}


@pytest.mark.parametrize("uri", ["./mlruns", "/somewhere/mlruns", "file:///mlruns", "ftp://x"])
def test_a_store_that_mlflow_does_not_have_is_refused(uri, tmp_path):
    with pytest.raises(ValueError, match=r"say sqlite:///FILE\.db or http://HOST:PORT"):
        TrackingStore.resolve(uri, tmp_path)


def test_the_address_given_comes_before_the_environments(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    default = TrackingStore.resolve(None, tmp_path)
    assert default.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert default.artifacts == f"file://{tmp_path}/mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert TrackingStore.resolve(None, tmp_path) == TrackingStore(
        "http://there:5000", "http://there:5000", None
    )
    other = TrackingStore.resolve(f"sqlite:///{tmp_path}/other/db.sqlite", tmp_path)
    assert other.artifacts == f"file://{tmp_path}/other/mlartifacts"


def wait_until(holds, seconds=30.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)


def test_a_tag_of_the_study_holds_for_all_of_its_trials():
    words = {"method": "dfsr", "student": "vdsr 6x8", "teacher": "vdsr"}
    for search, common in (
        ({"method.w_R": {}}, {"method", "student", "teacher"}),
        ({"method.name": {}, "method.w_R": {}}, {"student", "teacher"}),
        ({"student.width_mult": {}}, {"method", "teacher"}),
    ):
        study_run = StudyRun()
        study_run.apply(as_read(study_started({"search": search})))
        assert set(study_run.study_labels(words)) == common
