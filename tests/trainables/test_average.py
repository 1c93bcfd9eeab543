from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainables.average import Average
from trainables.networks import build_network
from trainables.run import Run

Make = Callable[..., Run]
SHORT = {"budget": {"steps": 6, "steps_per_report": 2}}


def test_the_average_by_hand() -> None:
    student = build_network({"name": "vdsr", "features": 2, "blocks": 1, "scale": 2})
    average = Average(student, 0.75)
    for parameter in (*student.parameters(), *average.network.parameters()):
        parameter.data.fill_(1.0)
    for value, wanted in [(5.0, 2.0), (2.0, 2.0), (-6.0, 0.0)]:  # a + (student - a) / 4
        for parameter in student.parameters():
            parameter.data.fill_(value)
        average.follow()
        assert all(bool((each == wanted).all()) for each in average.network.parameters())


def test_it_begins_as_the_student_and_shares_nothing_with_it() -> None:
    student = build_network({"name": "edsr", "features": 4, "blocks": 1, "scale": 2})
    average = Average(student, 0.9).network
    before = {key: value.clone() for key, value in average.state_dict().items()}
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())
    for parameter in student.parameters():
        parameter.data.add_(1.0)
    assert all(torch.equal(before[key], value) for key, value in average.state_dict().items())
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_a_run_is_judged_by_its_average_and_trains_as_if_there_were_none(make_run: Make) -> None:
    plain, averaged = make_run("kd", **SHORT), make_run("kd", ema=0.5, **SHORT)
    reports = [list(run.reports()) for run in (plain, averaged)]
    for key, value in plain.student.state_dict().items():
        assert torch.equal(averaged.student.state_dict()[key], value)
    losses = [[r["loss/pixel"] for r in each] for each in reports]
    assert losses[0] == losses[1]
    assert reports[0][-1]["psnr_y_db"] != reports[1][-1]["psnr_y_db"]
    assert plain.outcome is plain.student
    assert averaged.outcome is not averaged.student
    # of a loss that still falls, the average lags behind
    assert reports[1][-1]["psnr_y_db"] == pytest.approx(averaged.evaluate()["psnr_y_db"])


def test_an_average_is_taken_on_bit_for_bit(
    make_run: Make, bits_that_differ: Callable[[Any, Any], list[str]]
) -> None:
    through, stopped, resumed = (make_run("dfsr", ema=0.9, **SHORT) for _ in range(3))
    list(through.reports())
    stopped.advance()
    resumed.load_state_dict(stopped.state_dict())
    list(resumed.reports())
    assert bits_that_differ(through.state_dict(), resumed.state_dict()) == []
    assert "average" in resumed.state_dict()
