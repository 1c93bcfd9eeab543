"""What a study found, against ledgers small enough to be worked out by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from events import (
    added,
    driver_started,
    ended,
    repeat,
    reported,
    started,
    study_ended,
    study_started,
)
from PIL import Image

from trainables.checkpoints import find_checkpoints, point_digest
from trainables.config import TrialConfig
from trainables.metrics.evaluate import evaluate
from trainables.networks import build_network
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import load_network
from trainables.run import upscaler
from trainables.saved_run import SavedRun
from tune_sr.ledger.events import TrialAdded, TrialEnded, TrialReported
from tune_sr.ledger.ledger import Ledger
from tune_sr.ledger.repeats import ablated_name, repeat_name, two_changes_name
from tune_sr.ledger.reports import Judged
from tune_sr.reporting.sections import so_what
from tune_sr.reporting.study_data import StudyData
from tune_sr.results.confirmed import confirmation_lines
from tune_sr.results.results import load_results, write_results
from tune_sr.results.student import remove_beaten, write_best
from tune_sr.space.yaml_file import read_yaml
from tune_sr.study.space_file import load_space, load_study, to_resolved

SPACE = """
fixed:
  method: {{name: dfsr, latent: 8, update_ratio: 2, part_fraction: 0.5}}
  student: {{name: vdsr, features: 8, blocks: 4, scales: [2]}}
  teacher: {{name: vdsr, features: 8, blocks: 4, scales: [2], weights: "{home}/t.safetensors"}}
  optimiser: {{lr: 0.001, schedule: null}}
  batch: {{images: 2, patch: 16}}
  heldout: {{images: "{home}/heldout", crop: null}}
  budget: {{steps: 8, steps_per_report: 2}}
  device: cpu
  threads: 1
search:
  method.P: {{choice: [1, 2]}}
  method.new_block_init: {{choice: [random, near_identity], when: {{method.P: 2}}}}
first:
  - {{method.P: 2, method.new_block_init: random}}
study: {{trials: 4, scheduler: none}}
"""
MARKS = {
    "bicubic": {"psnr_y_db": 27.0, "ssim": 0.7, "psnr_y_db_x2": 27.0, "ssim_x2": 0.7},
    "teacher": {"psnr_y_db": 31.0, "ssim": 0.9, "psnr_y_db_x2": 31.0, "ssim_x2": 0.9},
}
GROWN = {"method.P": 2, "method.new_block_init": "random"}
WHOLE = {"method.P": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A teacher and two pictures to be judged on."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "heldout").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        picture = np.kron(rng.uniform(0, 255, (8, 8, 3)), np.ones((6, 6, 1))).astype(np.uint8)
        Image.fromarray(picture).save(folder / "heldout" / f"{name}.png")
    teacher = build_network({"name": "vdsr", "features": 8, "blocks": 4, "scale": 2})
    save_network(folder / "t.safetensors", teacher)
    (folder / "space.yaml").write_text(SPACE.format(home=folder))
    return folder


@pytest.fixture
def space(home):
    return load_space(home / "space.yaml")


@pytest.fixture
def ledger(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    return Ledger(folder / "ledger.jsonl")


def resolved(space):
    return to_resolved(space, load_study(space.path)[1])


def begin(ledger, space, **more):
    ledger.append(study_started(resolved(space), **{"identity": None, "marks": MARKS, **more}))
    start(ledger, space)


def start(ledger, space):
    ledger.append(driver_started(study=resolved(space)["study"]))


def trial(ledger, number, point, values, state="completed", reason=None, cost=None, caveat=None):
    """A trial that reported `values` at steps 2, 4, ..."""
    ledger.append(added(number, point, caveat))
    for step, psnr in zip(range(2, 10, 2), values, strict=False):
        report = {"step": float(step), "psnr_y_db": psnr, "ssim": psnr / 100, "lr": 0.1}
        report |= {"psnr_y_db_x2": psnr, "ssim_x2": psnr / 100}
        report |= {} if cost is None else {"params": cost}
        ledger.append(reported(number, step, report))
    if state is not None:
        ledger.append(ended(number, state, reason))


def test_the_summary_has_what_product_md_promises(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [28.0, 28.5], "stopped", caveat="of a wide student")
    trial(ledger, 2, WHOLE, [29.9], "failed", "diverged at step 3: loss is not finite")
    ledger.append(study_ended())
    summary = write_results(ledger.path.parent).summary()
    assert summary == json.loads((ledger.path.parent / "summary.json").read_text())
    seconds = summary.pop("seconds")
    assert 0 <= seconds < 60
    gain = summary.pop("gain")
    assert (gain["db"], gain["verdict"]) == (pytest.approx(0.7), "not shown to be a gain")
    assert gain["wobble_db"] == pytest.approx(0.45), "of 27.5, 27.2 and 27.8"
    assert summary == {
        "study": "toy",
        "objective": "psnr_y_db",
        "protocol": "yfloat",
        "trials": {"total": 3, "completed": 1, "stopped": 1, "failed": 1},
        "best": {
            "trial": "0001",
            "config": {"method.P": 1},
            "psnr_y_db": 28.5,
            "ssim": 0.285,
            "psnr_y_db_x2": 28.5,
            "ssim_x2": 0.285,
            "step": 4,
            "caveat": "of a wide student",
        },
        "first": {
            "trial": "0000",
            "config": {"method.P": 2, "method.new_block_init": "random"},
            "psnr_y_db": 27.8,
            "ssim": 0.278,
            "psnr_y_db_x2": 27.8,
            "ssim_x2": 0.278,
            "step": 8,
            "caveat": None,
        },
        "bicubic": MARKS["bicubic"],
        "teacher": MARKS["teacher"],
        "student_steps": 8 + 4 + 2,
        "finished": True,
    }


@pytest.mark.parametrize(
    ("point", "values", "step"),
    [
        pytest.param(WHOLE, [27.0, 28.0, 27.5, 27.9], 4, id="the best report, not the last"),
        pytest.param(WHOLE, [27.0, 28.0, 28.0, 27.9], 4, id="of equal reports the earlier"),
        # This student grows with update number 4: the report at step 4 still shows the small one.
        pytest.param(GROWN, [29.0, 29.5, 27.0, 27.2], 8, id="none from before the last growth"),
        pytest.param(GROWN, [27.0, 26.5], 2, id="stopped before it grew: its best"),
        pytest.param(WHOLE, [27.0, math.nan, 27.5], 6, id="one that is not finite is passed over"),
        pytest.param(WHOLE, [math.nan], None, id="no finite report"),
    ],
)
def test_the_report_that_a_trial_is_judged_by(ledger, space, point, values, step):
    begin(ledger, space)
    trial(ledger, 0, point, values, "stopped")
    results = load_results(ledger.path.parent)
    score = results.score(results.history.trials["0000"])
    assert (score and score.step) == step


def test_a_failed_trial_is_never_the_best_and_of_equals_the_earlier_is(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, WHOLE, [27.0], "failed", "out of memory")
    results = load_results(ledger.path.parent)
    assert results.best is None
    assert results.summary()["best"] is None
    assert results.summary()["first"]["psnr_y_db"] is None
    trial(ledger, 1, WHOLE, [26.0, 26.5])
    trial(ledger, 2, WHOLE, [26.5])
    assert load_results(ledger.path.parent).best.name == "0001"


def test_a_study_that_has_only_begun(ledger, space):
    begin(ledger, space, marks={"bicubic": MARKS["bicubic"], "teacher": None})
    summary = write_results(ledger.path.parent).summary()
    assert (summary["best"], summary["first"], summary["teacher"]) == (None, None, None)
    assert (summary["finished"], summary["student_steps"]) == (False, 0)
    assert (ledger.path.parent / "results.csv").read_text() == "trial\n"


def test_a_step_repeated_after_a_kill_counts_once(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, WHOLE, [27.0, 27.5], None)
    start(ledger, space)
    report = {"step": 4.0, "psnr_y_db": 29.0, "ssim": 0.9}
    ledger.append(reported(0, 4, report))
    results = load_results(ledger.path.parent)
    assert results.summary()["student_steps"] == 4
    assert results.summary()["best"]["psnr_y_db"] == 27.5


def test_the_table_has_a_row_per_trial(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [], "failed", 'ValueError: "no", he said')
    trial(ledger, 2, WHOLE, [27.1], None, caveat="of a wide student")
    write_results(ledger.path.parent)
    with (ledger.path.parent / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("trial", "state", "reason", "caveat", "attempts", "micro_batch", "steps", "step"),
        *("psnr_y_db", "ssim", "psnr_y_db_x2", "ssim_x2", "method.P", "method.new_block_init"),
        *("gain", "last", "seconds", "node", "stopped_at", "needed"),
    ]
    assert [(row["trial"], row["state"]) for row in rows] == [
        *(("0000", "completed"), ("0001", "failed"), ("0002", "running"))
    ]
    assert [row["caveat"] for row in rows] == ["", "", "of a wide student"]
    assert rows[0].items() >= {"steps": "8", "step": "8", "psnr_y_db": "27.8"}.items()
    assert rows[1]["reason"] == 'ValueError: "no", he said'
    assert (rows[1]["psnr_y_db"], rows[1]["method.new_block_init"]) == ("", "")


def test_the_table_says_how_each_trial_went(ledger, space):
    begin(ledger, space)
    judged = Judged(27.123456789, 27.7654321, 2, 2)
    for number in range(3):
        ledger.append(added(number, WHOLE))
    ledger.append(started(0, node="one"))
    ledger.append(started(0, node="two"))
    ledger.append(reported(0, 2, 27.123456789))
    ledger.append(reported(0, 4, 27.0123456789, "stop", judged))
    ledger.append(ended(0, "stopped"))
    ledger.append(reported(1, 2, math.nan))
    results = write_results(ledger.path.parent)
    with (ledger.path.parent / "results.csv").open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert first["psnr_y_db"] == "27.123456789", "as it was"
    assert (first["gain"], first["last"]) == ("0.123457", "27.0123")
    assert (first["stopped_at"], first["needed"], first["node"]) == ("4", "27.7654", "one two")
    assert float(first["seconds"]) == pytest.approx(results.rows()[0]["seconds"], rel=1e-5)
    assert results.rows()[0]["needed"] == 27.7654321, "whole where nobody reads it by eye"
    assert [second[key] for key in ("gain", "last", "stopped_at", "needed")] == [""] * 4
    assert (third["last"], third["node"]) == ("", "")


def test_the_table_says_how_far_the_generators_of_each_score_had_moved(ledger, space):
    begin(ledger, space)
    for number in range(2):
        ledger.append(added(number, WHOLE))
    for step, psnr, change in ((2, 27.0, 0.25), (4, 28.0, 0.5), (6, 27.0, 0.75)):
        report = {"step": float(step), "psnr_y_db": psnr, "ssim": 0.8, "generator_change": change}
        ledger.append(reported(0, step, report))
    old = {"step": 2.0, "psnr_y_db": 27.0, "ssim": 0.8}  # of a version that did not report it
    ledger.append(reported(1, 2, old))
    write_results(ledger.path.parent)
    with (ledger.path.parent / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0])
    assert columns[columns.index("generator_change") - 1] == "ssim"
    assert [row["generator_change"] for row in rows] == ["0.5", ""]
    assert "generator_change" not in load_results(ledger.path.parent).summary()["best"]


def test_no_study_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no study"):
        load_results(tmp_path)


@pytest.fixture
def trained(ledger, space):
    """A study of one trial, trained for `steps` updates, with its checkpoints."""

    def train(point, steps, space=space, cost=None):
        begin(ledger, space)
        ledger.append(added(0, point, "of a toy"))
        saved = SavedRun(
            space.trial_config(point), ledger.path.parent / "trials" / "start-001" / "0000"
        )
        while saved.run.step < steps:
            report = saved.advance() | ({} if cost is None else {"params": cost})
            step = int(report["step"])
            ledger.append(reported(0, step, report))
        ledger.append(ended(0, "stopped"))
        return ledger.path.parent

    return train


@pytest.mark.parametrize(
    ("point", "steps", "ema"),
    [(GROWN, 8, "null"), (GROWN, 2, "null"), (WHOLE, 4, "null"), (GROWN, 8, "0.5")],
)
def test_the_best_student_is_the_one_that_the_summary_speaks_of(trained, home, point, steps, ema):
    space = load_space(home / "space.yaml", [f"ema={ema}"])
    folder = trained(point, steps, space)
    results = write_results(folder)
    assert write_best(results)
    assert sorted(path.name for path in folder.glob("best*/*")) == [
        *("config.yaml", "panel.png", "student.safetensors")
    ]
    assert not (folder / "best.new").exists()
    assert b'"caveat":"of a toy"' in (folder / "best" / "student.safetensors").read_bytes()
    student = load_network(folder / "best" / "student.safetensors")
    heldout = SavedRun(space.trial_config(point), folder / "elsewhere").run.heldout
    with torch.no_grad():
        measured = evaluate(upscaler(student), heldout)
    assert measured["psnr_y_db"] == pytest.approx(results.summary()["best"]["psnr_y_db"], abs=1e-9)


def test_the_best_configuration_trains_again_and_names_no_machine(
    trained, space, home, monkeypatch
):
    folder = trained(GROWN, 8)
    monkeypatch.setenv("TUNE_SR_DATA", str(home))
    assert write_best(load_results(folder))
    text = (folder / "best" / "config.yaml").read_text()
    assert str(home) not in text
    assert not {"device", "threads"} & set(read_yaml(folder / "best" / "config.yaml").content)
    config = TrialConfig.parse(read_yaml(folder / "best" / "config.yaml").content)
    asked = space.trial_config(GROWN)
    assert config.model_copy(update={"device": "cpu", "threads": 1}) == asked


def test_the_best_student_is_written_though_its_teacher_is_gone(trained, home, caplog):
    folder = trained(GROWN, 8)
    assert write_best(load_results(folder))
    student = load_network(folder / "best" / "student.safetensors").state_dict()
    panel = (folder / "best" / "panel.png").read_bytes()
    teacher = (home / "t.safetensors").read_bytes()
    (home / "t.safetensors").unlink()
    try:
        assert write_best(load_results(folder))
    finally:
        (home / "t.safetensors").write_bytes(teacher)
    again = load_network(folder / "best" / "student.safetensors").state_dict()
    assert again.keys() == student.keys()
    assert all(torch.equal(again[key], value) for key, value in student.items())
    assert (folder / "best" / "panel.png").read_bytes() != panel, "it lacks the teacher's column"
    assert "no picture of the teacher: " in caplog.text


def test_a_best_checkpoint_of_another_study_is_not_taken(trained, ledger):
    folder = trained(WHOLE, 2)
    (manifest,) = folder.glob("trials/*/0000/*/MANIFEST.json")
    content = json.loads(manifest.read_text())
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    lines[0] |= {"id": "a", "digests": {}}
    ledger.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest.write_text(json.dumps({**content, "study": "a", "point": point_digest(WHOLE)}))
    assert write_best(load_results(folder))
    for named in ({"study": None}, {"study": "b"}, {"study": "a", "point": point_digest(GROWN)}):
        manifest.write_text(json.dumps({**content, **named}))
        with pytest.raises(ValueError, match="no checkpoint of trial 0000 at step 2"):
            write_best(load_results(folder))


def test_a_best_checkpoint_that_is_damaged_is_named_and_best_left_alone(trained):
    folder = trained(WHOLE, 2)
    (folder / "best").mkdir()
    (folder / "best" / "student.safetensors").write_text("of an earlier start")
    (checkpoint,) = find_checkpoints(folder.glob("trials/*/0000"))
    (checkpoint.folder / "run.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="trial 0000 at step 2"):
        write_best(load_results(folder))
    assert (folder / "best" / "student.safetensors").read_text() == "of an earlier start"


def test_a_teacher_whose_file_is_gone_at_the_end_costs_no_student(trained, space, home):
    folder = trained(WHOLE, 2)
    file = Path(space.trial_config(WHOLE).teacher.weights)
    moved = file.rename(home / "moved")
    try:
        assert write_best(load_results(folder))
    finally:
        moved.rename(file)
    assert (folder / "best" / "student.safetensors").is_file()


def test_only_our_own_folders_of_trials_leave_the_front(tmp_path):
    for name in ("0000", "0001", "0002.new", "10000", "mine", "0001.bak"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "student.safetensors").touch()
    for name in (".DS_Store", ".nfs0000000000a1", "0007"):
        (tmp_path / name).touch()
    remove_beaten(tmp_path, {"0000"})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"0000", "mine", "0001.bak", ".DS_Store", ".nfs0000000000a1", "0007"}


def test_without_a_score_there_is_no_best(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, WHOLE, [27.0], "failed", "diverged")
    assert not write_best(load_results(ledger.path.parent))
    assert not (ledger.path.parent / "best").exists()


SIZES = {16: 400.0, 8: 100.0, 4: 30.0}


def test_a_study_with_two_objectives_has_a_front(ledger, home):
    text = SPACE.format(home=home)
    text = text.replace("student: {name: vdsr, features: 8, ", "student: {name: vdsr, ")
    text = text.replace("search:", "search:\n  student.features: {choice: [16, 8, 4]}")
    text = text.replace("- {", "- {student.features: 8, ")
    text = text.replace("study: {", "study: {objective: [psnr_y_db, params], ")
    (home / "sizes.yaml").write_text(text)
    space = load_space(home / "sizes.yaml")
    begin(ledger, space)
    told = [(16, 29.0, "completed"), (8, 28.0, "stopped"), (8, 28.0, "completed")]
    told += [(4, 26.0, "stopped"), (16, 28.5, "completed"), (4, 40.0, "failed")]
    for number, (features, value, state) in enumerate(told):
        point = {"student.features": features, "method.P": 1}
        trial(ledger, number, point, [value], state, cost=SIZES[features])
    ledger.append(study_ended())
    results = write_results(ledger.path.parent)
    summary = results.summary()
    assert summary["objective"] == ["psnr_y_db", "params"]
    assert [(each["trial"], each["params"]) for each in summary["front"]] == [
        ("0003", 30.0),
        ("0001", 100.0),
        ("0000", 400.0),
    ]
    assert summary["best"]["trial"] == "0000"
    rows = list(csv.DictReader((ledger.path.parent / "results.csv").open()))
    assert [row["front"] for row in rows] == ["True", "True", "False", "True", "False", "False"]
    assert rows[3]["params"] == "30.0"


def test_what_somebody_else_put_beside_the_front_stays(trained, home):
    """Files of a network's file system and of a desktop, and a person's own folder."""
    text = SPACE.format(home=home).replace("study: {", "study: {objective: [psnr_y_db, params], ")
    text = text.replace("student: {name: vdsr, features: 8, ", "student: {name: vdsr, ")
    text = text.replace("search:", "search:\n  student.features: {choice: [8, 4]}")
    text = text.replace("- {", "- {student.features: 8, ")
    (home / "front.yaml").write_text(text)
    folder = trained(
        {**WHOLE, "student.features": 8}, 2, load_space(home / "front.yaml"), cost=400.0
    )
    front = folder / "front"
    for name in ("mine", "0007", "0008"):
        (front / name).mkdir(parents=True)
    for name in (".nfs0001", ".DS_Store", "0009"):
        (front / name).write_text("x")
    (front / "0010").symlink_to(home)
    (front / "0008" / "student.safetensors").write_text("beaten since")
    assert write_best(load_results(folder))
    assert {path.name for path in front.iterdir()} == {
        *("mine", ".nfs0001", ".DS_Store", "0009", "0010", "0000")
    }
    assert (home / "t.safetensors").exists()


def repeated(ledger, of, number, values, state="completed"):
    """A repeat that reported `values` at steps 2, 4, ..."""
    name = f"{of:04d}.s{number}"
    ledger.append(repeat(of, number, WHOLE))
    for step, psnr in zip(range(2, 10, 2), values, strict=False):
        report = {"psnr_y_db": psnr, "ssim": 0.8}
        ledger.append(TrialReported(trial=name, step=step, report=report, decision="continue"))
    if state is not None:
        ledger.append(TrialEnded(trial=name, state=state, reason=None))


def test_a_confirmation_compares_the_best_with_the_first_point_in_pairs(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [28.0, 28.5, 28.1, 28.2])
    alone = load_results(ledger.path.parent).summary()
    assert "confirmed" not in alone and confirmation_lines(None) == []
    for number, (first, best) in enumerate([(27.6, 28.0), (27.7, 28.3), (27.5, 28.0)], start=1):
        repeated(ledger, 0, number, [20.0, first, first - 0.1, first - 0.2])
        repeated(ledger, 1, number, [20.0, best - 0.3, best, best - 0.3])
    repeated(ledger, 0, 4, [20.0, 27.9], state=None)  # not finished, so of no pair
    repeated(ledger, 1, 4, [20.0, 99.0], state="failed")
    summary = write_results(ledger.path.parent).summary()
    found = summary.pop("confirmed")
    seconds = summary.pop("seconds"), alone.pop("seconds")
    gains = [each.pop("gain")["verdict"] for each in (alone, summary)]
    assert gains == ["not shown to be a gain", "better"]
    assert summary == alone and len(seconds) == 2, "repeats change nothing else"
    assert json.loads((ledger.path.parent / "summary.json").read_text())["confirmed"] == found
    assert found["first"]["values"] == {"1": 27.6, "2": 27.7, "3": 27.5}
    assert found["best"]["trial"] == "0001"
    assert found["best"]["mean"] == pytest.approx(28.1)
    assert found["best"]["luck"] == pytest.approx(0.4)
    assert found["difference"]["values"] == pytest.approx([0.4, 0.6, 0.5])
    assert found["difference"]["verdict"] == "better"
    assert found["difference_of_last_reports"]["values"] == pytest.approx([0.3, 0.5, 0.4])
    lines = confirmation_lines(found)
    assert lines[0] == "confirmed with 3 new seeds: better"
    assert lines[1] == "  first point 27.60 dB  sd 0.100  (in the search +0.20)"
    gain = "  gain        +0.500 dB, 95 % interval +0.252 .. +0.748"
    assert lines[3] == f"{gain}; over seeds, on these held-out images"
    assert len(lines) == 4


def test_a_repeat_without_a_report_tells_nothing_and_harms_nothing(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [28.0, 28.5, 28.1, 28.2])
    for number, (first, best) in enumerate([([], [28.0]), ([27.5], [28.1])], start=1):
        repeated(ledger, 0, number, first)
        repeated(ledger, 1, number, best)
    found = load_results(ledger.path.parent).summary()["confirmed"]
    assert found["first"]["values"] == {"2": 27.5} and found["difference"] is None
    assert found["difference_of_last_reports"] is None


def test_a_gain_within_the_margin_is_called_equal_within_it(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [28.0, 28.5, 28.1, 28.2])
    for number, gain in enumerate([0.1, -0.1, 0.0, 0.05, -0.05], start=1):
        repeated(ledger, 0, number, [27.5])
        repeated(ledger, 1, number, [27.5 + gain])
    assert load_results(ledger.path.parent).gain.verdict == "inside the noise"
    ledger.append(driver_started(2, {**resolved(space)["study"], "margin": 0.2}))
    results = load_results(ledger.path.parent)
    found = results.summary()["confirmed"]
    assert found["difference"]["margin"] == 0.2 and results.gain.verdict == "equal"
    assert confirmation_lines(found)[0] == "confirmed with 5 new seeds: equal within 0.2 dB"


def test_two_changes_alone_are_held_against_the_whole_gain(ledger, space):
    begin(ledger, space)
    a, b, c = "optimiser.lr", "batch.images", "method.update_ratio"
    point = {**GROWN, a: 0.001, b: 2, c: 2}
    trial(ledger, 0, point, [27.5])
    trial(ledger, 1, {**point, a: 0.002, b: 3, c: 3}, [28.5])
    gives = {a: 0.1, b: 0.6, c: 0.3}

    def whole(repeats, number, psnr):
        name = repeat_name(repeats, number)
        ledger.append(TrialAdded(trial=name, number=number, point=point, repeats=repeats))
        report = {"psnr_y_db": psnr, "ssim": 0.8}
        ledger.append(TrialReported(trial=name, step=8, report=report, decision="complete"))

    for number, luck in enumerate((0.0, 0.1, -0.1), start=1):
        whole("0000", number, 27.5 + luck)
        whole("0001", number, 28.5 + luck)
        for path, given in gives.items():
            whole(ablated_name("0001", path), number, 28.5 + luck - given)
    found = load_results(ledger.path.parent).summary()["confirmed"]
    assert found["two_changes"] == {
        "quantities": [b, c],
        "over_first": None,
        "keeps": None,
        "if_additive": pytest.approx(0.9),
    }
    said = f"  {b} and {c} would keep 90 % of the gain, were they additive"
    assert confirmation_lines(found)[-1] == said
    for number, luck in enumerate((0.0, 0.1, -0.1), start=1):
        whole(two_changes_name("0001", [b, c]), number, 27.5 + luck + 0.97)
    found = load_results(ledger.path.parent).summary()["confirmed"]
    assert [row["quantity"] for row in found["ablation"]] == [b, c, a]
    assert found["two_changes"]["keeps"] == pytest.approx(0.97)
    assert found["two_changes"]["over_first"]["verdict"] == "better"
    said = f"  {b} and {c} alone: +0.970 dB, +0.970 .. +0.970, 97 % of the gain: enough"
    assert confirmation_lines(found)[-1] == said
    page = so_what.section(StudyData.load(ledger.path.parent))
    (table,) = [each for each in page.tables if each.name == "ablation"]
    assert [row[0] for row in table.rows] == [b, c, a] and said.strip() in str(page.body)
    assert "What each setting of the best trial gives alone" in str(page.body)


def test_a_race_names_its_winner_and_who_dropped_out(ledger, space):
    begin(ledger, space)
    auto = {**resolved(space)["study"], "confirm": "auto", "trials": 20}
    ledger.append(driver_started(2, auto))
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    for number in range(1, 15):
        trial(ledger, number, WHOLE, [28.0, 28.5, 28.1, 28.2 - number / 10])
    for number, (first, best) in enumerate([(27.6, 28.0), (27.61, 28.02)], start=1):
        found = load_results(ledger.path.parent).summary().get("confirmed")
        if found is not None:
            assert found["race"]["winner"] is None and found["difference"] is None
            assert confirmation_lines(found)[0].endswith("2 of 6 trainings: not finished")
        repeated(ledger, 0, number, [20.0, first, first - 0.1, first - 0.2])
        repeated(ledger, 1, number, [20.0, best - 0.3, best, best - 0.3])
    results = load_results(ledger.path.parent)
    found = results.summary()["confirmed"]
    assert (found["race"]["winner"], found["race"]["trainings"], found["seeds"]) == ("0001", 4, 2)
    assert found["race"]["racers"][0]["dropped_after"] == 2
    assert found["difference"]["verdict"] == results.gain.verdict == "better"
    assert found["difference"]["mean"] == pytest.approx(0.405) and found["difference"]["low"] > 0
    lines = confirmation_lines(found)
    assert lines[0] == "raced over 2 new seeds, 4 of 6 trainings: trial 0001 wins"
    assert lines[1].startswith("  first point 27.61 dB over 2; dropped after 2: behind, p ")
    assert lines[2] == "  trial 0001  28.01 dB over 2"
    page = so_what.section(StudyData.load(ledger.path.parent))
    (table,) = [each for each in page.tables if each.name == "race"]
    assert [row[:2] for row in table.rows] == [("0000", 2), ("0001", 2)]
    assert lines[0] in str(page.body) and "Over the first point: +0.405 dB" in str(page.body)


def test_an_ablation_ranks_what_each_setting_gives_alone(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [28.0, 28.5, 28.1, 28.2])
    paths = [path for path in WHOLE if path in GROWN and WHOLE[path] != GROWN[path]]
    assert paths
    for number, best in enumerate((28.0, 28.3), start=1):
        repeated(ledger, 0, number, [27.0, 27.0, 27.0, 27.5])
        repeated(ledger, 1, number, [best])
        for place, path in enumerate(paths):
            part = ablated_name("0001", path)
            name = repeat_name(part, number)
            point = {**WHOLE, path: GROWN[path], "seed": number}
            ledger.append(TrialAdded(trial=name, number=number, point=point, repeats=part))
            report = {"psnr_y_db": best - 0.1 - place, "ssim": 0.8}
            event = TrialReported(trial=name, step=8, report=report, decision="complete")
            ledger.append(event)
            ledger.append(TrialEnded(trial=name, state="completed", reason=None))
    found = load_results(ledger.path.parent).summary()["confirmed"]
    rows = found["ablation"]
    assert [row["quantity"] for row in rows] == paths[::-1], "the largest first"
    assert [row["gives"]["mean"] for row in rows] == pytest.approx(
        [0.1 + place for place in range(len(paths))][::-1]
    )
    assert rows[-1]["gives"]["verdict"] == "better"
    assert (rows[0]["best"], rows[0]["first"]) == (WHOLE[paths[-1]], GROWN[paths[-1]])
    assert found["difference"]["values"] == pytest.approx([0.5, 0.8]), "not of the ablated ones"
    lines = confirmation_lines(found)
    assert lines[-len(paths) - 1] == "what each setting of the best trial gives alone"
    assert paths[-1] in lines[-len(paths)] and lines[-1].endswith(": better")


def test_a_gain_inside_the_noise_comes_with_what_would_show(ledger, space):
    begin(ledger, space)
    trial(ledger, 0, GROWN, [27.0, 27.5, 27.2, 27.8])
    trial(ledger, 1, WHOLE, [28.0, 28.5, 28.1, 28.2])
    for number, (first, best) in enumerate([(27.6, 27.8), (27.7, 27.6)], start=1):
        repeated(ledger, 0, number, [first])
        repeated(ledger, 1, number, [best])
        found = load_results(ledger.path.parent).summary()["confirmed"]
        if number == 1:
            assert found["difference"] is None
            assert confirmation_lines(found)[-1].startswith("  two seeds that both have finished")
    assert confirmation_lines(found)[0] == "confirmed with 2 new seeds: inside the noise"
    assert confirmation_lines(found)[-1] == (
        "  no gain below 1.91 dB shows with these; more than 50 would be needed"
    )
