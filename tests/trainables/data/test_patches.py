"""Patches are aligned, seeded, resumable, and every place and mirroring occurs."""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.colour import luma_B1HW
from trainables.data.images import Images
from trainables.data.patches import Patches, WeightedChoice
from trainables.data.training import TrainingSet
from trainables.resample import downsample_BCHW, resize_uint8
from trainables.values import Colour, Pairs, Randomness

SCALES = (2, 3, 4)


def images(*shapes: tuple[int, int]) -> Images:
    rng = np.random.default_rng(0)
    arrays = tuple(rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes)
    for array in arrays:
        array.flags.writeable = False  # as Ray hands them to a trial
    return Images(tuple(f"image{number}.png" for number in range(len(shapes))), arrays)


def patches(
    source: Images,
    colour: Colour = "y",
    *,
    scales: Sequence[int] = SCALES,
    count: int = 4,
    patch: int = 12,
    seed: int = 0,
    resident: bool | None = None,
    **more: Any,
) -> Patches:
    return Patches(
        TrainingSet.of(source, colour=colour, scales=scales, **more),
        scales=scales,
        images_per_batch=count,
        patch=patch,
        randomness=Randomness(seed, "patches"),
        resident=resident,
    )


def whole(array: np.ndarray, scale: int, colour: Colour) -> tuple[Tensor, Tensor]:
    """LR and HR of a whole image, C H W, by the documented recipe."""
    height, width = (side // scale * scale for side in array.shape[:2])
    levels = torch.tensor(array[:height, :width]).permute(2, 0, 1)
    if colour == "rgb":
        return resize_uint8(levels, 1 / scale) / 255, levels / 255
    luma = luma_B1HW(levels.double() / 255)
    return downsample_BCHW(luma, scale), luma


def mirrored(patch_CHW: Tensor) -> list[Tensor]:
    turned = [patch_CHW, patch_CHW.mT]
    turned += [patch.flip(1) for patch in turned]
    return turned + [patch.flip(2) for patch in turned]


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() < 1e-5)


def origin(lr: Tensor, hr: Tensor, source: Images, scale: int, colour: Colour) -> tuple[int, ...]:
    """Image, row, column and mirroring of a pair; fails unless there is exactly one."""
    side = lr.shape[-1]
    found = []
    for number, array in enumerate(source.arrays):
        lr_whole, hr_whole = whole(array, scale, colour)
        for row in range(lr_whole.shape[1] - side + 1):
            for column in range(lr_whole.shape[2] - side + 1):
                small = lr_whole[:, row : row + side, column : column + side]
                top, left, tall = row * scale, column * scale, side * scale
                large = hr_whole[:, top : top + tall, left : left + tall]
                found += [
                    (number, row, column, way)
                    for way, (a, b) in enumerate(zip(mirrored(small), mirrored(large), strict=True))
                    if same(lr, a) and same(hr, b)
                ]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("colour", ["y", "rgb"])
@pytest.mark.parametrize("scale", SCALES)
def test_lr_and_hr_show_the_same_place_mirrored_alike(colour: Colour, scale: int) -> None:
    # Sides that no scale divides: the crop to a multiple must be the same for both.
    source = images((29, 31), (25, 38))
    patch = 12 if colour == "y" else 5
    pairs = patches(source, colour, scales=(scale,), patch=patch, count=12).draw()
    assert pairs.scale == scale
    for lr, hr in zip(pairs.lr_BCHW, pairs.hr_BCHW, strict=True):
        origin(lr, hr, source, scale, colour)


def test_every_image_place_and_mirroring_occurs() -> None:
    source = images((12, 14), (14, 12))
    pairs = patches(source, scales=(2,), count=800).draw()
    places = Counter(
        origin(lr, hr, source, 2, "y") for lr, hr in zip(pairs.lr_BCHW, pairs.hr_BCHW, strict=True)
    )
    assert len(places) == 2 * 2 * 8
    assert max(places.values()) < 2.5 * min(places.values())


@pytest.mark.parametrize(("colour", "channels"), [("y", 1), ("rgb", 3)])
def test_shapes_ranges_and_scales(colour: Colour, channels: int) -> None:
    stream = patches(images((60, 50)), colour)
    scales = Counter()
    for _ in range(60):
        pairs = stream.draw()
        scales[pairs.scale] += 1
        side = 12 // pairs.scale if colour == "y" else 12
        assert pairs.lr_BCHW.shape == (4, channels, side, side)
        assert pairs.hr_BCHW.shape == (4, channels, side * pairs.scale, side * pairs.scale)
        for tensor in (pairs.lr_BCHW, pairs.hr_BCHW):
            assert tensor.dtype == torch.float32
            assert tensor.is_contiguous()
            # Unrounded LR of pure noise overshoots black and white a little.
            assert tensor.min() >= -0.1
            assert tensor.max() <= 1.1
    assert set(scales) == set(SCALES)
    assert min(scales.values()) > 8


def equal(a: Pairs, b: Pairs) -> bool:
    return torch.equal(a.lr_BCHW, b.lr_BCHW) and torch.equal(a.hr_BCHW, b.hr_BCHW)


@pytest.mark.bits
def test_same_seed_same_batches_and_other_seed_others() -> None:
    source = images((40, 50))
    one, two, other = patches(source), patches(source), patches(source, seed=1)
    assert all(equal(one.draw(), two.draw()) for _ in range(5))
    assert not equal(one.draw(), other.draw())


@pytest.mark.bits
@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_goes_on_where_its_state_was_saved(colour: Colour) -> None:
    source = images((50, 60), (70, 50))
    through = patches(source, colour, downsizings=(1.0, 0.9))
    for _ in range(3):
        through.draw()
    state = through.state_dict()
    expected = [through.draw() for _ in range(5)]
    resumed = patches(source, colour, seed=7, downsizings=(1.0, 0.9))
    resumed.load_state_dict(state)
    assert all(equal(resumed.draw(), pairs) for pairs in expected)


def test_batches_are_their_own_memory() -> None:
    stream = patches(images((24, 24)))
    first = stream.draw()
    copy = Pairs(first.lr_BCHW.clone(), first.hr_BCHW.clone())
    for _ in range(20):
        later = stream.draw()
        later.lr_BCHW.zero_()
        later.hr_BCHW.zero_()
    assert equal(first, copy)


@pytest.mark.parametrize(("colour", "patch", "side"), [("y", 24, 24), ("rgb", 6, 24)])
def test_an_image_smaller_than_a_patch_is_named(colour: Colour, patch: int, side: int) -> None:
    patches(images((40, 40), (side, side)), colour, patch=patch).draw()
    with pytest.raises(
        ValueError, match=rf"^image1\.png is {side - 1}x40, smaller than a patch of"
    ):
        patches(images((40, 40), (40, side - 1)), colour, patch=patch)


def test_smaller_sizes_are_seen_where_a_patch_fits_in() -> None:
    # At 0.05 nothing is left of the second image to be made smaller still.
    source = images((40, 40), (20, 20))
    stream = patches(source, scales=(2,), count=64, downsizings=(1.0, 0.7, 0.5, 0.05))
    shapes = [[hr.shape[0] for hr, _ in sizes] for sizes in stream._photographs[2]]
    assert shapes == [[40, 28, 20], [20, 14]]
    stream.draw()


def test_read_only_images_raise_no_warning_and_are_not_copied() -> None:
    source = images((30, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for colour in ("y", "rgb"):
            stream = patches(source, colour, patch=4)
            stream.draw()
            for scale in SCALES:
                assert stream._photographs[scale][0][0][0] is source.arrays[0]


def test_luma_patches_are_as_lean_as_bytes_until_they_are_drawn() -> None:
    stream = patches(images((30, 30)), patch=4, scales=(2,))
    ((hr, lr),) = stream._photographs[2][0]
    assert (hr.dtype, hr.shape) == (np.uint8, (30, 30, 3))
    assert (lr.dtype, lr.shape) == (np.float32, (15, 15, 1))
    stream = patches(images((30, 30)), "rgb", patch=4, scales=(2,))
    ((hr, lr),) = stream._photographs[2][0]
    assert (lr.dtype, lr.shape) == (np.uint8, (15, 15, 3))


@pytest.mark.parametrize("colour", ["y", "rgb"])
@pytest.mark.parametrize("downsizings", [(1.0,), (1.0, 0.7)])
def test_patches_gathered_on_a_device_are_those_cut_on_the_host(
    colour: Colour, downsizings: tuple[float, ...]
) -> None:
    source = images((61, 73), (52, 90), (80, 54))
    cut, gathered = (
        patches(source, colour, count=16, resident=resident, downsizings=downsizings)
        for resident in (False, True)
    )
    for _ in range(24):
        one, other = cut.draw(), gathered.draw()
        assert torch.equal(one.lr_BCHW, other.lr_BCHW)
        assert torch.equal(one.hr_BCHW, other.hr_BCHW)
        assert other.lr_BCHW.is_contiguous() and other.hr_BCHW.is_contiguous()
    assert torch.equal(cut.state_dict()["state"], gathered.state_dict()["state"])


def weighted(folders: tuple[tuple[int, float], ...], resident: bool | None = None) -> Patches:
    """Patches of images of one level each, by which they are told apart."""
    count = sum(number for number, _ in folders)
    arrays = tuple(np.full((12, 12, 3), level, np.uint8) for level in range(count))
    source = Images(tuple(map(str, range(count))), arrays)
    training = TrainingSet.of(source, colour="rgb", scales=(2,))
    return Patches(
        dataclasses.replace(training, folders=folders),
        scales=(2,),
        images_per_batch=16,
        patch=4,
        randomness=Randomness(0, "patches"),
        resident=resident,
    )


def levels(stream: Patches, batches: int) -> list[int]:
    """The image of each of the next patches."""
    drawn = [stream.draw().hr_BCHW[:, 0, 0, 0] * 255 for _ in range(batches)]
    return torch.cat(drawn).round().int().tolist()


def test_a_folder_is_drawn_by_its_weight_and_its_images_evenly() -> None:
    counts = Counter(levels(weighted(((1, 3.0), (4, 1.0))), 400))
    assert abs(counts[0] / 6400 - 3 / 4) < 0.02
    assert all(abs(counts[image] / 6400 - 1 / 16) < 0.015 for image in range(1, 5))


@pytest.mark.bits
def test_one_folder_of_any_weight_draws_what_images_without_folders_draw() -> None:
    stream = weighted(((5, 1.0),))
    generator = Randomness(0, "patches").generator
    for _ in range(8):
        torch.randint(1, (), generator=generator)
        numbers = torch.rand(16, 7, generator=generator, dtype=torch.float64)[:, 0].tolist()
        assert levels(stream, 1) == [int(number * 5) for number in numbers]
    for weight in (0.1, 7.0):
        assert levels(weighted(((5, weight),)), 8) == levels(weighted(((5, 1.0),)), 8)


def test_the_same_batches_are_gathered_on_a_device() -> None:
    folders = ((2, 1.0), (3, 5.0), (1, 0.5))
    assert levels(weighted(folders, resident=True), 12) == levels(weighted(folders), 12)


def test_a_number_falls_to_the_image_whose_interval_it_is_in() -> None:
    choice = WeightedChoice([(2, 1.0), (1, 2.0), (4, 1.0)])
    below_1 = np.nextafter(1.0, 0.0)
    found = [choice.index(u) for u in (0.0, 0.124, 0.125, 0.249, 0.25, 0.749, 0.75, 0.82, below_1)]
    assert found == [0, 0, 1, 1, 2, 2, 3, 4, 6]
    for count in (1, 3, 7, 1000):
        alone = WeightedChoice([(count, 0.3)])
        for u in (*np.random.default_rng(0).uniform(size=200), 0.0, below_1):
            assert alone.index(u) == int(u * count)
    for extreme in ([(1, 1e3), (3, 1e-3)], [(3, 1e-3), (1, 1e3)], [(1, 0.1), (1, 0.7), (1, 1e-3)]):
        rare = WeightedChoice(extreme)
        last = sum(count for count, _ in extreme) - 1
        assert rare.index(0.0) == 0 and 0 <= rare.index(below_1) <= last
        assert len({rare.index(u) for u in np.linspace(0, below_1, 999)}) <= last + 1
    for weights in np.random.default_rng(1).uniform(0.01, 9, (50, 3)):
        uneven = WeightedChoice(list(zip((5, 2, 9), weights, strict=True)))
        assert (uneven.index(0.0), uneven.index(below_1)) == (0, 15)
