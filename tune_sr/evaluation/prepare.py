"""Reads and checks the networks and benchmarks of `evaluate` before the first image."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.data.benchmarks import Benchmark
from trainables.device import chosen_device
from trainables.errors import ConfigError
from trainables.metrics.fidelity import PROTOCOLS
from tune_sr.evaluation.networks import load_network_spec
from tune_sr.evaluation.perceptual import load_metrics
from tune_sr.evaluation.table import Evaluation

if TYPE_CHECKING:
    import torch

    from tune_sr.evaluation.networks import EvaluatedNetwork


def prepare(arguments: argparse.Namespace) -> Evaluation:
    """Load networks and benchmarks, and check all that can be checked before the first image.

    Args:
        arguments: the parsed command line of `evaluate`.

    Raises:
        ValueError: a network, a folder, an image or a combination cannot be used.
    """
    import torch

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = _device(arguments.device)
    perceptual = load_metrics(arguments.iqa, device)

    def ready(spec: str) -> EvaluatedNetwork:
        return load_network_spec(
            spec,
            device=device,
            tile_pixels=arguments.tile_pixels,
            eightfold=arguments.self_ensemble,
        )

    networks = [ready(spec) for spec in arguments.network]
    served = sorted({scale for each in networks for scale in each.scales or ()})
    scales = arguments.scales or served or [2, 3, 4]
    teacher = ready(arguments.teacher) if arguments.teacher else None
    for each in (*networks, *([teacher] if teacher else [])):
        if not any(each.serves(scale) for scale in scales):
            asked, serves = (", ".join(map(str, some)) for some in (scales, each.scales or ()))
            raise ValueError(f"{each.label} serves scale {serves} and none of --scales {asked}")
    evaluation = Evaluation(
        networks=networks,
        benchmarks=(),
        scales=scales,
        protocol=arguments.protocol,
        teacher=teacher,
        device=device,
        pictures=arguments.save_images,
        perceptual=perceptual,
    )
    for protocol in evaluation.protocols():
        if arguments.lr is not None and not PROTOCOLS[protocol].byte_images:
            raise ValueError(f"--lr: {protocol} makes its LR from luma; add --protocol rgb8")
    return replace(evaluation, benchmarks=_benchmarks(arguments, scales))


def _device(name: str) -> torch.device:
    try:
        return chosen_device(name)
    except ConfigError as error:
        raise ValueError(f"--device {error.rule}") from None


def _benchmarks(arguments: argparse.Namespace, scales: Sequence[int]) -> list[Benchmark]:
    folders = arguments.lr or [None] * len(arguments.data)
    pairs = list(zip(arguments.data, folders, strict=True))
    sets = [Benchmark.read(source, scales, lr) for source, lr in pairs]
    names = [each.name for each in sets]
    return [
        each if names.count(each.name) == 1 else replace(each, name=source)
        for each, (source, _) in zip(sets, pairs, strict=True)
    ]
