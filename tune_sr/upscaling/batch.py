"""Runs one network over all pictures of a command line: skips, errors and counts."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainables.device import chosen_device
from trainables.errors import ConfigError
from trainables.networks.base import SRNet
from trainables.networks.loading import load_network
from tune_sr.upscaling.enlarger import Enlarger, side_by_side
from tune_sr.upscaling.pictures import AnimatedError, read_picture, write_picture
from tune_sr.upscaling.plan import VIDEO, Job, planned


@dataclass
class Outcome:
    """What became of the pictures of a run."""

    written: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    """Conversions, one line for each picture: CMYK to sRGB."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Pictures that could not be read, or whose result could not be written, with the reason."""
    animated: list[Path] = field(default_factory=list)
    """Videos and pictures with more than one frame."""
    with_seams: int = 0
    """Pictures that were computed in tiles by a network that looks further than they overlap."""

    def summary(self, seconds: float) -> str:
        """Describe the counts in one line."""
        rate = self.written / seconds if seconds > 0 else 0.0
        parts = [f"{self.written} written in {seconds:.1f} s ({rate:.3g} pictures/s)"]
        if self.skipped:
            parts.append(f"{self.skipped} skipped, whose results exist (--overwrite)")
        if lost := len(self.unreadable) + len(self.animated):
            parts.append(f"{lost} not read")
        return ", ".join(parts)


@dataclass(frozen=True)
class Batch:
    """A network and the pictures that it enlarges."""

    enlarger: Enlarger
    jobs: Sequence[Job]
    overwrite: bool = False
    beside: bool = False

    def run(self, tick: Callable[[str], None] = lambda _doing: None) -> Outcome:
        """Enlarge one picture after the other; a picture that cannot be read stops no other.

        Args:
            tick: called with a description before each picture.

        Raises:
            OSError: a result cannot be written.
        """
        done = Outcome()
        for job in self.jobs:
            tick(job.source.name)
            if not self.overwrite and all(target.exists() for target in self._targets(job)):
                done.skipped += 1
                continue
            try:
                self._enlarge(job, done)
            except AnimatedError:
                done.animated.append(job.source)
            except ValueError as error:
                done.unreadable[job.source] = str(error)
            else:
                done.written += 1
        return done

    def _targets(self, job: Job) -> list[Path]:
        return [job.target, *([job.beside] if self.beside else [])]

    def _enlarge(self, job: Job, done: Outcome) -> None:
        if job.source.suffix.lower() in VIDEO:
            raise AnimatedError("a video")
        picture = read_picture(job.source)
        result = self.enlarger.enlarge(picture)
        write_picture(job.target, result)
        if self.beside:
            write_picture(job.beside, side_by_side(self.enlarger.bicubic(picture), result))
        done.notes += [f"{job.source}: {note}" for note in picture.notes]
        done.with_seams += self.enlarger.has_seams(picture)


def prepare(arguments: argparse.Namespace, file: Path) -> Batch:
    """Load the network and list the pictures.

    Args:
        arguments: the parsed command line of `upscale`.
        file: the network's weights.

    Raises:
        ValueError: the network or an input cannot be used, or the network serves another scale.
    """
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    try:
        device = chosen_device(arguments.device)
    except ConfigError as error:
        raise ValueError(f"--device {error.rule}") from None
    try:
        network = load_network(file)
    except ConfigError as error:
        raise ValueError(f"--network {error.rule}") from None
    scale = served_scale(network, arguments.scale)
    jobs = planned(arguments.inputs, arguments.output, scale)
    enlarger = Enlarger(
        network,
        scale,
        device=device,
        tile_pixels=arguments.tile_pixels,
        eightfold=arguments.self_ensemble,
    )
    return Batch(enlarger, jobs, arguments.overwrite, arguments.beside)


def served_scale(network: SRNet, wanted: int | None) -> int:
    """Return the wanted scale, or the largest that a network serves if it is None.

    Raises:
        ValueError: the network does not serve it.
    """
    if wanted not in (None, *network.scales):
        serves = ", ".join(map(str, network.scales))
        raise ValueError(f"--scale {wanted}: the network serves {serves}")
    return wanted or max(network.scales)


def ffmpeg_lines(path: Path, scale: int) -> str:
    """Return the three commands that enlarge a video by its frames."""
    frames = path.with_name(f"{path.stem}_frames")
    large = frames.with_name(f"{frames.name}_x{scale}")
    result = path.with_name(f"{path.stem}_x{scale}.mp4")
    source, folder, pattern, results, film = (
        shlex.quote(str(each))
        for each in (path, frames, frames / "%06d.png", large / "%06d.png", result)
    )
    return "\n".join(
        (
            f"  mkdir {folder} && ffmpeg -i {source} {pattern}",
            f"  python -m tune_sr.upscale {folder}",
            f"  ffmpeg -framerate 25 -i {results} -pix_fmt yuv420p {film}",
        )
    )
