"""What is exported: a student's network with the facts that its study knows about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError
from trainables.metrics.cost import Cost, cost_of
from trainables.networks.base import SRNet
from trainables.networks.checkpoint import read_notes
from trainables.networks.loading import load_network
from tune_sr.ledger.ledger import read_events
from tune_sr.results.chosen_student import ChosenStudent, read_summary
from tune_sr.space.yaml_file import read_yaml
from tune_sr.storage.disk import read_object
from tune_sr.storage.layout import BEST, CONFIG, PROVENANCE


@dataclass(frozen=True)
class Subject:
    """A network to export, and what is known about it.

    Attributes:
        network: the trained network.
        scale: the upscaling factor of the export.
        file: its weights file.
        name: a name for files: that of the study, or of the weights file.
        notes: the metadata of the weights file: study, trial, step, caveat.
        summary: the study's `summary.json`; empty without a study.
        config: the student's `config.yaml`; empty without one.
        provenance: the study's `study.json`; empty without one.
        digests: SHA-256 of the study's files by `path=file`; empty without a study.
    """

    network: SRNet
    scale: int
    file: Path
    name: str
    notes: Mapping[str, str] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The network's name: a key of `NETWORKS`."""
        return str(getattr(self.network.config, "name", ""))

    @property
    def cost(self) -> Cost:
        """Parameters and multiply-accumulates in the form after training."""
        channels = 3 if self.network.colour == "rgb" else 1
        return cost_of(self.network, channels=channels, scale=self.scale)

    def described(self) -> dict[str, Any] | None:
        """The entry of `summary.json` for this student's trial; None where there is none."""
        entries = [self.summary.get("best"), *(self.summary.get("front") or [])]
        trial = self.notes.get("trial")
        return next((each for each in entries if each and each.get("trial") == trial), None)

    def facts(self) -> dict[str, str]:
        """The facts that are stored inside of an exported file, all as text."""
        score = figure(self.described(), "psnr_y_db", self.scale)
        found = {
            "name": self.name,
            "network": self.kind,
            "scale": str(self.scale),
            **self.notes,
            "psnr_y_db": None if score is None else f"{score:.4f}",
            "protocol": self.summary.get("protocol"),
            "version": self.provenance.get("version"),
            "commit": (self.provenance.get("git") or {}).get("commit"),
        }
        return {key: str(value) for key, value in found.items() if value is not None}


def load_subject(student: ChosenStudent, scale: int | None) -> Subject:
    """Load a student and what its study's files know about it.

    Args:
        student: a file, and its study if it has one.
        scale: the upscaling factor; None: the largest that the network serves.

    Raises:
        ValueError: the file holds no network of this project, or none of that scale.
    """
    try:
        network = load_network(student.file)
        notes = read_notes(student.file)
    except ConfigError as error:
        raise ValueError(error.rule) from None
    if scale not in (None, *network.scales):
        serves = ", ".join(map(str, network.scales))
        raise ValueError(f"--scale {scale}: {student.file} serves {serves}")
    beside = student.file.with_name(CONFIG)
    config = read_yaml(beside).content if beside.exists() else {}
    known: dict[str, Any] = {}
    if student.study is not None:
        started = next((e for e in read_events(student.study) if e["event"] == "study_started"), {})
        known = {
            "summary": read_summary(student.study),
            "provenance": read_object(student.study / PROVENANCE),
            "digests": started.get("digests") or {},
        }
    return Subject(
        network.eval().requires_grad_(False),
        scale or max(network.scales),
        student.file,
        _name(student, notes),
        notes,
        config=config,
        **known,
    )


def _name(student: ChosenStudent, notes: Mapping[str, str]) -> str:
    """Return the study's name, with the trial's for one on the front; else the file's."""
    if student.study is None:
        return student.file.stem
    name = student.study.resolve().name
    return name if student.file.parent.name == BEST else f"{name}-{notes.get('trial', 'front')}"


def figure(of: Mapping[str, Any] | None, key: str, scale: int) -> float | None:
    """Return a figure (`psnr_y_db`, `ssim`) at a scale, or over all scales; None without one.

    >>> figure({"ssim": 0.9, "ssim_x2": 0.95}, "ssim", 2), figure({"ssim": 0.9}, "ssim", 3)
    (0.95, 0.9)
    """
    known = of or {}
    value = known.get(f"{key}_x{scale}", known.get(key))
    return value if isinstance(value, float) else None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
