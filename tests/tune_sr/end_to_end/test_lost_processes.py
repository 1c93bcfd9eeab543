"""What the ledger says of a process that Ray could not begin, or ended: as a real Ray tells it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.cloudpickle import register_pickle_by_value

from trainables.errors import EnvironmentFault
from trainables.ray_trainable import DistillTrainable
from tune_sr.driver.run_study import run_study
from tune_sr.execution import circuit_breaker
from tune_sr.ledger.ledger import read_events
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]
ROOT = Path(__file__).parents[3]
ToySpace = Callable[..., Path]


def told(folder: Path) -> tuple[list[str], list[str]]:
    """The reasons of all attempts, and those of all ends."""
    events = read_events(folder)
    kinds = ("attempt", "trial_ended")
    attempts, ends = ([e["reason"] for e in events if e["event"] == kind] for kind in kinds)
    return attempts, ends


@pytest.mark.soak
def test_a_process_that_cannot_begin_says_what_it_lacks(
    toy_space: ToySpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    (tmp_path / "only_here.py").write_text("def needed(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    only_here = importlib.import_module("only_here")
    register_pickle_by_value(sys.modules[__name__])

    class Lacking(DistillTrainable):
        def _begin(self, config: Mapping[str, Any]) -> None:
            only_here.needed()

    monkeypatch.setattr("tune_sr.execution.tuner.DistillTrainable", Lacking)
    study = load_study(toy_space(study={"trials": 1}))
    config = StudyConfig(*study, tmp_path / "runs" / "toy")
    monkeypatch.setattr(circuit_breaker, "PAUSES_S", (0.1, 0.2))
    reason = "its process could not begin: ModuleNotFoundError: No module named 'only_here'"
    with pytest.raises(EnvironmentFault, match=re.escape(reason)):
        run_study(config, quiet=True)
    assert told(config.folder) == ([reason] * 2, [])  # it is no failure of the trial's


@pytest.mark.soak
def test_a_process_that_ray_ends_to_save_its_node_begins_again_with_half_its_batch(
    toy_space: ToySpace, tmp_path: Path
) -> None:
    """Every process is one too many for a node that may use a hundredth of its memory."""
    budget = {"steps": 4000, "steps_per_report": 4}
    study = {"trials": 1, "scheduler": "none"}
    space = toy_space(study=study, fixed={"budget": budget})
    command = [sys.executable, "-m", "tune_sr.search", "--space", str(space)]
    scarce = {**os.environ, "RAY_memory_usage_threshold": "0.01"}
    done = subprocess.run(command, cwd=ROOT, env=scarce, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    attempts, ends = told(tmp_path / "runs" / "toy")
    reason = "out of memory: Ray ended its process, its node had none left"
    assert attempts == [f"{reason}; again with 1 of 2 images at a time", reason, reason]
    assert ends == [f"{reason} (4 times)"]
