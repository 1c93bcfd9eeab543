"""Teachers that only spandrel can read: without it, with a stand-in of it, and with the real one.

The stand-in has spandrel's names and answers, so that ours are tested where it is not installed;
the tests of the real one say so where they are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.networks import TEACHERS, SRNet, build_network
from trainables.networks.loading import load_network
from trainables.networks.official import to_official
from trainables.networks.windows import relative_positions
from trainables.run import Run


def teacher(path: Path, scale: int = 2) -> SRNet:
    return build_network({"name": "spandrel", "scale": scale, "weights": str(path)})


def refusal(path: Path, scale: int = 2) -> str:
    with pytest.raises(ConfigError) as refused:
        teacher(path, scale)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x2.pth"
    generator = torch.Generator().manual_seed(0)
    weight = 0.3 * torch.randn(12, 3, 3, 3, generator=generator)
    torch.save({"params": {"module.up.weight": weight, "module.up.bias": torch.zeros(12)}}, path)
    return path


class Doubles(nn.Module):
    """A network of one layer that wants sides of at least 8, multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, str]:
        assert not [side for side in x_BCHW.shape[-2:] if side % 4 or side < 8]
        x_BCHW *= 255.0  # as spandrel's RCAN does
        return F.pixel_shuffle(self.up(x_BCHW), 2) / 255.0, "and more"


class UnsupportedError(Exception):
    pass


def answer(tensors: dict[str, Tensor], **change: Any) -> SimpleNamespace:
    if set(tensors) != {"up.weight", "up.bias"}:
        raise UnsupportedError
    model = Doubles()
    model.load_state_dict(tensors)
    padding: Callable[[int, int], tuple[int, int]]
    padding = lambda width, height: tuple(max(8, -(-s // 4) * 4) - s for s in (width, height))  # noqa: E731  as spandrel's
    said = {
        "model": model,
        "_call_fn": lambda model, image: model(image)[0],
        "size_requirements": SimpleNamespace(get_padding=padding),
        "input_channels": 3,
        "output_channels": 3,
        "architecture": SimpleNamespace(name="Doubles"),
        "scale": 2,
        "purpose": "SR",
    }
    return SimpleNamespace(**{**said, **change})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: Any = ModuleType("spandrel")
    module.MAIN_REGISTRY = SimpleNamespace(load=answer)
    module.canonicalize_state_dict = dict
    module.UnsupportedModelError = UnsupportedError
    module.ImageModelDescriptor = SimpleNamespace
    monkeypatch.setitem(sys.modules, "spandrel", module)
    return module  # type: ignore[no-any-return]  # a module with attributes


def test_it_is_not_imported_until_asked_for() -> None:
    code = "import sys, trainables.config; sys.exit('spandrel' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


def test_one_line_when_spandrel_is_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    said = refusal(file)
    assert said == "name: spandrel is not installed: pip install 'tune-sr[spandrel]'"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import torchvision", "name: torchvision is not installed: pip install 'tune-sr[span"),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "name: spandrel cannot be imported (operator torchvision::nms does not exist); "
            f"torchvision must fit torch {torch.__version__}: pip install",
        ),
    ],
    ids=["missing", "built for another torch"],
)
def test_one_line_when_torchvision_is_missing_or_broken(
    body: str, words: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spandrel.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert words in refusal(file)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("sides", [(8, 8), (5, 9), (1, 3), (13, 6)])
def test_any_size_comes_out_twice_as_large(file: Path, sides: tuple[int, int]) -> None:
    lr_BCHW = torch.rand(2, 3, *sides)
    network = teacher(file)
    sr_BCHW = network(lr_BCHW)
    assert sr_BCHW.shape == (2, 3, 2 * sides[0], 2 * sides[1])
    whole = torch.rand(1, 3, 8, 12)
    before = whole.clone()
    expected = F.pixel_shuffle(network.get_submodule("model.up")(whole), 2)
    torch.testing.assert_close(network(whole), expected)  # neither padded nor clamped
    assert torch.equal(whole, before)


@pytest.mark.usefixtures("stand_in")
def test_it_can_be_evaluated_when_named(file: Path) -> None:
    lr_BCHW = torch.rand(1, 3, 8, 8)
    named = load_network(file, {"name": "spandrel"}, scale=2)
    assert torch.equal(named(lr_BCHW), teacher(file)(lr_BCHW))


@pytest.mark.usefixtures("stand_in")
def test_gradient_passes_through_a_frozen_teacher(file: Path) -> None:
    network = teacher(file).eval().requires_grad_(False)
    lr_BCHW = torch.rand(1, 3, 6, 6, requires_grad=True)
    network(lr_BCHW).square().sum().backward()
    assert lr_BCHW.grad is not None
    assert float(lr_BCHW.grad.abs().min()) > 0


@pytest.mark.usefixtures("stand_in")
def test_loading_touches_no_global_stream(file: Path) -> None:
    before = torch.get_rng_state()
    teacher(file)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("stand_in")
def test_it_has_no_body_to_tap(file: Path) -> None:
    network = teacher(file)
    assert len(network.body) == 0
    for asked in ({"taps": [0]}, {"active": 1}):
        with pytest.raises(ValueError, match="no body to tap"):
            network.trace(torch.rand(1, 3, 8, 8), **asked)  # type: ignore[arg-type]  # one of two


def test_what_is_no_rgb_network_of_that_scale_is_refused(file: Path, stand_in: Any) -> None:
    assert "finds a Doubles for SR of scale 2, 3 channels in and 3 out; needed: SR of scale 4" in (
        refusal(file, scale=4)
    )
    for change in ({"purpose": "Restoration"}, {"input_channels": 1}, {"output_channels": 4}):
        load = lambda tensors, change=change: answer(tensors, **change)  # noqa: E731  one answer
        stand_in.MAIN_REGISTRY = SimpleNamespace(load=load)
        assert "; needed: SR of scale 2, 3 and 3" in refusal(file)
    stand_in.ImageModelDescriptor = int
    assert "takes a mask beside the image" in refusal(file)


def test_what_spandrel_cannot_load_is_refused(file: Path, tmp_path: Path, stand_in: Any) -> None:
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    assert "other.pth: spandrel knows no architecture" in refusal(tmp_path / "other.pth")
    torch.save({"up.weight": torch.zeros(1), "up.bias": torch.zeros(1)}, tmp_path / "bad.pth")
    assert "bad.pth: spandrel cannot load it (Error(s) in loading" in refusal(tmp_path / "bad.pth")
    assert "nowhere.pth: no such file" in refusal(tmp_path / "nowhere.pth")


class Payload:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.usefixtures("stand_in")
def test_its_file_is_read_by_us_and_no_payload_runs(tmp_path: Path) -> None:
    torch.save({"params": Payload(tmp_path / "victim")}, tmp_path / "evil.pth")
    assert "nothing else is loaded" in refusal(tmp_path / "evil.pth")
    assert not (tmp_path / "victim").exists()


def trial(file: Path, **change: Any) -> dict[str, Any]:
    return {
        "method": {"name": "noise"},
        "student": {"name": "edsr", "features": 4, "blocks": 1, "scale": 2},
        "teacher": {"name": "spandrel", "weights": str(file)},
        "batch": {"images": 2, "patch": 8},
        "budget": {"steps": 2, "steps_per_report": 2},
        "heldout": {"crop": 16},
        "device": "cpu",
        **change,
    }


def test_it_is_a_teacher_and_nothing_else(file: Path) -> None:
    config = TrialConfig.parse(trial(file))
    assert config.teacher is not None
    assert config.teacher.scales == (2,)  # its student's
    for change, path in (
        ({"student": {"name": "spandrel", "scale": 2, "weights": str(file)}}, "student.name"),
        ({"student": {"name": "vdsr", "scale": 2, "features": 4, "blocks": 2}}, "teacher.name"),
        ({"teacher": {"name": "spandrel"}}, "teacher.weights"),
        ({"teacher": {"name": "spandrel", "weights": "x", "features": 4}}, "teacher.features"),
        ({"teacher": {"name": "spandrel", "weights": "x", "scale": 3}}, "teacher.scales"),
    ):
        with pytest.raises(ConfigError) as refused:
            TrialConfig.parse(trial(file, **change))
        assert refused.value.path == path, str(refused.value)


def test_a_trial_says_which_part_misses_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ConfigError, match=r"^teacher\.name: spandrel is not installed"):
        Run(TrialConfig.parse(trial(file)))


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    "method",
    [
        {"name": "noise"},
        {"name": "dfad", "latent": 4},
        {"name": "dfsr", "latent": 4, "P": 1},
    ],
    ids=["noise", "dfad", "dfsr"],
)
def test_a_student_learns_from_it(file: Path, method: dict[str, Any]) -> None:
    run = Run(TrialConfig.parse(trial(file, method=method)))
    before = [parameter.clone() for parameter in run.student.parameters()]
    report = run.advance()
    assert all(torch.tensor(list(report.values())).isfinite())
    after = list(run.student.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def real() -> None:
    try:
        import spandrel  # noqa: F401  whether it can be
    except Exception as error:
        pytest.skip(f"spandrel, or a torchvision that fits torch, is not installed: {error}")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    "size",
    [
        {"name": "rcan", "groups": 2, "blocks": 2, "features": 32},
        {"name": "swinir", "blocks": 2, "features": 24},
        {"name": "swinir", "blocks": 1, "features": 12, "upsampler": "pixelshuffledirect"},
        {"name": "compact", "blocks": 3, "features": 8},
        {"name": "span", "features": 8},
        {"name": "span", "features": 8, "norm": False},
    ],
    ids=["rcan", "swinir", "swinir light", "compact", "span", "span without norm"],
)
def test_the_real_one_agrees_with_our_networks(
    size: dict[str, Any], scale: int, tmp_path: Path
) -> None:
    real()
    ours = build_network({**size, "scale": scale}, seed=4)
    tensors = to_official(ours.state_dict())
    for key in [key for key in tensors if key.endswith("relative_position_bias_table")]:
        # The buffers by which spandrel recognises SwinIR; a mask for another size than ours.
        index = relative_positions(torch.device("cpu")).view(64, 64)
        tensors[key.replace("bias_table", "index")] = index
        if re.search(r"blocks\.[135]\.", key):
            mask = key.replace("attn.relative_position_bias_table", "attn_mask")
            tensors[mask] = torch.zeros(64, 64, 64)
    torch.save({"params": tensors}, tmp_path / "x.pth")
    theirs = teacher(tmp_path / "x.pth", scale).eval().requires_grad_(False)
    lr_BCHW = torch.rand(1, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(lr_BCHW), theirs(lr_BCHW), rtol=1e-4, atol=1e-5)
    lr_BCHW.requires_grad_()
    theirs(lr_BCHW).square().sum().backward()
    assert lr_BCHW.grad is not None
    assert float(lr_BCHW.grad.abs().max()) > 0


@pytest.mark.parametrize("name", ["compact", "span"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_file_of_the_real_ones_own_class_is_ours_to_learn_from_and_to_train(
    name: str, scale: int, tmp_path: Path
) -> None:
    real()
    from spandrel.architectures import SPAN, Compact

    with torch.random.fork_rng(devices=[]):
        if name == "span":
            theirs = SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=scale)
        else:
            theirs = Compact.Compact(num_feat=8, num_conv=3, upscale=scale)
    torch.save({"params_ema": theirs.state_dict()}, tmp_path / "x.pth")
    ours = load_network(tmp_path / "x.pth")
    assert ours.config.model_dump()["name"] == name
    lr_BCHW = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(lr_BCHW), theirs.eval()(lr_BCHW), rtol=1e-5, atol=1e-5)
    theirs.train()  # through its wide convolutions, which have not been merged
    torch.testing.assert_close(ours(lr_BCHW), theirs(lr_BCHW), rtol=1e-5, atol=1e-5)


def test_the_registry_of_teachers_is_the_networks_and_this_one() -> None:
    assert list(TEACHERS) == ["vdsr", "edsr", "rcan", "swinir", "compact", "span", "spandrel"]
