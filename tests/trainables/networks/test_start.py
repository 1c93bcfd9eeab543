"""A student that starts from a file of another network: what fits is taken, the rest is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.digests import weights_digests
from trainables.errors import ConfigError
from trainables.finished import FinishedStudent
from trainables.methods import METHODS
from trainables.networks import SRNet, build_network, start_of
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import read_architecture
from trainables.networks.official import to_official
from trainables.run import Run

TOY: dict[str, Any] = {"name": "edsr", "features": 4, "blocks": 2}
NEW = "upsample.2.weight, upsample.2.bias"


@pytest.fixture(scope="module")
def of_x2() -> SRNet:
    return build_network({**TOY, "scale": 2}, seed=3)


@pytest.fixture(scope="module")
def file(of_x2: SRNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "x2.safetensors"
    save_network(path, of_x2)
    return path


def test_x4_starts_with_all_of_x2_but_the_second_half_of_its_upsampler(
    of_x2: SRNet, file: Path
) -> None:
    ours = build_network({**TOY, "scale": 4, "start": str(file)}, seed=5)
    random = build_network({**TOY, "scale": 4}, seed=5).state_dict()
    before, now = of_x2.state_dict(), ours.state_dict()
    assert all(torch.equal(now[key], value) for key, value in before.items())
    assert [key for key in now if key not in before] == NEW.split(", ")
    assert all(torch.equal(now[key], random[key]) for key in NEW.split(", "))
    count = len(before)
    words = f"x2.safetensors: {count} of {count + 2} tensors taken; left random: {NEW}"
    assert ours.started == words
    assert build_network({**TOY, "scale": 4}).started is None


def test_a_tensor_of_another_shape_is_left_out_on_both_sides(file: Path) -> None:
    started = build_network({**TOY, "scale": 3, "start": str(file)}).started
    assert started is not None
    names = "upsample.0.weight, upsample.0.bias"  # 4 features x 4 at x2, x 9 at x3
    assert started.endswith(f"tensors taken; left random: {names}; not used: {names}")


def test_a_file_in_its_authors_naming_starts_it_too(of_x2: SRNet, tmp_path: Path) -> None:
    path = tmp_path / "official.pth"
    torch.save({"params": to_official(of_x2.state_dict())}, path)
    ours = build_network({**TOY, "scale": 4, "start": str(path)})
    assert torch.equal(
        ours.state_dict()["conv_first.weight"], of_x2.state_dict()["conv_first.weight"]
    )


def test_the_file_that_ships_for_another_scale_starts_it() -> None:
    config = {"name": "edsr", "features": 64, "blocks": 16, "scale": 4}
    kind = type(build_network({**TOY, "scale": 2}).config)
    assert start_of(kind.model_validate({**config, "start": "shipped:edsr_x2"})).endswith(NEW)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": "vdsr", "scale": 2}, "none of its tensors has the name and the shape"),
        ({"features": 6, "scale": 2, "weights": "FILE"}, "give one of the two"),
        ({"scale": 2, "start": "gone.pth"}, "gone.pth: "),
        ({"scale": 2, "start": "shipped:edsr_x9"}, "nothing of the name edsr_x9 ships"),
    ],
)
def test_what_cannot_start_it_is_refused_at_its_own_key(
    change: dict[str, Any], rule: str, file: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        build_network({**TOY, "start": str(file), **change})
    assert refused.value.path == "start" and rule in refused.value.rule
    assert "\n" not in str(refused.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = build_network({**TOY, "scale": 2})
    with torch.no_grad():
        next(network.parameters())[0] = float("nan")
    save_network(tmp_path / "nan.safetensors", network)
    with pytest.raises(ConfigError, match=r"^start: .*infinite or not numbers"):
        build_network({**TOY, "scale": 4, "start": str(tmp_path / "nan.safetensors")})


def test_a_configuration_and_a_file_without_a_start_are_as_before(file: Path) -> None:
    assert "start" not in build_network({**TOY, "scale": 2}).config.model_dump()
    ours = build_network({**TOY, "scale": 4, "start": str(file)})
    save_network(file.with_name("x4.safetensors"), ours, {"start": str(ours.started)})
    assert "start" not in read_architecture(file.with_name("x4.safetensors"))


# --- a run ----------------------------------------------------------------------------------------


def starting(toy: Callable[..., dict[str, Any]], file: Path, **more: Any) -> dict[str, Any]:
    student = {**TOY, "start": str(file)}
    return toy("scratch", student=student, budget={"steps": 4, "steps_per_report": 2}, **more)


def test_a_run_keeps_what_was_left_out_and_is_taken_on_bit_for_bit(
    toy: Callable[..., dict[str, Any]],
    file: Path,
    images: Any,
    bits_that_differ: Callable[[Any, Any], list[str]],
) -> None:
    config = TrialConfig.parse(starting(toy, file))
    through = Run(config, images=images)
    assert torch.equal(through.student.state_dict()["conv_first.weight"], _first(file))
    list(through.reports())
    half = Run(config, images=images)
    half.advance()
    again = Run(config, images=images)
    again.load_state_dict(half.state_dict())
    again.advance()
    assert bits_that_differ(again.state_dict(), through.state_dict()) == []
    assert not torch.equal(again.student.state_dict()["conv_first.weight"], _first(file))
    state = through.state_dict()
    assert state["started"].startswith("x2.safetensors: ")
    assert FinishedStudent(config, state, images).outcome.started == state["started"]


def _first(file: Path) -> torch.Tensor:
    return build_network({**TOY, "scale": 2, "weights": str(file)}).state_dict()[
        "conv_first.weight"
    ]


def test_its_file_is_among_those_of_which_a_study_keeps_the_digest(
    toy: Callable[..., dict[str, Any]], file: Path
) -> None:
    assert f"student.start={file}" in weights_digests(TrialConfig.parse(starting(toy, file)))
    shipped = starting(toy, file) | {"student": {**TOY, "scale": 2, "start": "shipped:edsr_x4"}}
    assert "student.start=shipped:edsr_x4" in weights_digests(TrialConfig.parse(shipped))


def test_its_path_becomes_absolute(
    toy: Callable[..., dict[str, Any]], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert TrialConfig.parse(starting(toy, Path(file.name))).student.start == str(file)


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if kind.taught])
def test_a_teacher_has_no_start(name: str, toy: Callable[..., dict[str, Any]], file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^teacher\.(start|features)"):
        TrialConfig.parse(toy(name, teacher={"weights": None, "start": str(file)}))
