"""The teachers that ship: which one is meant, and that what their cards say holds."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.config import TrialConfig
from trainables.data.images import photos, read_images
from trainables.errors import ConfigError
from trainables.metrics.evaluate import Heldout, evaluate
from trainables.networks import SRNet, build_network, shipped
from trainables.networks.base import SCALES
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import load_network
from trainables.networks.shipped import SHIPPED, shipped_file, shipped_names
from trainables.resample import upsample_BCHW
from trainables.run import upscaler

CARDS = [(name, scale) for name in shipped_names() for scale in SCALES]
CARDS = [(name, scale) for name, scale in CARDS if "_x" not in name or name.endswith(str(scale))]
ONCE = dict(CARDS[::-1])
"""One scale of every teacher."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# --- which one is meant


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VDSR, and an EDSR at x2 and at x4, in the place of what ships."""
    for name, config in (
        ("vdsr", {"name": "vdsr", "features": 3, "blocks": 2}),
        ("edsr_x2", {"name": "edsr", "features": 4, "blocks": 1, "scale": 2}),
        ("edsr_x4", {"name": "edsr", "features": 4, "blocks": 1, "scale": 4}),
    ):
        save_network(tmp_path / f"{name}.safetensors", build_network(config, seed=len(name)))
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("weights", "network", "scales", "name"),
    [
        ("shipped", "vdsr", (2, 3, 4), "vdsr"),
        ("shipped", "vdsr", (3,), "vdsr"),
        ("shipped", "edsr", (2,), "edsr_x2"),
        ("shipped", "edsr", (4,), "edsr_x4"),
        ("shipped:edsr_x4", "edsr", (4,), "edsr_x4"),
        ("shipped:edsr_x4", None, None, "edsr_x4"),
        ("shipped:vdsr", "vdsr", None, "vdsr"),
    ],
)
def test_network_and_scale_say_which(
    toys: Path, weights: str, network: str | None, scales: tuple[int, ...] | None, name: str
) -> None:
    assert shipped_file(weights, network, scales) == toys / f"{name}.safetensors"


KNOWN = "there are edsr_x2, edsr_x4, vdsr"


@pytest.mark.parametrize(
    ("weights", "network", "scales", "rule"),
    [
        ("shipped", "edsr", (3,), f"no edsr for x3 ships; {KNOWN}"),
        ("shipped", "edsr", (2, 4), f"no edsr for x2 and x4 ships; {KNOWN}"),
        ("shipped", "rcan", None, f"no rcan ships; {KNOWN}"),
        ("shipped:best", None, None, f"nothing of the name best ships; {KNOWN}"),
        ("shipped:edsr_x4", "edsr", (2,), f"edsr_x4 is no edsr for x2; {KNOWN}"),
        ("shipped:vdsr", "edsr", (2,), f"vdsr is no edsr for x2; {KNOWN}"),
        (
            "shipped",
            "edsr",
            None,
            "more than one edsr ships: say shipped:edsr_x2 or shipped:edsr_x4",
        ),
    ],
)
def test_what_does_not_ship_is_refused_with_what_does(
    toys: Path, weights: str, network: str | None, scales: tuple[int, ...] | None, rule: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        shipped_file(weights, network, scales)
    assert (refused.value.path, refused.value.rule) == ("weights", rule)


@pytest.mark.parametrize("weights", ["shipped", "shipped:edsr_x4"])
def test_a_network_is_built_with_what_ships(toys: Path, weights: str) -> None:
    sizes = {"features": 4, "blocks": 1, "scale": 4}
    built = build_network({"name": "edsr", "weights": weights, **sizes})
    there = load_network(toys / "edsr_x4.safetensors").state_dict()
    assert all(torch.equal(value, there[key]) for key, value in built.state_dict().items())
    with pytest.raises(ConfigError, match=r"does not fit this edsr: .*holds name: edsr, features"):
        build_network({"name": "edsr", "weights": weights, **sizes, "features": 5})


def trial(scale: int, teacher: dict[str, Any]) -> dict[str, Any]:
    student = {"name": "edsr", "features": 8, "blocks": 2, "scale": scale}
    method, budget = {"name": "noise"}, {"steps": 2, "steps_per_report": 1}
    return {"method": method, "student": student, "teacher": teacher, "budget": budget}


def test_a_trial_names_it_and_keeps_the_word(toys: Path) -> None:
    for weights, kept in (("shipped", "shipped"), ("shipped:edsr_x{scale}", "shipped:edsr_x4")):
        config = TrialConfig.parse(trial(4, {"name": "edsr", "weights": weights}))
        assert config.teacher is not None
        assert config.teacher.weights == kept
        assert TrialConfig.parse(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("part", ["teacher", "student"])
def test_a_trial_is_refused_before_anything_is_loaded(toys: Path, part: str) -> None:
    raw = trial(3, {"name": "edsr", "weights": "x3.pth"})
    raw[part] |= {"weights": "shipped"}
    with pytest.raises(ConfigError) as refused:
        TrialConfig.parse(raw)
    assert refused.value.path == f"{part}.weights"
    assert refused.value.rule == f"no edsr for x3 ships; {KNOWN}"


# --- what the cards say


def card(name: str) -> str:
    return (SHIPPED / f"{name}.md").read_text(encoding="utf-8")


def card_figures(name: str) -> dict[tuple[str, int], float]:
    """PSNR in dB by row and scale, as the card's table says."""
    (heads,) = re.findall(r"^\| images \|(.+)\|$", card(name), re.M)
    scales = [int(head.strip(" x")) for head in heads.split("|")]
    rows = re.findall(r"^\| ((?:Set5|photos)(?:, bicubic)?) \|(.+)\|$", card(name), re.M)
    return {
        (row, scale): float(cell.split()[0])
        for row, cells in rows
        for scale, cell in zip(scales, cells.split("|"), strict=True)
    }


def ready(name: str, scale: int) -> SRNet:
    network = name.partition("_x")[0]
    sizes = {"scales": list(SCALES)} if network == name else {"scale": scale}
    return build_network({"name": network, "weights": "shipped", **sizes})


def protocol(name: str) -> Any:
    (said,) = re.findall(r"protocol `(\w+)`", card(name))
    return said


@pytest.mark.parametrize("name", shipped_names())
def test_a_card_says_how_its_teacher_was_made(name: str) -> None:
    space = f"search_spaces/teachers/{name}.yaml"
    assert f"python -m tune_sr.train --space {space}" in card(name)
    assert (Path(__file__).parents[3] / space).is_file()
    assert re.search(r"commit `[0-9a-f]{7,40}`", card(name))
    rows = {row for row, _ in card_figures(name)}
    assert rows == {"Set5", "Set5, bicubic", "photos", "photos, bicubic"}


@pytest.mark.parametrize("name", shipped_names())
def test_a_file_carries_its_architecture_and_is_small(name: str) -> None:
    network = load_network(SHIPPED / f"{name}.safetensors")
    assert f"x{'_x'.join(map(str, network.scales))}" in ("x2_x3_x4", name.partition("_")[2])
    params = sum(parameter.numel() for parameter in network.parameters())
    assert f"{params:,} parameters" in card(name)
    assert params <= 1_600_000
    for scale in network.scales:  # to name kind and scale is enough
        assert ready(name, scale).config.model_dump(exclude={"weights"}) == (
            network.config.model_dump(exclude={"weights"})
        )


def seldom(cards: Collection[tuple[str, int]], default: Iterable[tuple[str, int]]) -> list[Any]:
    """An image costs seconds: those cards that are not the default are for `-m soak`."""
    known = set(default)
    assert known and known <= set(cards)
    return [pytest.param(*c, marks=() if c in known else pytest.mark.soak) for c in cards]


@pytest.mark.parametrize(("name", "scale"), seldom(CARDS, default=ONCE.items()))
def test_photographs_as_the_card_says(name: str, scale: int) -> None:
    teacher = ready(name, scale)
    heldout = Heldout(
        photos("heldout"), colour=teacher.colour, scales=[scale], protocol=protocol(name), crop=252
    )
    figures = card_figures(name)
    figure = evaluate(upscaler(teacher), heldout)["psnr_y_db"]
    bicubic = evaluate(upsample_BCHW, heldout)["psnr_y_db"]
    assert figure == pytest.approx(figures["photos", scale], abs=0.006)
    assert bicubic == pytest.approx(figures["photos, bicubic", scale], abs=0.006)
    assert figure > bicubic + 0.7


LEAST_ON_SET5_DB = {2: 36.0, 4: 30.0}


@pytest.mark.parametrize(("name", "scale"), seldom(ONCE.items(), default=[("edsr_x4", 4)]))
def test_set5_as_the_card_says(name: str, scale: int) -> None:
    root = os.environ.get("TUNE_SR_DATA")
    if root is None:
        pytest.skip("TUNE_SR_DATA is not set: it names the folder that holds data/Set5")
    teacher = ready(name, scale)
    images = read_images(str(Path(root) / "data/Set5/HR"), "heldout")
    heldout = Heldout(images, colour=teacher.colour, scales=[scale], protocol=protocol(name))
    figures = card_figures(name)
    figure = evaluate(upscaler(teacher), heldout)["psnr_y_db"]
    assert figure == pytest.approx(figures["Set5", scale], abs=0.006)
    assert figure >= LEAST_ON_SET5_DB[scale]
    bicubic = evaluate(upsample_BCHW, heldout)["psnr_y_db"]
    assert bicubic == pytest.approx(figures["Set5, bicubic", scale], abs=0.006)
