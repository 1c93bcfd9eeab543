"""What a preset means: the values that belong together where paper and released code differ."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from trainables.values import Colour

_ADAM = {"name": "adam", "lr": 1e-4, "weight_decay": 0.0, "clip": None}
_VDSR_SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "clip": 0.4}
_RGB: dict[str, dict[str, Any]] = {
    # EDSR's code base, in which [DFSR] was written for it, computes on 0..255.
    "method": {"loss": "l1_mean", "loss_range": 255.0},
    # x 0.5 at 200 of 300 epochs is EDSR's own; [DFSR] does not say.
    "optimiser": {**_ADAM, "schedule": {"at": 2 / 3, "factor": 0.5}},
    "batch": {"images": 16},
}

PRESETS: dict[Colour, dict[str, dict[str, dict[str, Any]]]] = {
    "y": {
        # Rate, clip and w_R = 1 of the released VDSR code belong to its summed squares.
        "released": {"method": {"loss": "mse_sum", "loss_range": 1.0}, "optimiser": _VDSR_SGD},
        # The printed mean L1 gives gradients far below that clip: Adam takes its place.
        "paper": {"method": {"loss": "l1_mean", "loss_range": 1.0}, "optimiser": _ADAM},
    },
    # For RGB students no data-free code was released, and EDSR's own says what its paper does.
    "rgb": {"paper": _RGB, "released": _RGB},
}
"""By the student's colour and `method.preset`: what is filled in where the user says nothing."""

LUMA_NETWORKS = ("vdsr",)
"""Students of colour `y`, by name: this module lies below the networks."""

_DFSR_ON_EDSR = {"generator_lr": 1e-6, "generator_schedule": "constant"}
RGB_METHODS: dict[str, dict[str, Any]] = {
    "dfad": _DFSR_ON_EDSR,
    "dfsr": {**_DFSR_ON_EDSR, "part_fraction": 80 / 300},
}
"""By method: what [DFSR] says of EDSR, filled in for all RGB students."""


def expand_presets(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested configuration, completed by its preset; a teacher's scales by the student.

    Never overrides what is there, and does nothing to what it does not understand: checking is
    `TrialConfig`'s business.

    >>> raw = {"method": {"name": "dfsr"}, "student": {"name": "vdsr"}}
    >>> expand_presets(raw)["method"]["loss"], expand_presets(raw)["method"]["loss_range"]
    ('mse_sum', 1.0)
    >>> expand_presets(raw | {"student": {"name": "edsr"}})["method"]["loss_range"]
    255.0
    """
    raw = copy.deepcopy(dict(mapping))
    method = raw.get("method")
    if isinstance(method, dict):
        colour = _colour(raw.get("student"))
        name = str(method.setdefault("preset", "released" if colour == "y" else "paper"))
        preset = PRESETS[colour].get(name, {})
        only = RGB_METHODS.get(str(method.get("name")), {}) if colour == "rgb" and preset else {}
        raw["method"] = {**preset.get("method", {}), **only, **method}
        raw["optimiser"] = _optimiser(raw.get("optimiser", {}), preset.get("optimiser", {}))
        batch = raw.get("batch", {})
        if "batch" in preset and isinstance(batch, dict):
            raw["batch"] = {**preset["batch"], **batch}
    _teacher_follows_student(raw)
    return raw


def _colour(student: Any) -> Colour:
    known = isinstance(student, dict) and "name" in student
    return "rgb" if known and student["name"] not in LUMA_NETWORKS else "y"


def _optimiser(given: Any, preset: dict[str, Any]) -> Any:
    if not isinstance(given, dict):
        return given
    name = given.get("name", preset.get("name"))
    if name != preset.get("name"):
        return {**(_ADAM if name == "adam" else _VDSR_SGD if name == "sgd" else {}), **given}
    filled = {**preset, **given}
    if isinstance(given.get("schedule"), dict):
        filled["schedule"] = {**preset.get("schedule", {}), **given["schedule"]}
    return filled


def _teacher_follows_student(raw: dict[str, Any]) -> None:
    student, teacher = raw.get("student"), raw.get("teacher")
    if not isinstance(student, dict) or not isinstance(teacher, dict):
        return
    if "scale" not in teacher and "scales" not in teacher:
        for key in ("scale", "scales"):
            if key in student:
                teacher[key] = student[key]
    weights = teacher.get("weights")
    if isinstance(weights, str) and "{scale}" in weights:
        scales = student.get("scales", [student["scale"]] if "scale" in student else [])
        if isinstance(scales, list | tuple) and len(scales) == 1:
            teacher["weights"] = weights.replace("{scale}", str(scales[0]))
