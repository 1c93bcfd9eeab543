"""Writes a student's entry of OpenModelDB, the database of upscaling networks.

Fields and rules are those of `src/lib/model-props.ts` of OpenModelDB/open-model-database.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tune_sr.exporting.subject import Subject, sha256_of

_ARCHITECTURES = {"edsr": "EDSR"}
"""Names of architectures there that differ from ours."""
_ID = re.compile(r"[^a-zA-Z0-9]+")


def entry_name(subject: Subject) -> str:
    """Return the file name of an entry: its identifier, such as `2x-dfsr.json`."""
    name = _ID.sub("-", f"{subject.name}-{subject.kind}").strip("-")
    return f"{subject.scale}x-{name}.json"


def entry(subject: Subject, file: Path, author: str) -> dict[str, Any]:
    """Return an entry: all required fields, and the optional ones that are known.

    The database wants an address of the file, and a licence: both are left to the owner, the
    former as an empty list, the latter as null.

    Args:
        subject: what was exported.
        file: the exported file.
        author: the owner's identifier there.
    """
    config = subject.config
    method = (config.get("method") or {}).get("name")
    source = f", distilled by {method}" if method else ""
    onnx = file.suffix == ".onnx"
    found: dict[str, Any] = {
        "name": subject.name,
        "author": author,
        "license": None,
        "tags": ["general-upscaler"],
        "description": f"{subject.kind.upper()} x{subject.scale}{source}.",
        "date": datetime.now(UTC).date().isoformat(),
        "architecture": _ARCHITECTURES.get(subject.kind, subject.kind),
        "size": None,
        "scale": subject.scale,
        "inputChannels": 3 if onnx or subject.network.colour == "rgb" else 1,
        "outputChannels": 3 if onnx or subject.network.colour == "rgb" else 1,
        "resources": [
            {
                "platform": "onnx" if onnx else "pytorch",
                "type": "onnx" if onnx else "pth",
                "size": file.stat().st_size,
                "sha256": sha256_of(file),
                "urls": [],
            }
        ],
        "images": [],
    }
    if (step := subject.notes.get("step")) and step.isdecimal() and int(step):
        found["trainingIterations"] = int(step)
    if config.get("batch"):
        found["trainingBatchSize"] = config["batch"]["images"]
    return found
