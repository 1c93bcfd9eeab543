"""The best student is one model in MLflow, which opens with torch and mlflow alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from events import study_ended
from exported import TOYS, WITHOUT_US, expected
from tracked_studies import (
    add,
    begin,
    by_trial,
    held,
    models,
    report,
    track,
    whole_study,
    write_outcome,
)

from trainables.networks import build_network
from tune_sr.exporting.graphs import pt2_bytes, trace
from tune_sr.exporting.interface import Upscaler
from tune_sr.tracking.logged_model import log_student, notes_in

ALONE = (
    WITHOUT_US
    + """import mlflow, torch
store, model, given = sys.argv[1:]
mlflow.set_tracking_uri(store)
network = mlflow.pytorch.load_model(model)
served = mlflow.pyfunc.load_model(model)
worst = 0.0
for image, upscaled in torch.load(given, weights_only=True):
    found = network(image).detach()
    same = torch.from_numpy(served.predict(image.numpy()))
    worst = max(worst, float((found - upscaled).abs().max()), float((found - same).abs().max()))
print(worst)
"""
)
SIZES = ((1, 5, 9), (2, 24, 17), (1, 37, 41))


def test_it_opens_with_our_packages_absent_and_pickle_off(ledger, storage, tmp_path):
    from mlflow import MlflowClient

    network = build_network(TOYS["vdsr"], seed=1)
    whole_study(ledger)
    write_outcome(ledger.path.parent)
    graph = ledger.path.parent / "best" / "student.pt2"
    notes = notes_in(graph)
    graph.write_bytes(pt2_bytes(trace(Upscaler(network, 2)), notes))
    assert notes_in(graph) == notes
    track(ledger, storage)

    store = f"sqlite:///{storage / 'mlflow.db'}"
    run = by_trial(held(storage))["0000"]["id"]
    (output,) = MlflowClient(store).get_run(run).outputs.model_outputs
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(n, 3, *sides, generator=generator) for n, *sides in SIZES]
    torch.save([(each, expected(network, each, 2)) for each in images], tmp_path / "cases.pt")
    words = [
        sys.executable,
        "-c",
        ALONE,
        store,
        f"models:/{output.model_id}",
        tmp_path / "cases.pt",
    ]
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_it_is_logged_once_when_the_study_is_finished(ledger, storage):
    begin(ledger)
    add(ledger, 0)
    report(ledger, "0000", 20, 28.0, "complete")
    write_outcome(ledger.path.parent)
    track(ledger, storage)
    assert models(storage) == [], "the study is not finished"
    ledger.append(study_ended())
    track(ledger, storage)
    (model,) = models(storage)
    assert (model["trial"], model["name"], model["outputs"]) == ("0000", "student", [20])
    assert model["tags"] == {
        "tune_sr.study_id": "a" * 32, "trial": "0000", "step": "20", "best": "true",
    }  # fmt: skip
    assert model["params"] == {"study": "dfsr", "trial": "0000", "step": "20", "scale": "2"}
    track(ledger, storage)
    assert models(storage) == [model]


def test_of_an_extended_study_the_new_student_is_the_best(ledger, storage):
    whole_study(ledger)
    for step in (10, 20):
        write_outcome(ledger.path.parent, step)
        track(ledger, storage)
    found = {model["tags"]["step"]: model["tags"].get("best") for model in models(storage)}
    assert found == {"10": None, "20": "true"}


def test_a_server_without_models_gets_all_the_rest(tmp_path):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INTERNAL_ERROR

    graph = tmp_path / "student.pt2"
    with zipfile.ZipFile(graph, "w") as archive:
        archive.writestr("x/extra/notes.json", json.dumps({"trial": "0000"}))

    class Server:
        def __init__(self, code):
            self.code = code

        def search_logged_models(self, *_, **__):
            raise MlflowException("no", self.code)

    log_student(Server(ENDPOINT_NOT_FOUND), "1", "run", graph, {})
    with pytest.raises(MlflowException):
        log_student(Server(INTERNAL_ERROR), "1", "run", graph, {})
    graph.write_bytes(b"no archive")
    assert notes_in(graph) == {}
