"""Frozen networks whose feature maps are compared in CSD.

[VGG] Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, arXiv 1409.1556: VGG19, with torchvision's parameters, in the file that the user has.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor, nn

from trainables.errors import ConfigError
from trainables.networks.base import Keeper, SRNet
from trainables.networks.checkpoint import check_finite, read_tensors
from trainables.networks.portions import in_portions
from trainables.networks.residual import ResidualSRNet
from trainables.networks.vdsr import VDSR
from trainables.values import Randomness

FeaturesName = Literal["vgg19", "random", "teacher"]

_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))
"""Channels and convolutions of each stage up to relu5_1; sides are halved between stages."""
_WIDTH_OF_RANDOM = 1 / 4
_SMALLEST_SIDE = 2 ** (len(_STAGES) - 1)


class Features(nn.Module):
    """A frozen network that maps images to feature maps, with a weight for each map."""

    weights: tuple[float, ...]
    """The weight of each map in a comparison, from the shallowest to the deepest."""

    micro_batch: int | None = None
    """Images that are processed at a time; None: the whole batch. The maps are the same."""

    @abstractmethod
    def maps(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Compute `forward` for all images together."""

    @final  # type: ignore[misc]  # to torch, forward is an attribute that may be assigned
    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps, each B F H W, of images in [0, 1], RGB or luma."""
        return in_portions(self.maps, images_BCHW, self.micro_batch)


@final
class VGG19(Features):
    """VGG19 up to relu5_1, with the five maps relu1_1, relu2_1, ..., relu5_1.

    Images are scaled to 0..255 without ImageNet's normalisation, as in the released CSD; luma
    becomes grey RGB. `width` is a share of VGG19's own channels.
    """

    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = 3
        layers: list[nn.Module] = []
        self.kept: list[int] = []
        for channels, convolutions in _STAGES:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for number in range(convolutions):
                outputs = int(width * channels)
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
                if number == 0:
                    self.kept.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)  # under torchvision's name: its keys are ours

    def maps(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Compute five maps, B F H W; the last has 1/16 of the images' sides."""
        x_BFHW = images_BCHW.expand(-1, 3, -1, -1) * 255.0
        maps = []
        for number, layer in enumerate(self.features):
            x_BFHW = layer(x_BFHW)
            if number in self.kept:
                maps.append(x_BFHW)
        return tuple(maps)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Initialise by He's normal distribution without bias, which keeps the maps' magnitude."""
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=generator)
                layer.bias.zero_()


@final
class BodyMaps(Features):
    """A teacher's body as feature extractor: the maps after 1/3, 2/3 and all of its units."""

    weights = VGG19.weights[-3:]

    def __init__(self, teacher: SRNet) -> None:
        super().__init__()
        self.teacher = teacher
        units = len(teacher.body)
        self.taps = [max(units * third // 3, 1) - 1 for third in (1, 2, 3)]

    def maps(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Compute three maps, B F H W, of the images' size."""
        keep = Keeper(self.taps, images_BCHW)
        self.teacher.run_body(self._lifted(images_BCHW), keep, None)
        return keep.kept()

    def _lifted(self, images_BCHW: Tensor) -> Tensor:
        """Compute the input of the first unit; not by `trace`, which would upsample again."""
        if isinstance(self.teacher, VDSR):
            return torch.relu_(self.teacher.input(images_BCHW))
        assert isinstance(self.teacher, ResidualSRNet)
        shifted_BCHW = self.teacher.colours(images_BCHW)
        first_BFHW: Tensor = self.teacher.conv_first(shifted_BCHW)
        return first_BFHW.to(shifted_BCHW.dtype)  # as in `trace`


def features_refusals(
    name: FeaturesName, vgg19: str | None, side: int
) -> Iterator[tuple[str, str]]:
    """Yield dotted path and rule of each reason why these features cannot be used."""
    if name == "vgg19" and vgg19 is None:
        way = "vgg19: FILE, torchvision's vgg19-dcbb9e9d.pth, or features: random"
        yield "method.vgg19", f"features: vgg19 needs a file: say {way}"
    if name != "teacher" and side < _SMALLEST_SIDE:
        rule = f"features: {name} halves images four times: they need {_SMALLEST_SIDE} pixels"
        yield "batch.patch", f"{rule}, and have {side}"


def make_features(name: FeaturesName, vgg19: str | None, teacher: SRNet) -> Features:
    """Make the frozen feature extractor of a name, on the CPU except for the teacher's.

    `random` is VGG19 at a quarter of its width, with the same random parameters in all trials;
    `vgg19` has those of torchvision's file; `teacher` is the body of `teacher`, a VDSR, EDSR or
    RCAN.

    Raises:
        ConfigError: the file is missing or does not hold VGG19.
    """
    if name == "teacher":
        return BodyMaps(teacher)
    with torch.random.fork_rng(devices=[]):  # modules draw unused numbers from the global stream
        network = VGG19(_WIDTH_OF_RANDOM if name == "random" else 1.0)
    if name == "random":
        network.initialise(Randomness(0, "random features").generator)
    else:
        assert vgg19 is not None
        network.load_state_dict(_read_vgg19(Path(vgg19), network.state_dict()))
    return network.eval().requires_grad_(False)


def _read_vgg19(path: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        found = read_tensors(path)
        check_finite(path, found)
    except ConfigError as error:
        raise ConfigError("method.vgg19", error.rule) from None
    for key, value in wanted.items():
        if key not in found or found[key].shape != value.shape:
            held = tuple(found[key].shape) if key in found else "nothing"
            rule = f"{path} is not torchvision's vgg19-dcbb9e9d.pth: {key} is {held}"
            raise ConfigError("method.vgg19", f"{rule} where {tuple(value.shape)} is needed")
    return {key: found[key] for key in wanted}
