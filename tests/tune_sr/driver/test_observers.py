from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tune_sr.driver.observers import _CLOSE_EARLY_S, _CLOSE_S, Observers
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import load_study
from tune_sr.tracking.tracker import MlflowTracker


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the tracker is asked to do; it starts no process."""
    made: list[Any] = []
    monkeypatch.setattr(MlflowTracker, "start", lambda self: made.append("start"))
    monkeypatch.setattr(MlflowTracker, "close", lambda self, seconds: made.append(seconds))
    yield made


@pytest.fixture
def config(toy_space: Callable[..., Path], tmp_path: Path) -> StudyConfig:
    return StudyConfig(*load_study(toy_space()), tmp_path / "toy")


def test_the_rest_of_a_study_is_waited_for_longer_than_that_of_a_broken_one(
    config: StudyConfig, calls: list[Any]
) -> None:
    with Observers(config, {}, quiet=True):
        assert calls == ["start"]
    assert calls == ["start", _CLOSE_S]
    with pytest.raises(RuntimeError), Observers(config, {}, quiet=True):
        raise RuntimeError("Ray has ended")
    assert calls[2:] == ["start", _CLOSE_EARLY_S]
    assert _CLOSE_EARLY_S < _CLOSE_S


def test_warnings_are_shown_while_a_study_runs_also_when_quiet(
    config: StudyConfig, calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("trainables.anything")
    with Observers(config, {}, quiet=True):
        logger.warning("an image of %d pixels", 3)
        logger.info("nothing")
    logger.warning("too late")
    shown = capsys.readouterr()
    assert shown.err.splitlines() == ["warning: an image of 3 pixels"]
    assert shown.out == ""
