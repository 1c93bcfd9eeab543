"""Ledgers as drivers write them, and what MLflow holds of such a study."""

from __future__ import annotations

import time

from events import added, driver_started, ended, reported, study_ended, study_started

SUMMARY_KEYS = ("psnr_y_db", "ssim")
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
    ledger.append(driver_started())


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
        tags.pop("mlflow.note.content", None)  # it names the study's folder
        plain[key] = {**run, "id": None, "tags": tags}
    return plain


def wait_until(holds, seconds=30.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
