from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.networks import SRNet, build_network
from trainables.networks.checkpoint import save_network
from trainables.networks.loading import load_network
from trainables.networks.slim import leading, live_inside, slice_refusals, through_slice

WIDE: dict[str, dict[str, Any]] = {
    "vdsr": {"name": "vdsr", "features": 8, "blocks": 3, "scales": [2, 3]},
    "edsr": {"name": "edsr", "features": 8, "blocks": 2, "scale": 4},
    "rcan": {"name": "rcan", "features": 32, "blocks": 1, "groups": 2, "scale": 3, "reduction": 2},
    "compact": {"name": "compact", "features": 8, "blocks": 2, "scale": 2},
}

each_network = pytest.mark.parametrize("name", WIDE)


def wide_and_narrow(name: str) -> tuple[SRNet, SRNet]:
    features = WIDE[name]["features"] // 2
    wide = build_network(WIDE[name], seed=1)
    narrow = build_network({**WIDE[name], "features": features}, seed=2)
    live_inside(narrow, wide)
    return wide, narrow


def picture(network: SRNet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 1 if network.colour == "y" else 3, 8, 9, generator=generator)


def test_leading_by_hand() -> None:
    tensor = torch.arange(24).view(2, 3, 4)
    assert leading(tensor, torch.Size([1, 2, 3])).tolist() == [[[0, 1, 2], [4, 5, 6]]]
    assert leading(tensor, tensor.shape).data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("shape", [(3, 3, 4), (2, 3, 5), (2, 3), (1, 2, 3, 4)])
def test_more_than_there_is_cannot_be_cut(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"no leading part of \(2, 3, 4\)"):
        leading(torch.zeros(2, 3, 4), torch.Size(shape))


@each_network
def test_every_parameter_is_the_leading_part_of_the_wide_ones(name: str) -> None:
    wide, narrow = wide_and_narrow(name)
    whole = dict(wide.named_parameters())
    for key, part in narrow.named_parameters():
        assert part.untyped_storage().data_ptr() == whole[key].untyped_storage().data_ptr()
        assert torch.equal(part, whole[key][tuple(slice(side) for side in part.shape)])


def test_an_upsampler_gives_whole_groups_of_pixel_shuffle() -> None:
    # Made so that wide channel c becomes the constant c + 1 after enlarging, as r^2 equal channels.
    wide, narrow = wide_and_narrow("rcan")
    convolution, shuffle = wide.upsample[0], wide.upsample[1]  # type: ignore[index]  # RCAN's own
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.copy_(torch.arange(32).repeat_interleave(9) + 1)
    large = narrow.upsample(torch.rand(1, 16, 2, 2))  # type: ignore[operator]  # RCAN's own
    assert shuffle.upscale_factor == 3
    assert large.shape == (1, 16, 6, 6)
    assert torch.equal(large, (torch.arange(16.0) + 1).view(1, 16, 1, 1).expand_as(large))


def test_the_bottleneck_of_rcans_attention_is_cut_with_the_rest() -> None:
    wide, narrow = wide_and_narrow("rcan")
    key = "body.0.residual_group.0.rcab.3.attention.1.weight"
    assert wide.state_dict()[key].shape == (16, 32, 1, 1)
    assert narrow.state_dict()[key].shape == (8, 16, 1, 1)


@each_network
def test_a_slice_that_is_written_to_a_file_answers_as_it_did_inside(
    name: str, tmp_path: Path
) -> None:
    wide, narrow = wide_and_narrow(name)
    lr_BCHW, scale = picture(narrow), narrow.scales[-1]
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.mul_(1.25)  # an update in place: the slice has followed
        inside_BCHW = through_slice(narrow, wide, lr_BCHW, scale)
    file = tmp_path / "slice.safetensors"
    save_network(file, narrow)
    alone = load_network(file)
    numbers = sum(parameter.numel() for parameter in narrow.parameters())
    assert sum(parameter.numel() for parameter in alone.parameters()) == numbers
    assert file.stat().st_size < 4 * numbers + 100 * len(list(narrow.parameters())) + 1000
    with torch.no_grad():
        torch.testing.assert_close(alone(lr_BCHW, scale=scale), inside_BCHW, rtol=0, atol=1e-6)
        torch.testing.assert_close(narrow(lr_BCHW, scale=scale), inside_BCHW, rtol=0, atol=1e-6)


@each_network
def test_gradients_arrive_in_the_slice_and_add_to_the_wide_passs(name: str) -> None:
    wide, narrow = wide_and_narrow(name)
    lr_BCHW, scale = picture(narrow), narrow.scales[0]

    def gradients(*passes: str) -> dict[str, torch.Tensor]:
        wide.zero_grad()
        if "narrow" in passes:
            through_slice(narrow, wide, lr_BCHW, scale).square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        if "wide" in passes:
            wide(lr_BCHW, scale=scale).square().sum().backward()
        return {key: value.grad.clone() for key, value in wide.named_parameters()}  # type: ignore[union-attr]  # there is one

    small, large, both = gradients("narrow"), gradients("wide"), gradients("narrow", "wide")
    shapes = {key: value.shape for key, value in narrow.named_parameters()}
    for key, gradient in small.items():
        assert leading(gradient, shapes[key]).abs().sum() > 0
        leading(gradient, shapes[key]).zero_()
        assert gradient.count_nonzero() == 0, "outside of the slice"
    again = gradients("narrow")
    for key, sum_of_both in both.items():
        torch.testing.assert_close(sum_of_both, again[key] + large[key])
    assert all(parameter.grad is None for parameter in narrow.parameters())


def test_a_network_of_other_parts_cannot_live_inside() -> None:
    deep = build_network({**WIDE["edsr"], "blocks": 3})
    with pytest.raises(ValueError, match="has the parameters of the network"):
        live_inside(build_network(WIDE["edsr"]), deep)


@pytest.mark.parametrize(
    ("student", "teacher", "path", "words"),
    [
        ({}, {}, "student.features", "8 are not fewer than 8"),
        ({"features": 9}, {}, "student.features", "9 are not fewer than 8"),
        ({"features": 4, "blocks": 1}, {}, "student.blocks", "has 2 as it has, not 1"),
        ({"features": 4, "res_scale": 0.5}, {}, "student.res_scale", "has 1.0 as it has, not 0.5"),
        ({"features": 4, "weights": "a.pt"}, {}, "student.weights", "leave weights out"),
        ({"features": 4}, {"name": "rcan"}, "student.name", "has rcan as it has, not edsr"),
        ({"name": "swinir", "features": 6}, {}, "student.name", "of swinir cannot be cut"),
        ({"features": 4}, {"name": "swinir", "features": 6}, "teacher.name", "of swinir cannot"),
        ({"features": 4}, {"name": "spandrel"}, "teacher.name", "of spandrel cannot be cut"),
    ],
)
def test_what_is_no_slice_is_refused_with_a_sentence(
    student: dict[str, Any], teacher: dict[str, Any], path: str, words: str
) -> None:
    from trainables.networks import TEACHERS

    def config(changes: dict[str, Any]) -> Any:
        raw = {**WIDE["edsr"], **changes}
        if raw["name"] == "spandrel":
            raw = {"name": "spandrel", "scale": 4, "weights": "a.pt"}
        return TEACHERS[raw["name"]].config_class.model_validate(raw)

    found = next(iter(slice_refusals(config(student), config(teacher))))
    assert found[0] == path
    assert words in found[1]


@each_network
def test_what_is_a_slice_is_not_refused(name: str) -> None:
    wide, narrow = wide_and_narrow(name)
    assert list(slice_refusals(narrow.config, wide.config)) == []  # type: ignore[arg-type]  # ours
