from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.errors import ConfigError
from trainables.methods.features import VGG19, BodyMaps, features_refusals, make_features
from trainables.networks import SRNet, build_network

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def teacher(name: str = "vdsr", **sizes: int) -> SRNet:
    return build_network({"name": name, "features": 8, "blocks": 7, "scale": 2, **sizes})


def a_file_of_vgg19(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """Under torchvision's names and shapes, which are public, with a classifier as it has one."""
    convolutions = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128)}
    convolutions |= {12: (256, 256), 14: (256, 256), 16: (256, 256), 19: (512, 256)}
    convolutions |= {21: (512, 512), 23: (512, 512), 25: (512, 512), 28: (512, 512)}
    tensors: dict[str, Tensor] = {}
    for number, (outputs, inputs) in convolutions.items():
        tensors[f"features.{number}.weight"] = torch.full((outputs, inputs, 3, 3), 1e-3)
        tensors[f"features.{number}.bias"] = torch.zeros(outputs)
    tensors["classifier.0.weight"] = torch.zeros(2, 2)
    path = folder / "vgg19.pth"
    torch.save(tensors, path)
    return path, tensors


def test_vgg19_has_torchvisions_layers_up_to_relu5_1(tmp_path: Path) -> None:
    path, tensors = a_file_of_vgg19(tmp_path)
    features = make_features("vgg19", str(path), teacher())
    assert isinstance(features, VGG19)
    for key, value in features.state_dict().items():
        assert torch.equal(value, tensors[key])
    assert len(features.features) == 30
    assert features.kept == [1, 6, 11, 20, 29]  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
    maps = features(IMAGES[:1])
    shapes = [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    assert [tuple(each.shape[1:]) for each in maps] == shapes
    # 27 taps of weight 1/1000 on white of 255, inside the image
    white = features(torch.ones(1, 3, 16, 16))[0]
    assert white[0, :, 8, 8].tolist() == pytest.approx([27 * 255 / 1000] * 64)


def test_the_deeper_the_map_the_more_it_weighs() -> None:
    assert VGG19.weights == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    assert BodyMaps.weights == (1 / 8, 1 / 4, 1.0)


def test_random_features_are_narrow_the_same_everywhere_and_never_trained() -> None:
    one, same = (make_features("random", None, teacher()) for _ in range(2))
    maps = one(IMAGES)
    assert [each.shape[1] for each in maps] == [16, 32, 64, 128, 128]
    assert all(torch.equal(a, b) for a, b in zip(maps, same(IMAGES), strict=True))
    assert not any(parameter.requires_grad for parameter in one.parameters())
    # He's start keeps the size of what passes: no map is lost in another's noise
    sizes = [float(each.square().mean().sqrt()) for each in maps]
    assert max(sizes) < 10 * min(sizes)


def test_random_features_do_not_touch_the_global_stream() -> None:
    before = torch.get_rng_state()
    make_features("random", None, teacher())
    assert torch.equal(torch.get_rng_state(), before)


def test_luma_is_seen_as_grey() -> None:
    features = make_features("random", None, teacher())
    grey_B1HW = IMAGES[:, :1]
    as_rgb = features(grey_B1HW.expand(-1, 3, -1, -1))
    assert all(torch.equal(a, b) for a, b in zip(features(grey_B1HW), as_rgb, strict=True))


def test_the_teachers_own_body_is_tapped_at_thirds() -> None:
    network = teacher(blocks=7)
    features = make_features("teacher", None, network)
    assert isinstance(features, BodyMaps)
    assert features.taps == [1, 3, 6]
    assert BodyMaps(teacher(blocks=1)).taps == [0, 0, 0]
    images_B1HW = IMAGES[:, :1]
    # For VDSR `scale=1` means an image that needs no enlarging: the same maps, the long way
    traced = network.trace(images_B1HW, scale=1, taps=[1, 3, 6]).taps  # type: ignore[arg-type]  # VDSR alone takes 1
    assert all(torch.equal(a, b) for a, b in zip(features(images_B1HW), traced, strict=True))


@pytest.mark.parametrize("name", ["edsr", "rcan"])
def test_an_rgb_teachers_body_sees_the_enlarged_image_as_if_it_were_small(name: str) -> None:
    network = teacher(name, blocks=3)
    features = BodyMaps(network)
    traced = network.trace(IMAGES, taps=features.taps).taps
    assert all(torch.equal(a, b) for a, b in zip(features(IMAGES), traced, strict=True))


@pytest.mark.parametrize("name", ["random", "teacher"])
def test_a_gradient_passes_through_to_the_image(name: str) -> None:
    features = make_features(name, None, teacher().eval().requires_grad_(False))  # type: ignore[arg-type]  # two of the three
    images = IMAGES[:, :1].clone().requires_grad_()
    features(images)[-1].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_file_that_is_not_vgg19_is_refused(tmp_path: Path) -> None:
    path, tensors = a_file_of_vgg19(tmp_path)
    del tensors["features.28.bias"]
    torch.save(tensors, path)
    with pytest.raises(ConfigError, match=r"28\.bias is nothing where \(512,\) is needed") as found:
        make_features("vgg19", str(path), teacher())
    assert found.value.path == "method.vgg19"
    tensors["features.28.bias"] = torch.zeros(3)
    torch.save(tensors, path)
    with pytest.raises(ConfigError, match=r"28\.bias is \(3,\) where \(512,\) is needed"):
        make_features("vgg19", str(path), teacher())
    with pytest.raises(ConfigError, match="no such file") as found:
        make_features("vgg19", str(tmp_path / "none.pth"), teacher())
    assert found.value.path == "method.vgg19"


def test_features_that_cannot_be_had_are_refused() -> None:
    assert list(features_refusals("vgg19", "a.pth", 16)) == []
    assert list(features_refusals("teacher", None, 8)) == []
    assert [path for path, _ in features_refusals("vgg19", None, 16)] == ["method.vgg19"]
    assert [path for path, _ in features_refusals("random", None, 15)] == ["batch.patch"]
    make_features("random", None, teacher())(torch.rand(1, 1, 16, 16))  # the least there can be
