from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_sr.driver.observers import Observers
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study
from tune_sr.tracking.tracker import MlflowTracker


def test_while_someone_watches_threads_give_way_to_one_another_at_once(
    toy_space: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("start", "close"):
        monkeypatch.setattr(MlflowTracker, method, lambda *_: None)
    config = StudyConfig(*load_study(toy_space()), tmp_path / "toy")
    before = sys.getswitchinterval()
    with Observers(config, {}, quiet=True):
        assert sys.getswitchinterval() <= 0.001
    assert sys.getswitchinterval() == before
