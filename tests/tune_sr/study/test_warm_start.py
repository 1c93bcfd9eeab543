import json
import math

import pytest
from events import added, as_read, ended, read, reported, study_started

from tune_sr import search
from tune_sr.ledger.history import History
from tune_sr.ledger.reading import misfit
from tune_sr.searchers.propose import propose
from tune_sr.study.space_file import load_study, to_resolved
from tune_sr.study.warm_start import taken_line, trials_taken

POINT = {"method.w_R": 1.0, "method.P": 1, "optimiser.lr": 0.01}


@pytest.fixture
def earlier(toy_space, tmp_path):
    """A study of six trials: five with a value at step 8, the third's the best; one failed."""
    space, settings = load_study(toy_space("earlier"))
    folder = tmp_path / "earlier"
    folder.mkdir()
    events = [study_started(to_resolved(space, settings))]
    for number, value in enumerate((30.0, 30.5, 31.0, 30.5, 29.0)):
        point = {**POINT, "method.w_R": 0.5 * number, "optimiser.lr": 0.01 + 0.02 * number}
        events += [added(number, point), reported(number, 4, value - 1)]
        events += [reported(number, 8, value, "stop" if number else "continue")]
        events += [reported(0, 12, 40.0, "complete")] if number == 0 else [ended(number, "stopped")]
    events += [added(5, POINT), reported(5, 4, 50.0), ended(5, "failed", "diverged")]
    text = "".join(json.dumps(each) + "\n" for each in read(*events))
    (folder / "ledger.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_trials_are_taken_by_their_ranks_at_equal_budget(earlier, toy_space):
    space, _ = load_study(toy_space())
    taken = trials_taken(space, earlier)
    assert (len(taken.trials), taken.of, taken.misfits) == (5, 5, {})
    scores = [each["score"] for each in taken.trials]
    assert scores.index(max(scores)) == 2, "the first has 40 dB only after the others had ended"
    assert scores[1] == scores[3] == pytest.approx(0.253, abs=1e-3)  # ranks 2 and 3 of 5
    assert scores[2] == pytest.approx(1.282, abs=1e-3)  # the normal 0.9 quantile
    assert taken.trials[1]["point"] == {**POINT, "method.w_R": 0.5, "optimiser.lr": 0.03}
    assert misfit(as_read(taken), set()) is None


def test_what_does_not_fit_is_left_out_and_counted(earlier, toy_space):
    narrow = toy_space(search={"optimiser.lr": {"loguniform": [0.001, 0.08]}})
    taken = trials_taken(load_study(narrow)[0], earlier)
    assert (len(taken.trials), taken.misfits) == (4, {"optimiser.lr": 1})
    line = f"4 of 5 trials taken from {earlier}; optimiser.lr does not fit in 1"
    assert taken_line(taken) == line
    narrower = toy_space(search={"optimiser.lr": {"loguniform": [0.001, 0.04]}})
    rule = r"earlier: 2 of its trials are points of this space, 4 are needed; optimiser.lr .* in 3"
    with pytest.raises(ValueError, match=rule):
        trials_taken(load_study(narrower)[0], earlier)


@pytest.mark.parametrize("searcher", ["auto", "tpe", "gp"])
def test_a_searcher_begins_with_them_and_a_resume_proposes_the_same(earlier, toy_space, searcher):
    space, _ = load_study(toy_space())
    taken = as_read(trials_taken(space, earlier))
    cold, warm = History(), History.from_events([taken])
    number = len(space.first_points)
    points = [propose(searcher, space, 0, history, number) for history in (warm, warm, cold)]
    assert points[0] == points[1] != points[2]
    assert warm.trials == {}, "they count nowhere else"


def test_proposals_lie_nearer_to_what_was_good_there(earlier, toy_space):
    space, _ = load_study(toy_space())
    event = as_read(trials_taken(space, earlier))
    for each in event["trials"]:  # the same five points: low rates were good
        each["score"] = -math.log(each["point"]["optimiser.lr"])
    number = len(space.first_points)

    def mean_rate(history):
        points = [propose("auto", space, seed, history, number, prior=None) for seed in range(10)]
        return sum(math.log(each["optimiser.lr"]) for each in points) / len(points)

    low = mean_rate(History.from_events([event]))
    for each in event["trials"]:
        each["score"] *= -1
    assert low < mean_rate(History.from_events([event]))


def test_what_cannot_be_taken_over_is_refused(toy_space, capsys, tmp_path):
    command = ["--space", str(toy_space()), "--storage", str(tmp_path / "runs"), "--dry-run"]
    assert search.main([*command, "--warm-start", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "nowhere: no study" in said and said.count("\n") == 1
    with pytest.raises(SystemExit) as refused:
        search.main([*command, "--warm-start", "x", "--resume", "--name", "x"])
    assert refused.value.code == 2
    assert "leave --resume out" in capsys.readouterr().err
