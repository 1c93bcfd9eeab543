"""Ledgers as drivers write them, and what MLflow holds of such a study."""

from __future__ import annotations

import json
import time
import zipfile

from events import added, driver_started, ended, reported, study_ended, study_started

from trainables.dotted import leaves
from tune_sr.tracking.messages import TrackingSettings
from tune_sr.tracking.sender import LedgerSender
from tune_sr.tracking.store import TrackingStore

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


def refuse(reason):
    raise AssertionError(reason)


def sender(
    ledger, storage, *, params_of=params_of, on_failure=refuse, growth_of=lambda point: 0, **changes
):
    settings = {"experiment": "laptop", "tags": {"searcher": "tpe"}, "period_s": 0.05}
    settings |= {"summary_keys": SUMMARY_KEYS, **changes}
    return LedgerSender(
        TrackingSettings(ledger.path, TrackingStore.resolve(None, storage), **settings),
        lambda point: dict(leaves(params_of(point))),
        on_failure=on_failure,
        on_success=lambda: None,
        growth_of=growth_of,
    )


def track(ledger, storage, **changes):
    """A driver's life as the sender sees it, from start to close."""
    running = sender(ledger, storage, **changes)
    running.stop()
    running.run()
    return held(storage, changes.get("experiment", "laptop"))


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


def write_outcome(folder, step=20):
    """The best student of `whole_study` as a driver leaves it, of a graph only the notes."""
    (folder / "best").mkdir(exist_ok=True)
    summary = {"best": {"trial": "0000", "step": step}, "finished": True}
    (folder / "summary.json").write_text(json.dumps(summary))
    notes = {"study": folder.name, "trial": "0000", "step": str(step), "scale": "2"}
    with zipfile.ZipFile(folder / "best" / "student.pt2", "w") as graph:
        graph.writestr("x/extra/notes.json", json.dumps(notes))


def write_pictures(folder, trial="0000", steps=(0, 10, 20)):
    """The pictures of a trial as it leaves them."""
    from PIL import Image

    for kind in ("imagined", "detail"):
        pictures = folder / "trials" / "start-001" / trial / kind
        pictures.mkdir(parents=True)
        for step in steps:
            Image.new("L", (8, 8), step).save(pictures / f"step-{step:06d}.png")


def images(storage, experiment="laptop"):
    """The images of each trial that MLflow holds: their names, and what they show."""
    from mlflow import MlflowClient
    from PIL import Image

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    found = {}
    for trial, run in by_trial(held(storage, experiment)).items():
        for file in client.list_artifacts(run["id"], "images"):
            with Image.open(client.download_artifacts(run["id"], file.path)) as image:
                shown = image.convert("L").getpixel((0, 0))
            assert run["tags"]["mlflow.loggedImages"] == "True"
            found.setdefault(trial, {})[file.path] = shown
    return found


def models(storage, experiment="laptop"):
    """What MLflow holds of models: trial -> what must not depend on when it was logged."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    trials = {run["id"]: trial for trial, run in by_trial(held(storage, experiment)).items()}
    return [
        {
            "trial": trials[model.source_run_id],
            "name": model.name,
            "status": str(model.status),
            "tags": {key: text for key, text in model.tags.items() if "mlflow." not in key},
            "params": model.params,
            "outputs": [
                output.step
                for output in client.get_run(model.source_run_id).outputs.model_outputs
                if output.model_id == model.model_id
            ],
        }
        for model in client.search_logged_models([found.experiment_id])
    ]
