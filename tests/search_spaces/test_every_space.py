import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from trainables.errors import ConfigError
from trainables.methods import METHODS
from tune_sr import search
from tune_sr.ledger.history import History
from tune_sr.searchers.algorithms import SEARCHERS, max_trials
from tune_sr.searchers.propose import propose
from tune_sr.space.points import read_point
from tune_sr.space.yaml_file import dump_yaml
from tune_sr.study.config import StudyConfig
from tune_sr.study.dry_run import dry_run_text
from tune_sr.study.space_file import load_space, load_study, read_resolved, to_resolved

SPACES = Path(__file__).parents[2] / "search_spaces"
FILES = {str(path.relative_to(SPACES)): path for path in sorted(SPACES.rglob("*.yaml"))}
LAPTOP = [path for path in FILES.values() if path.parent == SPACES]
BROUGHT = {"spandrel": "teachers/x2.pth"}
"""Laptop spaces whose teacher the user brings, and the file that they name in its place."""
# What is planned in test_every_paper_space needs files that only that test has.
SHIPPING = [path for path in FILES.values() if path.parent.name != "paper"]
SWINIR = "/weights/001_classicalSR_DIV2K_s48w8_SwinIR-M_x{scale}.pth"
APART = {
    "dukd_rcan": {"method.aug_prob": 0.0, "method.zoom_out": False},
    "dukd_swinir": {"teacher.weights": SWINIR},
    "kd_swinir": {"teacher.weights": SWINIR},
    "dfsr_vdsr_cpu": {"method.update_ratio": 10, "method.generator_lr": 4e-5},
}
"""Where a row of the release is not the paper's setting, and what has no default, by space."""


@pytest.fixture(params=FILES)
def path(request, monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_SR_DATA", str(tmp_path))  # reading a space opens no image
    return FILES[request.param]


@pytest.fixture
def space(path):
    return load_space(path)


def test_every_corner_can_be_trained_and_the_space_reads_back(space, tmp_path):
    settings = load_study(space.path)[1]
    resolved = to_resolved(space, settings)
    text = dump_yaml(resolved)
    assert to_resolved(*read_resolved(text)) == resolved
    again = tmp_path / f"{space.name}.yaml"
    again.write_text(text)
    assert to_resolved(*load_study(again)) == resolved


def test_the_first_point_is_the_papers_value_of_every_searched_quantity(space):
    assert bool(space.first_points) == bool(space.dimensions)
    if space.first_points and "method.name" not in space.dimensions:
        apart = dict(APART.get(space.path.stem, {}))
        if "teacher.weights" in apart:
            apart["teacher.weights"] = f"{os.environ['TUNE_SR_DATA']}{apart['teacher.weights']}"
        assert space.trial_config(space.first_points[0]) == space.trial_config(apart), (
            "a field's default is the paper's value"
        )


def changed(space, point, path, value):
    """`point` with one other value, less what then does not exist, with what then does."""
    wished, result = {**point, path: value}, {}
    for each, dimension in space.dimensions.items():
        if dimension.active(result, space.fixed):
            result[each] = wished.get(each, dimension.corner_values()[0])
    return result


def test_every_searched_quantity_changes_the_configuration(space):
    for path, dimension in space.dimensions.items():
        found = [point for point in space.first_points if path in point]
        assert found, f"{path} exists at no first point"
        for point in found:
            points = [changed(space, point, path, end) for end in dimension.corner_values()]
            configs = {space.trial_config(each).model_dump_json() for each in points}
            assert len(configs) == len(points)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_proposals_can_be_trained(space, searcher):
    try:
        most = max_trials(searcher, space)
    except ConfigError:  # such a study is refused before it starts
        return
    for number in range(min(20, most or 20)):
        point = propose(searcher, space, 0, History(), number)
        assert list(point) == list(read_point(space.dimensions, space.fixed, point, "missing"))
        space.trial_config(point)


@pytest.mark.parametrize("path", SHIPPING, ids=lambda path: path.name)
def test_a_plan_can_be_told(path, monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_SR_DATA", str(tmp_path))
    config = StudyConfig(*load_study(path), tmp_path / "toy")
    assert "# the work to expect" in dry_run_text(config, concurrent=2)


@pytest.mark.parametrize("path", LAPTOP, ids=lambda path: path.name)
def test_a_laptop_space_needs_nothing_that_does_not_ship(path):
    text = path.read_text()
    assert "${" not in text
    space = load_space(path)
    for point in space.first_points:
        config = space.trial_config(point)
        assert config.student.scales == (2,)
        assert config.heldout.images == "photos"
        assert config.data is None or config.data.images == "photos"
        brought = BROUGHT.get(space.name)
        expected = "shipped" if brought is None else str(Path(brought).absolute())
        assert config.teacher is None or config.teacher.weights == expected


@pytest.mark.parametrize("name", BROUGHT)
def test_a_space_without_its_users_teacher_is_refused_with_the_way_out(
    name, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    path = SPACES / f"{name}.yaml"
    words = ["--space", str(path), "--storage", str(tmp_path), "--dry-run"]
    for module, way in (
        (None, r"teacher\.name: spandrel is not installed: pip install 'tune-sr\[spandrel\]'"),
        (
            ModuleType("spandrel"),
            r"teacher\.weights: \S+/teachers/x2\.pth: no such file; name a file",
        ),
    ):
        monkeypatch.setitem(sys.modules, "spandrel", module)
        assert search.main(words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert re.search(rf"{path.name}:\d+: {way}", line)
    assert list(tmp_path.iterdir()) == []
    assert "pip install -e '.[spandrel]'" in path.read_text()


def test_every_method_has_a_laptop_space_of_its_own():
    assert {path.stem for path in LAPTOP} == {*METHODS, "which_method", *BROUGHT}
    for name in METHODS:
        space = load_space(SPACES / f"{name}.yaml")
        assert {space.trial_config(point).method.name for point in space.first_points} == {name}


def test_which_method_tries_every_method_first_and_gives_each_its_own_quantities_alone():
    space = load_space(SPACES / "which_method.yaml")
    assert [point["method.name"] for point in space.first_points] == list(METHODS)
    for point in space.first_points:
        own = {path.removeprefix("method.") for path in point if path.startswith("method.")}
        assert own <= set(space.trial_config(point).method.model_dump())
        assert read_point(space.dimensions, space.fixed, point, "missing") == point
