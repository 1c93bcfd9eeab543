"""A sound space for attempts that go wrong elsewhere: a teacher, two images, seconds of work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from events import added, driver_started, ended, reported, study_started
from PIL import Image

from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from tune_sr.ledger.ledger import Ledger
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.study.space_file import load_study, to_resolved

NETWORK = {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}


def space_in(folder: Path, name: str = "toy.yaml", **study: Any) -> Path:
    """The file of a sound space in `folder`, whose studies would lie in `folder/runs`."""
    images, teacher = folder / "images", folder / "teacher.safetensors"
    if not teacher.exists():
        images.mkdir()
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / "a.png")
        save_network(teacher, build_network(NETWORK, seed=7))
    content = {
        "fixed": {
            "method": {"name": "noise"},
            "student": NETWORK,
            "teacher": {**NETWORK, "weights": str(teacher)},
            "batch": {"images": 2, "patch": 16},
            "heldout": {"images": str(images), "crop": None},
            "budget": {"steps": 8, "steps_per_report": 4},
            "device": "cpu",
        },
        "search": {"optimiser.lr": {"loguniform": [0.001, 0.1]}},
        "first": [{"optimiser.lr": 0.01}],
        "study": {"trials": 3, "scheduler": "none", "storage": str(folder / "runs"), **study},
    }
    path = folder / name
    path.write_text(dump_yaml(content), encoding="utf-8")
    return path


def study_in(folder: Path) -> Path:
    """The folder of a study of two trials, the second of which has not ended."""
    space = space_in(folder)
    storage = folder / "runs"
    loaded, settings = load_study(space)
    settings = settings.with_overrides({"name": "toy", "storage": str(storage)}, loaded)
    resolved = to_resolved(loaded, settings)
    ledger = Ledger(storage / "toy" / "ledger.jsonl")
    ledger.path.parent.mkdir(parents=True)
    marks = {"bicubic": {"psnr_y_db": 30.0, "ssim": 0.9}, "teacher": None}
    ledger.append(study_started(resolved, identity="1", marks=marks))
    ledger.append(driver_started(study=resolved["study"]))
    for number in range(2):
        ledger.append(added(number, {"optimiser.lr": 0.01 + number / 100}))
        report = {"step": 4, "psnr_y_db": 30.0 + number, "ssim": 0.9}
        ledger.append(reported(number, 4, report))
    report = {"step": 8, "psnr_y_db": 31.0, "ssim": 0.9}
    ledger.append(reported(0, 8, report, "complete"))
    ledger.append(ended(0, "completed"))
    return ledger.path.parent
