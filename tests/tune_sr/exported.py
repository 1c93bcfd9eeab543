"""Toy networks to export, and what their exports must compute."""

from __future__ import annotations

from typing import Any

import torch

from trainables.colour import luma_B1HW, with_luma_B3HW
from trainables.resample import upsample_BCHW

TOYS: dict[str, dict[str, Any]] = {
    "vdsr": {"name": "vdsr", "features": 4, "blocks": 2},
    "edsr": {"name": "edsr", "features": 4, "blocks": 2, "scale": 3},
    "rcan": {"name": "rcan", "features": 4, "groups": 2, "blocks": 1, "scale": 2},
    "compact": {"name": "compact", "features": 4, "blocks": 2, "scale": 4},
    "span": {"name": "span", "features": 4, "blocks": 2, "scale": 2},
    "swinir": {
        "name": "swinir", "features": 8, "blocks": 1, "layers": 2, "heads": 2, "scale": 2,
        "upsampler": "pixelshuffledirect",
    },
}  # fmt: skip
WITHOUT_US = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("trainables", "tune_sr"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""
"""The beginning of a script for which this project's packages do not exist."""
SIZES = ((3, 3), (5, 9), (37, 41), (64, 48), (8, 17))


def expected(network: Any, image: torch.Tensor, scale: int) -> torch.Tensor:
    """The RGB result, by the modules of training and evaluation."""
    with torch.no_grad():
        if network.colour == "rgb":
            return network(image, scale=scale).clamp(0, 1)  # type: ignore[no-any-return]  # a module's call
        luma = network(luma_B1HW(image), scale=scale)
        return with_luma_B3HW(upsample_BCHW(image, scale), luma).clamp(0, 1)
