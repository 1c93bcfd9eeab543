"""Held-out images are cropped, shrunk and compared as their protocol says."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data.images import Images
from trainables.errors import ConfigError
from trainables.metrics.evaluate import Heldout, HeldoutConfig, evaluate
from trainables.metrics.fidelity import PROTOCOLS, PSNR_CEILING_DB, ProtocolName
from trainables.metrics.tiles import Upscale
from trainables.networks import build_network
from trainables.resample import upsample_BCHW
from trainables.values import Colour

EVERY_PROTOCOL = [(name, "y") for name in PROTOCOLS] + [
    (name, "rgb") for name, protocol in PROTOCOLS.items() if protocol.rgb
]


def images(*shapes: tuple[int, int]) -> Images:
    rng = np.random.default_rng(0)
    arrays = []
    for height, width in shapes:
        rows, columns = np.mgrid[:height, :width]
        waves = [np.sin(rows / 5 + k) * np.cos(columns / (4 + k)) for k in range(3)]
        noise = rng.normal(0, 8, (height, width, 3))
        array = np.clip(128 + 90 * np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)
        array.flags.writeable = False  # as Ray hands them to a trial
        arrays.append(array)
    return Images(tuple(f"image{n}.png" for n in range(len(shapes))), tuple(arrays))


@pytest.mark.parametrize(("protocol", "colour"), EVERY_PROTOCOL)
def test_keys_means_and_repeatability(protocol: ProtocolName, colour: Colour) -> None:
    heldout = Heldout(images((61, 50), (47, 70)), colour=colour, scales=(2, 3), protocol=protocol)
    report = evaluate(upsample_BCHW, heldout)
    assert set(report) == {
        f"{key}{suffix}" for key in ("psnr_y_db", "ssim") for suffix in ("", "_x2", "_x3")
    }
    for key in ("psnr_y_db", "ssim"):
        assert report[key] == pytest.approx((report[f"{key}_x2"] + report[f"{key}_x3"]) / 2)
    assert 15 < report["psnr_y_db_x3"] < report["psnr_y_db_x2"] < 45
    assert evaluate(upsample_BCHW, heldout) == report


def truth_of(heldout: Heldout) -> Upscale:
    """An upscaler that knows the answers, by the LR tensor it is given."""
    answers = {}
    for views in heldout.views.values():
        for view in views:
            hr = torch.tensor(view.hr_HWC).permute(2, 0, 1)[None] / 255
            answers[id(view.lr_BCHW)] = hr

    def upscale(lr_BCHW: Tensor, scale: int) -> Tensor:
        from trainables.colour import luma_B1HW

        hr = answers[id(lr_BCHW)]
        assert hr.shape[-1] == scale * lr_BCHW.shape[-1]
        return hr if lr_BCHW.shape[1] == 3 else luma_B1HW(hr)

    return upscale


@pytest.mark.parametrize("protocol", ["yfloat", "y8", "cmi_legacy"])
def test_a_perfect_luma_network_is_perfect(protocol: ProtocolName) -> None:
    heldout = Heldout(images((61, 50)), colour="y", scales=(2, 3, 4), protocol=protocol)
    report = evaluate(truth_of(heldout), heldout)
    assert report["psnr_y_db"] == PSNR_CEILING_DB
    assert report["ssim"] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("protocol", ["yfloat", "rgb8", "rgb8_matlab"])
def test_a_perfect_rgb_network_is_perfect(protocol: ProtocolName) -> None:
    heldout = Heldout(images((61, 50)), colour="rgb", scales=(2, 4), protocol=protocol)
    report = evaluate(truth_of(heldout), heldout)
    assert report["psnr_y_db"] == PSNR_CEILING_DB


@pytest.mark.parametrize("protocol", ["rgb8", "rgb8_matlab"])
def test_bicubic_of_luma_and_of_rgb_agree_where_both_end_as_a_picture(
    protocol: ProtocolName,
) -> None:
    source = images((61, 50))
    luma = evaluate(upsample_BCHW, Heldout(source, colour="y", scales=(2,), protocol=protocol))
    rgb = evaluate(upsample_BCHW, Heldout(source, colour="rgb", scales=(2,), protocol=protocol))
    assert luma["psnr_y_db"] == pytest.approx(rgb["psnr_y_db"], abs=0.002)


def test_a_cumulative_crop_is_smaller() -> None:
    source = images((59, 50))
    plain = Heldout(source, colour="y", scales=(2, 3, 4), protocol="yfloat")
    legacy = Heldout(source, colour="y", scales=(2, 3, 4), protocol="cmi_legacy")
    sides = {
        protocol: [views[0].hr_HWC.shape[:2] for views in heldout.views.values()]
        for protocol, heldout in (("yfloat", plain), ("cmi_legacy", legacy))
    }
    assert sides["yfloat"] == [(58, 50), (57, 48), (56, 48)]
    assert sides["cmi_legacy"] == [(58, 50), (57, 48), (56, 48)]
    tall = Heldout(images((53, 50)), colour="y", scales=(4,), protocol="cmi_legacy")
    assert tall.views[4][0].hr_HWC.shape[0] == 48  # 53 -> 52 -> 51 -> 48, not 52


def test_what_is_shaved_does_not_count() -> None:
    heldout = Heldout(images((48, 48)), colour="y", scales=(3,))

    def spoil(border: int) -> float:
        def upscale(lr_BCHW: Tensor, scale: int) -> Tensor:
            sr_BCHW = upsample_BCHW(lr_BCHW, scale).clone()
            for side in (slice(None, border), slice(-border, None)):
                sr_BCHW[..., side, :] = 0
                sr_BCHW[..., :, side] = 0
            return sr_BCHW

        return evaluate(upscale, heldout)["psnr_y_db"]

    assert spoil(3) == evaluate(upsample_BCHW, heldout)["psnr_y_db"]
    assert spoil(4) < spoil(3) - 1


def test_crop_keeps_the_middle() -> None:
    source = images((60, 80))
    heldout = Heldout(source, colour="y", scales=(2,), crop=40)
    assert np.array_equal(heldout.views[2][0].hr_HWC, source.arrays[0][10:50, 20:60])


def test_images_too_small_are_named() -> None:
    with pytest.raises(ValueError, match=r"^image1\.png is 50x30, smaller than heldout\.crop 40"):
        Heldout(images((60, 60), (30, 50)), colour="y", scales=(2,), crop=40)
    with pytest.raises(ValueError, match=r"^image0\.png is 18x40 .* at least 19x19"):
        Heldout(images((40, 18)), colour="y", scales=(4,))
    Heldout(images((40, 20)), colour="y", scales=(4,))


def test_config_is_followed_and_its_mistakes_are_named() -> None:
    source = images((60, 60))
    config = HeldoutConfig(crop=36, protocol="y8")
    heldout = Heldout.of(source, config, scales=(2, 4), colour="y")
    assert heldout.protocol == "y8"
    assert heldout.views[4][0].hr_HWC.shape == (36, 36, 3)
    with pytest.raises(ConfigError, match=r"^heldout\.protocol: y8 is for luma networks"):
        Heldout.of(source, config, scales=(2,), colour="rgb")
    with pytest.raises(ValueError, match="protocol"):
        HeldoutConfig.model_validate({"protocol": "psnr"})


@pytest.mark.parametrize("colour", ["y", "rgb"])
def test_lr_images_that_are_given_are_used(colour: Colour) -> None:
    source = images((41, 50))
    rules = {"colour": colour, "scales": (2,), "protocol": "rgb8"}
    (made,) = Heldout(source, **rules).views[2]  # type: ignore[arg-type]  # a mapping of them
    other = np.full((20, 25, 3), 80, dtype=np.uint8)
    (view,) = Heldout(source, **rules, lr={2: [other]}).views[2]  # type: ignore[arg-type]  # as above
    assert view.lr_BCHW.shape == made.lr_BCHW.shape
    assert view.lr_BCHW.std() < 1e-6 < made.lr_BCHW.std()
    assert torch.equal(view.truth_B1HW, made.truth_B1HW)
    assert (view.canvas_B3HW is None) == (colour == "rgb")
    if view.canvas_B3HW is not None:
        torch.testing.assert_close(view.canvas_B3HW, torch.full((1, 3, 40, 50), 80 / 255))


def test_lr_images_that_do_not_belong_are_refused() -> None:
    source = images((41, 50))
    small = np.zeros((20, 24, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"^the LR image of image0\.png at x2 is 24x20, not 25x20"):
        Heldout(source, colour="y", scales=(2,), protocol="rgb8", lr={2: [small]})
    for protocol in ("yfloat", "y8", "cmi_legacy"):
        with pytest.raises(ConfigError, match=rf"^lr: {protocol} makes its LR from luma"):
            Heldout(source, colour="y", scales=(2,), protocol=protocol, lr={2: [small]})


def test_a_network_that_gives_nan_is_reported_as_nan() -> None:
    heldout = Heldout(images((40, 40)), colour="y", scales=(2,))
    report = evaluate(lambda lr, scale: upsample_BCHW(lr, scale) * math.nan, heldout)
    assert all(math.isnan(value) for value in report.values())


def test_no_gradient_is_kept() -> None:
    heldout = Heldout(images((40, 40)), colour="y", scales=(2,))
    weight = torch.ones((), requires_grad=True)
    seen = []

    def upscale(lr_BCHW: Tensor, scale: int) -> Tensor:
        seen.append(upsample_BCHW(lr_BCHW, scale) * weight)
        return seen[-1]

    evaluate(upscale, heldout)
    assert not seen[0].requires_grad


def test_images_of_one_size_are_upscaled_together() -> None:
    sizes = (60, 60), (50, 70), (60, 60), (60, 60), (50, 70)
    heldout = Heldout(images(*sizes), colour="y", scales=(2, 3))
    passed = []

    def upscale(lr_BCHW: Tensor, scale: int) -> Tensor:
        passed.append((scale, *lr_BCHW.shape))
        return upsample_BCHW(lr_BCHW, scale)

    def one_by_one(lr_BCHW: Tensor, scale: int) -> Tensor:
        return torch.cat([upsample_BCHW(each, scale) for each in lr_BCHW.split(1)])

    together = evaluate(upscale, heldout)
    assert passed == [
        *((2, 3, 1, 30, 30), (2, 2, 1, 25, 35)),
        *((3, 3, 1, 20, 20), (3, 2, 1, 16, 23)),
    ]
    assert together == pytest.approx(evaluate(one_by_one, heldout), abs=1e-6)
    alone = [
        evaluate(upscale, Heldout(_only(images(*sizes), n), colour="y", scales=(2, 3)))
        for n in range(len(sizes))
    ]
    for key, mean in together.items():
        assert mean == pytest.approx(np.mean([each[key] for each in alone]), abs=1e-6)


def test_no_more_pixels_are_upscaled_together_than_memory_is_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heldout = Heldout(images(*[(40, 40)] * 5, (60, 60)), colour="y", scales=(2,))
    monkeypatch.setattr("trainables.metrics.evaluate._PIXELS_AT_ONCE", 2 * 40**2)
    passed = []

    def upscale(lr_BCHW: Tensor, scale: int) -> Tensor:
        passed.append(lr_BCHW.shape)
        return upsample_BCHW(lr_BCHW, scale)

    evaluate(upscale, heldout)
    assert [shape[0] for shape in passed] == [2, 2, 1, 1]  # the last exceeds it by itself


@pytest.mark.parametrize("name", ["vdsr", "edsr"])
def test_a_network_scores_the_same_on_images_together_and_one_by_one(name: str) -> None:
    colour: Colour = "y" if name == "vdsr" else "rgb"
    network = build_network({"name": name, "features": 8, "blocks": 2, "scale": 2}, seed=0)
    network.double()
    heldout = Heldout(images(*[(40, 40)] * 3), colour=colour, scales=(2,))

    def exact(lr_BCHW: Tensor, scale: int) -> Tensor:
        sr_BCHW: Tensor = network(lr_BCHW.double(), scale=scale)
        return sr_BCHW

    def one_by_one(lr_BCHW: Tensor, scale: int) -> Tensor:
        return torch.cat([exact(each, scale) for each in lr_BCHW.split(1)])

    together = evaluate(exact, heldout)
    assert together == pytest.approx(evaluate(one_by_one, heldout), abs=1e-9)


def _only(source: Images, number: int) -> Images:
    """A single one of several images."""
    return Images((source.names[number],), (source.arrays[number],))


@pytest.mark.parametrize(("protocol", "colour"), EVERY_PROTOCOL)
def test_pictures_are_rgb_bytes_close_to_the_image(protocol: ProtocolName, colour: Colour) -> None:
    heldout = Heldout(images((60, 60)), colour=colour, scales=(2,), protocol=protocol)
    (view,) = heldout.views[2]
    picture = heldout.picture(view, upsample_BCHW(view.lr_BCHW, 2))
    assert picture.dtype == np.uint8
    assert picture.shape == view.hr_HWC.shape
    assert np.abs(picture.astype(int) - view.hr_HWC).mean() < 12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_host_waits_once() -> None:
    heldout = Heldout(images((60, 60), (50, 70)), colour="y", scales=(2, 3), device="cuda")
    expected = evaluate(upsample_BCHW, heldout)  # makes the matrices
    views = [view for views in heldout.views.values() for view in views]
    torch.cuda.set_sync_debug_mode("error")
    try:
        scores = [heldout.score(v, upsample_BCHW(v.lr_BCHW, v.scale)) for v in views]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert scores[0][0].item() == pytest.approx(expected["psnr_y_db_x2"], abs=5)


# --- a grey picture -------------------------------------------------------------------------------


def one_level(level: int, side: int = 24) -> Images:
    """A grey picture of one level, as decoded: three equal channels."""
    return Images(("bridge.png",), (np.full((side, side, 3), level, dtype=np.uint8),))


def brighter(by: float) -> Upscale:
    """An upscaler of even pictures that errs by `by` levels of 255."""
    return lambda lr_BCHW, scale: upsample_BCHW(lr_BCHW, scale) + by / 255


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_under_y8_a_grey_picture_is_its_own_luma(scale: int) -> None:
    heldout = Heldout(one_level(100), colour="y", scales=(scale,), protocol="y8")
    (view,) = heldout.views[scale]
    assert view.grey
    assert view.truth_B1HW.unique().tolist() == [100 / 255]
    assert torch.allclose(view.lr_BCHW, torch.full_like(view.lr_BCHW, 100 / 255))
    # 10 levels off everywhere: 10 log10(255^2 / 10^2)
    report = evaluate(brighter(10.0), heldout)
    assert report["psnr_y_db"] == pytest.approx(28.1308, abs=1e-4)
    # 10.4 is rounded to 10 of 255, as luma is compared in whole levels
    assert evaluate(brighter(10.4), heldout)["psnr_y_db"] == pytest.approx(28.1308, abs=1e-4)
    picture = heldout.picture(view, view.lr_BCHW)
    assert np.unique(picture).tolist() == [100] and picture.shape[2] == 3


@pytest.mark.parametrize("protocol", ["yfloat", "rgb8", "rgb8_matlab", "cmi_legacy"])
def test_under_the_other_protocols_it_is_rgb(protocol: ProtocolName) -> None:
    heldout = Heldout(one_level(100), colour="y", scales=(2,), protocol=protocol)
    (view,) = heldout.views[2]
    assert not view.grey
    # 16 + (65.481 + 128.553 + 24.966) 100 / 255, rounded by rgb8_matlab
    luma = 102.0 if protocol == "rgb8_matlab" else 101.88235
    assert view.truth_B1HW.mean().item() * 255 == pytest.approx(luma, abs=1e-4)


def test_one_pixel_of_colour_makes_a_picture_rgb() -> None:
    pixels = one_level(100).arrays[0].copy()
    pixels[12, 12] = (100, 100, 101)
    heldout = Heldout(Images(("a.png",), (pixels,)), colour="y", scales=(2,), protocol="y8")
    (view,) = heldout.views[2]
    assert not view.grey
    assert view.truth_B1HW[0, 0, 0, 0].item() * 255 == pytest.approx(102.0)


def resized_by_hand(levels: np.ndarray, size: int) -> np.ndarray:
    """MATLAB's imresize of one row: cubic kernel with a = -0.5, stretched where a row shrinks."""
    count, stretch = len(levels), max(1.0, len(levels) / size)
    centres = (np.arange(size)[:, None] + 0.5) * count / size - 0.5
    taps = np.floor(centres) + np.arange(-math.ceil(2 * stretch), math.ceil(2 * stretch) + 1)
    x = np.abs(taps - centres) / stretch
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    mirrored = np.minimum(taps % (2 * count), 2 * count - 1 - taps % (2 * count)).astype(int)
    return np.asarray((weights * levels[mirrored]).sum(1) / weights.sum(1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_bicubic_row_of_a_grey_picture_worked_by_hand(scale: int) -> None:
    """Set14 has one grey picture among its 14, `bridge`, and is printed in two ways for it.

    With its levels as luma (`y8`) the bicubic rows are 30.24 / 27.55 / 26.00 dB, with luma
    16 + 219 g / 255 (`yfloat`) 30.34 / 27.64 / 26.10: errors of `bridge` are 219 / 255 as large
    then, which is 20 log10(255 / 219) = 1.32 dB, and 0.09 dB in the mean of 14. Here it is a
    picture whose rows are all alike, so that one row is worked.
    """
    row = np.random.default_rng(scale).integers(-40, 41, 60).cumsum() % 120 + 60
    picture = np.broadcast_to(row.astype(np.uint8)[None, :, None], (60, 60, 3)).copy()
    images = Images(("bridge.png",), (picture,))
    up = resized_by_hand(resized_by_hand(row.astype(float), 60 // scale), 60)
    inside = slice(scale, -scale)
    grey = np.floor(up.clip(0, 255) + 0.5)  # y8: the luma itself, in whole levels
    by_hand = {"y8": (grey - row)[inside]}
    luma_lr = resized_by_hand(16 + 219 * row / 255, 60 // scale)
    luma = resized_by_hand(luma_lr, 60).clip(0, 255)
    by_hand["yfloat"] = (luma - (16 + 219 * row / 255))[inside]
    for name, error in by_hand.items():
        protocol: ProtocolName = "y8" if name == "y8" else "yfloat"
        heldout = Heldout(images, colour="y", scales=(scale,), protocol=protocol)
        expected = 10 * math.log10(255**2 / (error**2).mean())
        report = evaluate(upsample_BCHW, heldout)
        assert report["psnr_y_db"] == pytest.approx(expected, abs=1e-3)
    assert up.min() >= 0 and up.max() <= 255  # so that nothing is clipped, and errors are in ratio
    ratio = (by_hand["yfloat"] ** 2).mean() / ((up - row)[inside] ** 2).mean()
    assert -10 * math.log10(ratio) == pytest.approx(1.3219, abs=1e-4)
