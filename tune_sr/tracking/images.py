"""Logs a trial's pictures under MLflow's own names, so that its pages show them over steps."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "images"
"""MLflow's folder for them in a run's artifacts."""
_TAG: Final = "mlflow.loggedImages"
_NAMESPACE = uuid.UUID("6f1f1f34-6a0b-4d3f-9f1e-0d5c7f6f2a11")


def image_name(key: str, step: int, timestamp_ms: int, whose: str) -> str:
    """The name of an image without suffix, as `MlflowClient.log_image` makes it.

    Its identifier follows from what it shows, so that sending it again leaves one image.

    Args:
        key: what is shown.
        step: the student update.
        timestamp_ms: in milliseconds since 1970.
        whose: study and trial.
    """
    identifier = uuid.uuid5(_NAMESPACE, f"{whose}/{key}/{step}")
    return f"{key}+step+{step}+timestamp+{timestamp_ms}+{identifier}"


def log_images(
    client: Any,
    run_id: str,
    pictures: Mapping[str, Mapping[int, Path]],
    timestamp_ms: int,
    whose: str,
) -> None:
    """Log those of a trial's pictures that its run lacks, in one request.

    Args:
        client: an `MlflowClient`.
        run_id: the trial's run.
        pictures: by key and student update, PNG files.
        timestamp_ms: of all of them, in milliseconds since 1970.
        whose: study and trial.
    """
    wanted = {
        image_name(key, step, timestamp_ms, whose): path
        for key, files in pictures.items()
        for step, path in files.items()
    }
    if not wanted:
        return
    held = {Path(each.path).name for each in client.list_artifacts(run_id, FOLDER)}
    with tempfile.TemporaryDirectory() as folder:
        fresh = [
            file
            for name, path in wanted.items()
            for file in _written(Path(folder), name, path)
            if file.name not in held
        ]
        if fresh:
            client.log_artifacts(run_id, folder, FOLDER)
            client.set_tag(run_id, _TAG, True)


def _written(folder: Path, name: str, path: Path) -> list[Path]:
    """The picture, and the smaller file that MLflow's grid shows; none where it is gone."""
    from PIL import Image

    whole, small = folder / f"{name}.png", folder / f"{name}+compressed.webp"
    try:
        shutil.copyfile(path, whole)
        with Image.open(whole) as picture:
            picture.convert("RGB").save(small, lossless=True)
    except (OSError, ValueError):  # pruned meanwhile, or damaged
        whole.unlink(missing_ok=True)
        small.unlink(missing_ok=True)
        return []
    return [whole, small]
