"""`search_spaces/schema.json`: what an editor accepts and refuses of a space's file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tune_sr import search
from tune_sr.space.yaml_file import SpaceError, parse_yaml, read_yaml
from tune_sr.study.schema import space_schema
from tune_sr.study.space_file import load_study

jsonschema = pytest.importorskip("jsonschema", reason="ray brings it")

SPACES = Path(__file__).parents[2] / "search_spaces"
FILES = {str(path.relative_to(SPACES)): path for path in sorted(SPACES.rglob("*.yaml"))}
SPACE: dict[str, Any] = {
    "fixed": {
        "method": {"name": "dfsr"},
        "student": {"name": "vdsr", "features": 8, "blocks": 6, "scales": [2]},
        "teacher": {"name": "vdsr", "weights": "shipped"},
        "heldout": {"images": "photos", "crop": 96},
        "budget": {"steps": 8, "steps_per_report": 2},
    },
    "search": {
        "method.w_R": {"uniform": [0.0, 3.0]},
        "method.P": {"choice": [1, 2]},
        "method.new_block_init": {"choice": ["random"], "when": {"method.P": [2]}},
    },
    "first": [{"method.w_R": 1.0, "method.P": 1}],
    "study": {"trials": 4, "scheduler": "asha", "searcher": "tpe"},
}
MISTAKES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "an unknown section": (("sarch",), {}),
    "no fixed": (("fixed",), None),
    "an unknown key": (("fixed", "batch"), {"image": 4}),
    "a key of another method": (("fixed", "method", "w_SA"), 1.0),
    "an unknown method": (("fixed", "method", "name"), "dfrs"),
    "a word for a number": (("fixed", "budget", "steps"), "many"),
    "a number out of range": (("fixed", "student", "features"), 0),
    "an unknown quantity": (("search", "method.w_S"), {"uniform": [0.0, 1.0]}),
    "what cannot be searched": (("search", "seed"), {"randint": [0, 9]}),
    "an unknown word": (("search", "method.w_R"), {"normal": [0.0, 1.0]}),
    "two words": (("search", "method.w_R"), {"uniform": [0.0, 1.0], "choice": [1.0]}),
    "a value for a distribution": (("search", "method.w_R"), 1.0),
    "one end": (("search", "method.w_R"), {"uniform": [0.0]}),
    "three ends": (("search", "method.w_R"), {"uniform": [0.0, 1.0, 2.0]}),
    "a log from 0": (("search", "method.w_R"), {"loguniform": [0.0, 1.0]}),
    "a step of 0": (("search", "method.w_R"), {"quniform": [0.0, 1.0, 0.0]}),
    "a part of a whole number": (("search", "method.P"), {"randint": [1, 2.5]}),
    "an empty choice": (("search", "method.P"), {"choice": []}),
    "a choice twice": (("search", "method.P"), {"choice": [1, 1]}),
    "a list as a choice": (("search", "method.P"), {"choice": [[1]]}),
    "when without values": (("search", "method.new_block_init", "when"), {"method.P": []}),
    "a point that is a list": (("first",), [[1.0]]),
    "a point of what cannot be searched": (("first",), [{"seed": 1}]),
    "no trials": (("study", "trials"), 0),
    "an unknown searcher": (("study", "searcher"), "tpr"),
    "an unknown scheduler": (("study", "scheduler"), "ahsa"),
    "a key that a scheduler lacks": (("study", "scheduler"), {"name": "asha", "grace": 1}),
    "an unknown cost": (("study", "objective"), ["psnr_y_db", "weight"]),
    "an unknown key of the study": (("study", "trails"), 3),
}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads((SPACES / "schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_the_file_is_what_the_command_prints(capsys: Any) -> None:
    assert search.main(["--schema"]) == 0
    again = "python -m tune_sr.search --schema > search_spaces/schema.json"
    assert (SPACES / "schema.json").read_text() == capsys.readouterr().out, again


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_space_validates_and_names_it(
    name: str, validator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_SR_DATA", "/data")
    first = FILES[name].read_text().splitlines()[0]
    where = first.removeprefix("# yaml-language-server: $schema=")
    assert (FILES[name].parent / where).resolve() == (SPACES / "schema.json").resolve()
    problems = [error.message for error in validator.iter_errors(read_yaml(FILES[name]).content)]
    assert problems == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {("fixed", "student"): {"name": "edsr", "width_mult": 0.25}},
        {("fixed", "student"): {"name": "vdsr", "scale": 2}},
        {("fixed", "method"): {"name": "dukd", "operations": "inversion+hflip"}},
        {("fixed", "method"): {"update_ratio": 5}, ("search", "method.name"): {"choice": ["dfsr"]}},
        {("study", "scheduler"): {"name": "median"}, ("study", "objective"): "teacher_agreement"},
        {("study", "objective"): ["psnr_y_db", "macs"], ("fixed", "heldout"): None},
        {("search",): None, ("first",): None, ("study",): None},
        {("fixed", "optimiser"): {"schedule": {"at": [0.5, 0.75]}, "betas": [0.9, 0.99]}},
    ],
)
def test_what_the_grammar_has_validates(changes: dict[Any, Any], validator: Any) -> None:
    space = copy.deepcopy(SPACE)
    for keys, value in changes.items():
        put(space, keys, value)
    assert [error.message for error in validator.iter_errors(space)] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen_by_the_editor_and_by_the_reader(
    mistake: str, validator: Any, tmp_path: Path
) -> None:
    space = copy.deepcopy(SPACE)
    put(space, *MISTAKES[mistake])
    assert not validator.is_valid(space)
    file = tmp_path / "space.yaml"
    file.write_text(json.dumps(space))
    with pytest.raises(SpaceError):
        load_study(file)


def test_a_quantity_is_described_with_its_default() -> None:
    found = space_schema()["properties"]["search"]["properties"]
    assert "reconstruction" in found["method.w_R"]["description"]
    assert found["method.w_R"]["description"].endswith("Default: 1.0.")
    assert {"optimiser.lr", "optimiser.schedule.kind", "student.features", "ema"} <= set(found)
    assert not {"seed", "budget.steps", "heldout.crop", "teacher.width_mult"} & set(found)


def test_the_comment_is_no_part_of_a_space() -> None:
    text = FILES["dfsr.yaml"].read_text()
    assert parse_yaml(text, "a").content == parse_yaml(text.split("\n", 1)[1], "a").content


def put(space: dict[str, Any], keys: tuple[Any, ...], value: Any) -> None:
    *above, last = keys
    here = space
    for key in above:
        here = here[key]
    here[last] = value
