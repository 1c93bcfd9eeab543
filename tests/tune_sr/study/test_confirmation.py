"""Which trials are repeated with which seeds: a pure function of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from events import added, ended, read, repeat, reported, study_ended

from trainables.values import derive_seed
from tune_sr import search
from tune_sr.ledger.events import NewEvent, TrialAttempt, TrialEnded, TrialReported
from tune_sr.ledger.history import History
from tune_sr.ledger.reading import misfit
from tune_sr.ledger.repeats import repeated_trial
from tune_sr.study.config import StudyConfig
from tune_sr.study.confirmation import ablated_points, lacks_repeats, missing_repeats, most_repeats
from tune_sr.study.space_file import load_study

ToySpace = Callable[..., Path]
POINTS: list[dict[str, Any]] = [
    {"method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.01},
    {"method.w_R": 0.5, "method.P": 1, "optimiser.lr": 0.02},
    {"method.w_R": 2.0, "method.P": 1, "optimiser.lr": 0.03},
]


def config(toy_space: ToySpace, **study: Any) -> StudyConfig:
    path = toy_space(study={"confirm": 2, **study}, first=[POINTS[0]])
    return StudyConfig(*load_study(path), path.parent / "runs" / "toy")


def searched(*values: float) -> list[NewEvent]:
    """Trials that ended with these values."""
    events: list[NewEvent] = []
    for number, value in enumerate(values):
        events += [added(number, POINTS[number]), reported(number, 32, value, "complete")]
        events += [ended(number)]
    return events


def named(config: StudyConfig, *events: NewEvent) -> list[str]:
    history = History.from_events(read(*events))
    return [each.trial for each in missing_repeats(config, history)]


def test_the_first_point_and_the_best_are_repeated_in_turn(toy_space: ToySpace) -> None:
    study = config(toy_space)
    history = History.from_events(read(*searched(30.0, 31.0, 30.5)))
    repeats = missing_repeats(study, history)
    assert [each.trial for each in repeats] == ["0000.s1", "0001.s1", "0000.s2", "0001.s2"]
    assert [each.repeats for each in repeats] == ["0000", "0001"] * 2
    seeds = [derive_seed(0, "confirm", number) for number in (1, 1, 2, 2)]
    assert [each.point["seed"] for each in repeats] == seeds
    assert [study.trial_config(each.point).seed for each in repeats] == seeds
    assert repeats[1].point == {**POINTS[1], "seed": seeds[0]}


def test_what_has_been_repeated_is_not_repeated_again(toy_space: ToySpace) -> None:
    study, trials = config(toy_space), searched(30.0, 31.0)
    begun = [repeat(0, 1, POINTS[0]), repeat(1, 1, POINTS[1])]
    assert named(study, *trials, *begun) == ["0000.s2", "0001.s2"]
    more = replace(study, settings=study.settings.model_copy(update={"confirm": 3}))
    assert named(more, *trials, *begun)[-2:] == ["0000.s3", "0001.s3"]
    fewer = replace(study, settings=study.settings.model_copy(update={"confirm": 0}))
    assert named(fewer, *trials) == []


def test_an_ablation_sets_one_quantity_of_the_best_point_back_at_a_time(
    toy_space: ToySpace,
) -> None:
    study = config(toy_space, ablate=True)
    history = History.from_events(read(*searched(30.0, 31.0, 30.5)))
    repeats = missing_repeats(study, history)
    assert [each.trial for each in repeats[:4]] == [
        *("0000.s1", "0001.s1", "0001.method.w_R.s1", "0001.optimiser.lr.s1")
    ]
    assert len(repeats) == 8 <= most_repeats(study)
    w_r, rate = repeats[2:4]
    seed = {"seed": derive_seed(0, "confirm", 1)}
    assert w_r.point == {**POINTS[1], "method.w_R": 1.0, **seed}
    assert rate.point == {**POINTS[1], "optimiser.lr": 0.01, **seed}
    assert repeated_trial(rate.repeats or "") == ("0001", "optimiser.lr")
    done = read(*searched(30.0, 31.0, 30.5), *repeats[:3])
    assert History.from_events(done).confirmation is not None
    left = missing_repeats(study, History.from_events(done))
    assert [each.trial for each in left] == [each.trial for each in repeats[3:]]
    known: set[str] = set()
    for event in done:
        assert misfit(event, known) is None
        known.add(event.get("trial", ""))


def test_a_quantity_that_comes_into_being_with_the_first_points_value_has_one(
    toy_space: ToySpace,
) -> None:
    grown = {
        "method.w_R": 1.0,
        "method.P": 2,
        "method.new_block_init": "random",
        "optimiser.lr": 0.01,
    }
    space = toy_space(first=[grown], study={"confirm": 2, "ablate": True})
    study = StudyConfig(*load_study(space), space.parent / "runs" / "toy")
    events = [added(0, grown), reported(0, 32, 30.0, "complete"), ended(0)]
    events += [added(1, POINTS[1]), reported(1, 32, 31.0, "complete"), ended(1)]
    points = ablated_points(study, History.from_events(read(*events)))
    assert points["method.P"] == {**POINTS[1], "method.P": 2, "method.new_block_init": "random"}
    assert list(points) == ["method.w_R", "method.P", "optimiser.lr"]


def test_the_two_most_important_changes_are_trained_alone_once_the_ablation_names_them(
    toy_space: ToySpace,
) -> None:
    first = {**POINTS[0], "method.P": 2, "method.new_block_init": "random"}
    space = toy_space(first=[first], study={"confirm": 2, "ablate": True})
    study = StudyConfig(*load_study(space), space.parent / "runs" / "toy")
    events: list[NewEvent] = [added(0, first), reported(0, 32, 30.0, "complete"), ended(0)]
    events += [added(1, POINTS[1]), reported(1, 32, 31.0, "complete"), ended(1)]
    repeats = missing_repeats(study, History.from_events(read(*events)))
    assert len(repeats) == 2 * 5, "w_R, P and the rate differ"
    scores = {"0000": 30.0, "0001": 31.0, "0001.method.w_R": 30.9, "0001.method.P": 30.2}
    for place, each in enumerate(repeats):
        assert missing_repeats(study, History.from_events(read(*events)))[0] == each, place
        psnr = scores.get(each.repeats or "", 30.5)
        report = {"step": 32, "psnr_y_db": psnr}
        events += [each, TrialReported(trial=each.trial, step=32, report=report, decision="stop")]
    two = missing_repeats(study, History.from_events(read(*events)))
    name = "0001.only.method.P+optimiser.lr"
    assert [each.repeats for each in two] == [name, name]
    alone = {"method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.02}
    assert two[1].point == {**alone, "seed": derive_seed(0, "confirm", 2)}
    assert repeated_trial(name) == ("0001", "only.method.P+optimiser.lr")
    assert len(repeats) + len(two) <= most_repeats(study)
    done = History.from_events(read(*events, *two))
    assert missing_repeats(study, done) == []


def test_nothing_is_repeated_where_nothing_beats_the_first_point(toy_space: ToySpace) -> None:
    study = config(toy_space)
    assert named(study, *searched(31.0, 30.0)) == []
    assert named(study, added(0, POINTS[0]), ended(0, "failed", "x")) == []
    without = toy_space("without", study={"confirm": 2}, first=[])
    without_first = StudyConfig(*load_study(without), without.parent / "runs" / "toy")
    assert named(without_first, *searched(30.0, 31.0)) == []


def test_a_repeat_that_has_not_ended_is_still_to_be_trained(toy_space: ToySpace) -> None:
    study, trials = config(toy_space), searched(30.0, 31.0)
    of_all = [repeat(of, number, POINTS[of]) for number in (1, 2) for of in (0, 1)]
    history = History.from_events(read(*trials, *of_all))
    assert missing_repeats(study, history) == [] and lacks_repeats(study, history)


def test_neither_searcher_nor_count_sees_a_repeat(toy_space: ToySpace) -> None:
    trials = searched(30.0, 31.0)
    alone = History.from_events(read(*trials))
    history = History.from_events(read(*trials, repeat(0, 1, POINTS[0]), study_ended(False)))
    report = {"step": 4, "psnr_y_db": 99.0}
    made = TrialReported(trial="0000.s1", step=4, report=report, decision="continue")
    for event in (made, TrialAttempt(trial="0000.s1", attempt=2, reason="its process was lost")):
        history.apply(event.to_dict(time=9.0))
    assert history.trials == alone.trials and history.reached == alone.reached
    assert history.running() == [] and history.free_number() == 2
    record = history.record("0000.s1")
    assert (record.repeats, record.attempts, list(record.reports)) == ("0000", 1, [4])
    assert history.confirmation is not None and history.confirmation.running() == [record]
    assert history.all_records() == [*alone.trials.values(), record]


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--confirm", "1"], "at least 2 seeds, or 0"),
        (["--confirm", "-1"], "greater than or equal to 0"),
        (["--confirm", "1001"], "less than or equal to 1000"),
        (["--ablate"], "say --confirm K as well"),
        (["--confirm", "auto", "--ablate"], "say --confirm K in place of auto"),
        (
            ["--set", "study.confirm=auto", "--set", "study.objective=[psnr_y_db, params]"],
            "a race has one objective",
        ),
        (
            ["--confirm", "auto", "--set", "study.scheduler=pbt"],
            "no one point can be trained again",
        ),
        (["--confirm", "3", "--set", "study.scheduler=pbt"], "no one point can be trained again"),
    ],
)
def test_what_cannot_be_confirmed_is_refused(
    words: list[str], rule: str, toy_space: ToySpace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search.main(["--space", str(toy_space()), "--dry-run", *words]) == 2
    said = capsys.readouterr().err
    assert rule in said and "confirm" in said and said.count("\n") == 1


def test_a_driver_killed_after_a_report_of_a_repeat_owes_no_copy(toy_space: ToySpace) -> None:
    made = TrialReported(trial="0000.s1", step=4, report={"psnr_y_db": 30.0}, decision="continue")
    events = read(*searched(30.0, 31.0), repeat(0, 1, POINTS[0]), made)
    assert config(toy_space).population().unwritten_replacement(events) is None


def ended_repeats(*values: tuple[int, int, float]) -> list[NewEvent]:
    """Repeats that ended: trial, number of the seed, PSNR."""
    events: list[NewEvent] = []
    for of, number, psnr in values:
        events.append(made := repeat(of, number, POINTS[of]))
        report = {"step": 32, "psnr_y_db": psnr}
        event = TrialReported(trial=made.trial, step=32, report=report, decision="complete")
        events += [event, TrialEnded(trial=made.trial, state="completed", reason=None)]
    return events


def searched_long(*scores: float) -> list[NewEvent]:
    events: list[NewEvent] = []
    for number, score in enumerate(scores):
        events += [added(number, POINTS[number % 3]), reported(number, 32, score, "complete")]
        events += [ended(number)]
    return events


def test_a_race_trains_one_seed_at_a_time_and_drops_who_is_behind(toy_space: ToySpace) -> None:
    study = config(toy_space, confirm="auto", trials=40)
    trials = searched_long(30.0, 30.9, 31.0, *[29.0] * 37)  # of 32 updates each: 16 trainings
    assert most_repeats(study) == 16
    assert named(study, *trials) == ["0000.s1", "0002.s1", "0001.s1"]
    one = ended_repeats((0, 1, 30.0), (2, 1, 31.0), (1, 1, 30.2))
    assert named(study, *trials, *one[:3]) == ["0002.s1", "0001.s1"]
    begun = [repeat(2, 1, POINTS[2]), repeat(1, 1, POINTS[1])]
    assert named(study, *trials, *one[:3], *begun) == [], "the next seed waits for these"
    assert lacks_repeats(study, History.from_events(read(*trials, *one[:3], *begun)))
    assert named(study, *trials, *one) == ["0000.s2", "0002.s2", "0001.s2"]
    seeds = missing_repeats(study, History.from_events(read(*trials, *one)))
    assert {each.point["seed"] for each in seeds} == {derive_seed(0, "confirm", 2)}
    two = ended_repeats((0, 2, 30.01), (2, 2, 31.0), (1, 2, 30.21))
    whole = read(*trials, *one, *two)
    assert missing_repeats(study, History.from_events(whole)) == []
    assert not lacks_repeats(study, History.from_events(whole)), "the first point is behind"


def test_a_search_too_short_for_a_race_has_none(toy_space: ToySpace) -> None:
    study = config(toy_space, confirm="auto", trials=14)
    assert named(study, *searched(30.0, 31.0)) == [] and most_repeats(study) == 0
    assert named(study, *searched_long(31.0, *[30.0] * 39)) == [], "nothing beats the first point"
