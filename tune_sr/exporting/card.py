"""Writes the model card of an export: a README.md with the front matter of Hugging Face's hub."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from trainables.dotted import leaves
from tune_sr.cli.formatting import format_count, format_value
from tune_sr.cli.redaction import redacted_words
from tune_sr.cli.streams import one_line
from tune_sr.exporting.subject import Subject, figure, sha256_of
from tune_sr.space.yaml_file import dump_yaml

CARD: Final = "README.md"
LUMA: Final = "_luma"
"""In the names of files whose input is luma alone."""
MARK: Final = "<!-- written by tune_sr.export -->"
"""A line of every card, by which a later export knows that it may replace it."""

_LOADING: Final = {
    ".pt2": """import torch
network = torch.export.load("{file}").module()
upscaled = network(image)  # float32, N {channels} H W in 0..1, H and W from 3 on""",
    ".onnx": """import onnxruntime
session = onnxruntime.InferenceSession("{file}")
upscaled = session.run(None, {{"image": image}})[0]  # float32, N {channels} H W in 0..1""",
    ".safetensors": """from pathlib import Path
from trainables.networks.loading import load_network
network = load_network(Path("{file}")).eval()
upscaled = network(image, scale={scale})  # {colour} in 0..1, N C H W""",
}
"""The lines that open a file, by its suffix."""
_METHODS: Final = {
    "dfsr": "DFSR (Zhang et al., CVPR 2021)",
    "dfsr_cmi": "DFSR+CMI (Wang et al.)",
    "dfad": "DFAD (Fang et al., 2019, arXiv 1912.11006)",
    "noise": "Noise: distillation from uniform noise",
    "scratch": "Scratch: supervised training without a teacher",
    "kd": "KD (Hinton et al., 2015, arXiv 1503.02531)",
    "fakd": "FAKD (He et al., ICIP 2020)",
    "csd": "CSD (Wang et al., IJCAI 2021, arXiv 2105.11683)",
    "dukd": "DUKD (Zhang et al., 2023, arXiv 2309.14162)",
}
"""Methods by key, with their papers."""


def card(subject: Subject, files: Sequence[Path]) -> str:
    """Return the text of a card for exported files.

    Args:
        subject: what was exported.
        files: the exports; their digests and the lines that load them are in the card. Those whose
            names have `_luma` take luma alone.
    """
    parts = [
        f"---\n{dump_yaml(_front_matter(subject)).rstrip()}\n---",
        MARK,
        f"# {subject.name}: {subject.kind.upper()} x{subject.scale}",
        *_identity(subject),
        *_training(subject),
        *_figures(subject),
        *_use(subject, files),
        "## Not for",
        f"Other scales than x{subject.scale}; images that are more than small, such as blurred, "
        "noisy or compressed ones; faces; evidence: what a network adds was not in the image.",
        "## Licence",
        "None is given by this card: whoever publishes the file chooses one, and checks those of "
        "the teacher and of the images.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(subject: Subject) -> dict[str, Any]:
    heldout = subject.config.get("heldout") or {}
    found: dict[str, Any] = {
        "pipeline_tag": "image-to-image",
        "tags": ["super-resolution", "knowledge-distillation", subject.kind],
    }
    metrics = [
        {"type": kind, "name": f"{kind} ({subject.summary.get('protocol')})", "value": round(v, 4)}
        for kind, key in (("psnr", "psnr_y_db"), ("ssim", "ssim"))
        if (v := figure(subject.described(), key, subject.scale)) is not None
    ]
    if metrics:
        dataset = {"type": "images", "name": str(heldout.get("images", "held out"))}
        task = {"type": "image-to-image", "name": f"super-resolution x{subject.scale}"}
        result = {"task": task, "dataset": dataset, "metrics": metrics}
        found["model-index"] = [{"name": subject.name, "results": [result]}]
    return found


def _identity(subject: Subject) -> Iterator[str]:
    cost = subject.cost
    config = subject.network.config.model_dump(mode="json", exclude={"weights", "name"})
    shape = ", ".join(f"{key} {value}" for key, value in config.items() if key != "scales")
    yield (
        f"A {subject.kind.upper()} ({shape}) for x{subject.scale}: {format_count(cost.params)} "
        f"parameters, {format_count(cost.macs)} MACs for a 256x256 image."
    )
    if caveat := subject.notes.get("caveat"):
        yield f"Caveat: {one_line(caveat)}"


def _training(subject: Subject) -> Iterator[str]:
    config = subject.config
    if not config:
        return
    method = dict(config.get("method") or {})
    yield "## Training"
    rows = [f"- method: {_METHODS.get(str(method.get('name')), method.get('name'))}"]
    rows += [f"- teacher: {_teacher(subject)}"] if config.get("teacher") else []
    data, batch = config.get("data"), config.get("batch") or {}
    rows.append(f"- images seen: {'none' if not data else _images(data)}")
    rows.append(
        f"- budget: {subject.notes.get('step', '?')} of {config['budget']['steps']} updates of "
        f"{batch.get('images')} images, patches of {batch.get('patch')}"
    )
    yield "\n".join(rows)
    best, first = subject.described(), subject.summary.get("first")
    if best:
        yield _settings(best["config"], (first or {}).get("config") or {})


def _teacher(subject: Subject) -> str:
    teacher = subject.config["teacher"]
    place = "teacher.weights="
    known = ((k.removeprefix(place), v) for k, v in subject.digests.items() if k.startswith(place))
    weights, digest = next(known, (str(teacher.get("weights")), None))
    named = f"{teacher.get('name')}, `{Path(weights).name}`"
    return f"{named}, SHA-256 `{digest}`" if digest else named


def _images(data: Mapping[str, Any]) -> str:
    """Name the training images of a configuration's section `data`.

    >>> _images({"images": [{"folder": "DF2K", "weight": 3.0}, {"folder": "faces"}], "lr": None})
    'images DF2K (weight 3) and faces (weight 1)'
    """
    images = data.get("images")
    if isinstance(images, list):  # several folders, of which each has its weight
        several = (f"{each['folder']} (weight {each.get('weight', 1):g})" for each in images)
        data = {**data, "images": " and ".join(several)}
    return ", ".join(f"{key} {value}" for key, value in leaves(data) if value is not None)


def _settings(best: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    rows = ["| setting | this student | first point |", "|---|---|---|"]
    for path in dict.fromkeys([*best, *first]):
        values = (format_value(point[path]) if path in point else "" for point in (best, first))
        rows.append(f"| `{path}` | {' | '.join(values)} |")
    return "\n".join(rows)


def _figures(subject: Subject) -> Iterator[str]:
    summary, mine = subject.summary, subject.described()
    if not mine:
        return
    students = {
        "bicubic": summary.get("bicubic"),
        "first point": summary.get("first"),
        f"**this student**, trial {mine['trial']}": mine,
        "teacher": summary.get("teacher"),
    }
    rows = []
    for title, figures in students.items():
        psnr, ssim = (figure(figures, key, subject.scale) for key in ("psnr_y_db", "ssim"))
        if psnr is not None:
            rows.append(f"| {title} | {psnr:.2f} | {'' if ssim is None else f'{ssim:.4f}'} |")
    if not rows:
        return
    heldout = subject.config.get("heldout") or {}
    yield "## Figures"
    yield (
        f"On the held-out images `{heldout.get('images')}` (middle {heldout.get('crop')} pixels), "
        f"protocol `{summary.get('protocol')}`, whose numbers compare with no other protocol's:"
    )
    yield "\n".join(["| | PSNR of the luma, dB | SSIM |", "|---|--:|--:|", *rows])
    yield _verdict(summary.get("confirmed"), summary.get("trials") or {})


def _verdict(confirmed: Mapping[str, Any] | None, trials: Mapping[str, Any]) -> str:
    difference = (confirmed or {}).get("difference")
    if difference:
        return (
            f"Retrained with {len(difference['values'])} new seeds, the best point against the "
            f"first: {difference['mean']:+.3f} dB, 95 % interval {difference['low']:+.3f} .. "
            f"{difference['high']:+.3f}: {difference['verdict']}."
        )
    count = trials.get("total")
    return f"Not confirmed: one seed, the best of {count} trials, chosen for this very figure."


def _use(subject: Subject, files: Sequence[Path]) -> Iterator[str]:
    yield "## Use"
    for file in files:
        lines = _LOADING[file.suffix].format(
            file=file.name,
            channels=1 if LUMA in file.stem else 3,
            scale=subject.scale,
            colour="RGB" if subject.network.colour == "rgb" else "luma",
        )
        yield f"```python\n{lines}\n```"
        yield f"`{file.name}`: SHA-256 `{sha256_of(file)}`."
    made = subject.provenance
    if made:
        words = _without_folders(redacted_words([str(word) for word in made.get("argv") or []][1:]))
        git = made.get("git") or {}
        dirty = " with changes" if git.get("dirty") else ""
        packages = made.get("packages") or {}
        versions = ", ".join(f"{name} {packages[name]}" for name in ("torch",) if name in packages)
        yield (
            f"Made by `python -m tune_sr.search {one_line(shlex.join(words))}`, commit "
            f"`{git.get('commit')}`{dirty}, tune-sr {made.get('version')}, {versions}."
        )


def _without_folders(words: Sequence[str]) -> list[str]:
    """Cut absolute paths of a command line to their last name: they are the owner's alone."""
    return [Path(word).name if word.startswith("/") else word for word in words]
