"""Logs a study's best student as an MLflow model that opens without this project's packages."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

NAME: Final = "student"
"""The model's name in MLflow."""
_PT2, _REQUIREMENTS = "data/model.pt2", ("torch", "numpy")
_ABSENT = {"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"}
"""Error codes of servers that are too old to hold models: what else fails is tried again."""


def notes_in(graph: Path) -> dict[str, str]:
    """The notes that `export --format pt2` stores in a graph; empty where it has none.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(graph) as archive:
            inside = next(each for each in archive.namelist() if each.endswith("extra/notes.json"))
            return {str(key): str(value) for key, value in json.loads(archive.read(inside)).items()}
    except (zipfile.BadZipFile, StopIteration, ValueError):
        return {}


def log_student(
    client: Any, experiment_id: str, run_id: str, graph: Path, tags: Mapping[str, str]
) -> None:
    """Log a graph as the model `student` of a trial's run, unless MLflow holds it.

    A second model of the same student, as a lost answer leaves it, is deleted. Of the study's
    models the last one logged has the tag `best`.

    Args:
        client: an `MlflowClient`.
        experiment_id: the experiment of the run.
        run_id: the run of the trial whose student it is.
        graph: the student as torch.export's pt2 file.
        tags: tags by which all models of the study are found.

    Raises:
        Exception: whatever mlflow raises, except where the server has no models.
    """
    from mlflow.exceptions import MlflowException

    try:
        _log_student(client, experiment_id, run_id, graph, tags)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise


def _log_student(
    client: Any, experiment_id: str, run_id: str, graph: Path, tags: Mapping[str, str]
) -> None:
    from mlflow.entities import LoggedModelOutput

    notes = notes_in(graph)
    mine: dict[str, str] = {**tags}
    mine |= {key: notes[key] for key in ("trial", "step") if key in notes}
    known = _models(client, experiment_id, tags)
    same = [
        each for each in known if each.source_run_id == run_id and mine.items() <= each.tags.items()
    ]
    same.sort(key=lambda each: (str(each.status) != "READY", each.creation_timestamp))
    for twin in same[1:]:
        client.delete_logged_model(twin.model_id)
    model = (
        same[0]
        if same
        else client.create_logged_model(
            experiment_id, NAME, source_run_id=run_id, tags=mine, params=notes
        )
    )
    if str(model.status) != "READY":
        with tempfile.TemporaryDirectory() as folder:
            _write_model(Path(folder), graph, model, run_id)
            client.log_model_artifacts(model.model_id, folder)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, int(notes.get("step", 0)))])
        client.finalize_logged_model(model.model_id, "READY")
    for each in known:
        if each.model_id != model.model_id and "best" in each.tags and each not in same:
            client.delete_logged_model_tag(each.model_id, "best")
    client.set_logged_model_tags(model.model_id, {"best": "true"})


def _models(client: Any, experiment_id: str, tags: Mapping[str, str]) -> list[Any]:
    text = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    models: list[Any] = []
    token: str | None = None
    while token != "":
        page = client.search_logged_models([experiment_id], text, page_token=token)
        models, token = models + list(page), page.token or ""
    return models


def _write_model(folder: Path, graph: Path, model: Any, run_id: str) -> None:
    """Write MLflow's model format around a graph, with the flavours `pytorch` and `pyfunc`.

    `mlflow.pytorch.log_model` would trace the network again, in a process that needs torch.
    """
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = Schema([TensorSpec(np.dtype(np.float32), (-1, 3, -1, -1))])  # named, pyfunc refuses it
    (folder / _PT2).parent.mkdir()
    shutil.copyfile(graph, folder / _PT2)
    description = Model(
        model.artifact_location,
        run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
        signature=ModelSignature(images, images),
        model_size_bytes=graph.stat().st_size,
    )
    description.add_flavor(
        "pytorch", model_data="data", pytorch_version=version("torch"), code=None
    )
    environments = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
    pyfunc.add_to_model(
        description,
        loader_module="mlflow.pytorch",
        data="data",
        model_config={"device": None},
        **environments,
    )
    description.save(str(folder / "MLmodel"))
    needed = [f"{name}=={version(name).partition('+')[0]}" for name in ("mlflow", *_REQUIREMENTS)]
    python = ".".join(map(str, sys.version_info[:3]))
    files = {
        "requirements.txt": needed,
        "python_env.yaml": [
            f"python: {python}",
            "build_dependencies:",
            "- pip",
            "dependencies:",
            "- -r requirements.txt",
        ],
        "conda.yaml": [
            "name: mlflow-env",
            "channels:",
            "- conda-forge",
            "dependencies:",
            f"- python={python}",
            "- pip",
            "- pip:",
            *(f"  - {each}" for each in needed),
        ],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
