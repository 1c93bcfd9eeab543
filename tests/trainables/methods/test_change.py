"""`generator_change`: by hand, equal after a resume, and without a trace in what is learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.errors import Diverged
from trainables.methods import METHODS
from trainables.methods.change import GeneratorChange, relative_change, untrained_generator
from trainables.run import Run

Make = Callable[..., Run]
KEY = "generator_change"
WITH_GENERATORS = ["dfad", "dfsr", "dfsr_cmi"]
LIVELY = {"update_ratio": 1, "generator_lr": 1e-3}


def change_of(run: Run) -> float:
    return run.method.figures()[KEY].item()


def test_a_change_by_hand() -> None:
    # 0 and 1 in equal parts: mean 0.5, deviation 0.5. One of four pixels moved by 0.5: the root of
    # 0.25 / 4 is 0.25, half of the deviation.
    before = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.0]]]])
    after = torch.tensor([[[[0.5, 1.0]]], [[[1.0, 0.0]]]])
    assert relative_change(after, before).item() == pytest.approx(0.5)
    assert relative_change(before, before).item() == 0.0
    assert relative_change(1.0 - before, before).item() == pytest.approx(2.0)
    assert relative_change(before + 0.1, before).item() == pytest.approx(0.2), "a shift counts"
    assert relative_change(0.5 * after, 0.5 * before).item() == pytest.approx(0.5), "contrast not"


def test_of_several_generators_it_is_the_mean() -> None:
    sides = {2: 24, 3: 16, 4: 12}
    generators = {n: untrained_generator(4, sides[n], 1, scale=n, seed=3) for n in sides}
    change = GeneratorChange(generators, 3)
    assert change.figures()[KEY].item() == 0.0
    images = {n: generators[n](change.latents(generators[n])).detach() for n in sides}
    with torch.no_grad():
        generators[3].conv3.bias += 0.5
    moved = relative_change(generators[3](change.latents(generators[3])), images[3]).item()
    assert moved > 0.1
    assert change.figures()[KEY].item() == pytest.approx(moved / 3)


@pytest.mark.parametrize("name", METHODS)
def test_what_has_a_generator_reports_it_and_nothing_else_does(name: str, make_run: Make) -> None:
    run = make_run(name, budget={"steps": 4, "steps_per_report": 2})
    assert (KEY in run.advance()) == (name in WITH_GENERATORS)


@pytest.mark.parametrize("name", WITH_GENERATORS)
def test_it_begins_at_0_and_moves_with_the_generators_alone(name: str, make_run: Make) -> None:
    run = make_run(name, method={"update_ratio": 3}, budget={"steps": 6, "steps_per_report": 1})
    assert change_of(run) == 0.0
    reports = [report[KEY] for report in run.reports()]
    assert reports[:2] == [0.0, 0.0], "the student's first updates"
    assert 0.0 < reports[2] == reports[3] == reports[4] != reports[5] > 0.0


@pytest.mark.parametrize("name", WITH_GENERATORS)
def test_several_scales_and_an_rgb_student_have_one_figure(name: str, make_run: Make) -> None:
    scales = {"student": {"scales": [2, 3, 4]}, "batch": {"images": 2, "patch": 48}}
    for sections in (scales, {"student": {"name": "edsr"}}):
        run = make_run(name, method=LIVELY, budget={"steps": 4, "steps_per_report": 4}, **sections)
        report = run.advance()
        assert [key for key in report if key.startswith(KEY)] == [KEY]
        assert 0.0 < report[KEY] < 2.0


def test_its_latents_are_a_stream_of_their_own_that_follows_the_seed(make_run: Make) -> None:
    def latents(seed: int) -> torch.Tensor:
        game = make_run("dfsr", seed=seed).method.game  # type: ignore[attr-defined]  # DFSR's
        z_BK: torch.Tensor = game.change.latents(game.generators[2])
        return z_BK

    assert torch.equal(latents(0), latents(0))
    assert not torch.equal(latents(0), latents(1))
    run: Any = make_run("dfsr")
    drawn = run.method.game.draw_latents(len(latents(0)))
    assert latents(0).shape == drawn.shape
    assert not torch.equal(latents(0), drawn)
    assert abs(latents(0).mean()) < 0.3
    assert 0.7 < latents(0).std() < 1.3


@pytest.mark.parametrize("name", WITH_GENERATORS)
def test_measuring_leaves_no_trace_in_what_is_learnt(
    name: str, make_run: Make, bits_that_differ: Callable[[Any, Any], list[str]]
) -> None:
    measured, alone = (
        make_run(name, method=LIVELY, budget={"steps": 4, "steps_per_report": 4}) for _ in range(2)
    )
    before = torch.get_rng_state()
    for _ in range(4):
        measured.method.figures()
        first, second = (run.update() for run in (measured, alone))
        assert bits_that_differ(first, second) == []
    measured.method.figures()
    assert bits_that_differ(measured.state_dict(), alone.state_dict()) == []
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", WITH_GENERATORS)
def test_a_restored_run_measures_from_the_same_images(name: str, make_run: Make) -> None:
    sections = {"method": LIVELY, "budget": {"steps": 4, "steps_per_report": 1}}
    through = make_run(name, **sections)
    reports = [through.advance()[KEY] for _ in range(2)]
    state = through.state_dict()
    resumed = make_run(name, **sections)
    resumed.load_state_dict(state)
    assert change_of(resumed) == reports[-1] > 0.0
    assert resumed.advance()[KEY] == through.advance()[KEY] > reports[-1]


@pytest.mark.parametrize("name", WITH_GENERATORS)
def test_a_checkpoint_of_before_it_was_measured_goes_on(name: str, make_run: Make) -> None:
    sections = {"method": LIVELY, "budget": {"steps": 4, "steps_per_report": 1}}
    through = make_run(name, **sections)
    through.advance()
    state = through.method.state_dict()
    del state[KEY]
    resumed = make_run(name, **sections)
    resumed.method.load_state_dict(state)
    assert change_of(resumed) == change_of(through) > 0.0
    del state["optimiser"]
    with pytest.raises(ValueError, match="does not fit"):
        resumed.method.load_state_dict(state)


def test_it_is_measured_in_float32_whatever_the_precision(make_run: Make) -> None:
    sections = {"method": {"update_ratio": 100}, "budget": {"steps": 8, "steps_per_report": 2}}
    assert make_run("dfsr", precision="bf16", **sections).advance()[KEY] == 0.0


def test_a_generator_that_is_no_longer_finite_is_a_divergence(make_run: Make) -> None:
    run: Any = make_run(
        "dfsr", method={"update_ratio": 2}, budget={"steps": 8, "steps_per_report": 2}
    )
    provoke = run.method.game.provoke

    def explode(*given: Any) -> Any:
        losses = provoke(*given)
        with torch.no_grad():
            run.method.game.generators[2].conv3.bias.fill_(torch.nan)
        return losses

    run.method.game.provoke = explode
    with pytest.raises(Diverged, match=r"step 2: generator_change is not finite"):
        run.advance()
