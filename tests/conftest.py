"""The suite's one Ray, a toy space whose studies take seconds, and where real images lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drivers import DriverServer

from trainables.networks import build_network
from trainables.networks.checkpoint import save_network

ToySpace = Callable[..., Path]
WITH_RAY = (
    "tests/tune_sr/end_to_end/",
    "tests/trainables/test_ray_trainable.py",
    "tests/trainables/test_run_images.py",
    "tests/tune_sr/execution/test_cluster.py",
    "tests/tune_sr/execution/test_private_folder.py",
)
"""Files with tests of the suite's one Ray, or that start drivers with one of their own."""


def pytest_configure() -> None:
    """Processes that share the cores would wait for each other's threads: one thread each."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # Ray runs its workers at 15, behind the test processes that compute beside them.
        os.environ.setdefault("RAY_worker_niceness", "0")
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of `WITH_RAY` first: they take longest, and one process has them all."""
    for item in items:
        marked = any(item.get_closest_marker(name) for name in ("ray", "kill"))
        if marked and _group(item.nodeid) != "ray":
            raise pytest.UsageError(f"tests/conftest.py: WITH_RAY lacks the file of {item.nodeid}")
    items.sort(key=lambda item: _group(item.nodeid) != "ray")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files are kept whole, so that what their tests share is made once; and a run has one Ray."""
    from xdist.scheduler import LoadFileScheduling

    class Grouped(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Grouped(config, log)


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return "ray" if file.startswith(WITH_RAY) else file


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray of two CPUs for all tests marked `ray`: studies find it running and leave it."""
    from tune_sr.execution.session import local_ray

    with local_ray(2):
        yield


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of this process are not sent to MLflow, which takes seconds of CPU for each."""

    class Untracked:
        view = None

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def start(self) -> None: ...

        def close(self, _: float) -> bool:
            return True

    monkeypatch.setattr("tune_sr.driver.observers.MlflowTracker", Untracked)


@pytest.fixture(scope="session")
def driver_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverServer]:
    """Starts drivers without the seconds that their imports take."""
    server = DriverServer(tmp_path_factory.mktemp("drivers") / "told")
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder that holds data/Set5 and weights/, as TUNE_SR_DATA names it."""
    named = os.environ.get("TUNE_SR_DATA")
    if not named:
        pytest.skip("TUNE_SR_DATA is not set: published figures on Set5 are NOT checked")
    folder = Path(named)
    assert (folder / "data" / "Set5" / "HR").is_dir(), f"TUNE_SR_DATA={named} has no data/Set5/HR"
    return folder


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two smooth pictures of 32 pixels, and a teacher that changes them a little."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / "images" / name)
    teacher = build_network({"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}, seed=7)
    for parameter in teacher.tail.parameters():
        parameter.data.mul_(0.05)
    save_network(folder / "teacher.safetensors", teacher)
    return folder


@pytest.fixture
def toy_space(toy_folder: Path, tmp_path: Path) -> ToySpace:
    """`toy_space(fixed={...}, study={...})`: the file of a DFSR space of a few seconds."""

    from tune_sr.space.yaml_file import dump_yaml

    def write(name: str = "toy", **changes: dict[str, Any]) -> Path:
        network = {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}
        fixed: dict[str, Any] = {
            "method": {"name": "dfsr", "update_ratio": 2, "latent": 8, "part_fraction": 0.25},
            "student": network,
            "teacher": {**network, "weights": str(toy_folder / "teacher.safetensors")},
            "batch": {"images": 2, "patch": 16},
            "heldout": {"images": str(toy_folder / "images"), "crop": None},
            "budget": {"steps": 32, "steps_per_report": 4},
            "optimiser": {"schedule": None},
            "device": "cpu",
            "precision": "fp32",
        }
        search = {
            "method.w_R": {"uniform": [0.0, 3.0]},
            "method.P": {"choice": [1, 2]},
            "method.new_block_init": {
                "choice": ["random", "near_identity"],
                "when": {"method.P": 2},
            },
            "optimiser.lr": {"loguniform": [0.001, 0.1]},
        }
        first = {"method.w_R": 1.0, "method.P": 2, "method.new_block_init": "random"}
        content: dict[str, Any] = {
            "fixed": fixed,
            "search": search,
            "first": [{**first, "optimiser.lr": 0.01}],
            "study": {"trials": 6, "concurrent": 1, "storage": str(tmp_path / "runs")},
        }
        # One database for all: MLflow takes seconds to make one.
        content["study"]["tracking_uri"] = f"sqlite:///{toy_folder / 'mlflow.db'}"
        content["study"]["scheduler"] = {"name": "asha", "grace_period": 3, "reduction_factor": 2}
        for section, values in changes.items():
            content[section] = values if section == "first" else {**content[section], **values}
        path = tmp_path / f"{name}.yaml"
        path.write_text(dump_yaml(content))
        return path

    return write
