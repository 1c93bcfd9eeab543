"""The teachers that ship: what their card says holds, and they can teach without any image."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from trainables.data.images import photos, read_images
from trainables.metrics.evaluate import Heldout, evaluate
from trainables.networks import build_network
from trainables.networks.checkpoint import SHIPPED, read_architecture
from trainables.resample import upsample_BCHW
from trainables.run import upscaler

CARD = SHIPPED / "vdsr.md"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def card_figures() -> dict[str, dict[int, float]]:
    """PSNR in dB by image set and scale, as the card's table says."""
    rows = re.findall(r"^\| (Set5|photos) \|([^|]+)\|([^|]+)\|([^|]+)\|", CARD.read_text(), re.M)
    return {row[0]: {2 + k: float(row[1 + k].split()[0]) for k in range(3)} for row in rows}


def test_the_card_says_how_it_was_made() -> None:
    text = CARD.read_text(encoding="utf-8")
    assert "python -m tune_sr.train --space search_spaces/teachers/vdsr.yaml" in text
    assert re.search(r"commit `[0-9a-f]{7,40}`", text)
    assert set(card_figures()) == {"Set5", "photos"}


def test_its_file_carries_its_architecture() -> None:
    architecture = read_architecture(SHIPPED / "vdsr.safetensors")
    assert architecture == {"name": "vdsr", "features": 64, "blocks": 18, "scales": [2, 3, 4]}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_photographs_as_the_card_says(scale: int) -> None:
    teacher = build_network({"name": "vdsr", "weights": "shipped"})
    heldout = Heldout(photos("heldout"), colour="y", scales=[scale], protocol="yfloat", crop=252)
    figure = evaluate(upscaler(teacher), heldout)["psnr_y_db"]
    assert figure == pytest.approx(card_figures()["photos"][scale], abs=0.006)
    assert figure > evaluate(upsample_BCHW, heldout)["psnr_y_db"] + 0.7


def test_set5_as_the_card_says_and_above_36_db() -> None:
    root = os.environ.get("TUNE_SR_DATA")
    if root is None:
        pytest.skip("TUNE_SR_DATA is not set: it names the folder that holds data/Set5")
    teacher = build_network({"name": "vdsr", "weights": "shipped"})
    images = read_images(str(Path(root) / "data/Set5/HR"), "heldout")
    heldout = Heldout(images, colour="y", scales=[2], protocol="yfloat")
    figure = evaluate(upscaler(teacher), heldout)["psnr_y_db"]
    assert figure == pytest.approx(card_figures()["Set5"][2], abs=0.006)
    assert figure >= 36.0
