"""What a preset means: the values that belong together where paper and released code differ."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_ADAM = {"name": "adam", "lr": 1e-4, "weight_decay": 0.0, "clip": None}
_VDSR_SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "clip": 0.4}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # Rate, clip and w_R = 1 of the released VDSR code belong to its summed squares.
    "released": {"method": {"loss": "mse_sum", "loss_range": 1.0}, "optimiser": _VDSR_SGD},
    # The printed mean L1 gives gradients far below that clip: Adam takes its place.
    "paper": {"method": {"loss": "l1_mean", "loss_range": 1.0}, "optimiser": _ADAM},
}
"""By `method.preset`: what is filled in where the user says nothing."""


def expand_presets(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested configuration, completed by its preset; a teacher's scales by the student.

    Never overrides what is there, and does nothing to what it does not understand: checking is
    `TrialConfig`'s business.

    >>> raw = {"method": {"name": "dfsr", "preset": "paper", "loss_range": 255}}
    >>> expand_presets(raw)["method"]["loss"], expand_presets(raw)["method"]["loss_range"]
    ('l1_mean', 255)
    """
    raw = copy.deepcopy(dict(mapping))
    method = raw.get("method")
    if isinstance(method, dict):
        preset = PRESETS.get(str(method.setdefault("preset", "released")), {})
        raw["method"] = {**preset.get("method", {}), **method}
        raw["optimiser"] = _optimiser(raw.get("optimiser", {}), preset.get("optimiser", {}))
    _teacher_follows_student(raw)
    return raw


def _optimiser(given: Any, preset: dict[str, Any]) -> Any:
    if not isinstance(given, dict):
        return given
    name = given.get("name", preset.get("name"))
    if name == preset.get("name"):
        return {**preset, **given}
    return {**(_ADAM if name == "adam" else _VDSR_SGD if name == "sgd" else {}), **given}


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
