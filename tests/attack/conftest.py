"""What attempts need before their time is taken: every library that a command imports late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attempts import end_child, run_command
from hypothesis import settings

settings.register_profile("attack", derandomize=True, database=None, deadline=None)
settings.load_profile("attack")


@pytest.fixture(scope="session", autouse=True)
def warm(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A sound dry run and a sound evaluation: all imports are behind us."""
    from tune_sr import evaluate, search
    from tune_sr.space.yaml_file import dump_yaml

    network = {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]}
    weights = toy_folder / "teacher.safetensors"
    space = tmp_path_factory.mktemp("warm") / "warm.yaml"
    space.write_text(
        dump_yaml(
            {
                "fixed": {
                    "method": {"name": "noise"},
                    "student": network,
                    "teacher": {**network, "weights": str(weights)},
                    "batch": {"images": 2, "patch": 16},
                    "heldout": {"images": str(toy_folder / "images"), "crop": None},
                    "budget": {"steps": 4, "steps_per_report": 2},
                },
                "search": {"optimiser.lr": {"loguniform": [0.01, 0.1]}},
                "study": {"trials": 2, "storage": str(space.parent / "runs")},
            }
        )
    )
    ran = run_command(search.main, "--space", space, "--dry-run")
    assert ran.code == 0, ran.err
    ran = run_command(
        evaluate.main, "--network", weights, "--data", toy_folder / "images", "--scales", "2"
    )
    assert ran.code == 0, ran.err


@pytest.fixture(scope="module", autouse=True)
def childless() -> Iterator[None]:
    """No child that did dangerous rows outlives its table."""
    yield
    end_child()
