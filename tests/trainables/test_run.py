from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.device import chosen_device
from trainables.errors import Diverged
from trainables.methods import METHODS
from trainables.run import Run, RunImages, upscaler

Make = Callable[..., Run]
ROOT = Path(__file__).parents[2]

each_method = pytest.mark.parametrize("name", METHODS)
GROWING = {"P": 2, "part_fraction": 0.5}


# --- reports ------------------------------------------------------------------------------------


@each_method
def test_reports_come_until_the_budget_is_spent(name: str, make_run: Make) -> None:
    run = make_run(name, budget={"steps": 12, "steps_per_report": 4})
    reports = list(run.reports())
    assert [report["step"] for report in reports] == [4, 8, 12]
    assert run.finished
    for report in reports:
        losses = {key for key in report if key.startswith("loss/")}
        assert losses
        assert ("generator_change" in report) == name.startswith("df")
        assert set(report) - losses - {"generator_change"} == {
            "step",
            "psnr_y_db",
            "psnr_y_db_x2",
            "ssim",
            "ssim_x2",
            "lr",
            "active_blocks",
            "seconds_per_step",
        }
        assert all(type(value) is float and math.isfinite(value) for value in report.values())
        assert report["seconds_per_step"] > 0


def test_a_report_holds_the_mean_of_every_loss_since_the_last(make_run: Make) -> None:
    budget = {"steps": 12, "steps_per_report": 6}
    single = make_run("dfsr", budget={"steps": 12, "steps_per_report": 1})
    each = list(single.reports())[:6]
    report = make_run("dfsr", budget=budget).advance()
    kd = [one["loss/kd"] for one in each]
    adversarial = [one["loss/adversarial"] for one in each if "loss/adversarial" in one]
    assert len(adversarial) == 3
    assert report["loss/kd"] == statistics.fmean(kd)
    assert report["loss/adversarial"] == statistics.fmean(adversarial)


def test_how_often_it_is_evaluated_changes_nothing(make_run: Make) -> None:
    often = make_run("dfsr", budget={"steps": 12, "steps_per_report": 2})
    once = make_run("dfsr", budget={"steps": 12, "steps_per_report": 12})
    last, whole = list(often.reports())[-1], once.advance()
    assert last["psnr_y_db"] == whole["psnr_y_db"]
    state = once.student.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in often.student.state_dict().items())


def test_the_rate_of_a_report_is_that_of_its_last_update(make_run: Make) -> None:
    falling = {"lr": 0.01, "schedule": {"at": 0.5, "factor": 0.1}}
    run = make_run("noise", optimiser=falling, budget={"steps": 8, "steps_per_report": 2})
    assert [r["lr"] for r in run.reports()] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_several_scales_are_reported_one_by_one_and_as_their_mean(make_run: Make) -> None:
    student = {"name": "vdsr", "features": 4, "blocks": 2, "scales": [2, 4]}
    report = make_run("noise", student=student, batch={"images": 1, "patch": 32}).advance()
    pair = report["psnr_y_db_x2"], report["psnr_y_db_x4"]
    assert report["psnr_y_db"] == pytest.approx(statistics.fmean(pair))
    assert report["ssim"] == pytest.approx(statistics.fmean((report["ssim_x2"], report["ssim_x4"])))


def test_evaluation_uses_the_active_blocks_and_leaves_no_gradient(make_run: Make) -> None:
    run = make_run("dfsr", method=GROWING, budget={"steps": 12, "steps_per_report": 3})
    run.advance()
    before = run.evaluate()["psnr_y_db"]
    with torch.no_grad():
        run.student.body[5].conv.weight.fill_(9.0)  # type: ignore[union-attr,operator]  # inactive
    assert run.evaluate()["psnr_y_db"] == before
    lr_BCHW = run.heldout.views[2][0].lr_BCHW
    assert torch.equal(
        upscaler(run.student, 3)(lr_BCHW, 2), run.student.trace(lr_BCHW, active=3).sr_BCHW
    )


def test_a_finished_run_does_not_go_on(make_run: Make) -> None:
    run = make_run("noise", budget={"steps": 2, "steps_per_report": 2})
    list(run.reports())
    assert list(run.reports()) == []
    with pytest.raises(AssertionError, match="spent"):
        run.advance()


def test_threads_are_the_configurations(make_run: Make) -> None:
    make_run("noise", threads=2)
    assert torch.get_num_threads() == 2
    make_run("noise", threads=1)
    assert torch.get_num_threads() == 1


def test_the_teacher_is_frozen_and_in_no_checkpoint(make_run: Make) -> None:
    run = make_run("dfsr")
    assert run.teacher is not None
    assert not run.teacher.training
    assert not any(parameter.requires_grad for parameter in run.teacher.parameters())
    assert not any("teacher" in name for name in run.state_dict()["method"])


def test_bf16_trains_on_the_weights_of_now(make_run: Make) -> None:
    """Autocast remembers casts: the generator must not meet the student of an update ago."""
    run = make_run("dfad", precision="bf16", method={"update_ratio": 1})
    report = run.advance()
    assert math.isfinite(report["loss/kd"])
    assert all(p.dtype == torch.float32 for p in run.student.parameters())
    x = torch.rand(1, 1, 8, 8)
    with run.numerics():
        before = run.student(x, scale=2)
        with torch.no_grad():
            for parameter in run.student.parameters():
                parameter.mul_(0.0)
        after = run.student(x, scale=2)
    assert not torch.equal(before, after)


def test_bf16_stays_near_fp32(make_run: Make) -> None:
    budget = {"steps": 4, "steps_per_report": 4}
    exact = make_run("dfsr", budget=budget).advance()
    rough = make_run("dfsr", budget=budget, precision="bf16").advance()
    assert rough["loss/kd"] != exact["loss/kd"]
    assert rough["loss/kd"] == pytest.approx(exact["loss/kd"], rel=0.05)


def test_auto_is_a_device_that_exists() -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert chosen_device("auto").type == kind
    assert chosen_device("cpu").type == "cpu"


# --- the middle of a part, in a new process -----------------------------------------------------


def long(name: str, toy: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """12 updates, a generator update with every 3rd; a growing student grows with update 6."""
    raw = toy(name, budget={"steps": 12, "steps_per_report": 1})
    fields = type(TrialConfig.parse(raw).method).model_fields
    wanted = {"update_ratio": 3, **GROWING}
    raw["method"] |= {key: value for key, value in wanted.items() if key in fields}
    return raw


SAVED_AT = (4, 8)
"""In the middle of the first part, with the growth still to come, and of the second."""


@pytest.fixture(scope="module")
def resumed(
    toy: Callable[..., dict[str, Any]],
    images: RunImages,
    resume: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    jobs = {}
    for name in METHODS:
        run = Run(TrialConfig.parse(long(name, toy)), images=images)
        for report in run.reports():
            step = int(report["step"])
            if step in SAVED_AT:
                state = torch_copy(run.state_dict())
                jobs[f"{name}-{step}"] = {
                    "config": long(name, toy),
                    "state": state,
                    "reports": 12 - step,
                }
    return resume(tmp_path_factory.mktemp("run"), jobs)


def torch_copy(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: torch_copy(value) for key, value in state.items()}
    if isinstance(state, list):
        return [torch_copy(value) for value in state]
    return state


@pytest.mark.parametrize("step", SAVED_AT)
@each_method
def test_a_run_restored_in_the_middle_of_a_part_is_bit_identical(
    name: str,
    step: int,
    toy: Callable[..., dict[str, Any]],
    images: RunImages,
    resumed: dict[str, Any],
    bits_that_differ: Callable[[Any, Any], list[str]],
) -> None:
    through = Run(TrialConfig.parse(long(name, toy)), images=images)
    reports = list(through.reports())
    done = resumed[f"{name}-{step}"]
    assert bits_that_differ(reports[step:], done["reports"]) == []
    assert bits_that_differ(through.state_dict(), done["state"]) == []


@each_method
def test_a_state_holds_tensors_and_plain_values_only(
    name: str, make_run: Make, tmp_path: Path
) -> None:
    run = make_run(name)
    run.advance()
    torch.save(run.state_dict(), tmp_path / "run.pt")
    torch.load(tmp_path / "run.pt", weights_only=True)


@each_method
def test_a_state_makes_a_run_of_any_history_the_one_it_was_saved_from(
    name: str, make_run: Make, bits_that_differ: Callable[[Any, Any], list[str]]
) -> None:
    run, other = make_run(name), make_run(name, seed=5)
    run.advance()
    other.advance()
    other.advance()
    assert bits_that_differ(run.state_dict(), other.state_dict()) != []
    state = torch_copy(run.state_dict())
    other.load_state_dict(state)
    assert bits_that_differ(run.state_dict(), other.state_dict()) == []
    assert bits_that_differ(run.advance(), other.advance()) == []
    assert bits_that_differ(run.state_dict(), other.state_dict()) == []


# --- divergence ---------------------------------------------------------------------------------


@each_method
def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(name: str, make_run: Make) -> None:
    run = make_run(
        name,
        optimiser={"lr": 1e30, "clip": None, "schedule": None},
        budget={"steps": 40, "steps_per_report": 20},
    )
    with pytest.raises(Diverged, match=r"diverged at step \d+: loss/\w+ is not finite") as end:
        list(run.reports())
    assert 1 < end.value.step < 20
    assert set(end.value.losses) >= {next(iter(end.value.losses))}
    assert str(end.value.step) in str(end.value)


# --- without Ray --------------------------------------------------------------------------------

ALONE = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "optuna", "mlflow", "tune_sr"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import trainables
assert "torch" not in sys.modules, "import trainables is to be light"
for name in trainables.__all__:
    try:
        getattr(trainables, name)
    except ModuleNotFoundError as error:  # a trainable of Ray's is nothing without Ray
        assert (name, str(error)) == ("trainable_for", "ray")
for module in pkgutil.walk_packages(trainables.__path__, "trainables."):
    if module.name != "trainables.ray_trainable":
        importlib.import_module(module.name)
print(*sorted(set(trainables.METHODS)))
"""


def test_trainables_needs_neither_ray_nor_optuna_nor_mlflow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(METHODS)


def test_a_name_that_trainables_does_not_have_is_an_attribute_error() -> None:
    import trainables

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        trainables.Nothing  # noqa: B018  asking is the test
