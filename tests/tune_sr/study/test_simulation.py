import itertools

import pytest

from trainables.config import BudgetConfig
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig
from tune_sr.study.settings import StudySettings
from tune_sr.study.simulation import simulate

BUDGET = BudgetConfig(steps=100, steps_per_report=10)


def rising(record, step):
    """A curve that levels off, higher the later a trial was added."""
    return {"psnr_y_db": 30 + (record.number * 7) % 5 - 10 / step}


def settings_for(name, **options):
    return StudySettings(scheduler=SchedulerConfig(name=name, grace_period=3, **options))


@pytest.mark.parametrize(("name", "concurrent"), [*itertools.product(SCHEDULERS, (1, 3, 20))])
def test_a_simulation_adds_up(name, concurrent):
    first, second = (simulate(settings_for(name), BUDGET, 9, concurrent, rising) for _ in range(2))
    assert first.trials == second.trials
    for record in first.trials.values():
        last = max(record.reports)
        assert (record.state, last) == ("completed", 100) or (
            record.state == "stopped" and last >= 30
        )
    if name == "asha":
        assert any(record.state == "stopped" for record in first.trials.values())


def test_as_many_trials_run_at_a_time_as_are_asked_for_and_reports_take_a_unit_of_time():
    history = simulate(settings_for("none"), BUDGET, 5, 2, rising)
    begins = [record.added_at for record in history.trials.values()]
    ends = [record.ended_at for record in history.trials.values()]
    assert begins == [0, 0, 10, 10, 20]
    assert ends == [10, 10, 20, 20, 30]


def test_each_point_is_proposed_from_the_trials_before():
    seen = []

    def point_of(history, number):
        seen.append([record.state for record in history.trials.values()])
        return {"method.w_R": float(number)}

    history = simulate(settings_for("none"), BUDGET, 3, 1, rising, point_of)
    assert seen == [[], ["completed"], ["completed", "completed"]]
    assert [each.point["method.w_R"] for each in history.trials.values()] == [0, 1, 2]
