"""Trials to measure: every method on every backbone, at a size for a CPU, a GPU or a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.images import Images
from trainables.methods import METHODS
from trainables.networks import NETWORKS, build_network
from trainables.networks.checkpoint import save_network
from trainables.values import Pairs

Sizes = Mapping[str, Mapping[str, int]]

STUDENTS: dict[str, Sizes] = {
    "toy": {
        "vdsr": {"features": 8, "blocks": 6},
        "edsr": {"features": 12, "blocks": 2},
        "rcan": {"features": 8, "blocks": 1, "groups": 4},
        "swinir": {"features": 12, "blocks": 2, "layers": 2, "heads": 2},
        "compact": {"features": 12, "blocks": 2},
        "span": {"features": 12, "blocks": 2},
    },
    "cpu": {
        "vdsr": {"features": 32, "blocks": 18},
        "edsr": {"features": 32, "blocks": 8},
        "rcan": {"features": 32, "blocks": 4, "groups": 2},
        "swinir": {"features": 30, "blocks": 2, "layers": 2, "heads": 2},
        "compact": {"features": 32, "blocks": 8},
        "span": {"features": 32, "blocks": 4},
    },
    "gpu": {
        "vdsr": {"features": 32, "blocks": 18},
        "edsr": {"features": 64, "blocks": 16},
        "rcan": {"features": 64, "blocks": 6, "groups": 5},
        "swinir": {"features": 60, "blocks": 4, "layers": 6, "heads": 6},
        "compact": {"features": 64, "blocks": 16},
        "span": {"features": 48, "blocks": 6},
    },
}
"""By size: VDSR's is the papers' half-wide student; EDSR's for a GPU is its baseline."""

PATCHES = {"toy": {"y": 16, "rgb": 16}, "cpu": {"y": 48, "rgb": 24}, "gpu": {"y": 48, "rgb": 48}}
"""Side at the body's input, by size and colour."""

SHIPPED = ("vdsr", "edsr")
"""Networks of which a teacher ships for scale 2; it teaches but in toys, and but for CSD, which
needs a teacher of its student's depth."""


def trial(
    method: str, network: str, size: str, folder: Path, *, images: int = 4, **sections: Any
) -> dict[str, Any]:
    """A nested configuration of a method on a backbone, at scale 2 and a constant rate.

    Args:
        method: a key of `METHODS`.
        network: a key of `NETWORKS`, of the student and of its teacher.
        size: a key of `STUDENTS`.
        folder: where teachers that do not ship are made, with random parameters.
        images: in a batch.
        sections: what else differs; a mapping is laid over its section.
    """
    colour, kind = NETWORKS[network].colour, METHODS[method]
    raw: dict[str, Any] = {
        "seed": 0,
        "method": {"name": method},
        "student": {"name": network, **STUDENTS[size][network], "scale": 2},
        "batch": {"images": images, "patch": PATCHES[size][colour]},
        "optimiser": {"schedule": None},
        "heldout": {"crop": 48 if size == "toy" else 252},
        "budget": {"steps": 1_000_000, "steps_per_report": 10},
    }
    if kind.taught:
        ships = network in SHIPPED and size != "toy" and method != "csd"
        weights = "shipped" if ships else str(_teacher(network, size, folder))
        raw["teacher"] = {"name": network, "weights": weights}
        raw["teacher"] |= {} if ships else _wide(network, size)
    if method == "csd" and network == "edsr":  # a slice has its teacher's, which width decides
        raw["student"]["res_scale"] = raw["teacher"]["res_scale"] = 0.1
    if kind.batch is Pairs:
        raw["data"] = {"images": "photos"}
    raw["method"] |= _settings(method, size)
    for key, section in sections.items():
        both = isinstance(section, dict) and isinstance(raw.get(key), dict)
        raw[key] = {**raw[key], **section} if both else section
    return raw


def _settings(method: str, size: str) -> dict[str, Any]:
    """What `METHODS` need beside their defaults: one part, so that all updates are alike."""
    settings: dict[str, Any] = {}
    if method in ("dfsr", "dfad", "dfsr_cmi"):
        settings["update_ratio"] = 50 if size == "gpu" else 5
    if method in ("dfsr", "dfsr_cmi"):
        settings["P"] = 1
    if method == "dfsr_cmi":
        settings |= {"bank_size": 256, "negatives": 64}
    if method in ("csd", "dckd"):
        settings |= {"features": "random", "negatives": 2 if size == "toy" else 4}
    return settings


def _wide(network: str, size: str) -> dict[str, int]:
    """The sizes of a teacher that is twice as wide as its student."""
    sizes = dict(STUDENTS[size][network])
    return {**sizes, "features": 2 * sizes["features"]}


def _teacher(network: str, size: str, folder: Path) -> Path:
    """A file with random parameters, so small at the tail that its images look like the input."""
    path = folder / f"{network}_{size}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wide = build_network({"name": network, **_wide(network, size), "scale": 2}, seed=7)
        for parameter in wide.tail.parameters():
            parameter.data.mul_(0.1)
        save_network(path, wide)
    return path


def pictures(count: int, side: int) -> Images:
    """Smooth random pictures, square."""
    generator = np.random.default_rng(0)
    arrays = []
    for _ in range(count):
        coarse = generator.uniform(0.0, 255.0, (side // 4, side // 4, 3))
        fine = np.kron(coarse, np.ones((4, 4, 1))) + generator.normal(0.0, 4.0, (side, side, 3))
        arrays.append(fine.clip(0, 255).astype(np.uint8))
    return Images(tuple(f"{number}.png" for number in range(count)), tuple(arrays))
