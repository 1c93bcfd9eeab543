"""PSNR and SSIM against scikit-image."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from trainables.errors import ConfigError
from trainables.metrics import fidelity
from trainables.metrics.fidelity import (
    LEGACY_SSIM,
    PROTOCOLS,
    PSNR_CEILING_DB,
    STANDARD_SSIM,
    SsimWindow,
    protocol_for,
    psnr_db,
    ssim,
)

SHAPES = [(1, 1, 11, 11), (3, 1, 12, 31), (2, 3, 40, 17), (1, 1, 64, 48)]
STANDARD: dict[str, Any] = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 255,
}
LEGACY: dict[str, Any] = {"data_range": 2}


def pair(shape: tuple[int, ...], error: float) -> tuple[Tensor, Tensor]:
    """A smooth image with some texture, and the same with noise of that size added."""
    rng = np.random.default_rng(sum(shape))
    ramp = np.linspace(0.2, 0.8, shape[-1]) + 0.1 * rng.standard_normal(shape)
    truth = np.clip(ramp, 0, 1)
    other = np.clip(truth + error * rng.standard_normal(shape), 0, 1)
    return torch.from_numpy(other), torch.from_numpy(truth)


@pytest.mark.parametrize("error", [1e-4, 0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_psnr_is_scikit_images(shape: tuple[int, ...], error: float) -> None:
    a, b = pair(shape, error)
    expected = [
        peak_signal_noise_ratio(y.numpy() * 255, x.numpy() * 255, data_range=255)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(psnr_db(a, b), expected, rtol=1e-10)


@pytest.mark.parametrize("error", [1e-4, 0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("window", "settings"),
    [(STANDARD_SSIM, STANDARD), (LEGACY_SSIM, LEGACY)],
    ids=["standard", "legacy"],
)
def test_ssim_is_scikit_images(
    window: SsimWindow, settings: dict[str, Any], shape: tuple[int, ...], error: float
) -> None:
    a, b = pair(shape, error)
    expected = [
        structural_similarity(y.numpy() * 255, x.numpy() * 255, channel_axis=0, **settings)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(ssim(a, b, window), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rows", [11, 64])
@pytest.mark.parametrize("window", [STANDARD_SSIM, LEGACY_SSIM], ids=["standard", "legacy"])
def test_it_does_not_matter_how_many_rows_are_computed_at_a_time(
    window: SsimWindow, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for height in (11, 26, 27, 75, 90):
        a, b = pair((2, 1, height, 23), 0.1)
        usual = ssim(a, b, window)
        with monkeypatch.context() as patch:
            patch.setitem(fidelity._STRIP_ROWS, "cpu", rows)
            torch.testing.assert_close(ssim(a, b, window), usual, rtol=0, atol=1e-12)


def test_images_of_a_batch_are_scored_one_by_one() -> None:
    a, b = pair((4, 1, 20, 20), 0.1)
    for score in (psnr_db, ssim):
        alone = torch.cat([score(a[i : i + 1], b[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(score(a, b), alone)
        torch.testing.assert_close(score(a, b), score(b, a))


def test_equal_images_reach_the_ceiling() -> None:
    a, _ = pair((2, 1, 16, 16), 0.1)
    assert psnr_db(a, a).tolist() == [PSNR_CEILING_DB] * 2
    assert psnr_db(a, a + 1e-9).tolist() == [PSNR_CEILING_DB] * 2
    np.testing.assert_allclose(ssim(a, a), 1.0)
    flat = torch.zeros(1, 1, 16, 16)
    assert ssim(flat, flat, LEGACY_SSIM).item() == 1.0


def test_what_is_not_a_number_is_not_hidden() -> None:
    a, b = pair((2, 1, 16, 16), 0.1)
    a[1, 0, 3, 3] = math.nan
    for scores in (psnr_db(a, b), ssim(a, b)):
        assert math.isfinite(scores[0])
        assert math.isnan(scores[1])
    for scores in (psnr_db(a.flip(0), b.flip(0)), ssim(a.flip(0), b.flip(0))):
        assert math.isnan(scores[0])
        assert math.isfinite(scores[1])  # what one image leaves behind does not reach the next


def test_float32_is_scored_in_float64() -> None:
    a, b = pair((1, 1, 32, 32), 1e-3)
    for window in (STANDARD_SSIM, LEGACY_SSIM):
        low, high = ssim(a.float(), b.float(), window), ssim(a, b, window)
        assert low.dtype == torch.float64
        torch.testing.assert_close(low, high, rtol=0, atol=1e-4)


def test_default_protocols_and_refusals() -> None:
    assert protocol_for(None, "y") == "yfloat"
    assert protocol_for(None, "rgb") == "rgb8"
    for name, protocol in PROTOCOLS.items():
        assert protocol_for(name, "y") == name  # type: ignore[arg-type]  # keys, as the type says
        assert protocol.rgb == (name not in ("y8", "cmi_legacy"))
    for name in ("y8", "cmi_legacy"):
        with pytest.raises(ConfigError, match="an RGB network has yfloat, rgb8, rgb8_matlab"):
            protocol_for(name, "rgb")
