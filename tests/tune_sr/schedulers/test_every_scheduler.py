import itertools
import math
from collections import Counter

import events as build
import pytest
from events import as_read

from trainables.config import BudgetConfig
from trainables.values import derive_seed
from tune_sr.ledger.history import History, trial_name
from tune_sr.objectives.objective import PSNR_ONLY, Objective
from tune_sr.schedulers.decide import Decider
from tune_sr.schedulers.grace_period import least_grace
from tune_sr.schedulers.rules import SCHEDULERS, SchedulerConfig, asha, median
from tune_sr.schedulers.rungs import bracket_of, bracket_shares, rungs

BUDGET = BudgetConfig(steps=270, steps_per_report=10)
AND_SIZE = Objective("psnr_y_db", "params")


@pytest.fixture(params=[*itertools.product(SCHEDULERS, (1, 2), (2, 3))], ids=str)
def scheduler(request):
    name, grace, eta = request.param
    return SchedulerConfig(name=name, grace_period=grace, reduction_factor=eta)


def chance(*purpose):
    return derive_seed(0, *purpose) / 2**63


def added(number):
    return as_read(build.added(number))


def decide(scheduler, budget, history, trial, step, value, **more):
    report = {"psnr_y_db": value}
    return Decider(scheduler, budget, history, **more).decide(trial, step, report)


def reported(trial, step, value, decision, **more):
    return as_read(build.reported(int(trial), step, {"psnr_y_db": value, **more}, decision))


def study(scheduler, trials=20, concurrent=4, luck=0, objective=PSNR_ONLY):
    """A study whose trials report in a random order; its events, decided on by one `Decider`."""
    history, events, running, waiting = History(), [], [], list(range(trials))
    judge = Decider(scheduler, BUDGET, history, objective)
    while running or waiting:
        if waiting and len(running) < concurrent:
            running.append(waiting.pop(0))
            events.append(added(running[-1]))
        else:
            turn = running[int(chance("turn", luck, len(events)) * len(running))]
            name = trial_name(turn)
            step = 10 * (len(history.trials[name].reports) + 1)
            value = 30 + chance("value", luck, name, step) + chance("height", luck, name)
            cost = int(4 * chance("size", luck, name))  # few, so that there are equal ones
            decision = judge.decide(name, step, {"psnr_y_db": value, "params": cost})
            events.append(reported(name, step, value, decision, params=cost))
            if decision != "continue":
                running.remove(turn)
        history.apply(events[-1])
    return events


@pytest.mark.parametrize(
    ("luck", "objective"), [*((luck, PSNR_ONLY) for luck in range(4)), (4, AND_SIZE)]
)
def test_every_decision_is_that_of_the_prefix_before_it(scheduler, luck, objective):
    events, prefix = study(scheduler, luck=luck, objective=objective), History()
    for event in events:
        if event["event"] == "reported":
            judge, asked = (
                Decider(scheduler, BUDGET, prefix, objective),
                (event["trial"], event["step"]),
            )
            assert judge.decide(*asked, event["report"]) == event["decision"]
        prefix.apply(event)
    assert prefix == History.from_events(events), "no judge has left anything in it"


def test_each_report_is_looked_at_once_however_many_decisions_follow(scheduler, monkeypatch):
    rule, looked = SCHEDULERS[scheduler.name], Counter()

    def standing(record, step, objective):
        looked[record.name, step] += 1
        return rule.compared_value(record, step, objective)

    monkeypatch.setitem(SCHEDULERS, scheduler.name, rule._replace(compared_value=standing))
    told = {(each["trial"], each["step"]) for each in study(scheduler) if "step" in each}
    assert set(looked) <= told
    assert set(looked.values()) <= {1}


def test_a_repeated_report_gets_the_decision_it_got(scheduler):
    events = study(scheduler)
    history = History.from_events(events)
    for event in events:
        if event["event"] == "reported":
            for value in (-math.inf, event["report"]["psnr_y_db"], 99.0):
                again = decide(scheduler, BUDGET, history, event["trial"], event["step"], value)
                assert again == event["decision"]


def test_the_order_in_which_a_ledger_holds_the_same_reports_does_not_matter(scheduler):
    names = [trial_name(number) for number in range(9)]
    events = [
        reported(name, step, 30 + chance(name, step), "continue")
        for name in names
        for step in range(10, 80, 10)
    ]
    for luck in range(5):
        order = sorted(events, key=lambda event: chance(luck, event["trial"], event["step"]))
        shuffled = History.from_events([*map(added, range(10)), *order])
        straight = History.from_events([*map(added, reversed(range(10))), *events])
        for step, value in itertools.product((10, 20, 30, 60), (29.0, 30.5, 30.9)):
            answers = {
                decide(scheduler, BUDGET, history, trial_name(9), step, value)
                for history in (shuffled, straight)
            }
            assert len(answers) == 1


def test_a_budget_that_is_spent_is_complete(scheduler):
    history = History.from_events([added(0)])
    assert decide(scheduler, BUDGET, history, "0000", 270, -math.inf) == "complete"


def test_nothing_is_stopped_between_rungs_or_before_grace(scheduler):
    stops = {event["step"] for event in study(scheduler) if event.get("decision") == "stop"}
    assert stops <= set(rungs(scheduler, BUDGET))
    assert all(step >= 10 * scheduler.grace_period for step in rungs(scheduler, BUDGET))
    assert all(step < BUDGET.steps for step in rungs(scheduler, BUDGET))


def test_the_best_so_far_always_goes_on(scheduler):
    events = study(scheduler)
    best = -math.inf
    for event in events:
        if event["event"] == "reported":
            value = event["report"]["psnr_y_db"]
            if value >= best:
                assert event["decision"] != "stop"
                best = value


def test_a_value_that_is_no_number_is_the_worst(scheduler):
    step = 10 * scheduler.grace_period
    earlier = range(20)  # enough for every bracket to hold some
    history = History.from_events(map(added, range(22)))
    for number in earlier:
        history.apply(reported(trial_name(number), step, 30.0, "continue"))
    judged = [
        decide(scheduler, BUDGET, history, "0020", step, value) for value in (math.nan, -math.inf)
    ]
    assert judged == [decide(scheduler, BUDGET, history, "0020", step, 1.0)] * 2
    history.apply(reported("0020", step, math.nan, judged[0]))
    assert decide(scheduler, BUDGET, history, "0021", step, 30.0) == "continue"


def test_rungs_of_asha():
    assert rungs(SchedulerConfig(grace_period=1, reduction_factor=3), BUDGET) == (10, 30, 90)
    assert rungs(SchedulerConfig(grace_period=4, reduction_factor=2), BUDGET) == (40, 80, 160)
    assert rungs(SchedulerConfig(grace_period=27), BUDGET) == ()
    assert rungs(SchedulerConfig(name="none"), BUDGET) == ()


def test_asha_by_hand():
    scheduler = SchedulerConfig(grace_period=1, reduction_factor=2)
    history, decisions = History(), []
    for number, value in enumerate([30.0, 29.0, 31.0, 30.4, 30.5]):
        name = trial_name(number)
        history.apply(added(number))
        decisions.append(decide(scheduler, BUDGET, history, name, 10, value))
        history.apply(reported(name, 10, value, decisions[-1]))
    # medians, own value included: 30, 29.5, 30, 30.2, 30.4
    assert decisions == ["continue", "stop", "continue", "continue", "continue"]


def test_asha_judges_by_the_best_report_so_far():
    scheduler = SchedulerConfig(grace_period=2, reduction_factor=2)
    events = [added(0), reported("0000", 10, 32.0, "continue"), added(1)]
    events += [reported("0001", 10, 31.0, "continue"), reported("0001", 20, 30.0, "continue")]
    assert decide(scheduler, BUDGET, History.from_events(events), "0000", 20, 20.0) == "continue"


def test_asha_keeps_the_share_it_says():
    values = [float(value) for value in range(30)]
    for eta in (2, 3, 4):
        kept = [
            value
            for value in values
            if asha(
                SchedulerConfig(reduction_factor=eta),
                value,
                [other for other in values if other != value],
            )
        ]
        assert len(kept) == math.ceil(30 / eta)
        assert kept == values[-len(kept) :]


@pytest.mark.parametrize(
    ("last_growth", "least"),
    [(0, 1), (1, 3), (13, 4), (14, 5), (243, 27)],  # the update of growth, a tenth (27) later
)
def test_least_grace_is_a_tenth_of_the_budget_after_the_last_growth(last_growth, least):
    assert least_grace(BUDGET, last_growth) == least
    if last_growth:
        assert (least - 1) * 10 < last_growth + 27 <= least * 10


def test_brackets_of_hyperband_are_those_of_the_paper():
    # Li et al. 2018, table 1: R = 81, eta = 3 gives n = 81, 34, 15, 8, 5 (rounded up)
    budget = BudgetConfig(steps=810, steps_per_report=10)
    scheduler = SchedulerConfig(name="hyperband", grace_period=1, reduction_factor=3)
    shares = bracket_shares(scheduler, budget)
    assert [math.ceil(round(5 * share / shares[-1], 6)) for share in shares] == [81, 34, 15, 8, 5]
    assert [rungs(scheduler, budget, bracket) for bracket in (0, 2, 4)] == [
        (10, 30, 90, 270),
        (90, 270),
        (),
    ]


def test_brackets_get_their_shares_and_depend_on_seed_and_number_alone():
    scheduler = SchedulerConfig(name="hyperband")
    drawn = [bracket_of(scheduler, BUDGET, 0, number) for number in range(2000)]
    for bracket, share in enumerate(bracket_shares(scheduler, BUDGET)):
        assert abs(drawn.count(bracket) / 2000 - share) < 0.04
    assert drawn != [bracket_of(scheduler, BUDGET, 1, number) for number in range(2000)]
    others = [name for name in SCHEDULERS if not SCHEDULERS[name].brackets]
    assert {bracket_of(SchedulerConfig(name=name), BUDGET, 0, 7) for name in others} == {0}


def test_hyperband_compares_within_a_bracket_and_spares_the_later_ones():
    scheduler = SchedulerConfig(name="hyperband", reduction_factor=2)
    brackets = [bracket_of(scheduler, BUDGET, 0, number) for number in range(40)]
    first, second = (brackets.index(bracket) for bracket in (0, 1))
    worse = next(number for number in range(first + 1, 40) if brackets[number] == 0)
    history = History.from_events(map(added, range(40)))

    def decided(number, step, value):
        return decide(scheduler, BUDGET, history, trial_name(number), step, value)

    for step in (10, 20):
        history.apply(reported(trial_name(first), step, 31.0, "continue"))
    assert decided(worse, 10, 30.0) == "stop"
    assert decided(second, 10, 29.0) == "continue"  # its first rung is the next one
    history.apply(reported(trial_name(second), 10, 29.0, "continue"))
    assert decided(second, 20, 29.0) == "continue"  # where it is the first of its bracket


def test_median_by_hand():
    scheduler = SchedulerConfig(name="median", grace_period=2)
    assert rungs(scheduler, BUDGET) == tuple(range(20, 270, 10))
    history = History.from_events(map(added, range(4)))
    for number, values in enumerate([(28.0, 30.0), (30.0, 31.0), (26.0, 34.0)]):
        for step, value in zip((10, 20), values, strict=True):
            history.apply(reported(trial_name(number), step, value, "continue"))
    # averages: 29, 30.5, 30
    assert decide(scheduler, BUDGET, history, "0003", 10, 1.0) == "continue"  # grace
    assert decide(scheduler, BUDGET, history, "0003", 20, 29.9) == "stop"
    assert decide(scheduler, BUDGET, history, "0003", 20, 30.0) == "continue"  # strictly worse
    history.apply(reported("0003", 10, 30.2, "continue"))
    assert decide(scheduler, BUDGET, history, "0003", 20, 29.0) == "continue"  # its best counts


def test_median_needs_someone_to_compare_with():
    scheduler = SchedulerConfig(name="median")
    assert median(scheduler, 1.0, [])
    assert median(scheduler, 1.0, [-math.inf])
    assert not median(scheduler, -math.inf, [])


def test_a_trial_is_held_against_those_alone_that_cost_no_more(scheduler):
    steps = range(10, 270, 10)

    def judged(own_cost, own=25.0):
        others = [(1.0, 20.0), (2.0, 30.0), (2.0, 31.0), (3.0, 32.0)]
        events = [
            reported(trial_name(number), step, value, "continue", params=cost)
            for number, (cost, value) in enumerate(others)
            for step in steps
        ]
        history = History.from_events([*map(added, range(5)), *events])
        judge, report = Decider(scheduler, BUDGET, history, AND_SIZE), {"psnr_y_db": own}
        return {judge.decide("0004", step, {**report, "params": own_cost}) for step in steps}

    stops = rungs(scheduler, BUDGET) and not SCHEDULERS[scheduler.name].is_population_based
    assert ("stop" in judged(own_cost=2.0)) == bool(stops)
    assert judged(own_cost=2.0, own=33.0) == {"continue"}
    assert judged(own_cost=1.0) == {"continue"}, "the best of the cheap"
    assert judged(own_cost=0.5, own=1.0) == {"continue"}, "the cheapest of all"


def test_the_value_needed_is_the_smallest_with_which_a_trial_goes_on(scheduler):
    rule = SCHEDULERS[scheduler.name]
    if rule.needed is None:
        assert all(rule.continues(scheduler, own, [31.0, 32.0]) for own in (0.0, 33.0))
        return
    for count in range(9):
        # halves, so that ties and exact quantiles occur
        drawn = (30 + int(6 * chance(count, number)) / 2 for number in range(count))
        others = sorted([*drawn, *([-math.inf] if count % 2 else [])])
        needed = rule.needed(scheduler, others)
        for own in (29.0, *others, *(each + 0.25 for each in others)):
            assert rule.continues(scheduler, own, others) == (own > -math.inf and own >= needed)


def test_a_ruling_says_how_a_trial_stood_where_it_was_asked(scheduler):
    history = History.from_events(map(added, range(200)))
    same = [n for n in range(200) if bracket_of(scheduler, BUDGET, 0, n) == 0][:4]
    judge, asked = Decider(scheduler, BUDGET, history), rungs(scheduler, BUDGET)
    for number, value in zip(same, (30.0, math.nan, 29.5, 29.5), strict=True):
        for step in (step for step in range(10, 280, 10) if step <= (asked or (0,))[0]):
            name = trial_name(number)
            decision, judged = judge.judge(name, step, {"psnr_y_db": value})
            assert decision == judge.decide(name, step, {"psnr_y_db": value})
            told = build.reported(number, step, {"psnr_y_db": value}, decision)
            told.judged = judged and judged.to_dict()
            history.apply(as_read(told))
            assert judge.judge(name, step, {"psnr_y_db": 99.0}) == (decision, judged), "as recorded"
            if step not in asked or SCHEDULERS[scheduler.name].needed is None:
                assert judged is None
    if asked and SCHEDULERS[scheduler.name].needed is not None:
        found = [history.trials[trial_name(number)].reports[asked[0]].judged for number in same]
        assert [(each.rank, each.of) for each in found] == [(1, 1), (2, 2), (2, 3), (2, 4)]
        assert found[0].needed == -math.inf and math.isnan(found[1].value)
        assert found[2].value == 29.5
