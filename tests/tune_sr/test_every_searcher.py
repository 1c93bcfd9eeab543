import itertools
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from trainables.values import derive_seed
from tune_sr.ledger import History, trial_name
from tune_sr.searchers import SEARCHERS, STARTUP_TRIALS, propose
from tune_sr.space import SearchSpace

SPACE = """\
fixed:
  method: {name: dfsr}
  student: {name: vdsr, features: 8, blocks: 6, scales: [2]}
  teacher: {name: vdsr, weights: shipped, scales: [2]}
  batch: {images: 4, patch: 24}
  budget: {steps: 100, steps_per_report: 10}
search:
  method.w_R: {uniform: [0.0, 3.0]}
  method.P: {choice: [1, 2, 3]}
  method.part_fraction: {quniform: [0.1, 0.3, 0.05], when: {method.P: [2, 3]}}
  method.new_block_init: {choice: [random, near_identity], when: {method.P: [2, 3]}}
  method.update_ratio: {lograndint: [1, 50]}
  method.latent: {randint: [8, 12]}
  optimiser.clip: {choice: [null, 0.4, 1.0]}
  optimiser.lr: {loguniform: [0.03, 0.3]}
first:
  - {method.w_R: 1.0, method.P: 2, method.part_fraction: 0.15, method.new_block_init: random,
     method.update_ratio: 5, method.latent: 8, optimiser.clip: 0.4, optimiser.lr: 0.1}
study: {experiment: toy}
"""
SPACE_OBJECT = SearchSpace.from_resolved(SPACE)
ENDS = ("completed", "stopped", "failed", "diverged", None)


@pytest.fixture(params=SEARCHERS)
def searcher(request):
    return request.param


def quality(point):
    """Best at lr 0.1 and w_R 1; what a trial levels off at."""
    return 30 - abs(math.log(point["optimiser.lr"] / 0.1)) - abs(point["method.w_R"] - 1)


def life(number, point, end="completed"):
    """The events of one trial, in order."""
    name = trial_name(number)
    yield {"event": "trial_added", "trial": name, "number": number, "point": point}
    steps = {"completed": 10, "diverged": 1}.get(end, 4)
    for report in range(1, steps + 1):
        value = quality(point) - 5 / report
        yield {
            "event": "reported",
            "trial": name,
            "step": 10 * report,
            "report": {"psnr_y_db": value},
            "decision": "continue",
        }
    if end is not None:
        state = "failed" if end == "diverged" else end
        reason = {"diverged": "diverged", "failed": "no report"}.get(end)
        yield {"event": "trial_ended", "trial": name, "state": state, "reason": reason}


def study(searcher, trials, seed=0, ends=ENDS, space=SPACE_OBJECT):
    """A study of `trials` run one after the other; its events and its points."""
    history, events, points = History(), [], []
    for number in range(trials):
        point = propose(searcher, space, seed, history, number)
        points.append(point)
        for event in life(number, point, ends[number % len(ends)]):
            events.append(event)
            history.apply(event)
    return events, points


def test_first_points_come_first(searcher):
    assert propose(searcher, SPACE_OBJECT, 0, History(), 0) == SPACE_OBJECT.first[0]


def test_proposals_lie_in_the_space_and_can_be_configured(searcher):
    _, points = study(searcher, 24)
    for point in points:
        assert tuple(point) == SPACE_OBJECT.active(point)
        for path, value in point.items():
            accepted = SPACE_OBJECT.dimensions[path].accept(value)
            assert (accepted, type(accepted)) == (value, type(value))
        SPACE_OBJECT.at(point)
        assert json.loads(json.dumps(point)) == point
    for path in ("method.P", "optimiser.clip", "method.latent"):
        assert {point[path] for point in points} == set(SPACE_OBJECT.dimensions[path].ends())


def test_same_seed_same_proposals_and_other_seed_others(searcher):
    assert study(searcher, 12) == study(searcher, 12)
    assert study(searcher, 12)[1][1:] != study(searcher, 12, seed=1)[1][1:]


def test_no_proposal_is_made_twice(searcher):
    _, points = study(searcher, 24)
    assert all(one != other for one, other in itertools.combinations(points, 2))


def test_another_process_proposes_the_same(searcher):
    events, points = study(searcher, 12)
    code = (
        "import json, sys; from tune_sr.ledger import History;"
        "from tune_sr.space import SearchSpace;"
        "from tune_sr.searchers import propose; searcher, space, events = json.load(sys.stdin);"
        "space = SearchSpace.from_resolved(space); history = History.of(events);"
        "print(json.dumps([propose(searcher, space, 0, history, n) for n in range(12)]))"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=json.dumps([searcher, SPACE, events]),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == points
    assert answer.stderr == "", "no warning, no chatter"


def test_a_longer_ledger_repeats_every_earlier_proposal(searcher):
    events, points = study(searcher, 14)
    history = History.of(events)
    assert [propose(searcher, SPACE_OBJECT, 0, history, number) for number in range(14)] == points


def test_the_order_in_which_trials_reported_does_not_matter(searcher):
    events, _ = study(searcher, 12)
    expected = propose(searcher, SPACE_OBJECT, 0, History.of(events), 12)
    lives = {}
    for event in events:
        lives.setdefault(event["trial"], []).append(event)
    for shuffle in range(5):
        waiting = {name: list(life) for name, life in lives.items()}
        mixed = []
        while waiting:
            names = sorted(waiting)
            name = names[derive_seed(shuffle, len(mixed)) % len(names)]
            mixed.append(waiting[name].pop(0))
            if not waiting[name]:
                del waiting[name]
        assert propose(searcher, SPACE_OBJECT, 0, History.of(mixed), 12) == expected


def test_running_trials_teach_nothing(searcher):
    events, points = study(searcher, 10, ends=("completed",))
    running = list(life(10, {**points[-1], "optimiser.lr": 0.1}, end=None))
    before = propose(searcher, SPACE_OBJECT, 0, History.of(events), 11)
    assert propose(searcher, SPACE_OBJECT, 0, History.of(events + running), 11) == before


def test_a_trial_without_one_finite_report_does_no_harm(searcher):
    point = SPACE_OBJECT.first[0]
    events = []
    for number, decision in enumerate(["complete", "stop", "complete", "stop", "stop", "stop"]):
        name = trial_name(number)
        report = {"event": "reported", "trial": name, "step": 100, "decision": decision}
        report["report"] = {"psnr_y_db": math.nan, "lr": 0.1}
        added = {"event": "trial_added", "trial": name, "number": number, "point": point}
        events += [added, report]
    propose(searcher, SPACE_OBJECT, 0, History.of(events), 6)


def test_no_warning_reaches_the_user(searcher, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study(searcher, 8)
    assert capsys.readouterr() == ("", "")


def test_a_space_of_nothing_is_one_point(searcher):
    space = SearchSpace.from_resolved(SPACE[: SPACE.index("search:")] + "search: {}\nfirst: []\n"
                                      "study: {experiment: toy}\n")  # fmt: skip
    assert propose(searcher, space, 0, History(), 0) == {}


def mean_error(points):
    return sum(30 - quality(point) for point in points) / len(points)


def test_tpe_learns():
    late = [study("tpe", 40, seed, ("completed", "stopped"))[1][20:] for seed in range(3)]
    blind = [study("random", 40, seed)[1][20:] for seed in range(3)]
    assert sum(map(mean_error, late)) < 0.75 * sum(map(mean_error, blind))


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
    assert History.of(events).trials
