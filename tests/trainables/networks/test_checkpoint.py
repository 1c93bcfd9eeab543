from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainables.errors import ConfigError
from trainables.networks import SRNet, build_network
from trainables.networks.checkpoint import read_weights, save_network
from trainables.networks.loading import load_network, read_architecture

TOY = {"name": "vdsr", "features": 4, "blocks": 3, "scale": 2}
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")


@pytest.fixture
def network() -> SRNet:
    return build_network(TOY, seed=3)


@pytest.fixture
def saved(network: SRNet, tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "student.safetensors"
    save_network(path, network, {"psnr_y_db": "30.1", "method": "dfsr"})
    return path


def refusal(path: Path, **change: object) -> str:
    with pytest.raises(ConfigError) as refused:
        build_network({**TOY, **change, "weights": str(path)})
    assert refused.value.path == "weights"
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_file_of_ours_loads_without_anything_else(network: SRNet, saved: Path) -> None:
    loaded = load_network(saved)
    assert (loaded.config.features, loaded.config.blocks, loaded.scales) == (4, 3, (2,))
    x_BCHW = torch.rand(1, 1, 5, 5)
    assert torch.equal(loaded(x_BCHW), network(x_BCHW))


def test_its_metadata_say_architecture_and_notes_and_nothing_of_this_machine(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata.pop("architecture")) == {
        "name": "vdsr",
        "features": 4,
        "blocks": 3,
        "scales": [2],
    }
    assert metadata == {"psnr_y_db": "30.1", "method": "dfsr"}


def test_a_student_that_came_from_a_file_does_not_remember_it(saved: Path) -> None:
    again = build_network({**TOY, "weights": str(saved)})
    path = saved.with_name("again.safetensors")
    save_network(path, again)
    assert "weights" not in read_architecture(path)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
def test_wrappers_and_the_data_parallel_prefix_come_off(
    network: SRNet, tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    tensors: dict[str, Any] = {prefix + key: v for key, v in network.state_dict().items()}
    path = tmp_path / "teacher.pth"
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, path)
    read = read_weights(path)
    assert list(read) == list(network.state_dict())
    loaded = build_network({**TOY, "weights": str(path)})
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in network.state_dict().items())


def test_another_width_is_refused_with_both_shapes(saved: Path) -> None:
    assert "input.weight is (4, 1, 3, 3) where (6, 1, 3, 3) is needed; check features" in refusal(
        saved, features=6
    )


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (4, ["missing residual_layer.3.conv.weight, unexpected nothing", "check name, blocks"]),
        (2, ["missing nothing, unexpected residual_layer.2.conv.weight"]),
        (9, ["residual_layer.5.conv.weight and 3 more"]),
    ],
)
def test_another_depth_is_refused_with_what_is_missing_and_unexpected(
    saved: Path, blocks: int, words: list[str]
) -> None:
    said = refusal(saved, blocks=blocks)
    assert all(word in said for word in words), said
    assert said.endswith("the file holds name: vdsr, features: 4, blocks: 3")


def test_another_architecture_is_refused_with_the_nearest_match(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"residual.0.conv.weights": torch.zeros(1), "in.weight": torch.zeros(1)}, path)
    said = refusal(path)
    assert "unexpected in.weight, residual.0.conv.weights" in said
    assert "nearest to input.weight: in.weight" in said


def test_nothing_is_loaded_when_anything_is_refused(saved: Path, network: SRNet) -> None:
    from trainables.networks.checkpoint import load_into

    deeper = build_network({**TOY, "blocks": 4}, seed=9)
    before = {key: value.clone() for key, value in deeper.state_dict().items()}
    with pytest.raises(ConfigError):
        load_into(deeper, str(saved))
    assert all(torch.equal(value, before[key]) for key, value in deeper.state_dict().items())


class Payload:
    """What unpickling would run, were it ever unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.victim),)


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "bare": lambda payload: payload,
    "beside tensors": lambda payload: {"input.weight": torch.zeros(4, 1, 3, 3), "x": payload},
    **{wrapper: lambda payload, key=wrapper: {key: payload} for wrapper in WRAPPERS},
    **{
        f"{wrapper} of tensors": lambda payload, key=wrapper: {
            key: {"input.weight": torch.zeros(4, 1, 3, 3), "x": payload}
        }
        for wrapper in WRAPPERS
    },
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch's, before it refuses
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors", ""])
@pytest.mark.parametrize("write", [torch.save, "legacy", "pickle"])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_a_pickle_is_refused_and_its_payload_not_run(
    tmp_path: Path, wrap: str, write: Any, suffix: str
) -> None:
    victim, path = tmp_path / "victim", tmp_path / f"teacher{suffix}"
    content = WRAPPED[wrap](Payload(victim))
    if write == "pickle":
        path.write_bytes(pickle.dumps(content))
    elif write == "legacy":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(content, path)
    assert path.name in refusal(path)
    assert not victim.exists()


def test_the_payload_would_run_were_it_unpickled(tmp_path: Path) -> None:
    content = pickle.dumps(Payload(tmp_path / "victim"))
    pickle.loads(content)
    assert (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "lr": 0.1}, "holds more than tensors"),
        ({}, "holds no dictionary of tensors"),
        ([torch.zeros(1)], "holds no dictionary of tensors"),
        (torch.zeros(1), "holds no dictionary of tensors"),
        ({"model": {"state_dict": {"a": 1}}}, "holds more than tensors"),
    ],
)
def test_plain_files_that_hold_no_network_are_refused(
    tmp_path: Path, content: object, words: str
) -> None:
    torch.save(content, tmp_path / "teacher.pth")
    assert words in refusal(tmp_path / "teacher.pth")


@pytest.mark.parametrize("name", ["teacher.safetensors", "teacher.pth"])
@pytest.mark.parametrize("content", [b"", b"not a network", bytes(100)])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in refusal(tmp_path / name)


def test_a_file_cut_short_is_named_in_one_line(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-40])
    assert "student.safetensors: cannot be read" in refusal(saved)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_network(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_that_does_not_say_its_architecture_shows_it(
    tmp_path: Path, network: SRNet, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path, metadata)
    with pytest.raises(ConfigError, match="carries no architecture"):
        read_architecture(path)
    y_BCHW = torch.rand(1, 1, 5, 5)
    assert torch.equal(load_network(path)(y_BCHW, scale=2), network(y_BCHW))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"architecture": "{"}, "architecture cannot be read"),
        ({"architecture": "[1]"}, "architecture cannot be read"),
        ({"architecture": '{"name": "vdsr", "feature": 4}'}, "did you mean features"),
        ({"architecture": '{"name": "vgg"}'}, "unknown network 'vgg'"),
    ],
)
def test_an_architecture_that_is_said_wrongly_is_refused(
    tmp_path: Path, network: SRNet, metadata: dict[str, str] | None, words: str
) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path, metadata)
    with pytest.raises(ConfigError, match=words):
        load_network(path)


def test_a_folder_or_no_file_at_all(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("a folder, not a file")
    assert refusal(tmp_path / "nowhere.pt").endswith("nowhere.pt: no such file")
    with pytest.raises(ConfigError, match="no such file"):
        read_architecture(tmp_path / "nowhere.safetensors")
