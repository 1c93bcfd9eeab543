import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_sr.schedulers.rules import SchedulerConfig
from tune_sr.space.corner_checks import LIMIT, corner_points
from tune_sr.space.yaml_file import SpaceError, dump_yaml
from tune_sr.study.settings import StudySettings
from tune_sr.study.space_file import load_space, load_study, read_resolved, to_resolved

SPACE = """\
fixed:
  method: {name: dfsr, update_ratio: 5}
  student: {name: vdsr, features: 8, blocks: 6, scales: [2]}
  teacher: {name: vdsr, weights: shipped}
  batch: {images: 4, patch: 24}
  budget: {steps: 100, steps_per_report: 10}
search:
  method.w_R: {uniform: [0.0, 3.0]}
  method.P: {choice: [1, 2, 3]}
  method.part_fraction: {uniform: [0.05, 0.3], when: {method.P: [2, 3]}}
  optimiser.lr: {loguniform: [3e-2, 0.3]}
first:
  - {method.w_R: 1, method.P: 2, method.part_fraction: 0.15, optimiser.lr: 1e-1}
study:
  trials: 8
  scheduler: {name: asha, grace_period: 4}
"""
FIRST = {"method.w_R": 1.0, "method.P": 2, "method.part_fraction": 0.15, "optimiser.lr": 0.1}


@pytest.fixture
def load_both(tmp_path):
    """Space and settings of a file with the text, and the flags `--set` of `overrides`."""

    def load_both(text=SPACE, *overrides, old="", new=""):
        assert old in text
        path = tmp_path / "toy.yaml"
        path.write_text(text.replace(old, new) if old else text)
        return load_study(path, overrides)

    return load_both


@pytest.fixture
def load(load_both):
    return lambda *words, **changes: load_both(*words, **changes)[0]


@pytest.fixture
def settings(load_both):
    return lambda *words, **changes: load_both(*words, **changes)[1]


def test_a_space_is_read(load):
    space = load()
    assert space.name == "toy"
    assert tuple(space.dimensions) == tuple(FIRST)
    assert space.first_points == (FIRST,)
    assert all(type(space.first_points[0][path]) is type(value) for path, value in FIRST.items())
    assert space.fixed["teacher"]["scales"] == [2], "the teacher's scale follows"
    assert space.budget.steps == 100
    config = space.trial_config(space.first_points[0], seed=3)
    assert (config.seed, config.method.P, config.optimiser.lr) == (3, 2, 0.1)
    assert config.growth_steps() == (15,)


def test_study_is_complete(settings):
    study = settings()
    assert study.scheduler == SchedulerConfig(name="asha", grace_period=4, reduction_factor=3)
    assert (study.trials, study.experiment, study.searcher) == (8, "toy", "tpe")
    assert study.hours is None
    assert settings(SPACE, "study.experiment=null").experiment == "toy"


LOGUNIFORM, W_R, CHOICE = (
    "{loguniform: [3e-2, 0.3]}",
    "{uniform: [0.0, 3.0]}",
    "{choice: [1, 2, 3]}",
)
WHEN = "when: {method.P: [2, 3]}"
ASHA = "{name: asha, grace_period: 4}"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        # unknown keys list the known ones
        ("fixed:", "fixd:", 1, "fixd: unknown section; a space has fixed, search, first, study"),
        ("update_ratio", "update_rate", 2, r"method.update_rate: .*dfsr has loss, .*update_ratio"),
        ("features", "fetures", 3, r"student.fetures: .*vdsr has features, blocks, scales"),
        ("method.w_R: {u", "method.w_Q: {u", 8, r"method.w_Q: unknown key; .*dfsr has .*w_R"),
        ("trials", "trails", 15, r"study.trails: .*has name, .*trials, confirm, margin, hours"),
        ("grace_period", "grace", 16, r"study.scheduler.grace: unknown key; .*reduction_factor"),
        ("name: dfsr", "name: dsfr", 2, r"method.name: .*'dsfr'; known: scratch, kd,"),
        ("{uniform: [0.0", "{unifrom: [0.0", 8, r"method.w_R: unifrom: .*known: uniform, loguni"),
        ("trials: 8", "searcher: bayes", 15, r"study.searcher: .*known: tpe, gp, .*grid"),
        ("name: asha", "name: bohb", 16, r"study.scheduler.name: .*known: asha, hyperband, median"),
        ("  - {", "  - {w_R: 1, ", 13, r"w_R: is not searched; searched: method.w_R, method.P"),
        ("trials: 8", "objective: ssim", 15, r"study.objective: takes 'psnr_y_db', .*; got 'ssim'"),
        # wrong types
        ("features: 8", "features: many", 3, "student.features: .*integer; got 'many'"),
        ("trials: 8", "trials: many", 15, "study.trials: .*integer; got 'many'"),
        ("trials: 8", "concurrent: 0", 15, "study.concurrent: at least 1, or auto; got 0"),
        ("trials: 8", "name: a/b", 15, "study.name: 'a/b': letters"),
        (W_R, "3", 8, "method.w_R: say how it is distributed"),
        (W_R, "{uniform: 3}", 8, "method.w_R: uniform takes a list; got 3"),
        (W_R, "{uniform: [0, two]}", 8, r'method.w_R: uniform takes numbers \[.*"two"'),
        (W_R, "{randint: [0, 1.5]}", 8, "method.w_R: randint takes whole numbers"),
        (CHOICE, "{uniform: [1, 3]}", 10, r".*method.P must be a choice or a randint"),
        ("[1, 2, 3]", "[1, 2, [3]]", 9, r"method.P: choice takes words, numbers.*got \[3\]"),
        ("  - {", "  - 3\n  - {", 13, "first: a point maps dotted paths to values; got 3"),
        (ASHA, "3", 16, "study.scheduler: "),
        # empty ranges, logarithms from 0, doubles
        (W_R, "{uniform: [3, 3]}", 8, r"method.w_R: uniform \[3, 3\] is empty"),
        (LOGUNIFORM, "{loguniform: [0, 1]}", 11, r"optimiser.lr: loguniform \[0, 1\] must start"),
        (W_R, "{lograndint: [0, 4]}", 8, r"method.w_R: lograndint \[0, 4\] must start above 0"),
        (W_R, "{quniform: [0.1, 0.25, 0.1]}", 8, "method.w_R: quniform's ends"),
        (W_R, "{quniform: [0, 1, 0]}", 8, "method.w_R: quniform's q must be above 0"),
        (CHOICE, "{choice: []}", 9, "method.P: choice is empty"),
        (CHOICE, "{choice: [2, 3, 2.0]}", 9, "method.P: choice names 2.0 twice"),
        (W_R, "{uniform: [0, 1], choice: [1]}", 8, "method.w_R: needs one distribution, has 2"),
        # impossible combinations
        (", weights: sh", ", scale: 3, weights: sh", 4, r"teacher.scales: \[3\] differ from"),
        ("[1, 2, 3]", "[1, 2, 3, 7]", 9, "method.P: 7 parts need a body of at least 7 blocks"),
        ("patch: 24", "patch: 25", 5, "batch.patch: 25 is not a multiple of scale 2"),
        ("steps: 100", "steps: 105", 6, "budget.steps: 105 is not a multiple"),
        ("name: dfsr", "name: scratch", 2, "method.update_ratio: unknown key; scratch has"),
        ("fixed:\n", "fixed:\n  data: {images: photos}\n", 2, "data: dfsr is data-free"),
        ("method.w_R: {u", "budget.steps: {u", 8, "budget.steps: cannot be searched"),
        ("method.w_R: {u", "method.update_ratio: {u", 8, "method.update_ratio: is given under"),
        ("method.w_R: {u", "batch.patch.x: {u", 8, "batch.patch.x: batch.patch is a value"),
        (WHEN, "when: {method.P: 4}", 10, r"method.part_fraction: when: method.P: 4 is not one of"),
        (WHEN, "when: {method.Q: 4}", 10, r".*: when: method.Q is neither searched nor fixed"),
        (WHEN, "when: {method.w_R: 1}", 10, r".*: when: method.w_R must be a choice"),
        (WHEN, "when: [method.P]", 10, "method.part_fraction: when takes {path: value}"),
        ("grace_period: 4", "grace_period: 3", 16,
         r"study.scheduler.grace_period: 3 reports end at update 30, .*grows at 30 .*from 40 on"),
        (ASHA, "{name: median, reduction_factor: 2}", 16,
         "study.scheduler.reduction_factor: median has none: leave it out"),
        ("grace_period: 4", "grace_period: 10", 16, r".*10 reports leave no rung"),
        # first
        ("w_R: 1,", "w_R: 4,", 13, r"method.w_R: 4 is not a number of uniform \[0, 3\]"),
        ("method.w_R: 1,", "", 13, "method.w_R: missing: a first point has every quantity"),
        ("P: 2", "P: 1", 13, r"method.part_fraction: does not exist .* when .*\[2, 3\]"),
        ("P: 2", "P: true", 13, "method.P: true is not one of 1, 2, 3"),
        # YAML
        ("[2]}", "[2]", 4, "not YAML: "),
        ("  batch", "  budget: 3\n  batch", 7, "fixed.budget: given twice"),
        ("shipped}", '"${NOT_SET_HERE}/x.pt"}', 4, r".*weights: \${NOT_SET_HERE} is not set"),
        ("shipped}", "${HOME}/x.pt}", 4, "not YAML: .*needs quotes"),
        ("{images: 4, patch: 24}", "!!python/tuple [1]", 5, "not YAML: tag .* is not part"),
        ("[2]}", "&a [2], b: *a}", 3, "not YAML: an alias is not part"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_where_it_is(load, old, new, line, message):
    with pytest.raises(SpaceError) as caught:
        load(old=old, new=new)
    text = str(caught.value)
    assert re.match(rf"[^:]*/toy\.yaml:{line}: {message}", text), text
    assert "\n" not in text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"toy.yaml:1: fixed: missing"),
        (b"- 1\n", r"toy.yaml:1: not a mapping"),
        (b"\xff\xfe\x00", r"toy.yaml: not a text file in UTF-8"),
        (None, r"toy.yaml: no such file"),
    ],
)
def test_a_file_that_is_no_space(tmp_path, content, message):
    path = tmp_path / "toy.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpaceError, match=message):
        load_space(path)


def test_quantities_that_wait_for_each_other_are_refused(load):
    with pytest.raises(SpaceError, match=r":7: search: when: .* wait for each other"):
        load(old="{choice: [1, 2, 3]}", new="{choice: [1, 2, 3], when: {method.P: 2}}")


def test_a_bad_pair_names_the_choices_that_matter(load):
    text = SPACE.replace("blocks: 6, ", "").replace(
        "search:\n", "search:\n  student.blocks: {choice: [6, 2]}\n"
    )
    text = text.replace("  - {", "  - {student.blocks: 6, ")
    with pytest.raises(SpaceError, match=r"toy.yaml:10: method.P: 3 parts .*has 2") as caught:
        load(text)
    assert str(caught.value).endswith("(where student.blocks = 2)")


def test_dimensions_follow_those_they_depend_on(load):
    moved = SPACE.replace(f"  method.P: {CHOICE}\n", "").replace(
        "first:", f"  method.P: {CHOICE}\nfirst:"
    )
    space = load(moved)
    assert tuple(space.dimensions).index("method.P") < tuple(space.dimensions).index(
        "method.part_fraction"
    )
    fraction = space.dimensions["method.part_fraction"]
    assert not fraction.active({"method.P": 1}, space.fixed)
    assert fraction.active({"method.P": 3}, space.fixed)


def test_numbers_and_words_are_those_of_yaml_1_2(load):
    space = load(old="update_ratio: 5", new="update_ratio: 5, loss_range: 1e2")
    assert space.fixed["method"]["loss_range"] == 100.0
    with pytest.raises(SpaceError, match=r"reset_lr: .*boolean; got 'on'"):
        load(old="update_ratio: 5", new="reset_lr: on")


def test_environment_variables_and_scale_are_filled_in(load, monkeypatch):
    monkeypatch.setenv("TEACHERS", "/somewhere")
    space = load(old="weights: shipped", new='weights: "${TEACHERS}/x{scale}.pt"')
    assert space.trial_config(FIRST).teacher.weights == "/somewhere/x2.pt"
    fixed = dict(space.fixed)
    again, _ = read_resolved(dump_yaml(to_resolved(space, StudySettings(experiment="toy"))))
    assert again.fixed == fixed


def test_paths_are_absolute_because_a_trial_has_its_own_directory(load, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    space = load(old="weights: shipped", new="weights: teachers/a.pt")
    expected = str(tmp_path / "teachers" / "a.pt")
    assert space.fixed["teacher"]["weights"] == expected
    monkeypatch.chdir(os.sep)
    assert space.trial_config(FIRST).teacher.weights == expected


SEVERAL = """\
  method: {name: kd}
  data:
    images:
      - {folder: "${PLACE}/DF2K", weight: 3}
      - {folder: faces}
      - {folder: photos, weight: 0.5}
"""


def test_several_folders_of_training_images_have_weights(load, load_both, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", "/images")
    text = SPACE.replace("  method: {name: dfsr, update_ratio: 5}\n", SEVERAL)
    text = text[: text.index("  method.w_R")] + "  method.lambda_kd: {uniform: [0, 1]}\n"
    space = load(text)
    assert space.fixed["data"]["images"] == [
        {"folder": "/images/DF2K", "weight": 3},
        {"folder": f"{tmp_path}/faces"},
        {"folder": "photos", "weight": 0.5},
    ]
    folders = space.trial_config({"method.lambda_kd": 1.0}).data.folders
    assert [each.weight for each in folders] == [3.0, 1.0, 0.5]
    resolved = to_resolved(*load_both(text))
    assert to_resolved(*read_resolved(dump_yaml(resolved))) == resolved
    one = load(text, "data.images=[{folder: faces, weight: 2}]")
    assert [each.folder for each in one.trial_config({}).data.folders] == [f"{tmp_path}/faces"]
    for old, new, path, rule in (
        ("weight: 0.5", "weight: 0", "data.images.2.weight", "input should be greater than or eq"),
        ("photos, ", "./faces, ", "data.images.2.folder", "./faces is named twice"),
    ):
        with pytest.raises(SpaceError, match=rf"^\S+toy.yaml:4: {path}: {rule}"):
            load(text, old=old, new=new)


def test_at_is_pure(load):
    space = load()
    before = space.to_dict()
    assert space.trial_config(FIRST, seed=1) == space.trial_config(dict(FIRST), seed=1)
    assert space.trial_config(FIRST, seed=1) != space.trial_config(FIRST, seed=2)
    assert space.to_dict() == before


def test_a_resolved_space_reads_back_equal(load_both, tmp_path):
    study = load_both()
    resolved = to_resolved(*study)
    assert list(resolved["study"]) == list(StudySettings.model_fields)
    again = read_resolved(dump_yaml(resolved), study[0].path)
    assert again == study
    assert again[0].trial_config(FIRST) == study[0].trial_config(FIRST)
    assert pickle.loads(pickle.dumps(study)) == study
    reloaded = tmp_path / "again.yaml"
    reloaded.write_text(dump_yaml(resolved))
    assert to_resolved(*load_study(reloaded)) == resolved


def test_a_searched_preset_is_not_decided_beforehand(load):
    text = SPACE.replace("search:\n", "search:\n  method.preset: {choice: [released, paper]}\n")
    text = text.replace("  - {", "  - {method.preset: paper, ")
    space = load(text)
    assert "loss" not in space.fixed["method"]
    assert space.trial_config({**FIRST, "method.preset": "paper"}).method.loss == "l1_mean"
    assert space.trial_config({**FIRST, "method.preset": "released"}).method.loss == "mse_sum"


WHICH = """\
fixed:
  student: {name: vdsr, features: 8, blocks: 6, scales: [2]}
  teacher: {name: vdsr, weights: shipped}
  data: {images: photos}
  batch: {images: 4, patch: 24}
  budget: {steps: 100, steps_per_report: 10}
search:
  method.name: {choice: [dfsr, noise, scratch]}
  method.w_R: {uniform: [0.0, 3.0], when: {method.name: dfsr}}
first:
  - {method.name: dfsr, method.w_R: 1.0}
  - {method.name: noise}
"""


def test_where_the_method_is_searched_each_gets_what_it_takes(load):
    space = load(WHICH)
    taken = {
        name: space.trial_config({"method.name": name}) for name in ("dfsr", "noise", "scratch")
    }
    assert [config.data is None for config in taken.values()] == [True, True, False]
    assert [config.teacher is None for config in taken.values()] == [False, False, True]


def test_fixing_the_method_keeps_what_belongs_to_it(load):
    space = load(WHICH, "method.name=noise", "data=null")
    assert space.first_points == ({},)
    assert not space.dimensions["method.w_R"].active({}, space.fixed)
    assert space.trial_config({}).method.name == "noise"


def test_set_changes_one_setting(load_both):
    changes = ["budget.steps_per_report=5", "study.scheduler=none", "study.trials=3"]
    space, settings = load_both(SPACE, *changes, "student.scale=3", "optimiser.clip=null")
    assert space.budget.reports == 20
    assert (
        space.trial_config(FIRST).student.scales == space.trial_config(FIRST).teacher.scales == (3,)
    )
    assert settings.trials == 3
    assert space.trial_config(FIRST).optimiser.clip is None


def test_set_fixes_what_was_searched(load):
    space = load(SPACE, "method.P=1")
    assert "method.P" not in space.dimensions
    assert space.first_points == ({"method.w_R": 1.0, "optimiser.lr": 0.1},)
    assert space.trial_config(space.first_points[0]).method.P == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.steps=many", "--set budget.steps=many: budget.steps: .*integer; got 'many'"),
        ("study.trails=3", "--set study.trails=3: study.trails: unknown key; .*study has"),
        ("study.scheduler={name: asha, grace_period: 2}", "--set .*grace_period: 2 reports"),
        ("method.P=9", "--set method.P=9: method.P: 9 parts need"),
        ("method.w_R.x=9", r".*toy.yaml:8: method.w_R: is given under fixed"),
        ("budget", "--set budget: takes PATH=VALUE"),
        ("budget..x=3", "--set budget..x=3: takes PATH=VALUE"),
        ("budget.steps.x=3", "--set budget.steps.x=3: budget.steps.x: budget.steps is a value"),
        ("budget.steps=[", r"--set budget.steps=\[: not YAML"),
        ("nothing=1", "--set nothing=1: nothing: unknown key; .*a trial has"),
    ],
)
def test_a_mistake_in_set_names_it(load, override, message):
    with pytest.raises(SpaceError) as caught:
        load(SPACE, override)
    assert re.match(message, str(caught.value)), str(caught.value)


def test_flags_win_and_are_checked(load_both):
    space, settings = load_both()
    settings = settings.with_overrides({"trials": 3, "hours": None, "seed": 5}, space)
    assert (settings.trials, settings.seed) == (3, 5)
    with pytest.raises(SpaceError, match=r"^--cpus-per-trial 0: study.cpus_per_trial: "):
        settings.with_overrides({"cpus_per_trial": 0}, space)


def test_grace_left_out_is_the_least_the_space_allows(settings):
    assert settings(old=ASHA, new="asha").scheduler.grace_period == 4
    assert settings(SPACE, "method.P=1", "study.scheduler=asha").scheduler.grace_period == 1
    assert settings(old=ASHA, new="none").scheduler.name == "none"


def test_every_corner_of_a_small_space_is_tried_once(load):
    space = load()
    points = [tuple(point.items()) for point in corner_points(space, FIRST)]
    assert len(points) == len(set(points)) == 2 * 2 * (1 + 2 * 2)


def test_every_pair_of_a_large_space_is_tried(load):
    paths = [f"p{n}" for n in range(14)]
    lines = "".join(f"  {path}: {{choice: [0, 1]}}\n" for path in paths)
    large, _ = read_resolved(
        f"fixed: {{a: 1}}\nsearch:\n{lines}  q: {{choice: [0, 1], when: {{p0: 1}}}}\n"
        "first: []\nstudy: {experiment: x}\n"
    )
    base = dict.fromkeys(paths, 0)
    points = list(corner_points(large, base))
    assert len(points) < LIMIT
    for one in [*paths, "q"]:
        for other in paths:
            if one != other:
                seen = {(point.get(one), point[other]) for point in points}
                always = {(0, 1), (1, 1)}  # q exists only where p0 is 1
                assert seen >= (
                    always if (one, other) == ("q", "p0") else always | {(0, 0), (1, 0)}
                )


SEARCHED = """\
search:
  optimiser.name: {choice: [sgd, adam, adamw]}
  optimiser.lr: {loguniform: [1e-4, 1e-2]}
  optimiser.clip: {loguniform: [0.05, 1.0], when: {optimiser.name: sgd}}
  optimiser.momentum: {uniform: [0.8, 0.95], when: {optimiser.name: sgd}}
  optimiser.weight_decay: {loguniform: [1e-4, 0.1], when: {optimiser.name: adamw}}
  optimiser.schedule.kind: {choice: [step, cosine, constant]}
  optimiser.schedule.warmup: {uniform: [0.0, 0.2]}
  optimiser.schedule.at: {choice: [0.25, 0.5], when: {optimiser.schedule.kind: step}}
  optimiser.schedule.factor: {choice: [0.1, 0.5], when: {optimiser.schedule.kind: step}}
first: []
study: {trials: 8, scheduler: none}
"""


@pytest.mark.parametrize("student", ["vdsr", "edsr"])
def test_optimisers_and_schedules_are_searched(load_both, student):
    text = SPACE[: SPACE.index("search:")] + SEARCHED
    networks = "{name: vdsr, weights: shipped}", "{name: edsr, weights: shipped}"
    if student == "edsr":
        text = text.replace("vdsr", "edsr").replace("scales: [2]", "scale: 2")
        assert networks[1] in text
    space, settings = load_both(text)
    points = list(corner_points(space, {}))
    # lr 2 x warmup 2 x (sgd with clip, momentum 4; adam 1; adamw 2) x (step 4, cosine, constant).
    assert len(points) == 4 * 7 * 6
    for point in points:
        config = space.trial_config(point).optimiser
        assert config.name == point["optimiser.name"]
        assert config.schedule.kind == point["optimiser.schedule.kind"]
        assert config.schedule.warmup == point["optimiser.schedule.warmup"]
        falls = point["optimiser.schedule.kind"] == "step"
        assert ("optimiser.schedule.at" in point) == falls
        assert (config.clip is None) == (config.name != "sgd"), "what belongs to a name comes along"
        if config.name == "adam":
            assert config.weight_decay == 0.0
        peak = round(100 * config.schedule.warmup)
        assert falls or config.lr_at(0, 100) <= config.lr == config.lr_at(peak, 100)
    assert read_resolved(dump_yaml(to_resolved(space, settings)))[0].to_dict() == space.to_dict()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sgd, adam, adamw]", "lion, sgd, adamw]", "optimiser.name: .*'sgd', 'adam' or 'adamw'"),
        ("uniform: [0.0, 0.2]", "uniform: [0.0, 1.0]", "optimiser.schedule.warmup: .*less than 1"),
        ("cosine, constant]", "linear]", "optimiser.schedule.kind: .*'step', 'cosine'"),
        ("when: {optimiser.schedule.kind: step}", "when: {optimiser.schedule.kind: stp}", "stp"),
    ],
)
def test_a_corner_with_no_such_optimiser_or_schedule_is_refused(load, old, new, message):
    with pytest.raises(SpaceError, match=message):
        load(SPACE[: SPACE.index("search:")] + SEARCHED, old=old, new=new)


def test_a_space_that_names_no_kind_resolves_as_it_did(load_both):
    space, settings = load_both(old="batch:", new="optimiser: {schedule: {at: 0.4}}\n  batch:")
    assert space.fixed["optimiser"]["schedule"] == {"at": 0.4}
    text = dump_yaml(to_resolved(space, settings))
    assert "kind" not in text and "warmup" not in text


def test_the_grammar_page_holds(settings):
    page = (Path(__file__).parents[3] / "search_spaces" / "README.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
    for key in settings(example).to_dict():
        assert f"`{key}`" in page
    for word in ("uniform", "loguniform", "quniform", "randint", "lograndint", "choice"):
        assert f"`{word}: [" in page


STEPS = """\
search:
  method.w_R: {quniform: [0.0, 3.0, 1.5]}
  method.P: {choice: [1, 2]}
  method.part_fraction: {choice: [0.15, 0.2], when: {method.P: 2}}
first: []
study:
  searcher: grid
  scheduler: none
"""


def test_the_trials_of_a_grid_are_its_points(load_both):
    text = SPACE[: SPACE.index("search:")] + STEPS
    space, settings = load_both(text)
    assert settings.trials == 3 * (1 + 2)
    assert settings.with_overrides({"trials": 4}, space).trials == 4
    assert load_both(text, "method.P=1")[1].trials == 3
    assert load_both(text, "study.trials=2")[1].trials == 2
    with pytest.raises(
        SpaceError, match=r"^--trials 10: study.trials: 10 .*: the grid has 9 points"
    ):
        settings.with_overrides({"trials": 10}, space)
    with pytest.raises(SpaceError, match=r"^--set study.trials=10: study.trials: 10 are too many"):
        load_both(text, "study.trials=10")


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("searcher=grid", r"grid takes every value, .* in method.w_R, method.part_fraction, optim"),
        ("searcher=cmaes", r"cmaes moves numbers"),
    ],
)
def test_a_searcher_that_cannot_search_a_space_is_refused(load, override, rule):
    choices = "search:\n  method.P: {choice: [1, 2]}\nfirst: []\nstudy: {scheduler: none}\n"
    text = SPACE if "grid" in override else SPACE[: SPACE.index("search:")] + choices
    with pytest.raises(SpaceError, match=rf"^--set study.{override}: study.searcher: {rule}"):
        load(text, f"study.{override}")


def test_a_grid_too_large_to_be_tried_is_refused(load):
    text = SPACE[: SPACE.index("search:")] + STEPS
    many = "  method.latent: {randint: [8, 1000]}\n  method.P:"
    with pytest.raises(SpaceError, match="more than 4,096 points"):
        load(text, old="  method.P:", new=many)


def test_quality_against_cost_needs_a_student_whose_size_is_searched(load, load_both):
    both = "study.objective=[psnr_y_db, params]"
    with pytest.raises(SpaceError, match=r"study.objective: params is the same for all trials"):
        load(SPACE, both)
    sizes = "student: {name: vdsr, blocks: 6, scales: [2]}"
    text = SPACE.replace("student: {name: vdsr, features: 8, blocks: 6, scales: [2]}", sizes)
    text = text.replace("search:", "search:\n  student.features: {choice: [8, 16]}")
    text = text.replace("- {", "- {student.features: 8, ")
    space, settings = load_both(text, both)
    assert settings.to_dict()["objective"] == ["psnr_y_db", "params"]
    assert read_resolved(dump_yaml(to_resolved(space, settings)))[1] == settings
    with pytest.raises(SpaceError, match=r"study.searcher: cmaes has one objective"):
        load(text, both, "study.searcher=cmaes")
    with pytest.raises(SpaceError, match=r"study.scheduler: pbt copies what is best and has one"):
        load(text, both, "study.scheduler=pbt")
    with pytest.raises(SpaceError, match=r"study.objective: takes 'psnr_y_db', .*; got "):
        load(text, "study.objective=[psnr_y_db, ssim]")


def test_only_where_there_is_no_image_the_teacher_judges_and_there_he_must(load, load_both):
    agreement, none = "study.objective=teacher_agreement", "heldout=null"
    with pytest.raises(SpaceError, match=r"study.objective: teacher_agreement is for a study with"):
        load(SPACE, agreement)
    with pytest.raises(SpaceError, match=r"study.objective: heldout is null, .* not psnr_y_db"):
        load(SPACE, none)
    space, settings = load_both(SPACE, none, agreement)
    assert space.trial_config(space.first_points[0]).quality == "teacher_agreement_db"
    again = read_resolved(dump_yaml(to_resolved(space, settings)), space.path)
    assert again == (space, settings)


def test_a_study_has_one_precision_whatever_its_machines_prefer(
    toy_space: Callable[..., Path],
) -> None:
    path = toy_space(fixed={"precision": "auto"})
    space, settings = load_study(path)
    settled = space.settled("bf16")
    assert settled.trial_config(settled.first_points[0]).precision == "bf16"
    stored, _ = read_resolved(dump_yaml(to_resolved(settled, settings)))
    assert stored.settled("fp32").fixed["precision"] == "bf16"
    chosen = load_space(path, ["precision=tf32"])
    assert chosen.settled("bf16") is chosen
