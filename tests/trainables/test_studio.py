"""Saved runs that take turns in one process compute what each computes alone, to the last bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from trainables.config import TrialConfig
from trainables.errors import Diverged
from trainables.run import Run, RunImages
from trainables.saved_run import SavedRun
from trainables.studio import Outcome, Studio
from trainables.values import Report

Make = Callable[..., SavedRun]
BUDGET = {"steps": 6, "steps_per_report": 2}
TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "grows": ("dfsr", {"seed": 1, "method": {"P": 2, "part_fraction": 0.5}}),
    "pairs": ("kd", {"seed": 2, "student": {"name": "edsr"}, "ema": 0.9}),
    "longer": ("noise", {"seed": 3, "budget": {"steps": 9, "steps_per_report": 3}}),
    "low": ("dfsr", {"seed": 4, "precision": "bf16"}),
}
"""Runs that differ in method, network, budget and precision."""


@pytest.fixture
def make(toy: Callable[..., dict[str, Any]], images: RunImages, tmp_path: Path) -> Make:
    """`make(name, folder)`: the saved run of one of `TRIALS`, with its checkpoints in `folder`."""

    def make(name: str, folder: str) -> SavedRun:
        method, sections = TRIALS[name]
        config = TrialConfig.parse(toy(method, **{"budget": BUDGET, **sections}))
        return SavedRun(config, tmp_path / folder / name, images=images)

    return make


def told(report: Outcome) -> Report:
    """A report without the time that it took."""
    assert not isinstance(report, Exception), report
    return {key: value for key, value in report.items() if key != "seconds_per_step"}


def alone(make: Make, name: str) -> tuple[list[Report], dict[str, Any]]:
    saved = make(name, "alone")
    return [told(each) for each in saved.reports()], saved.run.state_dict()


def fill(studio: Studio, make: Make, *names: str) -> None:
    """Add runs by name, whose checkpoints are in the folder `studio`."""
    for name in names:
        studio.add(name, partial(make, name, "studio"))


def to_the_end(studio: Studio, *names: str) -> dict[str, list[Outcome]]:
    """Advance runs to the ends of their budgets, each again as soon as it has reported."""
    came: dict[str, list[Outcome]] = {name: [] for name in names}
    runs = {name: studio.run(name) for name in names}
    for name in set(names) - set(studio.advancing):
        studio.advance(name)
    while now := studio.to_next():
        for name, outcome in now.items():
            came.setdefault(name, []).append(outcome)
            if name in runs and name in studio.names and not runs[name].finished:
                studio.advance(name)
    return came


def assert_equal(found: Any, wanted: Any) -> None:
    """Two states hold the same bits."""
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_equal(found[key], value)
    elif isinstance(wanted, list | tuple):
        for ours, theirs in zip(found, wanted, strict=True):
            assert_equal(ours, theirs)
    else:
        assert found == wanted


@pytest.mark.bits
def test_runs_in_turns_equal_single_ones_bit_for_bit(make: Make) -> None:
    studio = Studio()
    fill(studio, make, *TRIALS)
    runs = {name: studio.run(name) for name in TRIALS}
    came = to_the_end(studio, *TRIALS)
    for name in TRIALS:
        reports, state = alone(make, name)
        assert [told(each) for each in came[name]] == reports, name
        assert_equal(runs[name].state_dict(), state)


@pytest.mark.bits
def test_a_run_that_is_dropped_or_fails_between_updates_leaves_the_others_as_they_are(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio()
    fill(studio, make, *TRIALS)
    kept = {name: studio.run(name) for name in ("grows", "pairs")}
    for name in TRIALS:
        studio.advance(name)
    assert studio.turn() == {}
    studio.drop("low")  # in the middle of a window, as a scheduler may
    diverged = Diverged(1, "loss/kd is not finite", {})
    failing = studio.run("longer")
    monkeypatch.setattr(failing, "update", Mock(side_effect=diverged))
    assert studio.turn() == {"longer": diverged}
    assert set(kept) == set(studio.names) == set(studio.advancing)
    came = to_the_end(studio, *kept)
    for name, run in kept.items():
        reports, state = alone(make, name)
        assert [told(each) for each in came[name]] == reports, name
        assert_equal(run.state_dict(), state)


@pytest.mark.bits
def test_a_run_continues_from_its_checkpoint_in_another_studio(make: Make) -> None:
    """As after the process was lost, while other runs are between two of their own reports."""
    studio = Studio()
    fill(studio, make, "grows", "pairs")
    studio.advance("grows")
    (first,) = studio.to_next().values()
    studio.advance("grows")
    studio.turn()  # lost with the process
    other = Studio()
    fill(other, make, "longer")
    other.advance("longer")
    other.turn()
    fill(other, make, "grows")
    resumed = other.run("grows")
    assert resumed.step == BUDGET["steps_per_report"]
    rest = to_the_end(other, "grows")["grows"]
    reports, state = alone(make, "grows")
    assert [told(each) for each in (first, *rest)] == reports
    assert_equal(resumed.state_dict(), state)


def test_what_cannot_be_is_refused(make: Make) -> None:
    studio = Studio()
    assert studio.to_next() == {} == studio.turn()
    with pytest.raises(RuntimeError, match="no weights"):
        studio.add("pairs", Mock(side_effect=RuntimeError("no weights")))
    fill(studio, make, "pairs")
    with pytest.raises(ValueError, match="pairs: is in the studio already"):
        fill(studio, make, "pairs")
    with pytest.raises(KeyError):
        studio.advance("grows")
    studio.advance("pairs")
    with pytest.raises(ValueError, match="pairs: is on its way to a report already"):
        studio.advance("pairs")
    studio.run("pairs").step = 4
    studio.to_next()
    with pytest.raises(ValueError, match="pairs: has spent its budget"):
        studio.advance("pairs")
    studio.drop("pairs")
    studio.drop("pairs")  # as after a failure
    assert studio.names == ()


def test_a_run_that_is_dropped_or_has_failed_takes_no_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio()
    fill(studio, make, "pairs", "longer")
    seen = [weakref.ref(studio.run(name).student) for name in studio.names]
    for name in studio.names:
        studio.advance(name)
    monkeypatch.setattr(Run, "update", Mock(side_effect=[{}, RuntimeError("out of memory")]))
    outcomes = studio.turn()
    assert list(outcomes) == ["longer"]
    studio.drop("pairs")
    gc.collect()
    assert [each() for each in seen] == [None, None]
