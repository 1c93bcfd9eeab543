from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from trainables.methods.dfad import DFAD, DFADConfig
from trainables.methods.dfsr import DFSR
from trainables.run import Run
from trainables.values import Blank


def test_it_is_dfsr_less_reconstruction_and_growth_to_the_last_bit(
    make_run: Callable[..., Run],
) -> None:
    dfad = make_run("dfad").method
    dfsr = make_run("dfsr", method={"w_R": 0.0, "P": 1}).method
    assert isinstance(dfad, DFAD)
    assert isinstance(dfsr, DFSR)
    for _ in range(6):
        ours, theirs = dfad.step(Blank(2, 16)), dfsr.step(Blank(2, 16))
        theirs.pop("loss/reconstruction", None)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("log", [True, False])
def test_the_generator_hears_of_nothing_but_disagreement(
    make_run: Callable[..., Run], log: bool
) -> None:
    method = make_run("dfad", method={"dfad_log": log}).method
    assert isinstance(method, DFAD)
    x, teacher, student = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    terms = method._terms(x, teacher, student, 2)  # 16 pixels that differ by 1
    assert list(terms) == ["loss/adversarial"]
    assert terms["loss/adversarial"].item() == pytest.approx(-math.log(17) if log else -16)


def test_the_whole_student_learns_from_the_first_update(make_run: Callable[..., Run]) -> None:
    run = make_run("dfad")
    assert run.method.active() == 6
    run.method.step(Blank(2, 16))
    assert all(parameter.grad is not None for parameter in run.student.parameters())


def test_defaults_are_dfsrs_and_the_log_of_dense_prediction() -> None:
    config = DFADConfig(name="dfad")
    assert (config.dfad_log, config.update_ratio, config.latent) == (True, 50, 256)
    assert (config.generator_lr, config.loss, config.loss_range) == (1e-5, "mse_sum", 1.0)
