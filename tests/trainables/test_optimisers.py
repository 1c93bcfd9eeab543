"""Every optimiser and every kind of schedule: values worked by hand, resumes and restarts."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.optimisers import Optimiser, OptimiserConfig, ScheduleConfig, moments_of
from trainables.presets import expand_presets
from trainables.run import Run, RunImages

Make = Callable[..., Run]
Bits = Callable[[Any, Any], list[str]]


def rates(schedule: dict[str, Any] | None, *at: int, steps: int = 100) -> list[float]:
    config = OptimiserConfig(lr=2.0, schedule=schedule and ScheduleConfig(**schedule))
    return [config.lr_at(step, steps) for step in at]


# --- schedules, by hand -------------------------------------------------------------------------


def test_a_cosine_at_its_quarters() -> None:
    quarter = 1 + math.sqrt(0.5)  # 2 (1 + cos 45 degrees) / 2
    wanted = [2.0, quarter, 1.0, 2 - quarter, 0.0]
    assert rates({"kind": "cosine"}, 0, 25, 50, 75, 100) == pytest.approx(wanted, abs=1e-15)


def test_a_cosines_last_update_still_learns_and_every_one_less_than_that_before() -> None:
    each = rates({"kind": "cosine"}, *range(100))
    assert all(later < earlier for earlier, later in pairwise(each))
    assert 0.0 < each[-1] == pytest.approx(1 - math.cos(math.pi / 100))


@pytest.mark.parametrize("kind", ["step", "cosine", "constant"])
def test_a_warm_up_rises_linearly_to_the_rate(kind: str) -> None:
    # A tenth of 90 updates: 1/10, 2/10, ... of the rate, and all of it at update number 9.
    found = rates({"kind": kind, "warmup": 0.1, "at": 0.5}, *range(10), steps=90)
    assert found == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert found[9] == 2.0


def test_after_a_warm_up_each_kind_goes_on_as_it_does() -> None:
    # 20 of 100 updates; half of the other 80 have passed at update number 60.
    at = 20, 59, 60, 99
    assert rates({"kind": "constant", "warmup": 0.2}, *at) == [2.0] * 4
    step = {"kind": "step", "at": 0.6, "factor": 0.5, "warmup": 0.2}
    assert rates(step, *at) == [2.0, 2.0, 1.0, 1.0]
    first, _, half, last = rates({"kind": "cosine", "warmup": 0.2}, *at)
    assert (first, half) == (2.0, pytest.approx(1.0))
    assert last == pytest.approx(1 - math.cos(math.pi / 80))


def test_a_warm_up_shorter_than_an_update_is_none() -> None:
    assert rates({"kind": "constant", "warmup": 0.0}, 0, 1) == [2.0, 2.0]
    (first, second) = rates({"kind": "constant", "warmup": 0.005}, 0, 1)
    assert (first, second) == (pytest.approx(2.0 / 1.5), 2.0)


def test_a_step_may_fall_while_it_warms_up() -> None:
    schedule = {"at": [0.1], "factor": 0.5, "warmup": 0.19}
    assert rates(schedule, 9, 10, 19) == pytest.approx([2 * 0.5, 2 * 0.5 * 0.55, 2 * 0.5])


def test_a_restarted_schedule_spans_the_updates_until_the_next() -> None:
    config = OptimiserConfig(lr=1.0, schedule=ScheduleConfig(kind="cosine", warmup=0.2))
    assert config.lr_at(2, 100, 10) == 1.0, "a fifth of 10, not of 100"
    assert config.lr_at(6, 100, 10) == pytest.approx(0.5)
    steps = OptimiserConfig(lr=1.0, schedule=ScheduleConfig(at=0.25))
    found = [steps.lr_at(step, 100, 60) for step in (24, 25, 50)]
    assert found == [steps.lr_at(step, 100) for step in (24, 25, 50)], "of the budget, as released"


@pytest.mark.parametrize("at", [0.125, 0.3, (0.4, 0.8), 1.0])
def test_a_schedule_without_a_kind_has_the_bits_it_always_had(at: Any) -> None:
    config = OptimiserConfig(lr=0.037, schedule=ScheduleConfig(at=at, factor=0.3))

    def before(step: int) -> float:
        done = step / 700 + 1e-9
        if isinstance(at, float):
            return 0.037 * float(0.3 ** math.floor(done / at))
        return 0.037 * float(0.3 ** sum(fraction <= done for fraction in at))

    assert [config.lr_at(step, 700) for step in range(700)] == [before(n) for n in range(700)]
    assert OptimiserConfig(lr=0.037, schedule=None).lr_at(699, 700) == 0.037


def test_one_without_a_kind_means_step_and_none_means_constant() -> None:
    assert ScheduleConfig(at=0.3) == ScheduleConfig(kind="step", at=0.3, factor=0.1, warmup=0.0)
    assert rates(None, 0, 50, 99) == rates({"kind": "constant"}, 0, 50, 99) == [2.0] * 3


def test_what_a_kind_does_not_read_changes_nothing() -> None:
    for kind in ("cosine", "constant"):
        other = {"kind": kind, "at": [0.1, 0.2], "factor": 0.5}
        assert rates(other, *range(100)) == rates({"kind": kind}, *range(100))


# --- updates, by hand ---------------------------------------------------------------------------


def updated(gradients: list[float], steps: int = 10, **config: Any) -> list[float]:
    """Where a parameter that begins at 1 is after each update along a gradient."""
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    plain = {"clip": None, "schedule": None, "weight_decay": 0.0}
    optimiser = Optimiser([weight], OptimiserConfig(**{**plain, **config}), steps)
    places = []
    for number, gradient in enumerate(gradients):
        optimiser.begin(number)
        optimiser.descend((gradient * weight).sum())
        places.append(weight.item())
    return places


def test_the_first_two_updates_of_adamw() -> None:
    # Decay first: 1 - 0.1 * 0.5 * 1 = 0.95. m = 0.5 * 2 = 1, of 1 - 0.5: 2. v = 0.25 * 4 = 1, of
    # 1 - 0.75: 4. So 0.95 - 0.1 * 2 / 2 = 0.85.
    first = 0.85
    # 0.85 * 0.95 = 0.8075. m = 0.5 * 1 + 0.5 * 4 = 2.5, of 0.75: 10/3. v = 0.75 * 1 + 0.25 * 16 =
    # 4.75, of 1 - 0.5625: 4.75 / 0.4375.
    second = 0.8075 - 0.1 * (10 / 3) / math.sqrt(4.75 / 0.4375)
    adamw = {"name": "adamw", "lr": 0.1, "betas": (0.5, 0.75), "weight_decay": 0.5}
    assert updated([2.0, 4.0], **adamw) == pytest.approx([first, second], abs=1e-8)


def test_without_decay_adamw_is_adam_and_with_it_its_decay_is_not_in_the_moments() -> None:
    gradients, rest = [0.3, -0.2, 0.5, 0.1], {"lr": 0.01}
    assert updated(gradients, name="adamw", **rest) == updated(gradients, name="adam", **rest)
    # Without a gradient the moments stay empty: all that is left is (1 - 0.01 * 0.1)^n.
    found = updated([0.0] * 3, name="adamw", weight_decay=0.1, **rest)
    assert found == pytest.approx([0.999, 0.999**2, 0.999**3])
    # Adam's own decay is a gradient like any other: its first update is of the size of the rate.
    (coupled,) = updated([0.0], name="adam", weight_decay=0.1, **rest)
    assert coupled == pytest.approx(1 - 0.01, abs=1e-6)


def test_the_decay_follows_the_schedule_as_the_rate_does() -> None:
    # Warm-up over half of 6 updates: rates 1/4, 2/4, 3/4 and then all of 0.4.
    schedule = ScheduleConfig(kind="constant", warmup=0.5)
    found = updated([0.0] * 4, 6, name="adamw", lr=0.4, weight_decay=0.5, schedule=schedule)
    assert found == pytest.approx([0.95, 0.95 * 0.9, 0.95 * 0.9 * 0.85, 0.95 * 0.9 * 0.85 * 0.8])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_rate_of_each_update_is_the_schedules(name: Any) -> None:
    schedule = ScheduleConfig(kind="cosine", warmup=0.25)
    config = OptimiserConfig(name=name, lr=0.3, schedule=schedule)
    optimiser = Optimiser([nn.Parameter(torch.ones(2))], config, 8)
    place = optimiser.rate.data_ptr()
    for step in range(8):
        optimiser.begin(step)
        assert optimiser.lr == optimiser.rate.item() == config.lr_at(step, 8)
        assert optimiser.rate.data_ptr() == place


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_state_has_the_shape_that_torchs_own_has(name: Any) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimiser = Optimiser([weight], OptimiserConfig(name=name), 10)
    before = {key: value.shape for key, value in optimiser.state[weight].items()}
    assert before == {key: each.shape for key, each in moments_of(weight, optimiser.config).items()}
    optimiser.begin(0)
    optimiser.descend(weight.sum())
    assert before == {key: value.shape for key, value in optimiser.state[weight].items()}
    optimiser.restart()
    assert not any(bool(each.any()) for each in optimiser.state[weight].values())


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_updates_are_those_of_torchs_own_classes_bit_for_bit(name: Any, momentum: float) -> None:
    config = OptimiserConfig(name=name, lr=0.02, momentum=momentum, weight_decay=0.1, clip=None)
    start = torch.linspace(-2.0, 3.0, 40)
    mine, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    idle = nn.Parameter(torch.ones(2))  # takes no part
    optimiser = Optimiser([mine, idle], config, 20)
    rate, decay = torch.tensor(0.02, dtype=torch.float64), config.weight_decay
    torchs: torch.optim.Optimizer
    if name == "sgd":
        torchs = torch.optim.SGD([theirs], rate, momentum, weight_decay=decay, fused=True)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        torchs = kind([theirs], rate, weight_decay=decay, fused=True)
    for step in range(6):
        optimiser.begin(step)
        optimiser.descend((mine**2).sin().sum())
        torchs.zero_grad()
        rate.fill_(optimiser.lr)
        (theirs**2).sin().sum().backward()
        torchs.step()
        assert torch.equal(mine, theirs)
    assert not torch.equal(mine, start) and idle.tolist() == [1.0, 1.0]


def test_an_update_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from trainables.optimisers import Optimiser, OptimiserConfig\n"
        "for name in ('sgd', 'adam', 'adamw'):\n"
        "    weight = torch.nn.Parameter(torch.ones(3))\n"
        "    optimiser = Optimiser([weight], OptimiserConfig(name=name), 4)\n"
        "    optimiser.begin(0)\n"
        "    optimiser.descend(weight.sum())\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- whole runs ---------------------------------------------------------------------------------

LIVELY = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1, "clip": 1.0}
SCHEDULES: dict[str, dict[str, Any]] = {
    kind: {"kind": kind, "at": 0.25, "factor": 0.5, "warmup": 0.5}
    for kind in ("step", "cosine", "constant")
}
SAVED_AT = 2, 8
"""Within the warm-up of either part, of half of 6 updates each."""


def growing(toy: Callable[..., dict[str, Any]], kind: str, **method: Any) -> dict[str, Any]:
    """12 updates, growth with update 6, a generator update with every second."""
    return toy(
        "dfsr",
        method={"P": 2, "part_fraction": 0.5, "update_ratio": 2, **method},
        optimiser={**LIVELY, "schedule": SCHEDULES[kind]},
        budget={"steps": 12, "steps_per_report": 1},
    )


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_growth_restarts_every_kind_of_schedule_and_its_warm_up(
    kind: str, toy: Callable[..., dict[str, Any]], images: RunImages
) -> None:
    run = Run(TrialConfig.parse(growing(toy, kind)), images=images)
    found = [report["lr"] for report in run.reports()]
    rise = [0.25e-3, 0.5e-3, 0.75e-3]
    rest = {
        "step": [0.5e-3] * 3,  # a quarter of the whole budget has passed
        "cosine": [1e-3, 0.75e-3, 0.25e-3],  # of 180 degrees: 0, 60, 120
        "constant": [1e-3] * 3,
    }
    assert found == pytest.approx(2 * (rise + rest[kind]))
    # The generator's goes on: of 12 updates, and the last that it was asked for is number 11.
    whole = ScheduleConfig(**SCHEDULES[kind]).factor_at(11, 12)
    assert run.method.game.optimisers[2].lr == pytest.approx(1e-5 * whole)  # type: ignore[attr-defined]  # DFSR's


@pytest.mark.parametrize("kind", SCHEDULES)
def test_without_a_restart_the_schedule_is_that_of_the_budget(
    kind: str, toy: Callable[..., dict[str, Any]], images: RunImages
) -> None:
    config = TrialConfig.parse(growing(toy, kind, reset_lr=False))
    found = [report["lr"] for report in Run(config, images=images).reports()]
    assert found == [config.optimiser.lr_at(step, 12) for step in range(12)]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_growth_starts_adamws_moments_anew(
    kind: str, toy: Callable[..., dict[str, Any]], images: RunImages
) -> None:
    run = Run(TrialConfig.parse(growing(toy, kind)), images=images)
    counts = []
    for _ in run.reports():
        states = run.method.pupil.optimiser.state  # type: ignore[attr-defined]  # DFSR's
        counts.append(int(states[run.student.head.weight]["step"]))
    assert counts == [1, 2, 3, 4, 5, 6] * 2


@pytest.fixture(scope="module")
def resumed(
    toy: Callable[..., dict[str, Any]],
    images: RunImages,
    resume: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    jobs = {}
    for kind in SCHEDULES:
        for step in SAVED_AT:
            run = Run(TrialConfig.parse(growing(toy, kind)), images=images)
            for _ in range(step):
                run.advance()
            jobs[f"{kind}-{step}"] = {
                "config": growing(toy, kind),
                "state": copy.deepcopy(run.state_dict()),
                "reports": 12 - step,
            }
    return resume(tmp_path_factory.mktemp("optimisers"), jobs)


@pytest.mark.parametrize("step", SAVED_AT)
@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_run_restored_while_it_warms_up_is_bit_identical(
    kind: str,
    step: int,
    toy: Callable[..., dict[str, Any]],
    images: RunImages,
    resumed: dict[str, Any],
    bits_that_differ: Bits,
) -> None:
    through = Run(TrialConfig.parse(growing(toy, kind)), images=images)
    reports = list(through.reports())
    done = resumed[f"{kind}-{step}"]
    assert bits_that_differ(reports[step:], done["reports"]) == []
    assert bits_that_differ(through.state_dict(), done["state"]) == []


@pytest.mark.parametrize("method", ["kd", "fakd", "csd", "dukd", "scratch", "noise", "dfsr_cmi"])
def test_every_method_learns_with_adamw_and_a_cosine(method: str, make_run: Make) -> None:
    optimiser = {**LIVELY, "schedule": {"kind": "cosine", "warmup": 0.25}}
    run = make_run(method, optimiser=optimiser, budget={"steps": 8, "steps_per_report": 4})
    weight = run.student.head.weight
    assert isinstance(weight, Tensor)
    before = weight.detach().clone()
    *_, last = run.reports()
    assert not torch.equal(before, weight)
    restarted = method == "dfsr_cmi"  # grows, so its last part has 8 - 1 updates
    step, period = (6, 7) if restarted else (7, 8)
    assert last["lr"] == run.config.optimiser.lr_at(step, 8, period)


# --- what is said and what it stands for --------------------------------------------------------


@pytest.mark.parametrize("student", ["vdsr", "edsr"])
def test_adamw_is_adam_with_its_own_decay(student: str) -> None:
    raw = {"method": {"name": "dfsr"}, "student": {"name": student}}
    filled = expand_presets({**raw, "optimiser": {"name": "adamw"}})["optimiser"]
    adam = expand_presets({**raw, "optimiser": {"name": "adam"}})["optimiser"]
    assert filled == {**adam, "name": "adamw", "weight_decay": 0.01}
    said = {"name": "adamw", "weight_decay": 0.0, "schedule": {"kind": "cosine"}}
    filled = expand_presets({**raw, "optimiser": said})["optimiser"]
    assert filled["weight_decay"] == 0.0
    assert filled["schedule"] == {**adam.get("schedule", {}), "kind": "cosine"}


def test_a_schedule_is_written_as_it_was_said(toy: Callable[..., dict[str, Any]]) -> None:
    """So that what was written before there were kinds is what is written of it now."""
    for said in (
        {"at": 0.25, "factor": 0.5},
        {"at": 0.25, "factor": 0.5, "kind": "step"},
        {"at": 0.25, "factor": 0.5, "kind": "cosine", "warmup": 0.0},
    ):
        config = TrialConfig.parse(toy("kd", optimiser={"schedule": said}))
        for each in (config, pickle.loads(pickle.dumps(config))):
            written = each.model_dump(mode="json")
            assert written["optimiser"]["schedule"] == said
            assert TrialConfig.parse(written) == config
    unset = TrialConfig.parse(toy("dfsr")).model_dump(mode="json")
    assert unset["optimiser"]["schedule"] == {"at": 0.125, "factor": 0.1}


def test_the_papers_settings_have_the_keys_they_had() -> None:
    """What a stored space holds of a preset, so that a study of before goes on."""
    for method in ("kd", "fakd", "csd", "dukd", "dfsr"):
        filled = expand_presets({"method": {"name": method}, "student": {"name": "edsr"}})
        assert set(filled["optimiser"]["schedule"]) == {"at", "factor"}
