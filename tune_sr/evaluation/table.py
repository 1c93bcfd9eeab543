"""Computes the papers' table: a row for each network, benchmark, scale and protocol."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trainables.data.benchmarks import Benchmark
from trainables.data.images import Images, write_image
from trainables.metrics.crops import Pixels
from trainables.metrics.evaluate import Heldout, View
from trainables.metrics.fidelity import PROTOCOLS, ProtocolName, protocol_for, psnr_db
from trainables.values import Colour
from tune_sr.evaluation.networks import EvaluatedNetwork, bicubic
from tune_sr.evaluation.perceptual import PerceptualMetric
from tune_sr.evaluation.row import Row

_WARM_UP_SIDE = 32
"""Side, in LR pixels, of the corner that a network upscales once before it is timed."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation to run: networks, benchmarks, scales and protocol.

    Attributes:
        networks: without bicubic, which is always added.
        benchmarks: the sets of images.
        scales: the scales; a network gets no row for a scale that it does not serve.
        protocol: a key of `PROTOCOLS`; None: each network's own, `yfloat` for luma and `rgb8` for
            RGB.
        teacher: the network whose results all others are also compared with; None without one.
        device: where the networks are.
        pictures: the folder to write every SR image to; None: write none.
        perceptual: distances that are computed beside PSNR and SSIM.
    """

    networks: Sequence[EvaluatedNetwork]
    benchmarks: Sequence[Benchmark]
    scales: Sequence[int]
    protocol: ProtocolName | None
    teacher: EvaluatedNetwork | None
    device: torch.device
    pictures: Path | None = None
    perceptual: Sequence[PerceptualMetric] = ()

    def protocols(self) -> dict[ProtocolName, list[EvaluatedNetwork]]:
        """Group the networks by the protocol that they are scored under, bicubic first in each.

        Raises:
            ConfigError: the protocol is for luma networks, and a network is an RGB one.
        """
        groups: dict[ProtocolName, list[EvaluatedNetwork]] = {}
        for network in self.networks:
            name = protocol_for(self.protocol, network.colour or "y")
            groups.setdefault(name, [bicubic()]).append(network)
        if self.teacher is not None:
            for name in groups:
                protocol_for(name, self.teacher.colour or "y")
        return groups or {self.protocol or "yfloat": [bicubic()]}

    def passes(self) -> int:
        """Count `evaluate_rows`'s calls of `tick`: one an image, scale, protocol and network."""
        return sum(
            len(benchmark.hr[scale]) * sum(each.serves(scale) for each in group)
            for benchmark in self.benchmarks
            for scale in self.scales
            for group in self.protocols().values()
        )

    def networks_with_seams(self, tile_pixels: int) -> list[str]:
        """List the networks whose results may show seams between tiles.

        Those without a bounded receptive field, if an image is larger than a tile.

        Args:
            tile_pixels: output pixels above which an image is computed in tiles.
        """
        largest = max(
            array.shape[0] * array.shape[1]
            for benchmark in self.benchmarks
            for images in benchmark.hr.values()
            for array in images.arrays
        )
        wide = (each for each in self.networks if any(c.reach is None for c in each.costs.values()))
        return [each.label for each in wide] if largest > tile_pixels else []


@dataclass
class _Scores:
    """One network's figures by key for each image of a row, and its seconds for all of them."""

    figures: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


_ScoresByGroup = Mapping[tuple[int, ProtocolName], Sequence[tuple[EvaluatedNetwork, _Scores]]]


def evaluate_rows(
    evaluation: Evaluation, tick: Callable[[str], None] = lambda _doing: None
) -> Iterator[Row]:
    """Evaluate all networks; yield rows by benchmark, scale and protocol, bicubic first.

    Images are processed whole and one at a time; each is prepared once for all networks.

    Args:
        evaluation: networks, benchmarks, scales and protocol.
        tick: called with a description before each pass of a network over an image.

    Raises:
        ValueError: an image, or a network's result, cannot be used; one line that names it.
    """
    for benchmark in evaluation.benchmarks:
        groups = {
            (scale, protocol): [(each, _Scores()) for each in networks if each.serves(scale)]
            for scale in evaluation.scales
            for protocol, networks in evaluation.protocols().items()
        }
        for scales in _sharing_images(benchmark, evaluation.scales):
            # TF32 keeps 10 bits of every number: a GPU would print other digits than a CPU.
            with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                _compare(evaluation, benchmark, scales, groups, tick)
        for (scale, protocol), group in groups.items():
            yield from (_row(*pair, benchmark.name, scale, protocol) for pair in group)


def _sharing_images(benchmark: Benchmark, scales: Sequence[int]) -> list[list[int]]:
    """Group the scales for which a benchmark has the same HR images: mostly one group."""
    groups: dict[int, list[int]] = {}
    for scale in scales:
        groups.setdefault(id(benchmark.hr[scale]), []).append(scale)
    return list(groups.values())


def _compare(
    evaluation: Evaluation,
    benchmark: Benchmark,
    scales: Sequence[int],
    groups: _ScoresByGroup,
    tick: Callable[[str], None],
) -> None:
    images = benchmark.hr[scales[0]]
    for index, (name, array) in enumerate(zip(images.names, images.arrays, strict=True)):
        lr: dict[int, list[Pixels]] | None = None
        if benchmark.lr is not None:
            lr = {scale: [benchmark.lr[scale].arrays[index]] for scale in scales}
        for protocol in evaluation.protocols():
            image = _PreparedImage(
                evaluation, benchmark, Images((name,), (array,)), scales, protocol, lr
            )
            for scale in scales:
                for each, scores in groups[scale, protocol]:
                    tick(f"{benchmark.name} x{scale} {Path(each.label).name}")
                    image.score(each, scores, scale, warm_up=index == 0)


class _PreparedImage:
    """One image under one protocol: its LR and HR in each colour at each scale, made on demand."""

    def __init__(
        self,
        evaluation: Evaluation,
        benchmark: Benchmark,
        image: Images,
        scales: Sequence[int],
        protocol: ProtocolName,
        lr: Mapping[int, list[Pixels]] | None,
    ) -> None:
        self._evaluation, self._benchmark, self._protocol = evaluation, benchmark.name, protocol
        self._colour: Colour = "rgb" if PROTOCOLS[protocol].byte_images else "y"
        self._make = partial(
            Heldout,
            image,
            scales=scales,
            protocol=protocol,
            crop=benchmark.crop,
            device=evaluation.device,
            lr=lr,
        )
        self._heldouts: dict[Colour, Heldout] = {}
        self._teacher_luma: dict[int, Tensor] = {}
        teacher = evaluation.teacher
        for scale in scales:
            if teacher is not None and teacher.serves(scale):
                heldout, view = self._view(teacher, scale)
                sr_BCHW = teacher.upscale(view.lr_BCHW, scale)
                self._teacher_luma[scale] = heldout.luma(view, sr_BCHW)

    def score(self, each: EvaluatedNetwork, scores: _Scores, scale: int, *, warm_up: bool) -> None:
        """Upscale the image by one network, and add its figures and its time to `scores`.

        Raises:
            ValueError: the result contains NaN.
        """
        heldout, view = self._view(each, scale)
        if warm_up:
            each.upscale(view.lr_BCHW[..., :_WARM_UP_SIDE, :_WARM_UP_SIDE], scale)
        _synchronize(self._evaluation.device)
        begin = time.perf_counter()
        sr_BCHW = each.upscale(view.lr_BCHW, scale)
        _synchronize(self._evaluation.device)
        scores.seconds += time.perf_counter() - begin
        figures = dict(zip(heldout.keys, heldout.score(view, sr_BCHW).tolist(), strict=True))
        if scale in self._teacher_luma:
            agreement = psnr_db(heldout.luma(view, sr_BCHW), self._teacher_luma[scale])
            figures["psnr_to_teacher_db"] = float(agreement)
        if any(math.isnan(figure) for figure in figures.values()):
            raise ValueError(f"{each.label}: its result for {view.name} holds what is no number")
        scores.figures.append(figures)
        if self._evaluation.perceptual or self._evaluation.pictures is not None:
            self._see(each, figures, view, heldout.picture(view, sr_BCHW))

    def _see(
        self, each: EvaluatedNetwork, figures: dict[str, float], view: View, picture: Pixels
    ) -> None:
        """Add a result's perceptual distances, in RGB, to its figures; write the result."""
        for metric in self._evaluation.perceptual:
            figures[metric.name] = metric.score(picture, view.hr_HWC, border=view.scale)
        if self._evaluation.pictures is not None:
            group = f"{self._benchmark}-x{view.scale}-{self._protocol}"
            folder = self._evaluation.pictures / group / _file_name(each.label)
            write_image(folder / f"{Path(view.name).stem}.png", picture)

    def _view(self, each: EvaluatedNetwork, scale: int) -> tuple[Heldout, View]:
        colour = each.colour or self._colour
        if colour not in self._heldouts:
            self._heldouts[colour] = self._make(colour=colour)
        heldout = self._heldouts[colour]
        return heldout, heldout.views[scale][0]


def _row(each: EvaluatedNetwork, scores: _Scores, data: str, scale: int, protocol: str) -> Row:
    keys = scores.figures[0]
    means = {key: statistics.fmean(each[key] for each in scores.figures) for key in keys}
    finite = {key: mean if math.isfinite(mean) else None for key, mean in means.items()}
    cost = each.costs.get(scale)
    return Row(
        network=each.label,
        data=data,
        scale=scale,
        protocol=protocol,
        psnr_y_db=finite["psnr_y_db"],
        ssim=finite["ssim"],
        images=len(scores.figures),
        params=None if cost is None else cost.params,
        macs=None if cost is None else cost.macs,
        images_per_second=len(scores.figures) / scores.seconds,
        psnr_to_teacher_db=finite.get("psnr_to_teacher_db"),
        caveat=each.caveat,
        lpips=finite.get("lpips"),
        dists=finite.get("dists"),
    )


def _file_name(label: str) -> str:
    """Make a network's label the name of one folder: separators and odd characters become `_`."""
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in label.strip("/.~"))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
