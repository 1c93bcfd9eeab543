import io
from dataclasses import replace

import pytest
import torch
from events import added, as_read, reported

from trainables.checkpoint_size import checkpoint_bytes
from trainables.config import TrialConfig
from trainables.methods import Setting, make_method
from trainables.networks import build_network, make_network
from trainables.networks.checkpoint import save_network
from trainables.run import Run
from trainables.values import Blank, Randomness
from tune_sr.ledger.history import History
from tune_sr.schedulers.rules import SchedulerConfig
from tune_sr.searchers.algorithms import SEARCHERS
from tune_sr.searchers.propose import propose
from tune_sr.study.config import StudyConfig
from tune_sr.study.dry_run import SAMPLES, dry_run_text, expected_updates
from tune_sr.study.space_file import load_study

SPACE = """\
fixed:
  method: {name: dfsr, update_ratio: 2, latent: 16}
  student: {name: vdsr, features: 8, blocks: 6, scales: [2]}
  teacher: {name: vdsr, weights: shipped}
  batch: {images: 1, patch: 16}
  budget: {steps: 100, steps_per_report: 10}
search:
  method.P: {choice: [1, 2]}
  optimiser.lr: {loguniform: [0.03, 0.3]}
first:
  - {method.P: 2, optimiser.lr: 0.1}
study:
  trials: 9
  scheduler: {name: asha, grace_period: 3}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(SPACE)
    return StudyConfig(*load_study(path), tmp_path / "runs" / "toy")


def changed(config, **flags):
    return replace(config, settings=config.settings.with_overrides(flags, config.space))


def test_a_plan_says_everything_and_leaves_nothing(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    text = dry_run_text(config, concurrent=2)
    assert sorted(tmp_path.iterdir()) == before
    assert config.to_yaml().strip() in text
    assert "  0000  method.P=2  optimiser.lr=0.1" in text
    assert "after update 30 (report 3 of 10) one trial in 3 goes on" in text
    assert "after update 90 (report 9 of 10) one trial in 3 goes on" in text
    assert "of at most 900" in text
    assert "3 a trial" in text


def test_a_plan_counts_the_repeats_of_a_confirmation(config):
    assert "confirmation" not in dry_run_text(config, 1)
    text = dry_run_text(changed(config, confirm=3), 1)
    assert "  confirmation: 6 whole trials more, 3 seeds of the first point and the best" in text
    assert "the best, 600 updates" in text


def test_a_plan_without_rungs_says_so(config):
    none = SchedulerConfig(name="none")
    text = dry_run_text(changed(config, scheduler=none.model_dump()), 1)
    assert "nothing is stopped early" in text
    assert "about 900 of at most 900" in text


def test_a_plan_says_which_trials_each_bracket_spares(config):
    hyperband = SchedulerConfig(name="hyperband", grace_period=3)
    text = dry_run_text(changed(config, scheduler=hyperband.model_dump()), 1)
    _, _, told = text.partition("# the scheduler, hyperband\n")
    assert told.splitlines()[:6] == [
        "  of about 55% of the trials, drawn by number and seed:",
        "  after update 30 (report 3 of 10) one trial in 3 goes on",
        "  after update 90 (report 9 of 10) one trial in 3 goes on",
        "  of about 27% of the trials, drawn by number and seed:",
        "  after update 90 (report 9 of 10) one trial in 3 goes on",
        "  of about 18% of the trials, drawn by number and seed:",
    ]
    assert told.splitlines()[6] == "  nothing is stopped early"


def test_a_plan_tells_a_rule_that_is_asked_at_every_report_in_one_line(config):
    median = SchedulerConfig(name="median", grace_period=3)
    text = dry_run_text(changed(config, scheduler=median.model_dump()), 1)
    line = "  after update 30 (report 3 of 10), and after every later one, a trial goes on if its"
    assert text.partition("# the scheduler, median\n")[2].startswith(line)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_the_configurations_shown_are_those_that_will_be_tried(config, searcher):
    if searcher == "grid":
        only = {"method.P": config.space.dimensions["method.P"]}
        config = replace(config, space=replace(config.space, dimensions=only, first_points=()))
        shown = dry_run_text(changed(config, searcher="grid", trials=2), concurrent=1)
        assert "  0000  method.P=" in shown and "  0001  method.P=" in shown
        return
    history = History()
    for number in range(SAMPLES):
        point = propose(searcher, config.space, 3, history, number)
        assert point == propose(searcher, config.space, 3, History(), number)
        report = {"psnr_y_db": 30.0 + number}
        for event in (added(number, point), reported(number, 90, report)):  # none has ended
            history.apply(as_read(event))


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("method", ["dfsr", "dfad", "noise"])
def test_the_size_of_a_checkpoint_is_about_right(config, method, optimiser):
    fixed = {**config.space.fixed, "method": {"name": method}, "optimiser": {"name": optimiser}}
    config = TrialConfig.parse(fixed)  # of a trial
    student = make_network(config.student, Randomness(0, "student").generator)
    setting = Setting(
        student=student,
        teacher=make_network(config.student, Randomness(0, "teacher").generator),
        optimiser=config.optimiser,
        steps=20,
        patch=16,
        seed=0,
        device=torch.device("cpu"),
    )
    learning = make_method(config.method, setting)
    for _ in range(10):  # half of them: the student has grown, a generator has learned
        learning.step(Blank(1, 16))
    file = io.BytesIO()
    torch.save(learning.state_dict(), file)
    assert 0.5 < checkpoint_bytes(config, student, None) / len(file.getvalue()) < 1.1


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_checkpoint_holds_what_is_trained_beside_the_student(tmp_path, ema):
    teacher = {"name": "edsr", "features": 64, "blocks": 4, "scale": 2}
    save_network(tmp_path / "teacher.safetensors", build_network(teacher))
    raw = {
        "method": {"name": "csd", "features": "random", "negatives": 2},
        "student": {"width_mult": 0.5},
        "teacher": {**teacher, "weights": str(tmp_path / "teacher.safetensors")},
        "batch": {"images": 2, "patch": 16},
        "data": {"images": "photos"},
        "heldout": {"crop": 16},
        "budget": {"steps": 1, "steps_per_report": 1},
        "ema": ema,
        "device": "cpu",
        "threads": 1,
    }
    run = Run(TrialConfig.parse(raw))
    run.advance()
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    student = make_network(run.config.student, Randomness(0, "student").generator)
    expected = checkpoint_bytes(run.config, student, run.teacher)
    # Above 1: CSD's student lies inside the wide network, and the file holds it once.
    assert 1.03 < expected / len(file.getvalue()) < 1.1


def test_what_a_trial_takes_on_average_is_that_of_the_plan(config):
    settings, budget = config.settings, config.space.budget
    mean = expected_updates(settings, budget, 2)
    assert 30 <= mean < 100
    about = f"about {round(mean * settings.trials):,} of at most"
    assert about in dry_run_text(config, 2)
    whole = changed(config, trials=4).settings.model_copy(
        update={"scheduler": SchedulerConfig(name="none")}
    )
    assert expected_updates(whole, budget, 2) == 100
