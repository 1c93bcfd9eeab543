"""Presets of methods: sets of values that belong together, where paper and released code differ."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Sections = dict[str, Any]
"""Sections of a nested configuration by key, or plain values."""

_ADAM: Sections = {"name": "adam", "lr": 1e-4, "weight_decay": 0.0, "clip": None}
_ADAMW: Sections = {"name": "adamw", "weight_decay": 0.01}
"""What differs from Adam's; the weight decay is torch's default."""
_VDSR_SGD: Sections = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "clip": 0.4}

_IMAGES: Sections = {"batch": {"images": 16}}
# EDSR's code base, in which [DFSR] was written for it, computes on 0..255.
_ON_255: Sections = {"method": {"loss": "l1_mean", "loss_range": 255.0}}

# x 0.1 at 100,000 and 200,000 of DUKD's 250,000 updates.
_DUKD_ADAM: Sections = {**_ADAM, "betas": [0.9, 0.99], "schedule": {"at": 0.4, "factor": 0.1}}
_DATA_DRIVEN: dict[str, Sections] = {
    "scratch": _DUKD_ADAM,
    "kd": _DUKD_ADAM,
    # x 0.5 at 150 of FAKD's 200 epochs; x 0.1 at 200 of CSD's 400.
    "fakd": {**_ADAM, "schedule": {"at": 0.75, "factor": 0.5}},
    "csd": {**_ADAM, "schedule": {"at": 0.5, "factor": 0.1}},
    "dukd": _DUKD_ADAM,
    # [ECO]'s cosine; its Lamb, at 3.2e-3 for 128 images, is not here.
    "eco": {**_ADAM, "schedule": {"kind": "cosine"}},
    "dckd": _DUKD_ADAM,
}
"""Optimisers of RGB students in the papers of the methods that learn from images, by method."""

# x 0.5 at 200 of 300 epochs is EDSR's own; [DFSR] does not say.
_DFSR_ON_EDSR: Sections = {"optimiser": {**_ADAM, "schedule": {"at": 2 / 3, "factor": 0.5}}}
_GENERATOR_ON_EDSR: Sections = {"generator_lr": 1e-6, "generator_schedule": "constant"}
_GROWING_ON_EDSR: Sections = {**_GENERATOR_ON_EDSR, "part_fraction": 80 / 300}

_VDSR: dict[str, Sections] = {
    # Rate, clip and w_R = 1 of the released VDSR code belong to its summed squares.
    "released": {"method": {"loss": "mse_sum", "loss_range": 1.0}, "optimiser": _VDSR_SGD},
    # The printed mean L1 gives gradients far below that clip: Adam takes its place.
    "paper": {"method": {"loss": "l1_mean", "loss_range": 1.0}, "optimiser": _ADAM},
}
_W_C = {"released": {"method": {"W_C": 1.0}}, "paper": {"method": {"W_C": 1e-3}}}
"""W_C of DFSR+CMI by preset: the size of its contrastive term does not follow `loss_range`."""

_WEIGHTS: dict[str, dict[str, Sections]] = {
    "kd": {},  # its weight is 1 by every source
    "dukd": {
        "paper": {"method": {"lambda_kd": 1.0, "lambda_dukd": 1.0}},
        "released": {
            "method": {
                "zoom_in": "grid",
                "augment_on": "zi",
                "zoom_out_pix": True,
                "update": "released",
            }
        },
    },
}
"""Presets of methods with a third one, `default`: the paper's method with the released weights."""

EARLIER_DEFAULTS: dict[tuple[str, str], Sections] = {
    ("kd", "default"): {"lambda_kd": 0.2},
    ("kd", "released"): {"lambda_kd": 0.2},
}
"""Settings of methods, by name and preset, as they were before their defaults were corrected:
studies that were begun with them go on with them."""

LUMA_NETWORKS = ("vdsr",)
"""Names of networks of colour `y`; listed here because this module may not import the networks."""


def sections_of(method: str, preset: str, student: str) -> list[Sections]:
    """Return the sections that complete a configuration, in ascending priority.

    Args:
        method: the method's name.
        preset: the preset's name.
        student: the name of the student's network.

    >>> merged(sections_of("kd", "default", "edsr"))["ema"]
    0.999
    """
    luma = student in LUMA_NETWORKS
    if method in _DATA_DRIVEN and not (luma and method == "scratch"):
        sections = [_IMAGES, {"optimiser": _DATA_DRIVEN[method]}]
        sections += [_ON_255] if method == "scratch" else []  # the others know no other loss
        # DUKD's release validates an average of the weights, so its table is of such; VDSR's
        # papers know none.
        sections += [] if luma else [{"ema": 0.999}]
        if method == "dukd" and student == "swinir":
            sections += [{"method": {"zoom_out": False}}]  # "too small" an image, says the paper
        return [*sections, _WEIGHTS.get(method, {}).get(preset, {})]
    if luma:
        return [_VDSR.get(preset, {}), _W_C.get(preset, {}) if method == "dfsr_cmi" else {}]
    generator = {"dfad": _GENERATOR_ON_EDSR, "dfsr": _GROWING_ON_EDSR, "dfsr_cmi": _GROWING_ON_EDSR}
    known = preset in _VDSR  # an unknown preset is refused later, without other problems
    return [_IMAGES, _ON_255, _DFSR_ON_EDSR, {"method": generator.get(method, {})}] if known else []


def default_preset(method: str, student: str) -> str | None:
    """Return the preset used where none is given; None for a method without presets.

    >>> default_preset("dfsr", "vdsr"), default_preset("dfsr", "edsr"), default_preset("csd", "")
    ('released', 'paper', None)
    """
    if method in ("fakd", "csd", "eco", "dckd"):
        return None  # their code fixes what their papers leave open
    if method in _WEIGHTS:
        return "default"
    return "released" if student in LUMA_NETWORKS else "paper"


def merged(sections: list[Sections]) -> Sections:
    """Merge sections into a new mapping; values of later ones win."""
    result: Sections = {}
    for each in sections:
        for key, value in each.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = {**result[key], **value} if both else value
    return result


def expand_presets(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a nested configuration and complete it: by its preset, and the teacher's scales.

    The teacher gets the student's scales. Values that are given are never changed. Nothing is
    checked here; `TrialConfig` does that.

    >>> raw = {"method": {"name": "dfsr"}, "student": {"name": "vdsr"}}
    >>> expand_presets(raw)["method"]["loss"], expand_presets(raw)["method"]["loss_range"]
    ('mse_sum', 1.0)
    >>> expand_presets(raw | {"student": {"name": "edsr"}})["method"]["loss_range"]
    255.0
    """
    raw = copy.deepcopy(dict(mapping))
    method = raw.get("method")
    if isinstance(method, dict):
        name, student = str(method.get("name")), _student_name(raw)
        preset = default_preset(name, student)
        if preset is not None:
            preset = str(method.setdefault("preset", preset))
        # A deep copy: the caller may change the result, which must not change the presets.
        _complete(raw, copy.deepcopy(merged(sections_of(name, str(preset), student))))
    _teacher_follows_student(raw)
    return raw


def _student_name(raw: Mapping[str, Any]) -> str:
    """Return the student's network: its own `name`, else its teacher's, whose slice it is."""
    for part in ("student", "teacher"):
        section = raw.get(part)
        if isinstance(section, dict) and "name" in section:
            return str(section["name"])
    return LUMA_NETWORKS[0]


def _complete(raw: dict[str, Any], filled: Sections) -> None:
    for section, values in filled.items():
        given = raw.get(section, {})
        if section == "optimiser":
            raw[section] = _optimiser(given, values)
        elif isinstance(values, dict):
            raw[section] = {**values, **given} if isinstance(given, dict) else given
        else:
            raw.setdefault(section, values)


def _optimiser(given: Any, preset: dict[str, Any]) -> Any:
    if not isinstance(given, dict):
        return given
    name = given.get("name", preset.get("name"))
    if name == "adamw" and preset.get("name") == "adam":
        preset = {**preset, **_ADAMW}  # betas and schedule are the papers' own all the same
    if name != preset.get("name"):
        known = {"sgd": _VDSR_SGD, "adam": _ADAM, "adamw": {**_ADAM, **_ADAMW}}
        return {**known.get(str(name), {}), **given}
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
