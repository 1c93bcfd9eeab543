from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from trainables.config import TrialConfig
from trainables.dotted import get, leaves
from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.networks import NETWORKS
from trainables.presets import LUMA_NETWORKS, default_preset, expand_presets, merged, sections_of
from trainables.values import Pairs

Toy = Callable[..., dict[str, Any]]
each_method = pytest.mark.parametrize("name", METHODS)


def refusal(raw: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        TrialConfig.parse(raw)
    assert str(refused.value) == f"{refused.value.path}: {refused.value.rule}"
    assert "\n" not in str(refused.value)
    return refused.value


def changed(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    *sections, key = path.split(".")
    here = raw
    for section in sections:
        here = here.setdefault(section, {})
    here[key] = value
    return raw


def without(raw: dict[str, Any], path: str) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    *sections, key = path.split(".")
    here = raw
    for section in sections:
        here = here[section]
    here.pop(key)
    return raw


# --- one wrong value: its path, its rule --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "known", "meant"),
    [
        ("sed", "a trial has seed, method, student, teacher", "seed"),
        ("method.w_r", "dfsr has .*generator_lr.*w_R, adversarial", "w_R"),
        ("method.update_ration", "dfsr has ", "update_ratio"),
        ("student.feature", "vdsr has features, blocks, scales", "features"),
        ("teacher.weight", "vdsr has .*weights", "weights"),
        ("optimiser.learning_rate", "sgd has name, lr, momentum", None),
        ("optimiser.betas_", "sgd has ", "betas"),
        ("optimiser.schedule.gamma", "schedule has kind, at, factor, warmup", None),
        ("batch.image", "batch has images, patch", "images"),
        ("heldout.protocols", "heldout has images, crop, protocol", "protocol"),
        ("budget.step", "budget has steps, steps_per_report", "steps"),
    ],
)
def test_an_unknown_key_lists_the_known_ones_and_guesses(
    toy: Toy, path: str, known: str, meant: str | None
) -> None:
    refused = refusal(changed(toy("dfsr"), path, 1))
    assert refused.path == path
    hint = f"did you mean {meant}\\? " if meant else ""
    assert re.search(f"^unknown key; {hint}{known}", refused.rule)


def test_an_unknown_key_of_data(toy: Toy) -> None:
    refused = refusal(changed(toy("scratch"), "data.image", "photos"))
    assert refused.path == "data.image"
    assert refused.rule.startswith("unknown key; did you mean images? data has images")


def test_an_unknown_key_beside_a_missing_name(toy: Toy) -> None:
    raw = toy("dfsr")
    assert refusal(changed(raw, "method", {"w_R": 1.0})).path == "method.name"


def test_a_key_of_another_method_is_unknown(toy: Toy) -> None:
    refused = refusal(changed(toy("dfad"), "method.w_R", 1.0))
    assert refused.path == "method.w_R"
    assert "dfad has" in refused.rule


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("seed", "0", "integer"),
        ("seed", True, "integer"),
        ("seed", 1.5, "integer"),
        ("seed", -1, "greater than or equal to 0"),
        ("method.update_ratio", 2.0, "integer"),
        ("method.update_ratio", True, "integer"),
        ("method.update_ratio", 0, "greater than or equal to 1"),
        ("method.w_R", "1.0", "number"),
        ("method.w_R", True, "number"),
        ("method.w_R", -0.5, "greater than or equal to 0"),
        ("method.w_R", None, "number"),
        ("method.w_R", math.inf, "finite"),
        ("optimiser.lr", math.inf, "finite"),
        ("optimiser.lr", math.nan, "finite"),
        ("method.w_R", {"uniform": [0, 1]}, "number"),
        ("method.adversarial", 1, "boolean"),
        ("method.adversarial", "no", "boolean"),
        ("method.loss", "l2", "'l1_mean' or 'mse_sum'"),
        ("method.preset", "publish", "'paper' or 'released'"),
        ("method.new_block_init", "zero", "'random' or 'near_identity'"),
        ("method.generator_lr", 0.0, "greater than 0"),
        ("method.part_fraction", 1.0, "less than 1"),
        ("method.split_points", "odd", "'even'"),
        ("student.blocks", 6.0, "integer"),
        ("student.blocks", 0, "greater than or equal to 1"),
        ("student.features", True, "integer"),
        ("student.name", "vsdr", "unknown student 'vsdr'; known: vdsr, edsr"),
        ("student.scale", 5, "2, 3 or 4"),
        ("student.scale", "2", "2, 3 or 4"),
        ("student.layers", 20, "say blocks"),
        ("teacher.weights", 3, "string"),
        ("optimiser.name", "lion", "'sgd', 'adam' or 'adamw'"),
        ("optimiser.lr", "1e-5", "number"),
        ("optimiser.lr", 0, "greater than 0"),
        ("optimiser.lr", True, "number"),
        ("optimiser.clip", 0.0, "greater than 0"),
        ("optimiser.clip", "none", "number"),
        ("optimiser.momentum", 1.0, "less than 1"),
        ("optimiser.schedule.at", 0.0, "fractions of the budget lie in (0, 1]"),
        ("optimiser.schedule.at", [0.5, 1.5], "fractions of the budget lie in (0, 1]"),
        ("optimiser.schedule.at", [], "fractions of the budget lie in (0, 1]"),
        ("optimiser.schedule.at", "late", "number"),
        ("optimiser.schedule.factor", 0.0, "greater than 0"),
        ("optimiser.schedule.factor", 2.0, "less than or equal to 1"),
        ("optimiser.schedule", 0.1, "dictionary"),
        ("optimiser.schedule.kind", "linear", "'step', 'cosine' or 'constant'"),
        ("optimiser.schedule.warmup", -0.1, "greater than or equal to 0"),
        ("optimiser.schedule.warmup", 1.0, "less than 1"),
        ("batch.images", 0, "greater than or equal to 1"),
        ("batch.patch", "16", "integer"),
        ("heldout.crop", 252.0, "integer"),
        ("heldout.protocol", "psnr", "'yfloat'"),
        ("budget.steps", 0, "greater than or equal to 1"),
        ("budget.steps", 401, "401 is not a multiple of steps_per_report 2"),
        ("precision", "fp16", "'tf32' or 'bf16'"),
        ("threads", 0, "greater than or equal to 1"),
        ("threads", True, "integer"),
        ("batch", None, "dictionary"),
        ("method", "dfsr", "dictionary"),
        ("optimiser", [], "dictionary"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(
    toy: Toy, path: str, value: object, words: str
) -> None:
    refused = refusal(changed(toy("dfsr"), path, value))
    assert refused.path == path
    assert words in refused.rule


def test_a_wrong_value_is_shown(toy: Toy) -> None:
    assert refusal(changed(toy("dfsr"), "optimiser.lr", "1e-5")).rule.endswith("got '1e-5'")


@pytest.mark.parametrize("value", ["dfrs", 3, None, "kdd"])
def test_an_unknown_method_lists_the_known_ones(toy: Toy, value: object) -> None:
    refused = refusal(changed(toy("dfsr"), "method.name", value))
    assert refused.path == "method.name"
    assert all(name in refused.rule for name in METHODS) or value is None


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("method", "method"),
        ("method.name", "method.name"),
        ("student", "student"),
        ("student.name", "student.name"),
        ("budget", "budget"),
        ("budget.steps", "budget.steps"),
        ("budget.steps_per_report", "budget.steps_per_report"),
        ("teacher", "teacher"),
        ("teacher.weights", "teacher.weights"),
    ],
)
def test_what_is_missing_is_named(toy: Toy, path: str, named: str) -> None:
    assert refusal(without(toy("dfsr"), path)).path == named


def test_the_first_of_several_mistakes_is_reported_alone(toy: Toy) -> None:
    raw = changed(changed(toy("dfsr"), "seed", "x"), "batch.images", 0)
    assert refusal(raw).path in ("seed", "batch.images")


# --- rules between fields -----------------------------------------------------------------------


def test_scale_and_scales_together_are_refused(toy: Toy) -> None:
    refused = refusal(changed(toy("dfsr"), "student.scales", [2]))
    assert (refused.path, refused.rule) == ("student.scale", "give scale or scales, not both")


def test_teacher_and_student_must_serve_the_same_scales(toy: Toy) -> None:
    refused = refusal(changed(toy("dfsr"), "teacher.scale", 3))
    assert refused.path == "teacher.scales"
    assert refused.rule == "[3] differ from student.scales [2]"


def test_a_teacher_without_scales_takes_the_students(toy: Toy) -> None:
    config = TrialConfig.parse(toy("dfsr", student={"scales": [4, 2]}, batch={"patch": 32}))
    assert config.teacher is not None
    assert config.teacher.scales == config.student.scales == (4, 2)


@pytest.mark.parametrize(
    ("weights", "student", "expected"),
    [
        ("/t/x{scale}.pt", {"scale": 3}, "/t/x3.pt"),
        ("/t/x{scale}.pt", {"scales": [4]}, "/t/x4.pt"),
        ("/t/x{scale}.pt", {"scales": [2, 4]}, "/t/x{scale}.pt"),
        ("/t/x{scale}.pt", {}, "/t/x{scale}.pt"),
        ("/t/plain.pt", {"scale": 3}, "/t/plain.pt"),
    ],
)
def test_a_teachers_path_may_contain_the_scale(
    weights: str, student: dict[str, Any], expected: str
) -> None:
    raw = {"student": {"name": "vdsr", **student}, "teacher": {"name": "vdsr", "weights": weights}}
    assert expand_presets(raw)["teacher"]["weights"] == expected


@each_method
def test_data_belongs_to_the_methods_that_learn_from_images(toy: Toy, name: str) -> None:
    raw = toy(name)
    if METHODS[name].batch is Pairs:
        refused = refusal(without(raw, "data"))
        assert "learns from images" in refused.rule
    else:
        refused = refusal(changed(raw, "data", {"images": "photos"}))
        assert refused.rule == f"{name} is data-free: leave data out"
    assert refused.path == "data"


@each_method
def test_a_teacher_belongs_to_the_methods_that_are_taught(toy: Toy, name: str) -> None:
    raw = toy(name)
    if METHODS[name].taught:
        refused = refusal(without(raw, "teacher"))
        assert "needs a teacher" in refused.rule
    else:
        refused = refusal(changed(raw, "teacher", {"name": "vdsr", "weights": "shipped"}))
        assert "has no teacher" in refused.rule
    assert refused.path == "teacher"


@pytest.mark.parametrize(
    ("method", "scales", "patch", "words"),
    [
        ("dfsr", [2], 17, "17 is not a multiple of scale 2"),
        ("scratch", [2, 3], 16, "16 is not a multiple of scale 3"),
        ("dfsr", [2], 18, "gives LR images of side 9"),
        ("dfsr", [2], 20, "gives LR images of side 10; generators make sides of 8, 12, 16"),
        ("dfad", [2, 4], 16, "16 at scale 4 gives LR images of side 4"),
        ("noise", [2], 20, "gives LR images of side 10"),
    ],
)
def test_a_patch_must_suit_every_scale(
    toy: Toy, method: str, scales: list[int], patch: int, words: str
) -> None:
    refused = refusal(toy(method, student={"scales": scales}, batch={"patch": patch}))
    assert refused.path == "batch.patch"
    assert words in refused.rule


def test_teacher_and_student_see_the_same_colours(toy: Toy) -> None:
    luma, rgb = toy("dfsr"), toy("dfsr", student={"name": "edsr"})
    for student, teacher in ((luma, rgb), (rgb, luma)):
        refused = refusal({**student, "teacher": teacher["teacher"]})
        assert refused.path == "teacher.name"
        assert "differ in colour: one sees luma, the other RGB" in refused.rule


@pytest.mark.parametrize(("student", "teacher"), [("swinir", "edsr"), ("edsr", "swinir")])
def test_a_patch_must_suit_the_windows_of_student_and_teacher(
    toy: Toy, student: str, teacher: str
) -> None:
    other = toy("noise", student={"name": teacher})["teacher"]
    raw = toy("noise", student={"name": student}, batch={"patch": 20}) | {"teacher": other}
    refused = refusal(raw)
    assert refused.path == "batch.patch"
    assert refused.rule == "20 is not a multiple of 8, as swinir needs it"
    TrialConfig.parse(changed(raw, "batch.patch", 24))


def test_an_rgb_students_patch_is_the_lr_side(toy: Toy) -> None:
    TrialConfig.parse(toy("scratch", student={"name": "edsr", "scale": 3}, batch={"patch": 13}))
    TrialConfig.parse(toy("dfsr", student={"name": "edsr"}, batch={"patch": 12}))
    refused = refusal(toy("dfsr", student={"name": "edsr"}, batch={"patch": 18}))
    assert "LR images of side 18; generators make" in refused.rule


def test_a_protocol_for_luma_is_refused_to_an_rgb_student(toy: Toy) -> None:
    raw = toy("scratch", student={"name": "edsr"}, heldout={"protocol": "y8"})
    refused = refusal(raw)
    assert refused.path == "heldout.protocol"
    assert refused.rule == "y8 is for luma networks; an RGB network has yfloat, rgb8, rgb8_matlab"


def test_a_student_grows_by_the_units_of_its_body(toy: Toy) -> None:
    rcan = {"name": "rcan", "groups": 3, "blocks": 1}
    TrialConfig.parse(toy("dfsr", student=rcan, method={"P": 3}))
    assert refusal(toy("dfsr", student=rcan, method={"P": 4})).path == "method.P"


@pytest.mark.parametrize(
    ("method", "scales", "patch"),
    [("dfsr", [2, 3, 4], 48), ("dfsr", [2], 24), ("scratch", [2], 18), ("scratch", [3], 15)],
)
def test_patches_that_suit(toy: Toy, method: str, scales: list[int], patch: int) -> None:
    TrialConfig.parse(toy(method, student={"scales": scales}, batch={"patch": patch}))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ({"P": 7}, "method.P"),  # more parts than blocks
        ({"P": 0}, "method.P"),
        ({"P": 3, "part_fraction": 0.001}, "method.P"),  # a part without an update
        ({"split_points": 0.01}, "method.split_points"),
        ({"split_points": 0.99}, "method.split_points"),
        ({"split_points": [2, 4]}, "method.split_points"),
        ({"P": 3, "split_points": [4, 2]}, "method.split_points"),
        ({"P": 3, "split_points": [0, 2]}, "method.split_points"),
        ({"P": 3, "split_points": [2, 6]}, "method.split_points"),
    ],
)
def test_parts_must_have_blocks_and_updates(toy: Toy, method: dict[str, object], path: str) -> None:
    assert refusal(toy("dfsr", method=method)).path == path


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        ({"P": 1}, ()),
        ({"P": 2, "part_fraction": 0.15}, (60,)),
        ({"P": 3, "part_fraction": 0.5}, (100, 200)),
        ({"P": 3, "part_fraction": 0.5, "split_points": [1, 2]}, (100, 200)),
    ],
)
def test_growth_steps(toy: Toy, method: dict[str, object], steps: tuple[int, ...]) -> None:
    assert TrialConfig.parse(toy("dfsr", method=method)).growth_steps() == steps


@each_method
def test_a_student_grows_where_its_method_has_parts_and_nowhere_else(toy: Toy, name: str) -> None:
    config = TrialConfig.parse(toy(name))
    assert bool(config.growth_steps()) == hasattr(config.method, "P")


# --- presets ------------------------------------------------------------------------------------


@each_method
@pytest.mark.parametrize("student", NETWORKS)
@pytest.mark.parametrize("preset", ["released", "paper"])
def test_a_preset_fills_in_what_is_not_said(toy: Toy, name: str, student: str, preset: str) -> None:
    named = {} if default_preset(name, student) is None else {"preset": preset}
    raw = toy(name, method=named, student={"name": student})
    filled = merged(sections_of(name, preset, student))
    assert filled
    # As many images as the preset says, which a method's other toy sizes might not fit.
    images = filled.pop("batch", None)
    bare = {**raw, "batch": {"patch": 16}}
    assert images is None or expand_presets(bare)["batch"] == {"patch": 16, **images}
    try:
        config = TrialConfig.parse(raw)
    except ConfigError as refused:  # test_every_method.py says which pairs are
        assert refused.path.startswith(("student", "teacher"))
        return
    written = config.model_dump(mode="json")
    said = dict(leaves(filled))
    assert {path: get(written, path, None) for path in said} == said


@each_method
def test_only_a_method_that_learns_from_images_is_judged_by_an_average(toy: Toy, name: str) -> None:
    for student in NETWORKS:
        sections = merged(sections_of(name, str(default_preset(name, student)), student))
        both = METHODS[name].batch is Pairs and student not in LUMA_NETWORKS
        assert sections.get("ema") == (0.999 if both else None)


def test_kd_has_the_weight_1_of_its_release_in_every_preset(toy: Toy) -> None:
    weights = {
        preset: TrialConfig.parse(toy("kd", method={"preset": preset})).method.lambda_kd
        for preset in ("default", "released", "paper")
    }
    assert weights == {"default": 1.0, "released": 1.0, "paper": 1.0}
    assert TrialConfig.parse(toy("kd")).method.preset == "default"


def test_kd_with_the_weight_of_dukd_is_marked_as_such(toy: Toy) -> None:
    caveat = TrialConfig.parse(toy("kd", method={"lambda_kd": 0.2})).caveat
    assert caveat == "lambda_kd: 0.2 is the weight of DUKD's release, whose KD row has 1"
    assert TrialConfig.parse(toy("kd")).caveat is None
    assert TrialConfig.parse(toy("dukd", method={"lambda_kd": 0.2})).caveat is None


# --- a student that is a share of its teacher ---------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_width_mult_is_a_share_of_the_teachers_width_and_all_its_other_sizes(
    toy: Toy, network: str
) -> None:
    raw = toy("kd", student={"name": network})
    raw["teacher"] |= {"features": 24, "scale": 2}
    raw["student"] = {"width_mult": 0.5, "scale": 2}
    config = TrialConfig.parse(raw)
    assert config.teacher is not None
    wide, narrow = (part.model_dump() for part in (config.teacher, config.student))
    assert (wide.pop("features"), narrow.pop("features")) == (24, 12)
    assert {**narrow, "weights": None} == {**wide, "weights": None}


def test_width_mult_rounds_down_and_needs_nothing_else(toy: Toy) -> None:
    raw = toy("kd")
    raw["teacher"] |= {"features": 10, "scales": [2, 3]}
    raw["student"] = {"width_mult": 0.25}
    student = TrialConfig.parse(changed(raw, "batch.patch", 24)).student
    assert (student.name, student.features, student.scales) == ("vdsr", 2, (2, 3))


@pytest.mark.parametrize(
    ("student", "rule"),
    [
        ({"width_mult": 1.5}, "a share of the teacher's width; got 1.5"),
        ({"width_mult": "half"}, "a share of the teacher's width; got 'half'"),
        ({"width_mult": 0.5, "features": 8}, "give width_mult or features, not both"),
    ],
)
def test_width_mult_is_refused_where_it_means_nothing(
    toy: Toy, student: dict[str, Any], rule: str
) -> None:
    raw = {**toy("kd"), "student": student}
    found = refusal(raw)
    assert (found.path, found.rule) == ("student.width_mult", rule)
    alone = {**toy("scratch"), "student": {"width_mult": 0.5}}
    assert refusal(alone).rule.startswith("needs a teacher")


def test_presets_know_the_colour_of_every_network() -> None:
    assert set(LUMA_NETWORKS) == {name for name in NETWORKS if NETWORKS[name].colour == "y"}


@pytest.mark.parametrize("student", [name for name in NETWORKS if NETWORKS[name].colour == "rgb"])
def test_an_rgb_student_learns_as_dfsr_says_of_edsr(toy: Toy, student: str) -> None:
    raw = toy("dfsr", student={"name": student})
    del raw["batch"]["images"]
    config = TrialConfig.parse(raw)
    method, optimiser = config.method, config.optimiser
    assert (method.preset, method.loss, method.loss_range) == ("paper", "l1_mean", 255.0)
    assert (method.generator_lr, method.generator_schedule) == (1e-6, "constant")
    assert (method.part_fraction, method.P, method.w_R) == (80 / 300, 2, 1.0)
    assert (optimiser.name, optimiser.lr, optimiser.betas) == ("adam", 1e-4, (0.9, 0.999))
    assert (optimiser.weight_decay, optimiser.clip) == (0.0, None)
    assert [optimiser.lr_at(step, 300) for step in (0, 199, 200, 299)] == [1e-4] * 2 + [5e-5] * 2
    assert config.batch.images == 16


def test_what_is_said_wins_over_an_rgb_students_preset(toy: Toy) -> None:
    said = {"loss_range": 1.0, "generator_lr": 1e-4, "part_fraction": 0.5}
    rate = {"lr": 3e-4, "schedule": {"factor": 0.1}}
    config = TrialConfig.parse(
        toy("dfsr", student={"name": "edsr"}, method=said, optimiser=rate, batch={"images": 3})
    )
    assert {key: getattr(config.method, key) for key in said} == said
    assert config.optimiser.lr == 3e-4
    assert config.optimiser.schedule is not None
    assert (config.optimiser.schedule.at, config.optimiser.schedule.factor) == (2 / 3, 0.1)
    assert config.batch.images == 3
    constant = toy("dfad", student={"name": "edsr"}, optimiser={"schedule": None})
    assert TrialConfig.parse(constant).optimiser.schedule is None


def test_the_two_presets_are_the_papers_print_and_the_released_code(toy: Toy) -> None:
    released = TrialConfig.parse(toy("dfsr"))
    paper = TrialConfig.parse(toy("dfsr", method={"preset": "paper"}))
    assert (released.method.preset, released.method.loss) == ("released", "mse_sum")
    ours = released.optimiser
    assert (ours.name, ours.lr, ours.momentum, ours.weight_decay) == ("sgd", 0.1, 0.9, 1e-4)
    assert ours.clip == 0.4
    assert (paper.method.loss, paper.optimiser.name, paper.optimiser.clip) == (
        "l1_mean",
        "adam",
        None,
    )


def test_what_is_said_wins_over_the_preset(toy: Toy) -> None:
    config = TrialConfig.parse(
        toy(
            "dfsr",
            method={"preset": "paper", "loss": "mse_sum"},
            optimiser={"lr": 0.5, "clip": 0.1},
        )
    )
    assert config.method.loss == "mse_sum"
    assert (config.optimiser.name, config.optimiser.lr, config.optimiser.clip) == ("adam", 0.5, 0.1)


def test_another_optimiser_than_the_presets_brings_its_own_values(toy: Toy) -> None:
    adam = TrialConfig.parse(toy("dfsr", optimiser={"name": "adam"})).optimiser
    assert (adam.lr, adam.clip, adam.weight_decay) == (1e-4, None, 0.0)
    sgd = TrialConfig.parse(
        toy("dfsr", method={"preset": "paper"}, optimiser={"name": "sgd"})
    ).optimiser
    assert (sgd.lr, sgd.clip, sgd.weight_decay) == (0.1, 0.4, 1e-4)


def test_no_clipping_and_no_schedule_can_be_said(toy: Toy) -> None:
    config = TrialConfig.parse(toy("dfsr", optimiser={"clip": None, "schedule": None}))
    assert config.optimiser.clip is None
    assert config.optimiser.schedule is None


@pytest.mark.parametrize("name", ["scratch", "kd", "dfsr"])
@pytest.mark.parametrize("student", ["vdsr", "edsr"])
def test_what_was_filled_in_may_be_changed_and_the_preset_stays(name: str, student: str) -> None:
    raw = {"method": {"name": name}, "student": {"name": student}, "optimiser": {"schedule": {}}}
    before = copy.deepcopy(expand_presets(raw))
    filled = expand_presets({key: raw[key] for key in ("method", "student")})
    filled["optimiser"].get("schedule", {}).clear()
    filled["optimiser"].clear()
    assert expand_presets(raw) == before


def test_expanding_leaves_its_argument_alone(toy: Toy) -> None:
    raw = toy("dfsr")
    before = copy.deepcopy(raw)
    expand_presets(raw)
    TrialConfig.parse(raw)
    assert raw == before


# --- reading and writing ------------------------------------------------------------------------

DOCUMENT = """
seed: 3
method: {name: dfsr, P: 3, split_points: [1, 4], part_fraction: 0.3, w_R: 2}
student: {name: vdsr, features: 8, blocks: 6, scales: [2, 3]}
teacher: {name: vdsr, features: 16, weights: weights/teacher.pt}
optimiser: {lr: 0.05, schedule: {at: [0.4, 0.8], factor: 0.5}}
batch: {images: 4, patch: 24}
heldout: {images: photos, crop: 96}
budget: {steps: 100, steps_per_report: 10}
"""


def test_a_yaml_document_is_read_as_it_stands() -> None:
    raw = yaml.safe_load(DOCUMENT.replace("24", "48"))
    config = TrialConfig.parse(raw)
    assert config.seed == 3
    assert config.method.split_points == (1, 4)
    assert config.method.w_R == 2.0
    assert type(config.method.w_R) is float
    assert config.student.scales == (2, 3)
    assert config.optimiser.schedule is not None
    assert config.optimiser.schedule.at == (0.4, 0.8)
    assert config.growth_steps() == (15, 30)
    assert config.data is None
    assert config.threads is None


def test_one_is_a_fraction_too(toy: Toy) -> None:
    config = TrialConfig.parse(toy("dfsr", optimiser={"schedule": {"at": 1}}))
    assert config.optimiser.schedule is not None
    assert config.optimiser.schedule.at == 1.0


VARIANTS: list[dict[str, Any]] = [
    {},
    {"method": {"preset": "paper"}},
    {"optimiser": {"name": "adam", "betas": [0.5, 0.9], "clip": None, "schedule": None}},
    {"optimiser": {"schedule": {"at": [0.25, 0.5], "factor": 0.3}}},
    {"optimiser": {"name": "adamw", "schedule": {"kind": "cosine", "warmup": 0.1}}},
    {"student": {"scales": [2, 4]}, "batch": {"patch": 32}},
    {"heldout": {"images": "somewhere", "crop": 32, "protocol": "y8"}},
    {"seed": 9, "precision": "bf16", "threads": 3},
]


def has(name: str, change: dict[str, Any]) -> bool:
    """Whether a method has these settings: where paper and code agree there is no preset."""
    config = get_type_hints(METHODS[name].__init__)["config"]
    return set(change.get("method", {})) <= set(config.model_fields)


@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, n) for name in METHODS for n, change in enumerate(VARIANTS) if has(name, change)],
)
def test_what_is_written_reads_back_the_same(toy: Toy, name: str, variant: int) -> None:
    config = TrialConfig.parse(toy(name, **VARIANTS[variant]))
    written = config.model_dump(mode="json")
    again = TrialConfig.parse(written)
    assert again == config
    assert again.model_dump(mode="json") == written
    assert TrialConfig.parse(yaml.safe_load(yaml.safe_dump(written))) == config


@pytest.mark.parametrize("points", ["even", 0.5, [1, 4]])
def test_every_way_to_split_reads_back_the_same(toy: Toy, points: object) -> None:
    parts = 3 if isinstance(points, list) else 2
    config = TrialConfig.parse(toy("dfsr", method={"P": parts, "split_points": points}))
    assert TrialConfig.parse(config.model_dump(mode="json")) == config


def test_paths_become_absolute_and_words_stay_words(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = toy("scratch", data={"images": "train"}, heldout={"images": "~/held"})
    config = TrialConfig.parse(raw)
    assert config.data is not None
    assert config.data.images == str(tmp_path / "train")
    assert config.heldout.images == str(Path.home() / "held")
    config = TrialConfig.parse(toy("dfsr", teacher={"weights": "shipped"}))
    assert config.teacher is not None
    assert config.teacher.weights == "shipped"
    assert config.heldout.images == "photos"


def test_a_configuration_cannot_be_changed(toy: Toy) -> None:
    config = TrialConfig.parse(toy("dfsr"))
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]  # that is the point


def test_every_field_says_what_it_means() -> None:
    seen: set[type[BaseModel]] = set()
    waiting: list[type[BaseModel]] = [TrialConfig]
    while waiting:
        model = waiting.pop()
        seen.add(model)
        for key, field in model.model_fields.items():
            tag = key == "name" and model.__name__ != "OptimiserConfig"
            assert tag or field.description, f"{model.__name__}.{key} has no docstring"
        schema_types = _models_in(model)
        waiting.extend(schema_types - seen)
    assert len(seen) > 8


def _models_in(model: Any) -> set[Any]:
    found, waiting = set(), [field.annotation for field in model.model_fields.values()]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.add(annotation)
        waiting.extend(get_args(annotation))
    return found
