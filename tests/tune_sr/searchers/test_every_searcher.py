import functools
import itertools
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from events import added, as_read, ended, read, reported
from searched import SPACE

from trainables.errors import ConfigError
from trainables.values import derive_seed
from tune_sr.ledger.history import History, trial_name
from tune_sr.objectives.objective import Objective
from tune_sr.searchers.algorithms import SEARCHERS, STARTUP_TRIALS, max_trials
from tune_sr.searchers.context import ProposalCache, ProposalContext
from tune_sr.searchers.propose import propose
from tune_sr.space.points import read_point
from tune_sr.study.space_file import read_resolved

SPACE_OBJECT, _ = read_resolved(SPACE)
STEPS = {
    "{uniform: [0.0, 3.0]}": "{quniform: [0.0, 3.0, 1.0]}",
    "{lograndint: [1, 50]}": "{choice: [5]}",
    "{loguniform: [0.03, 0.3]}": "{choice: [0.03, 0.1, 0.3]}",
    "[0.1, 0.3, 0.05]": "[0.1, 0.2, 0.05]",
}
"""What a searcher that takes every value needs in place of a range."""
ENDS = ("completed", "stopped", "failed", "diverged")
LONGEST = 18


@pytest.fixture(params=SEARCHERS)
def searcher(request):
    return request.param


@functools.cache
def text_for(searcher):
    """SPACE, or the same in steps where a searcher refuses it."""
    try:
        max_trials(searcher, SPACE_OBJECT)
        return SPACE
    except ConfigError:
        return functools.reduce(lambda text, words: text.replace(*words), STEPS.items(), SPACE)


@functools.cache
def space_for(searcher):
    return read_resolved(text_for(searcher))[0]


def quality(point):
    """Best at lr 0.1 and w_R 1; what a trial levels off at."""
    return 30 - abs(math.log(point["optimiser.lr"] / 0.1)) - abs(point["method.w_R"] - 1)


def life(number, point, end="completed"):
    """The events of one trial, in order."""
    yield as_read(added(number, point))
    steps = {"completed": 10, "diverged": 1}.get(end, 4)
    for report in range(1, steps + 1):
        value = quality(point) - 5 / report
        yield as_read(reported(number, 10 * report, {"psnr_y_db": value}))
    if end is not None:
        state = "failed" if end == "diverged" else end
        reason = {"diverged": "diverged", "failed": "no report"}.get(end)
        yield as_read(ended(number, state, reason))


def study(searcher, trials, seed=0, ends=ENDS):
    """A study of `trials` run one after the other; its events and its points."""
    history, events, points = History(), [], []
    for number in range(trials):
        point = propose(searcher, space_for(searcher), seed, history, number)
        points.append(point)
        for event in life(number, point, ends[number % len(ends)]):
            events.append(event)
            history.apply(event)
    return events, points


@functools.cache
def whole(searcher):
    return study(searcher, LONGEST)


def beginning(searcher, trials):
    """The first trials of the one long study of each searcher: a study costs seconds."""
    events, points = whole(searcher)
    names = {trial_name(number) for number in range(trials)}
    return [event for event in events if event["trial"] in names], points[:trials]


def test_first_points_come_first(searcher):
    space = space_for(searcher)
    assert propose(searcher, space, 0, History(), 0) == space.first_points[0]


def test_proposals_lie_in_the_space_and_can_be_configured(searcher):
    space = space_for(searcher)
    _, points = whole(searcher)
    blind = [propose(searcher, space, seed, History(), 1) for seed in range(LONGEST)]
    for point in (*points, *blind):
        assert list(point) == list(read_point(space.dimensions, space.fixed, point, "missing"))
        for path, value in point.items():
            accepted = space.dimensions[path].validate(value)
            assert (accepted, type(accepted)) == (value, type(value))
        space.trial_config(point)
        assert json.loads(json.dumps(point)) == point
    for path in ("method.P", "optimiser.clip", "method.latent"):
        assert {point[path] for point in (*points, *blind)} == set(
            space.dimensions[path].corner_values()
        )


def test_same_seed_same_proposals_and_other_seed_others(searcher):
    assert beginning(searcher, 12) == study(searcher, 12)
    assert whole(searcher)[1][1:8] != study(searcher, 8, seed=1)[1][1:]


def test_no_proposal_is_made_twice(searcher):
    _, points = whole(searcher)
    assert all(one != other for one, other in itertools.combinations(points, 2))


def test_another_process_proposes_the_same():
    asked = {name: (text_for(name), beginning(name, 12)[0]) for name in SEARCHERS}
    code = (
        "import json, sys; from tune_sr.ledger.history import History;"
        "from tune_sr.study.space_file import read_resolved;"
        "from tune_sr.searchers.propose import propose;"
        "print(json.dumps({name: [propose(name, read_resolved(text)[0], 0,"
        " History.from_events(events), number) for number in range(12)]"
        " for name, (text, events) in json.load(sys.stdin).items()}))"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=json.dumps(asked),
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == {name: beginning(name, 12)[1] for name in SEARCHERS}
    assert answer.stderr == "", "no warning, no chatter"


def test_a_longer_ledger_repeats_every_earlier_proposal(searcher):
    space = space_for(searcher)
    events, points = whole(searcher)
    history = History.from_events(events)
    assert [
        propose(searcher, space, 0, history, number) for number in range(LONGEST // 2)
    ] == points[: LONGEST // 2]


def test_what_earlier_calls_have_worked_out_changes_no_proposal(searcher):
    space, history = space_for(searcher), History()
    cache, lives = ProposalCache(space), {}
    for number in range(14):
        point = propose(searcher, space, 0, history, number)
        assert propose(searcher, space, 0, history, number, cache=cache) == point
        lives[number] = life(number, point, ENDS[number % len(ENDS)])
        for each, events in lives.items():  # they end in another order than they began
            for event in itertools.islice(events, 1 + (number + each) % 5):
                history.apply(event)


def test_the_order_in_which_trials_reported_does_not_matter(searcher):
    space = space_for(searcher)
    events, _ = beginning(searcher, 12)
    expected = propose(searcher, space, 0, History.from_events(events), 12)
    lives = {}
    for event in events:
        lives.setdefault(event["trial"], []).append(event)
    for shuffle in range(3):
        waiting = {name: list(life) for name, life in lives.items()}
        mixed = []
        while waiting:
            names = sorted(waiting)
            name = names[derive_seed(shuffle, len(mixed)) % len(names)]
            mixed.append(waiting[name].pop(0))
            if not waiting[name]:
                del waiting[name]
        assert propose(searcher, space, 0, History.from_events(mixed), 12) == expected


def test_what_a_running_trial_has_reported_teaches_nothing(searcher):
    space = space_for(searcher)
    events, points = beginning(searcher, 10)
    addition, *reports = life(10, {**points[-1], "optimiser.lr": 0.1}, end=None)
    before = propose(searcher, space, 0, History.from_events([*events, addition]), 11)
    assert reports
    assert (
        propose(searcher, space, 0, History.from_events([*events, addition, *reports]), 11)
        == before
    )


def test_a_trial_without_one_finite_report_does_no_harm(searcher):
    space = space_for(searcher)
    point = space.first_points[0]
    events = []
    for number, decision in enumerate(["complete", "stop", "complete", "stop", "stop", "stop"]):
        report = {"psnr_y_db": math.nan, "lr": 0.1}
        events += read(added(number, point), reported(number, 100, report, decision))
    propose(searcher, space, 0, History.from_events(events), 6)


def test_no_warning_reaches_the_user(searcher, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study(searcher, 8)
    assert capsys.readouterr() == ("", "")


def test_a_space_of_nothing_is_one_point(searcher):
    space, _ = read_resolved(SPACE[: SPACE.index("search:")] + "search: {}\nfirst: []\n"
                                      "study: {experiment: toy}\n")  # fmt: skip
    assert propose(searcher, space, 0, History(), 0) == {}


def mean_error(points):
    return sum(30 - quality(point) for point in points) / len(points)


@functools.cache
def error_of_blind_trials():
    return sum(mean_error(study("random", 40, seed)[1][20:]) for seed in range(3))


@pytest.mark.parametrize("searcher", ["auto", "tpe", "cmaes", "nsga2"])
def test_it_learns(searcher):
    late = [study(searcher, 40, seed, ("completed", "stopped"))[1][20:] for seed in range(3)]
    assert sum(map(mean_error, late)) < 0.75 * error_of_blind_trials()


@pytest.mark.parametrize("searcher", ["auto", "gp"])
def test_a_gaussian_process_learns_from_few_trials(searcher):
    late = study(searcher, 20, 0, ("completed", "stopped"))[1][10:]
    assert mean_error(late) < 0.5 * error_of_blind_trials() / 3


@pytest.mark.parametrize("searcher", ["auto", "gp", "tpe"])
def test_a_running_trial_changes_what_is_proposed(searcher):
    events, _ = beginning(searcher, 16)
    alone = propose(searcher, SPACE_OBJECT, 0, History.from_events(events), 17)
    running = list(life(16, alone, end=None))
    beside = propose(searcher, SPACE_OBJECT, 0, History.from_events(events + running), 17)
    assert distance(alone, beside) > 0.05


def distance(one, other):
    """How far apart two points lie, in the widest of the numbers, as a part of its range."""
    lr = abs(math.log(one["optimiser.lr"] / other["optimiser.lr"])) / math.log(10)
    choices = ("method.P", "optimiser.clip", "method.latent", "method.update_ratio")
    return max(
        lr,
        abs(one["method.w_R"] - other["method.w_R"]) / 3,
        *(one[path] != other[path] for path in choices),
    )


@pytest.mark.parametrize("searcher", ["auto", "gp", "cmaes", "nsga2"])
def test_a_stopped_trial_counts_as_what_it_would_have_reached(searcher):
    from tune_sr.searchers.worths import worths  # all three ask by it

    points = [propose("random", SPACE_OBJECT, 0, History(), number) for number in range(3)]
    history = History()
    for number, end in enumerate(("completed", "stopped", "diverged")):
        for event in life(number, points[number], end):
            history.apply(event)
    question = ProposalContext(
        SPACE_OBJECT, 3, 0, 0, ProposalCache(SPACE_OBJECT), ended=list(history.trials.values())
    )
    completed, stopped, diverged = (value for _, (value,) in worths(question))
    assert completed == pytest.approx(quality(points[0]) - 0.5)
    assert stopped == pytest.approx(quality(points[1]) - 0.5)
    assert diverged == min(completed, stopped)


def test_a_grid_holds_every_point_once():
    space = space_for("grid")
    size = max_trials("grid", space)
    points = [propose("grid", space, 0, History(), number) for number in range(0, size, 97)]
    values = [len(list(each.all_values())) for each in space.dimensions.values() if not each.when]
    assert size == math.prod(values) // 3 * (1 + 2 * 3 * 2)
    assert all(one != other for one, other in itertools.combinations(points, 2))
    with pytest.raises(IndexError):
        propose("grid", space, 0, History(), size)


def test_a_point_that_was_tried_is_not_tried_again_while_others_are_left():
    space, _ = read_resolved(
        SPACE[: SPACE.index("search:")] + "search: {method.P: {choice: [1, 2, 3]}}\nfirst: []\n"
        "study: {experiment: toy}\n"
    )
    for searcher in set(SEARCHERS) - {"cmaes"}:
        history = History()
        for number in range(3):
            point = propose(searcher, space, 0, history, number)
            history.apply(as_read(added(number, point)))
        assert {each.point["method.P"] for each in history.trials.values()} == {1, 2, 3}


def test_tpe_shuns_what_diverges_and_not_what_a_machine_did():
    def high_rates(reason):
        """How many of the last points lie where every trial ended for that reason."""
        history, count = History(), 0
        for number in range(40):
            point = propose("tpe", SPACE_OBJECT, 0, history, number)
            failed = point["optimiser.lr"] > 0.1
            for event in life(number, point, reason if failed else "completed"):
                history.apply(event)
            count += failed and number >= 20
        return count

    assert high_rates("diverged") < high_rates("failed")


def test_tpe_draws_at_random_until_enough_trials_have_ended():
    events, points = study("tpe", STARTUP_TRIALS, ends=("completed",))
    assert points[1:] == study("random", STARTUP_TRIALS, ends=("completed",))[1][1:]
    assert History.from_events(events).trials


@pytest.mark.parametrize("searcher", sorted(set(SEARCHERS) - {"cmaes"}))
def test_two_objectives_are_a_pure_function_of_the_ledger_too(searcher):
    space, objective = space_for(searcher), Objective("psnr_y_db", "params")
    history, points, count = History(), [], 9 if searcher == "gp" else 13
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(count):
            points.append(propose(searcher, space, 0, history, number, objective))
            for event in life(number, points[-1], ENDS[number % len(ENDS)]):
                if event["event"] == "reported":
                    event["report"]["params"] = 10.0 * points[-1]["method.latent"]
                history.apply(event)
    assert points == [propose(searcher, space, 0, history, n, objective) for n in range(count)]
    for point in points:
        assert list(point) == list(read_point(space.dimensions, space.fixed, point, "missing"))


@pytest.mark.parametrize("searcher", ["auto", "tpe", "nsga2"])
def test_what_costs_less_for_the_same_is_preferred(searcher):
    history, objective = History(), Objective("psnr_y_db", "params")
    for number in range(40):
        point = propose(searcher, SPACE_OBJECT, 0, history, number, objective)
        for event in life(number, point):
            if event["event"] == "reported":
                event["report"] = {"psnr_y_db": 30.0, "params": point["method.w_R"]}
            history.apply(event)
    costs = [each.point["method.w_R"] for each in history.trials.values()]
    assert sum(costs[20:]) < 0.7 * sum(costs[1:21])
