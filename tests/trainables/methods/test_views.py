from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.methods.views import (
    PAD,
    global_places,
    hats_BNN,
    local_places,
    maybe_mirrored,
    sampled_BCHW,
    window_BN,
)
from trainables.values import Randomness

View = Callable[[Tensor, Randomness], Tensor]


def global_view_BCHW(x_BCHW: Tensor, randomness: Randomness) -> Tensor:
    return sampled_BCHW(x_BCHW, *global_places(x_BCHW.shape, randomness))


def local_view_BCHW(x_BCHW: Tensor, randomness: Randomness) -> Tensor:
    return sampled_BCHW(x_BCHW, *local_places(x_BCHW.shape, randomness))


each_view = pytest.mark.parametrize("view", [global_view_BCHW, local_view_BCHW])


def picture(images: int = 3, colours: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(images, colours, height, width, generator=torch.Generator().manual_seed(0))


def test_sampling_by_hand() -> None:
    x = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    half = torch.tensor([[0.5, 1.0]])
    # Rows 1/2 and 1, columns 1 and 0: (4 + 12) / 2, (0 + 8) / 2; 12, 8.
    turned = sampled_BCHW(x, half, torch.tensor([[1, 0]]))
    assert turned.flatten().tolist() == [8.0, 4.0, 12.0, 8.0]
    outside = sampled_BCHW(x, torch.tensor([[-1, 0]]), torch.tensor([[1, 2]]))
    assert outside.flatten().tolist() == [0.0, 0.0, 4.0, 0.0]


def test_between_pixels_it_is_what_torch_samples() -> None:
    x = picture(4, 3, 8, 6)
    shares, places = torch.linspace(0.4, 1.0, 4)[:, None], torch.linspace(1.0, 0.2, 4)[:, None]
    rows, columns = window_BN(8, shares, places), window_BN(6, shares.flip(0), places)
    grid = torch.stack(
        [
            (columns / 5 * 2 - 1)[:, None, :].expand(4, 8, 6),
            (rows / 7 * 2 - 1)[:, :, None].expand(4, 8, 6),
        ],
        dim=-1,
    )
    wanted = F.grid_sample(x, grid, align_corners=True)
    assert torch.allclose(sampled_BCHW(x, rows, columns), wanted, atol=1e-5)


def test_the_global_view_is_a_crop_of_the_padded_image_maybe_mirrored() -> None:
    x, randomness = picture(), Randomness(0, "views")
    padded = F.pad(x, (PAD,) * 4)
    crops = padded.unfold(2, 8, 1).unfold(3, 8, 1)  # B C 9 9 8 8: every crop there is
    found = set()
    for _ in range(60):
        view = sampled_BCHW(x, *global_places(x.shape, randomness))
        for number, image in enumerate(view):
            for mirrored in (False, True):
                looked_for = image.flip(-1) if mirrored else image
                same = (crops[number] == looked_for[:, None, None]).flatten(3).all(3).all(0)
                found |= {(top, left, mirrored) for top, left in same.nonzero().tolist()}
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(9))
    assert {mirrored for _, _, mirrored in found} == {False, True}
    assert len(found) > 100  # 180 views, nearly each a crop of its own, and each of them found


def test_a_whole_image_enlarged_is_itself_and_its_half_is_twice_as_large() -> None:
    whole = window_BN(8, torch.tensor([[1.0], [1.15]]), torch.tensor([[0.3], [0.9]]))
    assert torch.allclose(whole, torch.arange(8.0).expand(2, 8), atol=1e-6)
    half = window_BN(8, torch.tensor([[0.5]]), torch.tensor([[0.0]]))
    assert half.flatten().tolist() == [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]


def test_the_local_view_shows_a_quarter_to_all_of_the_image() -> None:
    # An image that says where it is: its colours are its rows and its columns.
    ramp = torch.arange(32.0)
    x = torch.stack([ramp[:, None].expand(32, 32), ramp[None].expand(32, 32)])[None]
    x = x.expand(2000, 2, 32, 32)
    view = sampled_BCHW(x, *local_places(x.shape, Randomness(0, "views")))
    rows, columns = view[:, 0, :, 0], view[:, 1, 0, :]
    inner = slice(8, 24)  # no edge pixel is repeated there: 16 steps are half the window
    height = (rows[:, inner][:, -1] - rows[:, inner][:, 0]) / 15 * 32
    width = (columns[:, inner][:, -1] - columns[:, inner][:, 0]).abs() / 15 * 32
    area, shape = height * width / 32**2, width / height
    assert 0.25 - 1e-3 <= area.min() < 0.27
    assert 0.9 < area.max() <= 1.0 + 1e-3
    assert 0.75 - 1e-3 <= shape.min() < 0.78
    assert 1.3 < shape.max() <= 4 / 3 + 1e-3
    assert area.mean().item() == pytest.approx(0.6, abs=0.03)  # of 0.625: the longest are cut
    middles = rows[:, 15:17].mean(1)
    assert middles.mean().item() == pytest.approx(15.5, abs=0.3)
    assert 0.4 < (columns[:, 0] > columns[:, -1]).float().mean() < 0.6


def test_mirroring_reverses_whole_rows_of_about_every_other_image() -> None:
    columns = torch.arange(6.0).expand(1000, 6)
    mirrored = maybe_mirrored(columns, Randomness(0, "views"))
    reversed_rows = (mirrored == columns.flip(1)).all(1)
    assert (reversed_rows | (mirrored == columns).all(1)).all()
    assert 400 < int(reversed_rows.sum()) < 600


def test_weights_of_a_place_inside_the_image_sum_to_one() -> None:
    inside = torch.linspace(0.0, 7.0, 50)[None]
    assert torch.allclose(hats_BNN(inside, 8).sum(-1), torch.ones(1, 50))


@each_view
@pytest.mark.parametrize(("height", "width"), [(12, 12), (16, 24)])
def test_a_view_keeps_size_and_range(view: View, height: int, width: int) -> None:
    x = picture(5, 1, height, width)
    seen = view(x, Randomness(0, "views"))
    assert seen.shape == x.shape
    assert 0.0 <= seen.min() <= seen.max() <= 1.0 + 1e-6


@each_view
def test_every_image_is_seen_in_its_own_way_and_alone(view: View) -> None:
    one = picture(1).expand(8, 2, 8, 8)
    seen = view(one, Randomness(0, "views"))
    assert len({tuple(image.flatten().tolist()) for image in seen}) > 4
    other = one.clone()
    other[0] = 0.0
    assert torch.equal(view(other, Randomness(0, "views"))[1:], seen[1:])


@each_view
def test_the_stream_decides_and_the_gradient_passes(view: View) -> None:
    x = picture().requires_grad_()
    seen = view(x, Randomness(0, "views"))
    assert torch.equal(seen, view(x, Randomness(0, "views")))
    assert not torch.equal(seen, view(x, Randomness(1, "views")))
    seen.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


@each_view
def test_under_bfloat16_a_view_stays_exact(view: View) -> None:
    x = picture()
    with torch.autocast("cpu", torch.bfloat16):
        seen = view(x, Randomness(0, "views"))
    assert torch.equal(seen, view(x, Randomness(0, "views")))
