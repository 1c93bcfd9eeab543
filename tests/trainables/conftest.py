"""Toys: every method on students of 8 or 12 channels, with images of 40 pixels a side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from trainables.config import TrialConfig
from trainables.data.images import Images
from trainables.errors import ConfigError
from trainables.methods import METHODS, MethodConfig
from trainables.networks import NETWORKS, build_network
from trainables.networks.checkpoint import save_network
from trainables.replay import Replay
from trainables.run import Run, RunImages
from trainables.values import Blank, Pairs

Toy = Callable[..., dict[str, Any]]

SMALL = {"latent": 8, "update_ratio": 2, "negatives": 2, "features": "random"}
SMALL |= {"bank_size": 5, "embedding": 8}
# A toy teacher knows little of images.
SMALL |= {"alpha": 0.1, "lambda_c": 2.0, "lambda_dcl": 0.001}
"""Values for those fields that a method happens to have."""


SIZES: dict[str, dict[str, int]] = {
    **{name: {"features": 12, "blocks": 2} for name in NETWORKS},
    "vdsr": {"features": 8, "blocks": 6},
    "rcan": {"features": 8, "blocks": 1, "groups": 4},
    "swinir": {"features": 12, "blocks": 2, "layers": 2, "heads": 2},
}
"""Of the toys, teacher and student alike."""


def method_config(name: str) -> type[Any]:
    """The configuration class of a method, found in the union of all."""
    union = get_args(MethodConfig)[0]
    options: list[type[Any]] = [
        option
        for option in get_args(union)
        if name in get_args(option.model_fields["name"].annotation)
    ]
    return options[0]


def must_be_narrower(raw: Mapping[str, Any]) -> bool:
    """Whether a method insists on a student of fewer features than its teacher."""
    try:
        TrialConfig.parse(raw)
    except ConfigError as refused:
        return refused.path == "student.features"
    return False


def toy_images() -> RunImages:
    """Smooth random pictures: one to be judged on, two to learn from."""
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
        coarse = rng.uniform(0.0, 255.0, (10, 10, 3))
        fine = np.kron(coarse, np.ones((4, 4, 1))) + rng.normal(0.0, 4.0, (40, 40, 3))
        return fine.clip(0, 255).astype(np.uint8)

    train = Images(("a.png", "b.png"), (picture(), picture()))
    return RunImages(heldout=Images(("c.png",), (picture(),)), train=train)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_teachers(folder: Path) -> dict[str, Path]:
    """A toy teacher of every network: random, and so gentle that it looks like a photograph."""
    paths = {name: folder / f"{name}.safetensors" for name in NETWORKS}
    for name, path in paths.items():
        scales = {"scales": [2, 3, 4]} if name == "vdsr" else {"scale": 2}
        network = build_network({"name": name, **SIZES[name], **scales}, seed=7)
        with torch.no_grad():
            last = [each for each in network.tail.modules() if isinstance(each, nn.Conv2d)]
            last[0].weight.mul_(0.1)
        save_network(path, network)
    return paths


@contextmanager
def in_float64() -> Iterator[None]:
    """What is built and drawn inside is float64, where processors differ by 1e-16 at a time."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def teacher_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of `write_teachers`."""
    return write_teachers(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="session")
def float64_teacher_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same drawn in float64: their numbers are the same on every processor, but for 1e-16."""
    with in_float64():
        return write_teachers(tmp_path_factory.mktemp("float64_teacher"))


@pytest.fixture
def float64() -> Iterator[None]:
    """A test in which all that is built and drawn is float64."""
    with in_float64():
        yield


@pytest.fixture(scope="session")
def toy(teacher_files: dict[str, Path]) -> Toy:
    """`toy(method, section={...})`: a nested configuration that trains in milliseconds.

    The teacher is of the student's kind: `toy(method, student={"name": "edsr"})`; and as wide,
    unless the method forbids that.
    """

    def make(method: str, /, **sections: Mapping[str, Any] | int) -> dict[str, Any]:
        kind, fields = METHODS[method], method_config(method).model_fields
        student = sections.get("student", {})
        name = student.get("name", "vdsr") if isinstance(student, Mapping) else "vdsr"
        name = name if name in SIZES else "vdsr"
        raw: dict[str, Any] = {
            "seed": 0,
            "method": {"name": method} | {k: v for k, v in SMALL.items() if k in fields},
            "student": {"name": name, **SIZES[name], "scale": 2},
            "batch": {"images": 2, "patch": 16},
            "heldout": {"crop": None},
            "budget": {"steps": 400, "steps_per_report": 2},
            "device": "cpu",
            "precision": "fp32",  # not what this machine happens to be fast in
            "threads": 1,
        }
        if kind.taught:
            weights = str(teacher_files[name])
            raw["teacher"] = {"name": name, **SIZES[name], "weights": weights}
        if kind.batch is Pairs:
            raw["data"] = {"images": "photos"}
        if must_be_narrower(raw):
            raw["student"]["features"] = 3 * raw["student"]["features"] // 4
        for key, section in sections.items():
            if isinstance(section, Mapping) and "scales" in section:
                del raw[key]["scale"]
            merged = isinstance(section, Mapping) and isinstance(raw.get(key), dict)
            if merged and key == "teacher" and section.get("name", name) != name:  # type: ignore[union-attr]  # `merged` has seen that both are mappings
                merged = False  # what the student's kind has, another need not
            raw[key] = {**raw[key], **section} if merged else section  # type: ignore[dict-item]  # as above
        return raw

    return make


@pytest.fixture(scope="session")
def images() -> RunImages:
    return toy_images()


@pytest.fixture
def make_run(toy: Toy, images: RunImages) -> Callable[..., Run]:
    """`make_run(method, section={...})`: a run of the toy configuration on the toy images."""

    def make(method: str, /, *, replay: Replay | None = None, **sections: Any) -> Run:
        return Run(TrialConfig.parse(toy(method, **sections)), images=images, replay=replay)

    return make


@pytest.fixture(scope="session")
def draw_batch() -> Callable[[Run], Pairs | Blank]:
    """The next batch of a run, of whichever kind its method takes."""

    def draw(run: Run) -> Pairs | Blank:
        if run.patches is not None:
            return run.patches.draw()
        return Blank(run.config.batch.images, run.config.batch.patch)

    return draw


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two nested states are not equal to the last bit; `seconds_per_step` may differ."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [path]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if list(a) != list(b):
            return [f"{path}: {list(a)} and {list(b)}"]
        keys = [key for key in a if key != "seconds_per_step"]
        return [found for key in keys for found in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [found for i, (x, y) in pairs for found in differences(x, y, f"{path}/{i}")]
    return [] if a == b and type(a) is type(b) else [f"{path}: {a} and {b}"]


@pytest.fixture(scope="session")
def resume(images: RunImages) -> Callable[[Path, Mapping[str, Mapping[str, Any]]], dict[str, Any]]:
    """`resume(folder, jobs)`: each job's `config`, `state`, `reports` taken on in a new process."""

    def packed(of: Images | None) -> dict[str, torch.Tensor]:
        assert of is not None
        return {n: torch.from_numpy(a) for n, a in zip(of.names, of.arrays, strict=True)}

    def run(folder: Path, jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        pictures = {"heldout": packed(images.heldout), "train": packed(images.train)}
        for name, job in jobs.items():
            torch.save({**job, **pictures}, folder / f"{name}.job")
        script = Path(__file__).with_name("resume_in_new_process.py")
        root = Path(__file__).parents[2]
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        subprocess.run([sys.executable, script, folder], check=True, cwd=root, env=environment)
        return {name: torch.load(folder / f"{name}.done", weights_only=True) for name in jobs}

    return run


@pytest.fixture(scope="session")
def bits_that_differ() -> Callable[[Any, Any], list[str]]:
    return differences
