"""Metrics and resampling beside a straightforward scikit-image loop, over the same outputs.

    TUNE_SR_DATA=... python tests/benchmarks/evaluate_set5.py

TUNE_SR_DATA is the folder that holds data/Set5. The network runs once for each image and scale;
both sides are then given its outputs and do everything else: crop, luma, LR, the enlargement that
VDSR is given, PSNR and SSIM, protocol `yfloat`. The other side is what most repositories do: a
MATLAB-like `imresize` that loops over rows and columns of the result (BasicSR's), in double, and
scikit-image's PSNR and SSIM. The sides take turns; the fastest of `--repeats` counts, and beside
it stands the first, in which ours still has to make its matrices. Fails when a number differs by
1e-4 dB, or when ours is not 5 times faster, resampling and metrics together.

Both sides have one thread, as scikit-image uses no more, and what is compared is the time of the
processor, which is not longer because a neighbour is busy. With `--threads` 2 or more ours has as
many, and the time is that of the clock on the wall: it wants a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from trainables.data.images import Images, read_images
from trainables.metrics.evaluate import Heldout
from trainables.networks import build_network
from trainables.resample import upsample_BCHW

SCALES = (2, 3, 4)
Floats = NDArray[np.float64]
Outputs = dict[tuple[str, int], Floats]
Figures = list[list[float]]
Spent = dict[str, float]


class Watch:
    """Seconds by part of the work."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.spent: Spent = {"resampling": 0.0, "metrics": 0.0}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        begin = self._now()
        yield
        self.spent[part] += self._now() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = read_images(str(Path(os.environ["TUNE_SR_DATA"]) / "data/Set5/HR"), "heldout")
    outputs = network_outputs(images)
    now = time.process_time if arguments.threads == 1 else time.perf_counter
    seconds: dict[str, list[Spent]] = {"ours": [], "theirs": []}
    figures: dict[str, Figures] = {}
    for _ in range(arguments.repeats):
        for side, work in (("ours", ours), ("theirs", theirs)):
            watch = Watch(now)
            figures[side] = work(images, outputs, watch)
            seconds[side].append(watch.spent)
    worst = np.abs(np.subtract(figures["ours"], figures["theirs"])).max(axis=0)
    print(f"{len(figures['ours'])} results, PSNR {np.mean(figures['ours'], axis=0)[0]:.4f} dB")
    print(f"largest difference: PSNR {worst[0]:.1e} dB, SSIM {worst[1]:.1e}")
    report(seconds, "first", lambda runs: runs[0])
    times = report(seconds, "best", fastest)
    assert worst[0] < 1e-4, "not the same numbers"
    assert worst[1] < 1e-6, "not the same numbers"
    assert times >= 5, "not 5 times faster"


def network_outputs(images: Images) -> Outputs:
    """What the shipped VDSR makes of every image: luma as the network leaves it, H W."""
    network = build_network({"name": "vdsr", "weights": "shipped"}).eval()
    heldout = Heldout(images, colour="y", scales=SCALES, protocol="yfloat")
    with torch.no_grad():
        return {
            (view.name, scale): network(view.lr_BCHW, scale=scale)[0, 0].double().numpy()
            for scale, views in heldout.views.items()
            for view in views
        }


def ours(images: Images, outputs: Outputs, watch: Watch) -> Figures:
    """Image by image at all scales, as the command does; the figures in the other side's order."""
    figures: dict[int, Figures] = {scale: [] for scale in SCALES}
    for name, array in zip(images.names, images.arrays, strict=True):
        with watch.on("resampling"):
            heldout = Heldout(Images((name,), (array,)), colour="y", scales=SCALES)
            views = [view for (view,) in heldout.views.values()]
            for view in views:
                upsample_BCHW(view.lr_BCHW, view.scale)
        with watch.on("metrics"):
            for view in views:
                sr_BCHW = torch.from_numpy(outputs[name, view.scale])[None, None]
                figures[view.scale].append(heldout.score(view, sr_BCHW).tolist())
    return [row for scale in SCALES for row in figures[scale]]


def theirs(images: Images, outputs: Outputs, watch: Watch) -> Figures:
    figures = []
    for scale in SCALES:
        for name, array in zip(images.names, images.arrays, strict=True):
            with watch.on("resampling"):
                height, width = (side // scale * scale for side in array.shape[:2])
                luma = array[:height, :width].astype(np.float64) @ [65.481, 128.553, 24.966]
                truth = 16 + luma / 255
                small = imresize(truth, Fraction(1, scale))
                imresize(small, Fraction(scale))
            with watch.on("metrics"):
                result = (outputs[name, scale] * 255).clip(0, 255)
                a, b = (x[scale:-scale, scale:-scale] for x in (truth, result))
                figures.append([peak_signal_noise_ratio(a, b, data_range=255), _ssim(a, b)])
    return figures


def _ssim(a_HW: Floats, b_HW: Floats) -> float:
    standard = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(a_HW, b_HW, data_range=255, **standard))


def imresize(image_HW: Floats, scale: Fraction) -> Floats:
    """Rows one by one, then columns one by one: the usual port of MATLAB's to Python."""
    return _shrink_rows(_shrink_rows(image_HW, scale).T, scale).T


def _shrink_rows(image_HW: Floats, scale: Fraction) -> Floats:
    side = len(image_HW)
    stretch = min(1.0, float(scale))
    width = 4 / stretch
    result = np.empty((-(-side * scale.numerator // scale.denominator), image_HW.shape[1]))
    for row in range(len(result)):
        centre = (row + 0.5) / float(scale) - 0.5
        taps = np.arange(int(np.floor(centre - width / 2)), int(np.ceil(centre + width / 2)) + 1)
        x = np.abs((centre - taps) * stretch)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x <= 1, near, np.where(x < 2, far, 0))
        mirrored = np.where(taps < 0, -1 - taps, np.where(taps >= side, 2 * side - 1 - taps, taps))
        result[row] = (weights / weights.sum()) @ image_HW[mirrored]
    return result


def fastest(runs: list[Spent]) -> Spent:
    return {part: min(run[part] for run in runs) for part in runs[0]}


def report(
    seconds: dict[str, list[Spent]],
    title: str,
    chosen: Callable[[list[Spent]], Spent],
) -> float:
    """Print one turn; how many times faster ours is, resampling and metrics together."""
    mine, others = chosen(seconds["ours"]), chosen(seconds["theirs"])
    for part in mine:
        times = others[part] / mine[part]
        print(f"{title:>5} {part:>10}: {mine[part]:.3f} s and {others[part]:.3f} s, {times:.1f}x")
    total = sum(others.values()) / sum(mine.values())
    print(f"{title:>5} {'together':>10}: {total:.1f}x")
    return total


if __name__ == "__main__":
    main()
