"""LPIPS and DISTS of results, by the optional library pyiqa, from weights that are on disk.

[LPIPS] Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
CVPR 2018; version 0.1 on AlexNet. [DISTS] Ding et al., "Image Quality Assessment: Unifying
Structure and Texture Similarity", TPAMI 2022, arXiv 2004.07728. Both are distances: 0 for equal
images, lower is better.

`pip install 'tune-sr[iqa]'` installs pyiqa and torchvision, which it needs. It would download
weights, and load them as pickles that can run code; neither happens here: files are read by this
project's own reader, and pyiqa gets copies of their tensors. This module was written against the
source of pyiqa 0.1.16 and tested with a stand-in of it: it was not run with the package itself.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.networks.checkpoint import read_tensors

_EXTRA = "pip install 'tune-sr[iqa]'"
_LEAST = 64
"""Side in pixels of the smallest image: that of the patches on which [LPIPS] was calibrated."""
_FOLDERS = ("pyiqa", "checkpoints")
"""Folders of torch.hub where pyiqa and torchvision keep what they have downloaded."""


class Files(NamedTuple):
    """The weights files of a metric: its own, and its network's, which torchvision loads."""

    own: str
    network: str


METRICS: Mapping[str, Files] = {
    "lpips": Files("LPIPS_v0.1_alex-df73285e.pth", "alexnet-owt-7be5be79.pth"),
    "dists": Files("DISTS_weights-f5e65c96.pth", "vgg16-397923af.pth"),
}
"""The metrics, by pyiqa's names of them."""
_BASES = Files(
    own="https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main",
    network="https://download.pytorch.org/models",
)
"""Where such files are published."""


@dataclass(frozen=True)
class PerceptualMetric:
    """A perceptual distance between two RGB images.

    Attributes:
        name: a key of `METRICS`.
        network: maps result and reference, B 3 H W in [0, 1], RGB, to one distance each.
        device: where the network is.
    """

    name: str
    network: nn.Module
    device: torch.device

    def score(self, sr_HWC: NDArray[np.uint8], hr_HWC: NDArray[np.uint8], border: int) -> float:
        """Compute the distance of a result from its reference, both RGB bytes of one size.

        Args:
            sr_HWC: the result.
            hr_HWC: the reference.
            border: pixels that are shaved from each side, as for PSNR: the scale.

        Raises:
            ValueError: without its border an image is smaller than 64x64.
        """
        assert sr_HWC.shape == hr_HWC.shape, f"{sr_HWC.shape} != {hr_HWC.shape}"
        pair = [self._planes(each, border) for each in (sr_HWC, hr_HWC)]
        height, width = pair[0].shape[-2:]
        if min(height, width) < _LEAST:
            rule = f"at least {_LEAST}x{_LEAST} without borders; an image has {width}x{height}"
            raise ValueError(f"--iqa {self.name} needs {rule}")
        return float(self.network(*pair))

    def _planes(self, image_HWC: NDArray[np.uint8], border: int) -> Tensor:
        inside = image_HWC[border : -border or None, border : -border or None]
        planes_CHW = torch.tensor(np.ascontiguousarray(inside.transpose(2, 0, 1)))
        return planes_CHW[None].to(self.device, torch.float32).div_(255)


def load_metrics(names: Sequence[str], device: torch.device) -> list[PerceptualMetric]:
    """Load metrics from files in torch's folders `hub/pyiqa` and `hub/checkpoints`.

    Raises:
        ValueError: pyiqa or torchvision is missing or broken, or a file is missing or holds more
            than tensors; one line with the way out.
    """
    return [_loaded(name, device) for name in names]


def _loaded(name: str, device: torch.device) -> PerceptualMetric:
    pyiqa = _pyiqa(name)
    files = METRICS[name]
    tensors = {file: _tensors(name, file, base) for file, base in zip(files, _BASES, strict=True)}
    with tempfile.TemporaryDirectory(prefix="iqa-") as folder, _offline(Path(folder)) as kept:
        for file, content in tensors.items():
            torch.save(content, kept / file)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where the table will be
                network: nn.Module = pyiqa.create_metric(
                    name,
                    as_loss=False,
                    device=device,
                    pretrained_model_path=str(kept / files.own),
                )
        except Exception as error:  # of any library below it
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ValueError(f"--iqa {name}: pyiqa cannot load it ({reason})") from None
    return PerceptualMetric(name, network.eval().requires_grad_(False), device)


def _tensors(name: str, file: str, base: str) -> dict[str, Tensor]:
    """Read a weights file without running what a pickle may hold."""
    hub = Path(torch.hub.get_dir())
    places = [hub / folder / file for folder in _FOLDERS]
    path = next((each for each in places if each.is_file()), None)
    if path is None:
        way = f"nothing is downloaded here, so fetch {base}/{file}"
        raise ValueError(f"--iqa {name}: {places[-1]} does not exist; {way}")
    try:
        return read_tensors(path)
    except ConfigError as error:
        raise ValueError(f"--iqa {name}: {error.rule}") from None


def _pyiqa(name: str) -> Any:
    try:
        import pyiqa
    except ModuleNotFoundError as error:
        raise ValueError(f"--iqa {name}: {error.name} is not installed: {_EXTRA}") from None
    except Exception as error:  # as of torchvision built for another torch
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        rule = f"pyiqa cannot be imported ({reason}); torchvision must fit torch"
        raise ValueError(f"--iqa {name}: {rule} {torch.__version__}: {_EXTRA}") from None
    return pyiqa


@contextlib.contextmanager
def _offline(folder: Path) -> Iterator[Path]:
    """Make `folder` torch.hub's, so that libraries find their files in it and download none.

    Yields:
        The folder for weights files.
    """

    def refused(url: str, *_: object, **__: object) -> NoReturn:
        raise OSError(f"it asks for {url}, and nothing is downloaded here")

    before, download = torch.hub.get_dir(), torch.hub.download_url_to_file
    kept = folder / "checkpoints"
    kept.mkdir()
    torch.hub.set_dir(str(folder))
    torch.hub.download_url_to_file = refused
    try:
        yield kept
    finally:
        torch.hub.set_dir(before)
        torch.hub.download_url_to_file = download
