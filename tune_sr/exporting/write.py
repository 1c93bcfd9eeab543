"""Writes an export whole or not at all: the file, its card, its entry of OpenModelDB."""

from __future__ import annotations

import argparse
import glob
import importlib.util
import json
from pathlib import Path

from tune_sr.exporting.card import CARD, MARK, card
from tune_sr.exporting.graphs import (
    EXTRA,
    HALF_TOLERANCE,
    NEEDS,
    TOLERANCE,
    check_onnx,
    pt2_bytes,
    trace,
    write_onnx,
)
from tune_sr.exporting.interface import Upscaler
from tune_sr.exporting.openmodeldb import entry, entry_name
from tune_sr.exporting.subject import Subject
from tune_sr.exporting.weights import check_names, weights_bytes
from tune_sr.storage.disk import appearing, write_atomically

SUFFIXES = {"safetensors": ".safetensors", "pt2": ".pt2", "onnx": ".onnx"}
"""Suffixes of a student's file, by format."""
_NEED_FLOAT32 = ("swinir",)
"""Networks with parts that cannot compute in float16."""


def check_request(subject: Subject, arguments: argparse.Namespace) -> None:
    """Check that a student can be exported as asked, before anything is computed.

    Raises:
        ValueError: it cannot; says what is missing, or for which networks the option is.
    """
    if arguments.format == "onnx":
        missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f"--format onnx: {missing[0]} is not installed: {EXTRA}")
    if arguments.format == "safetensors":
        check_names(subject, arguments.names)
    if arguments.luma and subject.network.colour != "y":
        raise ValueError(f"--luma: {subject.kind} takes RGB; it is for luma networks")
    if arguments.half and subject.kind in _NEED_FLOAT32:
        raise ValueError(f"--half: not for {subject.kind}, whose attention needs float32")


def write_student(subject: Subject, arguments: argparse.Namespace, path: Path) -> str:
    """Write a student's file and what belongs beside it.

    Returns:
        Lines that name the files, with the check of an ONNX file.

    Raises:
        NotTheSameError: an ONNX file does not compute what the network does; it was removed.
        OSError: a file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    checked = ""
    with appearing(path) as fresh:
        if arguments.format == "safetensors":
            fresh.write_bytes(weights_bytes(subject, arguments.names))
        else:
            checked = _write_graph(subject, arguments, fresh)
    lines = [f"{path}{checked}"]
    beside = _card_file(path)
    write_atomically(beside, card(subject, _exports(subject, path)))
    lines.append(f"{beside}: model card; its licence is left to you")
    if arguments.openmodeldb is not None:
        listed = path.with_name(entry_name(subject))
        text = json.dumps(entry(subject, path, arguments.openmodeldb), indent=4)
        write_atomically(listed, f"{text}\n")
        lines.append(f"{listed}: OpenModelDB's entry; add urls and license")
    return "\n".join(lines)


def _write_graph(subject: Subject, arguments: argparse.Namespace, path: Path) -> str:
    upscaler = Upscaler(subject.network, subject.scale, luma=arguments.luma, half=arguments.half)
    program = trace(upscaler)
    if arguments.format == "pt2":
        path.write_bytes(pt2_bytes(program, subject.facts()))
        return ""
    write_onnx(path, program, subject.facts())
    whole = Upscaler(subject.network, subject.scale, luma=arguments.luma)
    tolerance = HALF_TOLERANCE if arguments.half else TOLERANCE
    worst = check_onnx(path, whole, tolerance)
    return f": onnxruntime equals torch within {worst:.1e} at five sizes"


def _exports(subject: Subject, path: Path) -> list[Path]:
    """List `path` and the other exports of the student beside it, whose default names it has."""
    others = path.parent.glob(f"{glob.escape(subject.name)}_x{subject.scale}*")
    known = [each for each in others if each.suffix in SUFFIXES.values() and each != path]
    return sorted([path, *known])


def _card_file(path: Path) -> Path:
    """Return README.md beside an export; if that is another's, one with the export's name."""
    card_file = path.with_name(CARD)
    if not card_file.exists() or MARK in card_file.read_text(encoding="utf-8", errors="replace"):
        return card_file
    return path.with_name(f"{path.stem}.{CARD}")
