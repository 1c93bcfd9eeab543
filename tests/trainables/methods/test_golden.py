"""The first ten losses of every method, as recorded, and proof that a wrong equation shows in them.

All is float64: two processors differ by 1e-16 in a sum, and by 1e-12 after ten updates, where in
float32 the same chain (momentum, clipping, a generator's turn) arrives at 1e-2. So one tolerance
holds on every processor, with any instruction set, and is still a millionth of a factor of 1.001.

`TUNE_SR_REGENERATE=1 pytest -n 0 tests/trainables/methods/test_golden.py` writes the curves anew:
do so only for a change that is meant to change the numbers, and say so.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import trainables.methods
from trainables.config import TrialConfig
from trainables.methods import METHODS
from trainables.run import Run
from trainables.values import Blank, Pairs

pytestmark = pytest.mark.usefixtures("float64")

GOLDEN = Path(__file__).parents[1] / "golden"
UPDATES = 10
TOLERANCE = 1e-9

Losses = list[dict[str, float]]
Course = Callable[[], Iterator[dict[str, float]]]
Fault = Callable[[Tensor], Tensor]

each_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture
def course(
    toy: Callable[..., dict[str, Any]],
    float64_teacher_files: dict[str, Path],
    images: Any,
    draw_batch: Callable[[Run], Pairs | Blank],
) -> Callable[[str, str], Course]:
    """`course(method, network)()`: the losses of a new run, update by update."""

    def of(name: str, network: str) -> Course:
        change: dict[str, Any] = {"budget": {"steps": 2 * UPDATES, "steps_per_report": 1}}
        if METHODS[name].taught:
            change["teacher"] = {"weights": str(float64_teacher_files[network])}
        config = TrialConfig.parse(toy(name, student={"name": network}, **change))

        def course() -> Iterator[dict[str, float]]:
            run = Run(config, images=images)
            for _ in range(UPDATES):
                losses = run.method.step(draw_batch(run))
                assert {loss.dtype for loss in losses.values()} == {torch.float64}
                yield {key: loss.item() for key, loss in losses.items()}

        return course

    return of


def first_difference(found: Iterator[dict[str, float]], recorded: Losses) -> str | None:
    """The first update that is not as recorded; the rest is not computed."""
    for update, (losses, wanted) in enumerate(zip(found, recorded, strict=True)):
        if list(losses) != list(wanted):
            return f"update {update}: {list(losses)}, recorded {list(wanted)}"
        if losses != pytest.approx(wanted, rel=TOLERANCE, abs=0.0):
            return f"update {update}: {losses}, recorded {wanted}"
    return None


@pytest.mark.bits
@each_method
@pytest.mark.parametrize("network", ["vdsr", "edsr"])
def test_the_first_ten_losses_are_as_recorded(
    name: str, network: str, course: Callable[[str, str], Course]
) -> None:
    file = GOLDEN / f"{name}_{network}.json"
    run = course(name, network)
    if os.environ.get("TUNE_SR_REGENERATE"):
        file.write_text(json.dumps(list(run()), indent=1) + "\n")
    assert first_difference(run(), json.loads(file.read_text())) is None


# --- a planted fault --------------------------------------------------------------------------


def reversed_slope(value: Tensor) -> Tensor:
    """The same number, whose gradient has the other sign."""
    return 2.0 * value.detach() - value


FAULTS: dict[str, Fault] = {
    "a sign": lambda value: -value,
    "a factor": lambda value: 1.001 * value,
    "the slope's sign": reversed_slope,
}

INVARIANT = {
    ("affinity.unit_positions_BNF", "a sign"): "a cosine of two vectors is that of their opposites",
    ("contrast.pooled_BF", "a factor"): "features are standardised by their own deviation next",
}
"""Faults that change nothing because the method, by its equations, does not see them."""


def equations() -> dict[str, list[tuple[Any, str]]]:
    """Every equation by module and name of its function, with all names it is called by."""
    modules = [
        importlib.import_module(f"{trainables.methods.__name__}.{found.name}")
        for found in pkgutil.iter_modules(trainables.methods.__path__)
    ]
    classes = {
        each
        for module in modules
        for each in vars(module).values()
        if inspect.isclass(each) and each.__module__ == module.__name__
    }
    places: dict[str, list[tuple[Any, str]]] = {}
    for owner in (*modules, *sorted(classes, key=lambda each: each.__qualname__)):
        for name, value in vars(owner).items():
            if inspect.isfunction(value) and (value.__doc__ or "").startswith(("Eq. ", "Not in ")):
                module = value.__module__.rpartition(".")[2]
                places.setdefault(f"{module}.{value.__qualname__}", []).append((owner, name))
    return places


def mapped(change: Fault, value: Any) -> Any:
    """`value` with `change` made to every tensor of real numbers in it."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(mapped(change, each) for each in value)
    if isinstance(value, dict):
        return {key: mapped(change, each) for key, each in value.items()}
    return value


def patched(patch: pytest.MonkeyPatch, places: list[tuple[Any, str]], change: Fault) -> None:
    """Make every call of an equation return its result changed."""
    owner, name = places[0]
    equation = vars(owner)[name]

    @wraps(equation)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return mapped(change, equation(*args, **kwargs))

    for owner, name in places:
        patch.setattr(owner, name, changed)


def used(run: Course, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The equations that a run computes tensors by, and whether a gradient passes through them."""
    seen: dict[str, bool] = {}
    with monkeypatch.context() as patch:
        for equation, places in equations().items():

            def noted(value: Tensor, equation: str = equation) -> Tensor:
                seen[equation] = seen.get(equation, False) or value.requires_grad
                return value

            patched(patch, places, noted)
        for _ in run():
            pass
    return seen


@each_method
def test_a_fault_in_any_equation_shows(
    name: str, course: Callable[[str, str], Course], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = course(name, "vdsr")
    recorded = json.loads((GOLDEN / f"{name}_vdsr.json").read_text())
    found = used(run, monkeypatch)
    assert found, "every method has an equation"
    for equation, has_slope in found.items():
        for kind, fault in FAULTS.items():
            if kind == "the slope's sign" and not has_slope:
                continue
            with monkeypatch.context() as patch:
                patched(patch, equations()[equation], fault)
                shown = first_difference(run(), recorded) is not None
            assert shown != ((equation, kind) in INVARIANT), f"{kind} in {equation}"


def test_every_equation_is_computed_by_a_method(
    course: Callable[[str, str], Course], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {each for name in METHODS for each in used(course(name, "vdsr"), monkeypatch)}
    counts = {"parts.part_depths", "contrast.tapped_units"}  # whole numbers
    counts |= {"zoom.random_corners_N2", "zoom.grid_corners_N2"}
    off = {"terms.fourier_distance"}  # of weight 0 unless asked for: by hand in test_terms.py
    assert set(equations()) - found == counts | off
