from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rehearsal import rehearsed
from torch import Tensor

from trainables.methods.lessons import Lessons
from trainables.replay import AtOnce, Results, Work
from trainables.run import Run
from trainables.values import Blank

Make = Callable[..., Run]
DATA_FREE = ("noise", "dfad", "dfsr", "dfsr_cmi")
THREE = {
    "student": {"scales": [2, 3, 4], "features": 4},
    "batch": {"images": 1, "patch": 48},
    "budget": {"steps": 60, "steps_per_report": 60},
}


class Together(AtOnce):
    """By hand, in passes of up to eight of the images of these tests."""

    pixels_at_once = 8 * 48**2


def method_of(name: str) -> dict[str, Any]:
    wanted = {"update_ratio": 7, "P": 2, "part_fraction": 0.4}
    fields = {"noise": (), "dfad": ("update_ratio",)}.get(name, tuple(wanted))
    return {key: wanted[key] for key in fields}


def doubling(passes: list[int]) -> Callable[[int], Work]:
    def work(scale: int) -> Work:
        def make(x: Tensor) -> Results:
            passes.append(len(x))
            return {"x_BCHW": x, "target_BCHW": scale * x}

        return make

    return work


@pytest.mark.parametrize(("replay", "passes"), [(AtOnce(), [2] * 7), (Together(), [8, 2, 2, 2])])
def test_lessons_come_in_the_order_drawn_and_are_made_scale_by_scale(
    replay: AtOnce, passes: list[int]
) -> None:
    lessons, made = Lessons(replay, 48), []
    scales = [2, 3, 2, 2, 3, 2, 2]
    drawn = [(scale, torch.full((2, 1), float(n))) for n, scale in enumerate(scales)]
    lessons.prepare(drawn, doubling(made))
    found = [lessons.next() for _ in scales]
    assert [lesson.scale for lesson in found] == scales
    for number, lesson in enumerate(found):
        assert lesson.x_BCHW.tolist() == [[number]] * 2
        assert lesson.target_BCHW.tolist() == [[lesson.scale * number]] * 2
    assert made == passes
    assert not lessons.prepared


def test_a_window_ends_with_the_report_and_with_a_generators_turn(make_run: Make) -> None:
    run = make_run("dfsr", method={"update_ratio": 6, "P": 1})
    windows = []
    for ahead in (4, 3, 2, 1, 20, 19, 18, 17):
        waited = bool(run.method.prepared())
        run.method.step(Blank(2, 16, ahead))
        if not waited:
            windows.append(len(run.method.prepared()) + 1)
    assert windows == [4, 2, 6]  # of a report, until update 6, and until update 12


def test_no_window_is_longer_than_the_device_has_use_for(make_run: Make) -> None:
    run = make_run("noise", budget={"steps": 40, "steps_per_report": 20})
    run.method.step(Blank(2, 16, 20))
    assert len(run.method.prepared()) == AtOnce.most_ahead - 1


@pytest.mark.parametrize("name", DATA_FREE)
def test_looking_ahead_changes_nothing(
    name: str, make_run: Make, bits_that_differ: Callable[[Any, Any], list[str]]
) -> None:
    ahead, one_by_one = (make_run(name, method=method_of(name), **THREE) for _ in range(2))
    found = [one_by_one.method.step(Blank(1, 48)) for _ in range(60)]
    wanted = [ahead.method.step(Blank(1, 48, 60 - done)) for done in range(60)]
    assert [{k: float(v) for k, v in each.items()} for each in found] == [
        {k: float(v) for k, v in each.items()} for each in wanted
    ]
    states = ahead.method.state_dict(), one_by_one.method.state_dict()
    assert bits_that_differ(*states) == []


@pytest.mark.parametrize("name", DATA_FREE)
def test_larger_passes_make_the_same_but_for_roundings(
    name: str, make_run: Make, bits_that_differ: Callable[[Any, Any], list[str]]
) -> None:
    """Recorded, they are those by hand to the last bit."""
    sections = {"method": method_of(name), **THREE, "budget": {"steps": 28, "steps_per_report": 14}}
    small, large, recorded = (
        make_run(name, replay=replay, **sections)
        for replay in (AtOnce(), Together(), rehearsed(pixels_at_once=Together.pixels_at_once))
    )
    first, second, third = (run.advance() for run in (small, large, recorded))
    assert second["loss/kd"] == pytest.approx(first["loss/kd"], rel=1e-3)
    assert bits_that_differ(second, third) == []
    assert bits_that_differ(large.advance(), recorded.advance()) == []
    assert bits_that_differ(large.state_dict(), recorded.state_dict()) == []


@pytest.mark.parametrize("name", DATA_FREE)
def test_no_state_is_taken_in_the_middle_of_a_window(name: str, make_run: Make) -> None:
    run = make_run(name)
    begun = run.state_dict()
    run.method.step(Blank(2, 16, 3))
    with pytest.raises(AssertionError, match="lost"):
        run.state_dict()
    run.load_state_dict(begun)
    assert not run.method.prepared()
    run.advance()
    assert not run.method.prepared()
    run.state_dict()
