"""What a person reads of a run in MLflow: its name, its parameters, its datasets, its note."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any, NamedTuple

from trainables.dotted import leaves
from tune_sr.cli.formatting import short_names
from tune_sr.objectives.objective import QUALITY, Objective

_NOTE = 15_000
"""Characters of an experiment's note: MLflow refuses more than 20,000."""
_NAMED = 3
"""Searched quantities in a run's name."""
_VALUE_LIMIT = 500
"""Characters kept of a parameter's or tag's value: MLflow refuses more than 6,000 of them."""
_DATA = {"heldout.images": "held out", "data.images": "training"}
"""By dotted path of a folder of images: what it is for."""


def run_name(trial: str, point: Mapping[str, Any]) -> str:
    """A trial's name with its first searched quantities.

    >>> run_name("0003", {"method.w_R": 0.10821, "method.P": 2, "optimiser.lr": 0.1093, "a.b": 1})
    '0003 w_R 0.108 P 2 lr 0.109'
    """
    names = short_names(point)
    shown = ((names[path], value) for path, value in islice(point.items(), _NAMED))
    return " ".join([trial, *(f"{name} {_short(value)}" for name, value in shown)])


def active_params(
    params: Mapping[str, Any], point: Mapping[str, Any], searched: Sequence[str]
) -> dict[str, Any]:
    """The parameters of a trial's run: its searched quantities first, then what is fixed.

    Searched quantities that do not exist at its point are left out: their defaults would be lines
    of a parallel plot that mean nothing.

    Args:
        params: its whole configuration, flat by dotted path.
        point: its point, active quantities only.
        searched: dotted paths of all searched quantities.

    >>> active_params({"a.x": 1, "a.P": 1, "a.part": 0.1}, {"a.P": 1}, ["a.P", "a.part"])
    {'a.P': 1, 'a.x': 1}
    """
    first = {path: params.get(path, value) for path, value in point.items()}
    rest = {path: value for path, value in params.items() if path not in (*searched, *first)}
    return first | rest


def study_params(space: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a study's own run: `search.<path>` of each quantity, then what is fixed.

    Args:
        space: the space as the ledger holds it.

    >>> study_params({"fixed": {"batch": {"images": 4}}, "search": {"a.lr": {"uniform": [0, 1]}}})
    {'search.a.lr': 'uniform [0, 1]', 'batch.images': 4}
    """
    searched = {f"search.{path}": _range(entry) for path, entry in _searched(space).items()}
    return searched | dict(leaves(space.get("fixed") or {}))


def _searched(space: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = space.get("search") or {}
    return found


def _range(entry: Any) -> str:
    """`uniform [0.05, 0.25] when method.P [2, 3]`."""
    if not isinstance(entry, Mapping):
        return str(entry)
    words = [f"{word} {json.dumps(args)}" for word, args in entry.items() if word != "when"]
    when = (f"{path} {json.dumps(values)}" for path, values in entry.get("when", {}).items())
    conditions = " and ".join(when)
    return " ".join([*words, *(["when", conditions] if conditions else [])])


def short_labels(params: Mapping[str, Any]) -> dict[str, str]:
    """Method, teacher and student of a configuration, short enough to compare runs in a table.

    A network's size is groups x blocks x features, as many of these as it has.

    Args:
        params: a configuration, flat by dotted path; parts that it lacks are left out.

    >>> short_labels({"method.name": "dfsr", "student.name": "vdsr", "student.blocks": 18,
    ...         "student.features": 32, "teacher.name": "vdsr", "teacher.weights": "shipped"})
    {'method': 'dfsr', 'teacher': 'vdsr shipped', 'student': 'vdsr 18x32'}
    >>> short_labels({"student.name": "rcan", "student.groups": 10, "student.blocks": 6,
    ...         "student.features": 64})
    {'student': 'rcan 10x6x64'}
    """
    labels: dict[str, str] = {}
    if "method.name" in params:
        labels["method"] = str(params["method.name"])
    for part in ("teacher", "student"):
        name, weights = (params.get(f"{part}.{key}") for key in ("name", "weights"))
        sizes = (params.get(f"{part}.{key}") for key in ("groups", "blocks", "features"))
        size = "x".join(str(number) for number in sizes if number)
        source = PurePath(str(weights)).stem if weights else ""
        if name:
            labels[part] = " ".join(word for word in (str(name), size, source) if word)
    return labels


class ImageSet(NamedTuple):
    """A folder of images that a study's runs read, as MLflow's column of datasets shows it."""

    name: str
    context: str
    """What it is for: `held out` or `training`."""
    digest: str
    """The first 32 hexadecimal digits of the SHA-256 of names and pixels."""
    source: str
    profile: str
    """JSON."""


def image_sets(study: Mapping[str, Any]) -> list[ImageSet]:
    """The images that a study's trials read; none for training where a method makes its own.

    Args:
        study: the event `study_started`; ledgers of earlier versions have no digests, and so none.
    """
    fixed = dict(leaves((study.get("space") or {}).get("fixed") or {}))
    found = []
    for key, digest in (study.get("digests") or {}).items():
        path, _, source = key.partition("=")
        if path in _DATA:
            section = path.partition(".")[0]
            about = {"protocol": fixed.get(f"{section}.protocol")}
            about["crop"] = fixed.get(f"{section}.crop")
            profile = json.dumps({name: value for name, value in about.items() if value})
            title = f"{source.rstrip('/').rpartition('/')[2]} ({_DATA[path]})"
            found.append(ImageSet(title, _DATA[path], str(digest)[:32], source, profile))
    return found


def verdict_line(summary: Mapping[str, Any]) -> str | None:
    """A study's outcome in one sentence; None where it has no best trial.

    Args:
        summary: its `summary.json`.
    """
    best, bicubic = summary.get("best") or {}, summary.get("bicubic") or {}
    key = Objective.parse(summary.get("objective", QUALITY)).value
    if best.get(key) is None:
        return None
    line = f"best {best[key]:.2f} dB (trial {best['trial']})"
    if bicubic.get(key) is not None:
        line += f", {best[key] - bicubic[key]:+.2f} over bicubic"
    gain = summary.get("gain")
    return line if gain is None else f"{line}; over the paper's point {gain['text']}"


def study_note(study: str, folder: str, summary: Mapping[str, Any], link: str | None) -> str:
    """The Markdown note of a study's run: its verdict, its page and commands to go on.

    Args:
        study: its name.
        folder: its folder.
        summary: its `summary.json`.
        link: address of its view.
    """
    view = [f"[Curves, settings and gains of all trials]({link})"] if link else []
    storage = folder.rpartition("/")[0]
    commands = [
        f"python -m tune_sr.search --resume --name {study} --storage {storage} --confirm 5",
        f"python -m tune_sr.evaluate --network {folder}/best/student.safetensors --data FOLDER",
    ]
    parts = [verdict_line(summary) or "No trial has a score yet.", *view]
    return "\n\n".join([*parts, "\n".join(["```", *commands, "```"])])


EXPERIMENT_END = "*Kept by tune_sr as long as this line is its last.*"
"""The last line of an experiment's note that is ours: any other note is left alone."""


def experiment_note(lines: Mapping[str, str]) -> str:
    """The Markdown note of an experiment: a line for each of its studies.

    Args:
        lines: by study, its outcome.
    """
    told = "\n\n".join(lines[study] for study in sorted(lines))
    return f"{told[:_NOTE]}\n\n{EXPERIMENT_END}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def caveat_tag(caveat: str | None) -> dict[str, str]:
    """The tag `caveat`, where there is one."""
    return {"caveat": caveat} if caveat else {}


def cut(value: Any) -> str:
    """A parameter's or tag's value as text, cut to what MLflow takes."""
    text = str(value)
    return text if len(text) <= _VALUE_LIMIT else f"{text[: _VALUE_LIMIT - 3]}..."
