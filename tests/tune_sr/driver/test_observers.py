from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_sr.driver.observers import Watchers
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_space
from tune_sr.tracking.tracker import Tracker


def test_while_someone_watches_threads_give_way_to_one_another_at_once(
    toy_space: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("start", "close"):
        monkeypatch.setattr(Tracker, method, lambda *_: None)
    config = StudyConfig.of(load_space(toy_space()), "toy", tmp_path)
    before = sys.getswitchinterval()
    with Watchers(config, {}, quiet=True):
        assert sys.getswitchinterval() <= 0.001
    assert sys.getswitchinterval() == before
