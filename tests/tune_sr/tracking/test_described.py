"""What a person reads of a run in MLflow."""

from __future__ import annotations

import json

from tune_sr.tracking.described import (
    EXPERIMENT_END,
    active_params,
    experiment_note,
    image_sets,
    run_name,
    study_note,
    study_params,
    verdict_line,
)

SUMMARY = {
    "best": {"trial": "0003", "psnr_y_db": 32.28},
    "bicubic": {"psnr_y_db": 30.83},
    "gain": {"text": "+0.02 dB, not shown to be a gain"},
}


def test_a_run_has_the_first_quantities_in_its_name() -> None:
    assert run_name("0001", {}) == "0001"
    assert run_name("0001.s2", {"student.init": "random", "seed": 7}) == (
        "0001.s2 init random seed 7"
    )


def test_what_does_not_exist_at_a_point_is_no_parameter_and_what_is_searched_comes_first() -> None:
    params = {"batch.images": 4, "method.P": 1, "method.part": 0.15, "optimiser.lr": 0.1}
    point = {"optimiser.lr": 0.1, "method.P": 1}
    active = active_params(params, point, ["method.P", "method.part", "optimiser.lr"])
    assert list(active.items()) == [("optimiser.lr", 0.1), ("method.P", 1), ("batch.images", 4)]
    grown = active_params(params, {**point, "method.part": 0.15}, ["method.part"])
    assert grown["method.part"] == 0.15


def test_the_studys_run_says_what_was_searched_and_what_was_fixed() -> None:
    search = {"a.part": {"uniform": [0.05, 0.25], "when": {"a.P": [2, 3], "b": ["x"]}}}
    params = study_params({"search": search, "fixed": {"a": {"latent": 8}, "device": "cpu"}})
    assert params == {
        "search.a.part": 'uniform [0.05, 0.25] when a.P [2, 3] and b ["x"]',
        "a.latent": 8,
        "device": "cpu",
    }


def test_the_images_that_were_read_are_datasets() -> None:
    fixed = {"heldout": {"images": "photos", "protocol": "yfloat", "crop": None}}
    digests = {"heldout.images=photos": "ab" * 32, "teacher.weights=/t.pt": "cd" * 32}
    (heldout,) = image_sets({"space": {"fixed": fixed}, "digests": digests})
    assert (heldout.name, heldout.context) == ("photos (held out)", "held out")
    assert heldout.digest == "ab" * 16, "MLflow takes 36 characters"
    assert json.loads(heldout.profile) == {"protocol": "yfloat"}
    (training,) = image_sets({"digests": {"data.images=/home/me/291/": "ef" * 32}})
    assert (training.name, training.context) == ("291 (training)", "training")
    assert image_sets({}) == [], "an older ledger"


def test_the_notes_begin_with_the_verdict() -> None:
    line = "best 32.28 dB (trial 0003), +1.45 over bicubic; over the paper's point +0.02 dB"
    assert verdict_line(SUMMARY) == f"{line}, not shown to be a gain"
    assert verdict_line({"best": None}) is None
    note = study_note("dfsr", "/runs/dfsr", SUMMARY, "http://host/#/x")
    assert note.startswith(line) and "(http://host/#/x)" in note
    assert "--resume --name dfsr --storage /runs --confirm 5" in note
    assert study_note("dfsr", "/runs/dfsr", {}, None).startswith("No trial has a score yet.")
    told = experiment_note({"b": "b: best 1", "a": "a: best 2"})
    assert told.splitlines() == ["a: best 2", "", "b: best 1", "", EXPERIMENT_END]
    assert len(experiment_note({str(n): "x" * 100 for n in range(1000)})) < 20_000
