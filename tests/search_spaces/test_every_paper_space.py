"""The papers' own spaces: each can be planned and trained, shortened, with a synthetic teacher.

Networks are small here. At the papers' own sizes, in minutes on two cores:

    pytest tests/search_spaces/test_every_paper_space.py -m soak
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TrialConfig
from trainables.data.images import write_image
from trainables.networks import TeacherConfig, build_network
from trainables.networks.checkpoint import save_network
from trainables.networks.official import to_official
from trainables.run import Run, RunImages
from tune_sr import search, train
from tune_sr.space.search_space import SearchSpace
from tune_sr.study.space_file import load_space, load_study

SPACES = Path(__file__).parents[2] / "search_spaces"
FILES = {path.stem: path for path in sorted((SPACES / "paper").glob("*.yaml"))}
EACH = pytest.mark.parametrize("name", FILES)
TABLES = [name for name, path in FILES.items() if "scheduler: none" in path.read_text()]
"""Those whose points are the rows of a table, or a figure's."""

STUDENTS: dict[str, dict[str, int]] = {
    "vdsr": {"features": 8, "blocks": 6},
    "edsr": {"features": 8, "blocks": 4},
    "rcan": {"features": 16, "groups": 4, "blocks": 1},
    "swinir": {"features": 12, "blocks": 2, "layers": 2, "heads": 2},
    "span": {"features": 8, "blocks": 2},
}
TEACHERS = {**STUDENTS, "edsr": {"features": 16, "blocks": 4}}

SHORT = {
    "study.scheduler": "none",
    "device": "cpu",
    "threads": 1,
    "heldout.crop": 48,
    "batch.images": 2,
}
FULL = {"negatives": 2, "part_fraction": 0.5}
"""Values for those fields that a method happens to have, as so short a trial needs them."""
SMALL = {**FULL, "latent": 8, "update_ratio": 2, "bank_size": 16}
SMALL |= {"features": "random", "vgg19": None}

Sets = dict[str, Any]


def shortened(name: str, fields: Mapping[str, Any]) -> Sets:
    """What `--set` makes of a space so that a trial is short: values of the fields it has."""
    space = loaded(name, {})
    steps = 2 if "data" in space.fixed else 12  # a student that grows in six parts needs some
    sets = SHORT | {"budget.steps": steps, "budget.steps_per_report": steps}
    if "method.name" in space.dimensions:  # what one method has, the next would refuse
        return sets
    has = type(space.trial_config(space.first_points[0]).method).model_fields
    return sets | {f"method.{field}": value for field, value in fields.items() if field in has}


def small(name: str) -> Sets:
    """What makes a trial of a space a matter of a fraction of a second."""
    sets = shortened(name, SMALL)
    space = loaded(name, {})
    fixed = space.fixed
    if fixed["student"].get("name") != "vdsr":
        sets |= {"batch.patch": 16}
    if fixed["heldout"]["images"] == "photos":  # which take longer to decode than to train on
        sets |= {"heldout.images": f"{os.environ['TUNE_SR_DATA']}/data/heldout"}
    for part, sizes in (("student", STUDENTS), ("teacher", TEACHERS)):
        said = fixed.get(part, {})
        if "width_mult" not in said and "name" in said:
            small_ones = {f"{part}.{key}": value for key, value in sizes[said["name"]].items()}
            # A size that is searched stays so: where it is an objective, trials must differ in it.
            sets |= {k: value for k, value in small_ones.items() if k not in space.dimensions}
    return sets


def words(sets: Mapping[str, Any]) -> list[str]:
    """`PATH=VALUE` as the command line has it."""
    return [f"{path}={'null' if value is None else value}" for path, value in sets.items()]


def loaded(name: str, sets: Mapping[str, Any]) -> SearchSpace:
    return _loaded(name, tuple(words(sets)), os.environ["TUNE_SR_DATA"])


@cache
def _loaded(name: str, overrides: tuple[str, ...], _folder: str) -> SearchSpace:
    return load_space(FILES[name], overrides)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def of_small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def of_full_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("full")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, of_small_files: Path) -> Path:
    """The one that TUNE_SR_DATA names; `supply` puts into it what a space asks for."""
    monkeypatch.setenv("TUNE_SR_DATA", str(of_small_files))
    return of_small_files


def supply(config: TrialConfig) -> None:
    """Every file that a configuration names: photographs, and weights as their authors write them.

    What is there already is kept.
    """
    for source in (config.data and config.data.images, config.heldout.images):
        if source not in (None, "photos"):
            draw_pictures(Path(str(source)))
    if config.teacher is not None:
        draw_teacher(config.teacher)
    vgg19 = getattr(config.method, "vgg19", None)
    if vgg19 is not None:
        draw_vgg19(Path(vgg19))


def draw_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (folder / f"{number}.png" for number in range(2)):
        if not path.exists():
            coarse = rng.uniform(0.0, 255.0, (22, 22, 3))
            fine = np.kron(coarse, np.ones((9, 9, 1))) + rng.normal(0.0, 4.0, (198, 198, 3))
            write_image(path, fine.clip(0, 255).astype(np.uint8))


def draw_teacher(config: TeacherConfig) -> None:
    assert config.weights is not None
    path = Path(config.weights)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    network = build_network(config.model_dump(exclude={"weights"}), seed=7)
    with torch.no_grad():
        network.tail.weight.mul_(0.1)  # type: ignore[operator]  # a convolution
    if path.suffix == ".safetensors":
        save_network(path, network)
    else:
        torch.save({"params": to_official(network.state_dict())}, path)


def draw_vgg19(path: Path) -> None:
    """torchvision's file: convolutions up to relu5_4, and something of the classifier."""
    if path.exists():
        return
    generator = torch.Generator().manual_seed(0)
    plan = [64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4]
    tensors, index, before = {"classifier.6.bias": torch.zeros(1000)}, 0, 3
    for width in plan:
        if width:
            drawn = torch.randn(width, before, 3, 3, generator=generator)
            tensors[f"features.{index}.weight"] = drawn * math.sqrt(2 / (9 * before))
            tensors[f"features.{index}.bias"] = torch.zeros(width)
            before = width
        index += 2 if width else 1  # a ReLU behind each convolution; a pooling
    torch.save(tensors, path)


def plan_and_train(name: str, sets: Mapping[str, Any], output: Path) -> dict[str, float]:
    """`--dry-run` and `train` of one file in this process; the one report of the training."""
    space = loaded(name, sets)
    for file in (
        space.dimensions["teacher.weights"].args
        if "teacher.weights" in space.dimensions
        else (None,)
    ):
        point = space.first_points[0]
        supply(space.trial_config(point if file is None else {**point, "teacher.weights": file}))
    asked = ["--space", str(FILES[name])]
    for word in words(sets):
        asked += ["--set", word]
    assert search.main([*asked, "--storage", str(output / "runs"), "--dry-run"]) == 0
    assert train.main([*asked, "--output", str(output / "trained"), "--quiet"]) == 0
    assert (output / "trained" / "student.safetensors").is_file()
    (line,) = (output / "trained" / "reports.jsonl").read_text().splitlines()
    report: dict[str, float] = json.loads(line)
    losses = [value for key, value in report.items() if key.startswith("loss/")]
    assert losses and all(math.isfinite(value) for value in [*losses, report["psnr_y_db"]])
    return report


@EACH
def test_it_is_planned_and_trained_shortened(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = small(name)
    assert plan_and_train(name, sets, tmp_path)["step"] == sets["budget.steps"]
    assert "# the work to expect" in capsys.readouterr().out


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_can_be_trained(name: str) -> None:
    space = loaded(name, small(name))
    points = (
        space.first_points[1:] if "method.name" in space.dimensions else space.first_points[-1:]
    )
    for point in points:  # where no method differs, numbers alone do
        config = space.trial_config(point)
        supply(config)
        report = Run(config, images=RunImages.of(config)).advance()
        assert math.isfinite(report["psnr_y_db"])


@EACH
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_file_serves_every_scale(name: str, scale: int, folder: Path) -> None:
    space = loaded(name, {"student.scale": scale})
    config = space.trial_config(space.first_points[0])
    assert config.student.scales == (scale,)
    if config.teacher is not None:
        assert config.teacher.scales == (scale,)
        assert config.teacher.weights is not None
        weights = Path(config.teacher.weights)
        assert weights.parent == folder / "weights"
        # One file of VDSR serves all scales.
        assert weights.stem.endswith("epoch50" if config.teacher.name == "vdsr" else str(scale))


PUBLISHED = re.compile(r"\b\d\d\.\d\d\b")


@EACH
def test_it_says_what_was_published_and_how_to_run_it(name: str) -> None:
    head = FILES[name].read_text().partition("fixed:")[0]
    assert f"python -m tune_sr.search --space search_spaces/paper/{name}.yaml" in head
    assert " dB" in head and PUBLISHED.search(head)


def test_the_page_lists_every_file_and_no_other() -> None:
    page = (SPACES / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)\.yaml` \|", page, re.MULTILINE)
    assert sorted(listed) == list(FILES)


@EACH
def test_it_has_the_budget_and_the_batch_of_its_paper(name: str) -> None:
    space, settings = load_study(FILES[name])
    config = space.trial_config(space.first_points[0])
    of_eco = config.method.name == "eco"
    updates = 125_000 if of_eco else 200_000
    images = 128 if config.student.name == "vdsr" or of_eco else 16
    if name.endswith("_cpu"):  # a twentieth of the paper's updates, as their first lines have it
        updates, images = 24_000, 4
    assert config.budget.steps >= updates
    assert config.batch.patch == 48
    assert config.batch.images == images
    if name in TABLES:
        assert settings.scheduler.name == "none"
        assert settings.trials == len(space.first_points) > 2
    else:
        assert settings.trials > len(space.first_points)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@EACH
def test_it_is_planned_and_trained_at_the_papers_sizes(
    name: str, monkeypatch: pytest.MonkeyPatch, of_full_files: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNE_SR_DATA", str(of_full_files))
    sets = shortened(name, FULL)
    if loaded(name, {}).fixed["student"].get("name") != "vdsr":
        sets |= {"batch.patch": 24}
    plan_and_train(name, sets, tmp_path)
