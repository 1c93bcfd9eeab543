import itertools

import pytest

from trainables.metrics import cost as measured
from trainables.values import QUALITIES, derive_seed
from tune_sr.objectives.objective import AGREEMENT, COSTS, PSNR_ONLY, Objective
from tune_sr.objectives.pareto import pareto_front


def test_what_a_study_can_be_after_is_what_reports_can_say():
    # This package has the names apart: to read a ledger needs no torch.
    assert set(COSTS) == set(measured.COSTS)
    assert {PSNR_ONLY.value, Objective.parse(AGREEMENT).value} == set(QUALITIES)


def test_quality_alone_or_against_one_cost():
    assert Objective.parse("psnr_y_db") == Objective.parse(["psnr_y_db"]) == PSNR_ONLY
    for cost in COSTS:
        assert Objective.parse(["psnr_y_db", cost]) == Objective("psnr_y_db", cost)


@pytest.mark.parametrize(
    "raw", ["ssim", "", [], ["params"], ["psnr_y_db", "ssim"], ["psnr_y_db", "params", "macs"], 3]
)
def test_anything_else_is_refused_in_one_line(raw):
    with pytest.raises(ValueError, match=r"^takes 'psnr_y_db', a list .*; got [^\n]*$"):
        Objective.parse(raw)


@pytest.mark.parametrize("luck", range(5))
def test_a_front_is_what_nothing_beats(luck):
    def chance(*purpose):
        return derive_seed(luck, *purpose) % 8  # few values, so that there are ties

    scored = [(name, float(chance("v", name)), float(chance("c", name))) for name in range(12)]
    kept = set(pareto_front(scored))

    def beats(one, other):
        return one[1] >= other[1] and one[2] <= other[2] and one[1:] != other[1:]

    for each in scored:
        beaten = any(beats(other, each) for other in scored)
        earlier = any(other[1:] == each[1:] for other in scored[: each[0]])
        assert (each[0] in kept) == (not beaten and not earlier)
    costs = [scored[name][2] for name in pareto_front(scored)]
    assert all(one < other for one, other in itertools.pairwise(costs))
    assert pareto_front([]) == []
