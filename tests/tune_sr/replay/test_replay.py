import math
from dataclasses import replace
from pathlib import Path

import pytest
from events import added, as_read, repeat, reported
from searched import FIXED

from trainables.errors import ConfigError
from tune_sr.ledger.events import TrialReported
from tune_sr.ledger.history import History
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.replay import text as replay_texts
from tune_sr.replay.curve_table import LEAST_TRIALS, CurveTable
from tune_sr.replay.race import Contender, Loss, Race, loss_table
from tune_sr.searchers.propose import propose
from tune_sr.study.config import StudyConfig
from tune_sr.study.space_file import read_resolved

SPACE = (
    FIXED
    + """\
search:
  method.w_R: {uniform: [0.0, 3.0]}
  method.P: {choice: [1, 2]}
  method.part_fraction: {uniform: [0.1, 0.3], when: {method.P: 2}}
  optimiser.lr: {loguniform: [0.03, 0.3]}
first:
  - {method.w_R: 0.5, method.P: 2, method.part_fraction: 0.15, optimiser.lr: 0.05}
study: {experiment: toy, trials: 8, scheduler: {name: asha, grace_period: 3, reduction_factor: 2}}
"""
)
SPACE_OBJECT, SETTINGS = read_resolved(SPACE)
STUDY = StudyConfig(SPACE_OBJECT, SETTINGS, Path("runs/toy"))


def height(point):
    """What a trial levels off at: best at w_R 2 and the largest rate."""
    return 32 - (point["method.w_R"] - 2) ** 2 / 4 + math.log(point["optimiser.lr"] / 0.3) / 3


def recorded(trials=60):
    history = History()
    for number in range(trials):
        point = propose("random", SPACE_OBJECT, 1, history, number)
        history.apply(as_read(added(number, point)))
        for step in range(10, 101, 10):
            value = height(point) - 20 / step
            decision = "complete" if step == 100 else "continue"
            history.apply(as_read(reported(number, step, value, decision)))
    return history


@pytest.fixture(scope="module")
def table():
    return CurveTable(SPACE_OBJECT, recorded(), PSNR_ONLY)


def test_a_table_predicts_trials_that_it_was_not_fitted_to(table):
    assert table.trials == 60
    quality = table.quality()
    assert quality.rank_correlation > 0.8
    assert 0 < quality.error_db < 0.3
    point = {"method.w_R": 2.0, "method.P": 1, "optimiser.lr": 0.28}
    (curve,) = table.curves([SPACE_OBJECT.trial_config(point)])
    assert list(curve) == list(range(10, 101, 10))
    assert curve[100] == pytest.approx(height(point) - 0.2, abs=0.4)
    assert curve[10] == pytest.approx(curve[100] - 1.8, abs=0.1)


def test_settings_that_were_not_recorded_have_no_curve(table):
    config = SPACE_OBJECT.trial_config({"method.w_R": 9.0, "method.P": 1, "optimiser.lr": 0.1})
    with pytest.raises(ConfigError, match=r"method.w_R: 9.0 is not a number of uniform"):
        table.curves([config])


def test_the_spread_of_seeds_is_that_of_repeats_or_the_wobble_of_curves(table):
    assert table.seed_spread == pytest.approx(0.025)  # of 20/80 - 20/90 and 20/90 - 20/100
    history = recorded()
    for seed, value in enumerate((32.0, 32.2), start=1):
        history.apply(as_read(repeat(0, seed)))
        report = {"psnr_y_db": value}
        event = TrialReported(trial=f"0000.s{seed}", step=100, report=report, decision="complete")
        history.apply(as_read(event))
    spread = CurveTable(SPACE_OBJECT, history, PSNR_ONLY).seed_spread
    assert spread == pytest.approx(0.2 / math.sqrt(2))


def test_few_or_stopped_trials_make_no_table():
    history = recorded(LEAST_TRIALS - 1)
    history.apply(as_read(added(99, SPACE_OBJECT.first_points[0])))
    history.apply(as_read(reported(99, 30, 31.0, "stop")))
    with pytest.raises(ConfigError, match=r"15 trials with every report.* needs 16"):
        CurveTable(SPACE_OBJECT, history, PSNR_ONLY)


def test_losses_fall_with_trials_and_are_below_that_of_the_first_point(table):
    race, seeds = Race(STUDY, table), 4
    learned = [*race.losses(Contender("auto", "none", 2), (6, 18), seeds)]
    assert [each.trials for each in learned] == [6, 18]
    assert 0 <= learned[1].mean_db < learned[0].mean_db
    assert learned[0].mean_db < race.first_loss_db()
    assert all(each.error_db < each.mean_db for each in learned)
    assert learned[1].updates == 18


def test_a_scheduler_saves_updates_and_a_seed_repeats_its_study(table):
    race = Race(STUDY, table)
    one, other = ([*race.losses(Contender("random", "asha", 1), (8,), 3)] for _ in range(2))
    assert one == other
    assert one[0].updates < 8


def test_the_table_of_losses_has_a_row_for_each_contender():
    losses = [
        Loss(Contender("auto", "asha", 2), count, 0.1 / count, 0.01, count / 2) for count in (8, 16)
    ]
    assert loss_table(losses, (8, 16))[2:] == [
        "| auto | asha | 2 | 0.013 ±0.010 | 0.006 ±0.010 | 8.0 |"
    ]


def written(folder, space=SPACE):
    """A folder with the ledger of a recorded study."""
    import json

    import yaml

    folder.mkdir()
    started = {"event": "study_started", "time": 0.0, "name": "toy", "space": yaml.safe_load(space)}
    events = [started | {"id": "1" * 32, "seed": 0, "marks": {}, "digests": {}}]
    history = recorded(24)
    for record in history.trials.values():
        events.append(as_read(added(record.number, record.point)))
        for step, each in record.reports.items():
            value = each.report["psnr_y_db"]
            events.append(as_read(reported(record.number, step, value, each.decision)))
    text = "".join(json.dumps(each) + "\n" for each in events)
    (folder / "ledger.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_the_text_compares_every_contender(tmp_path, monkeypatch):
    monkeypatch.setattr(replay_texts, "SEEDS", 2)
    monkeypatch.setattr(replay_texts, "TRIALS", (4, 6))
    done = []
    folder = written(tmp_path / "recorded")
    text = replay_texts.replay_text(STUDY, folder, 2, done.append)
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows == [
        [f"| {searcher}", scheduler]
        for searcher in ("tpe", "auto", "random")
        for scheduler in ("asha", "none")
    ]
    assert len(done) == 12
    assert "24 whole trials" in text
    assert "rank correlation" in text
    assert "the first point: " in text


def test_a_study_that_does_not_fit_is_refused(tmp_path):
    folder = written(tmp_path / "recorded", SPACE.replace("steps: 100", "steps: 200"))
    with pytest.raises(ConfigError, match=r"budget: 100 updates, 200 in .*the same"):
        replay_texts.replay_text(STUDY, folder, 2, print)
    two = SETTINGS.model_copy(update={"objective": Objective("psnr_y_db", "params")})
    with pytest.raises(ConfigError, match=r"study.objective: .* one objective"):
        replay_texts.replay_text(replace(STUDY, settings=two), folder, 2, print)
