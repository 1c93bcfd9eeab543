"""The rows of the papers' table: every network on every set, at every scale, under protocols."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.data.benchmarks import Benchmark
from trainables.data.images import Images, write_image
from trainables.metrics.evaluate import Heldout, Pixels, View
from trainables.metrics.fidelity import PROTOCOLS, ProtocolName, protocol_for, psnr_db
from trainables.values import Colour
from tune_sr.evaluation.networks import EvaluatedNetwork, bicubic

_WARM_UP_SIDE = 32
"""LR pixels of the corner that a network sees before its time is taken."""


@dataclass(frozen=True)
class Row:
    """One line of the table; a figure that does not exist is None.

    Attributes:
        network: as the user called it, or `bicubic`.
        data: name of the set.
        scale: 2, 3 or 4.
        protocol: a key of `PROTOCOLS`; figures of two protocols do not compare.
        psnr_y_db: mean over the images of the luma's PSNR.
        ssim: mean over the images.
        images: how many.
        params: trainable numbers of the network.
        macs: its multiply-accumulates for an LR image of 256x256.
        images_per_second: this set's images at this scale, by the network alone, on this machine.
        psnr_to_teacher_db: mean over the images of the PSNR between this result and the teacher's.
        caveat: what must be known to hold the network against its paper; None if nothing.
    """

    network: str
    data: str
    scale: int
    protocol: str
    psnr_y_db: float | None
    ssim: float | None
    images: int
    params: int | None
    macs: int | None
    images_per_second: float | None
    psnr_to_teacher_db: float | None
    caveat: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is to be compared, on what, and how.

    Attributes:
        networks: bicubic is not among them: it takes part always.
        benchmarks: the sets.
        scales: a network is left out where it does not serve one.
        protocol: None: each network's own, `yfloat` for luma and `rgb8` for RGB.
        teacher: whose results all others are also compared with.
        device: where the networks are.
        pictures: a folder that every result is written to.
    """

    networks: Sequence[EvaluatedNetwork]
    benchmarks: Sequence[Benchmark]
    scales: Sequence[int]
    protocol: ProtocolName | None
    teacher: EvaluatedNetwork | None
    device: torch.device
    pictures: Path | None = None

    def protocols(self) -> dict[ProtocolName, list[EvaluatedNetwork]]:
        """Who is compared under what, bicubic first in each.

        Raises:
            ConfigError: the protocol is for luma networks, and one of them is not.
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
        """How often `rows` will call `tick`: once an image, scale, protocol and contestant."""
        return sum(
            len(benchmark.hr[scale]) * sum(each.serves(scale) for each in group)
            for benchmark in self.benchmarks
            for scale in self.scales
            for group in self.protocols().values()
        )

    def networks_with_seams(self, tile_pixels: int) -> list[str]:
        """Which networks see further than the tiles that some image is too large to do without."""
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
    """What one contestant has reached so far in one row."""

    scores: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0


_Tallies = Mapping[tuple[int, ProtocolName], Sequence[tuple[EvaluatedNetwork, _Scores]]]


def evaluate_rows(
    evaluation: Evaluation, tick: Callable[[str], None] = lambda _doing: None
) -> Iterator[Row]:
    """The table's rows: by set, scale and protocol, bicubic first.

    Whole images, one at a time: what is prepared of one serves every network.

    Args:
        evaluation: what to compare.
        tick: told what is done next, before each pass of a network over an image.

    Raises:
        ValueError: an image cannot be used, in one line that names it.
    """
    for benchmark in evaluation.benchmarks:
        tallies = {
            (scale, protocol): [(each, _Scores()) for each in everyone if each.serves(scale)]
            for scale in evaluation.scales
            for protocol, everyone in evaluation.protocols().items()
        }
        for scales in _sharing_images(benchmark, evaluation.scales):
            # TF32 keeps 10 bits of every number: a GPU would print other digits than a CPU.
            with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                _compare(evaluation, benchmark, scales, tallies, tick)
        for (scale, protocol), group in tallies.items():
            yield from (_row(*pair, benchmark.name, scale, protocol) for pair in group)


def _sharing_images(benchmark: Benchmark, scales: Sequence[int]) -> list[list[int]]:
    """The scales in groups for which a set has the same images: mostly one group."""
    groups: dict[int, list[int]] = {}
    for scale in scales:
        groups.setdefault(id(benchmark.hr[scale]), []).append(scale)
    return list(groups.values())


def _compare(
    evaluation: Evaluation,
    benchmark: Benchmark,
    scales: Sequence[int],
    tallies: _Tallies,
    tick: Callable[[str], None],
) -> None:
    images = benchmark.hr[scales[0]]
    for index, (name, array) in enumerate(zip(images.names, images.arrays, strict=True)):
        lr: dict[int, list[Pixels]] | None = None
        if benchmark.lr is not None:
            lr = {scale: [benchmark.lr[scale].arrays[index]] for scale in scales}
        for protocol in evaluation.protocols():
            stage = _PreparedImage(
                evaluation, benchmark, Images((name,), (array,)), scales, protocol, lr
            )
            for scale in scales:
                for each, tally in tallies[scale, protocol]:
                    tick(f"{benchmark.name} x{scale} {Path(each.label).name}")
                    stage.add(each, tally, scale, first=index == 0)


class _PreparedImage:
    """One image under one protocol, as each colour sees it at each scale."""

    def __init__(
        self,
        evaluation: Evaluation,
        benchmark: Benchmark,
        image: Images,
        scales: Sequence[int],
        protocol: ProtocolName,
        lr: Mapping[int, list[Pixels]] | None,
    ) -> None:
        self._contest, self._set, self._protocol = evaluation, benchmark.name, protocol
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
        self._made: dict[Colour, Heldout] = {}
        self._taught: dict[int, Tensor] = {}
        teacher = evaluation.teacher
        for scale in scales:
            if teacher is not None and teacher.serves(scale):
                heldout, view = self._seen_by(teacher, scale)
                self._taught[scale] = heldout.luma(view, teacher.upscale(view.lr_BCHW, scale))

    def add(self, each: EvaluatedNetwork, tally: _Scores, scale: int, *, first: bool) -> None:
        """Let one contestant upscale the image; its figures and its time go to `tally`."""
        heldout, view = self._seen_by(each, scale)
        if first:
            each.upscale(view.lr_BCHW[..., :_WARM_UP_SIDE, :_WARM_UP_SIDE], scale)
        _wait(self._contest.device)
        begin = time.perf_counter()
        sr_BCHW = each.upscale(view.lr_BCHW, scale)
        _wait(self._contest.device)
        tally.seconds += time.perf_counter() - begin
        figures = heldout.score(view, sr_BCHW)
        if scale in self._taught:
            agreement = psnr_db(heldout.luma(view, sr_BCHW), self._taught[scale])
            figures = torch.cat((figures, agreement))
        tally.scores.append(figures.tolist())
        if any(math.isnan(figure) for figure in tally.scores[-1]):
            raise ValueError(f"{each.label}: its result for {view.name} holds what is no number")
        if self._contest.pictures is not None:
            place = f"{self._set}-x{scale}-{self._protocol}"
            folder = self._contest.pictures / place / _file_name(each.label)
            picture = heldout.picture(view, sr_BCHW)
            write_image(folder / f"{Path(view.name).stem}.png", picture)

    def _seen_by(self, each: EvaluatedNetwork, scale: int) -> tuple[Heldout, View]:
        colour = each.colour or self._colour
        if colour not in self._made:
            self._made[colour] = self._make(colour=colour)
        heldout = self._made[colour]
        return heldout, heldout.views[scale][0]


def _row(each: EvaluatedNetwork, tally: _Scores, data: str, scale: int, protocol: str) -> Row:
    means = [statistics.fmean(column) for column in zip(*tally.scores, strict=True)]
    finite = [mean if math.isfinite(mean) else None for mean in means]
    cost = each.costs.get(scale)
    return Row(
        network=each.label,
        data=data,
        scale=scale,
        protocol=protocol,
        psnr_y_db=finite[0],
        ssim=finite[1],
        images=len(tally.scores),
        params=None if cost is None else cost.params,
        macs=None if cost is None else cost.macs,
        images_per_second=len(tally.scores) / tally.seconds,
        psnr_to_teacher_db=finite[2] if len(finite) > 2 else None,
        caveat=each.caveat,
    )


def _file_name(label: str) -> str:
    """A network's name as one folder: `runs/a/best/student.safetensors` must not make four."""
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in label.strip("/.~"))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def as_json(rows: Sequence[Row], **about: Any) -> dict[str, Any]:
    """`{"rows": [...]}` of product.md, and what else there is to say beside it."""
    return {"rows": [dict(vars(row)) for row in rows], **about}
