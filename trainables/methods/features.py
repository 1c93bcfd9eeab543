"""Frozen networks that turn an image into feature maps, which CSD compares images in.

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

from trainables.networks.base import Keeper, SRNet
from trainables.networks.checkpoint import check_finite, read_tensors
from trainables.networks.portions import in_portions
from trainables.networks.residual import ResidualSRNet
from trainables.networks.vdsr import VDSR
from trainables.values import ConfigError, Randomness

FeaturesName = Literal["vgg19", "random", "teacher"]

_STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))
"""Width and convolutions of each stage up to relu5_1; between stages sides are halved."""
_WIDTH_OF_RANDOM = 1 / 4
_SMALLEST_SIDE = 2 ** (len(_STAGES) - 1)


class Features(nn.Module):
    """Images to feature maps, each with its weight in a comparison."""

    weights: tuple[float, ...]
    """One for each map, from the shallowest to the deepest."""

    micro_batch: int | None = None
    """Images that pass at a time, None: all there are. The maps are the same."""

    @abstractmethod
    def maps(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """`forward`, all images together."""

    @final  # type: ignore[misc]  # to torch, forward is an attribute that may be assigned
    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Maps B F H W of images in [0, 1], of any colour that the student may have."""
        return in_portions(self.maps, images_BCHW, self.micro_batch)


@final
class VGG19(Features):
    """VGG19 up to relu5_1: its five maps relu1_1, relu2_1, ..., relu5_1.

    Images enter in 0..255 without ImageNet's normalisation, as in the released CSD; luma enters as
    grey RGB. `width` is a share of VGG19's own channels.
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
        """Five maps, B F H W, the last of 1/16 of the images' sides."""
        x_BFHW = images_BCHW.expand(-1, 3, -1, -1) * 255.0
        maps = []
        for number, layer in enumerate(self.features):
            x_BFHW = layer(x_BFHW)
            if number in self.kept:
                maps.append(x_BFHW)
        return tuple(maps)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """He's normal start without bias, which keeps the size of its maps near its input's."""
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                assert layer.bias is not None
                layer.weight.normal_(0, math.sqrt(2 / layer.weight[0].numel()), generator=generator)
                layer.bias.zero_()


@final
class BodyMaps(Features):
    """A teacher's own body, at 1/3, 2/3 and all of its units, looking at an image as it is."""

    weights = VGG19.weights[-3:]

    def __init__(self, teacher: SRNet) -> None:
        super().__init__()
        self.teacher = teacher
        units = len(teacher.body)
        self.taps = [max(units * third // 3, 1) - 1 for third in (1, 2, 3)]

    def maps(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Three maps, B F H W, as large as the images."""
        keep = Keeper(self.taps, images_BCHW)
        self.teacher.run_body(self._lifted(images_BCHW), keep, None)
        return keep.kept()

    def _lifted(self, images_BCHW: Tensor) -> Tensor:
        """What the first unit sees: `trace` would enlarge images that are enlarged already."""
        if isinstance(self.teacher, VDSR):
            return torch.relu_(self.teacher.input(images_BCHW))
        assert isinstance(self.teacher, ResidualSRNet)
        shifted_BCHW = self.teacher.colours(images_BCHW)
        first_BFHW: Tensor = self.teacher.conv_first(shifted_BCHW)
        return first_BFHW.to(shifted_BCHW.dtype)  # as in `trace`


def features_refusals(
    name: FeaturesName, vgg19: str | None, side: int
) -> Iterator[tuple[str, str]]:
    """Why images of `side` pixels cannot be seen so: a trial's dotted path, and the rule."""
    if name == "vgg19" and vgg19 is None:
        way = "vgg19: FILE, torchvision's vgg19-dcbb9e9d.pth, or features: random"
        yield "method.vgg19", f"features: vgg19 needs a file: say {way}"
    if name != "teacher" and side < _SMALLEST_SIDE:
        rule = f"features: {name} halves images four times: they need {_SMALLEST_SIDE} pixels"
        yield "batch.patch", f"{rule}, and have {side}"


def make_features(name: FeaturesName, vgg19: str | None, teacher: SRNet) -> Features:
    """The frozen features of that name, on the CPU but for the teacher's.

    `random` is VGG19 at a quarter of its width, drawn once for all trials; `vgg19` reads
    torchvision's file; `teacher` looks through `teacher`, a VDSR, EDSR or RCAN.

    Raises:
        ConfigError: the file is missing or does not hold VGG19.
    """
    if name == "teacher":
        return BodyMaps(teacher)
    with torch.random.fork_rng(devices=[]):  # modules draw, for nothing, from the global stream
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
