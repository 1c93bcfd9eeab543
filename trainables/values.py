"""Types shared by all modules of `trainables`, and the naming of tensor shapes.

Legend of shape suffixes, for the whole project:

    B   images in the batch            C   colour channels (3 for RGB, 1 for luma)
    F   feature channels               H W the tensor's own height and width
    N   positions, H * W               K   entries in a bank

Images are floats in [0, 1] everywhere between reading and writing files: RGB or one luma channel,
by the network's `colour`. Floats are of torch's default type, float32; under
`torch.set_default_dtype(torch.float64)`, as in golden tests, they are float64. A `step` is one
update of the student; a `report` is one evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

Colour = Literal["rgb", "y"]

QUALITIES = ("psnr_y_db", "teacher_agreement_db")
"""Report keys of the score, larger is better; a report has exactly one of them."""

Report = dict[str, float]
"""One evaluation, flat: `step`, `psnr_y_db`, `ssim`, the two per scale (`psnr_y_db_x2`, ...) or, of
a run without held-out images, `teacher_agreement_db` and the same per scale in their place; the
mean of every loss since the last report (`loss/<name>`), `lr`, `active_blocks`,
`seconds_per_step`; of a method with generators `generator_change`, the RMS difference between their
images now and when they were untrained, over the standard deviation of the latter; and in a study
where cost is an objective `params`, `macs` or `latency_ms`."""


def quality_of(report: Mapping[str, float]) -> float:
    """Return a report's score: the value of the one of `QUALITIES` that it has.

    >>> quality_of({"step": 10.0, "teacher_agreement_db": 40.0})
    40.0
    """
    return next(report[key] for key in QUALITIES if key in report)


class Config(BaseModel):
    """Base of all configurations: frozen, strictly typed, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class Pairs:
    """A batch of real images: LR and HR, aligned, in the student's colour, in [0, 1]."""

    lr_BCHW: Tensor
    hr_BCHW: Tensor

    @property
    def scale(self) -> int:
        """The ratio of HR side to LR side."""
        return self.hr_BCHW.shape[-1] // self.lr_BCHW.shape[-1]


@dataclass(frozen=True)
class Blank:
    """A batch without images, for data-free methods, which generate their own."""

    images: int
    """Number of images to generate."""
    patch: int
    """Their side at the network's body input, in pixels."""
    ahead: int = 1
    """Updates up to the next report, this one included, whose images may be generated together."""


@dataclass(frozen=True)
class Trace:
    """The result of one pass through a network."""

    sr_BCHW: Tensor
    """The SR images: in [0, 1] up to the network's error, not clamped."""
    taps: tuple[Tensor, ...] = ()
    """The requested feature maps of the body, each B F H W, in the order of the request."""


class Stateful(Protocol):
    """An object whose state changes in training and can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, as tensors and plain values."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore a state returned by `state_dict`."""
        ...


def derive_seed(seed: int, *purpose: object) -> int:
    """Derive an independent seed for one purpose, equal in every process: 0 <= result < 2**63.

    >>> derive_seed(0, "noise") == derive_seed(0, "noise") != derive_seed(1, "noise")
    True
    """
    words = "/".join(str(word) for word in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1


class Randomness:
    """A seeded random generator for one purpose, which can be saved and restored."""

    def __init__(self, seed: int, purpose: str, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(derive_seed(seed, purpose))

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state, a byte tensor on the CPU."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue the stream of random numbers from `state_dict`."""
        self.generator.set_state(state_dict["state"].cpu())


class Counter:
    """Counts updates; the count can be saved and restored."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"value": self.value}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue counting from `state_dict`."""
        self.value = int(state_dict["value"])
