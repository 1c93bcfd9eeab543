"""The nouns that every other module of `trainables` shares.

Legend of shape suffixes, for the whole project:

    B   images in the batch            C   colour channels (3 for RGB, 1 for luma)
    F   feature channels               H W the tensor's own height and width
    N   positions, H * W               K   entries in a bank

Images are floats in [0, 1], RGB or one luma channel as the network's `colour` says, from the file
reader to the file writer. Floats are of torch's default type, float32; what is built and trained
under `torch.set_default_dtype(torch.float64)` is float64, as golden tests want it. A `step` is one
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
"""What a report can be judged by, larger is better: it has one of them."""

Report = dict[str, float]
"""One evaluation, flat: `step`, `psnr_y_db`, `ssim`, the two per scale (`psnr_y_db_x2`, ...) or, of
a run without held-out images, `teacher_agreement_db` and the same per scale in their place; the
mean of every loss since the last report (`loss/<name>`), `lr`, `active_blocks`,
`seconds_per_step`; of a method with generators `generator_change`, the RMS difference between their
images now and when they were untrained, over the standard deviation of the latter; and in a study
where cost is an objective `params`, `macs` or `latency_ms`."""


def quality_of(report: Mapping[str, float]) -> float:
    """The one of `QUALITIES` that a report has.

    >>> quality_of({"step": 10.0, "teacher_agreement_db": 40.0})
    40.0
    """
    return next(report[key] for key in QUALITIES if key in report)


class Config(BaseModel):
    """Base of every configuration: frozen, strict, and refusing keys it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class ConfigError(ValueError):
    """The user's mistake in a configuration: where it is, and which rule it breaks."""

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(f"{path}: {rule}" if path else rule)
        self.path = path
        self.rule = rule


class Diverged(RuntimeError):  # noqa: N818  what became of a run, not somebody's error
    """A loss that is not finite, or has exploded; carries the step and the last losses."""

    def __init__(self, step: int, reason: str, losses: Mapping[str, float]) -> None:
        super().__init__(f"diverged at step {step}: {reason}")
        self.step = step
        self.losses = dict(losses)


@dataclass(frozen=True)
class Pairs:
    """Real images: `lr_BCHW` and the `hr_BCHW` it came from, aligned, in the student's colour."""

    lr_BCHW: Tensor
    hr_BCHW: Tensor

    @property
    def scale(self) -> int:
        """How many times larger the HR side is."""
        return self.hr_BCHW.shape[-1] // self.lr_BCHW.shape[-1]


@dataclass(frozen=True)
class Blank:
    """How many images to imagine and their side at the network's body input: not a single pixel."""

    images: int
    patch: int
    ahead: int = 1
    """Updates until the next report, this one included, for which images may be made together."""


@dataclass(frozen=True)
class Trace:
    """What one pass through a network gives.

    `sr_BCHW` lies in [0, 1] up to the network's own error and is never clamped here; `taps` are
    the requested body outputs, each B F H W, in the order in which they were asked for.
    """

    sr_BCHW: Tensor
    taps: tuple[Tensor, ...] = ()


class Stateful(Protocol):
    """Anything that changes while training and can say how."""

    def state_dict(self) -> dict[str, Any]:
        """All of its state, as tensors and plain values."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Become the state given."""
        ...


def derive_seed(seed: int, *purpose: object) -> int:
    """An independent seed for one purpose, the same in every process: 0 <= result < 2**63.

    >>> derive_seed(0, "noise") == derive_seed(0, "noise") != derive_seed(1, "noise")
    True
    """
    words = "/".join(str(word) for word in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1


class Randomness:
    """A seeded stream of random numbers for one purpose, which can be saved and restored."""

    def __init__(self, seed: int, purpose: str, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(derive_seed(seed, purpose))

    def state_dict(self) -> dict[str, Any]:
        """The generator's state, a byte tensor on the CPU."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue the stream from `state_dict`."""
        self.generator.set_state(state_dict["state"].cpu())


class Counter:
    """A number of updates done so far, which can be saved and restored."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"value": self.value}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Continue counting from `state_dict`."""
        self.value = int(state_dict["value"])
