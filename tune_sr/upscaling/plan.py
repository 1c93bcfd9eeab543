"""Decides which pictures are enlarged, and where each result is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainables.data.images import SUFFIXES
from trainables.paths import expanded, is_folder, why_no_file

WRITABLE: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Suffixes that a result may have."""
VIDEO: Final = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
"""Suffixes of videos, which are refused by name."""
ANIMATED: Final = ".gif"
"""A suffix that is read in a folder only to name its animations among the unreadable files."""


@dataclass(frozen=True)
class Job:
    """A picture, and the file that its enlargement is written to."""

    source: Path
    target: Path

    @property
    def beside(self) -> Path:
        """The file of the comparison with bicubic."""
        return self.target.with_name(f"{self.target.stem}_beside{self.target.suffix}")


def planned(inputs: Sequence[str], output: Path | None, scale: int) -> list[Job]:
    """List the pictures of files and folders, each with its result.

    A picture becomes `NAME_x2.png` beside it; a folder `FOLDER_x2/` beside it, with the same tree
    and names. `output` is a file for a single picture, else a folder: it receives the tree of a
    single folder, and of several inputs each under the name that it would have beside its input.
    Where two pictures of a folder differ in their suffix only, results keep it: `a.jpg.png`.

    Args:
        inputs: files and folders, as the user named them.
        output: a file (it has a suffix of `WRITABLE`) or a folder; None: beside the inputs.
        scale: the upscaling factor, for the names.

    Raises:
        ValueError: an input does not exist, a folder has no picture, or two results, or a result
            and an input, would be one file.
    """
    paths = [expanded(each) for each in inputs]
    if output is not None and output.suffix.lower() in WRITABLE and not is_folder(output):
        if len(paths) != 1 or is_folder(paths[0]):
            raise ValueError(f"--output {output}: one file for one picture; name a folder")
        return _without_clashes([Job(_existing(paths[0]), output)])
    jobs: list[Job] = []
    for path in paths:
        if is_folder(path):
            jobs += _of_folder(path, output, scale, alone=len(paths) == 1)
        else:
            jobs.append(_of_file(_existing(path), output, scale))
    return _without_clashes(jobs)


def _existing(path: Path) -> Path:
    reason = why_no_file(path)
    if reason not in (None, "permission denied"):
        raise ValueError(f"{path}: {reason}")
    return path


def _of_file(path: Path, output: Path | None, scale: int) -> Job:
    return Job(path, (output or path.parent) / f"{path.stem}_x{scale}.png")


def _of_folder(folder: Path, output: Path | None, scale: int, *, alone: bool) -> list[Job]:
    whole = folder.resolve()
    beside = whole.parent if output is None else output
    root = output if output is not None and alone else beside / f"{whole.name}_x{scale}"
    if root.resolve() == whole:
        raise ValueError(f"--output {output}: is the folder itself; name another")
    files = list(_pictures(folder, root.resolve()))
    if not files:
        raise ValueError(f"{folder} holds no picture ({' '.join(SUFFIXES)})")
    stems = Counter(path.with_suffix("") for path in files)
    jobs = []
    for path in files:
        inner = path.relative_to(folder)
        name = f"{path.name}.png" if stems[path.with_suffix("")] > 1 else f"{path.stem}.png"
        jobs.append(Job(path, root / inner.parent / name))
    return jobs


def _pictures(folder: Path, results: Path) -> Iterator[Path]:
    """Find the pictures below a folder, by name, without hidden ones and without results."""
    known = (*SUFFIXES, ANIMATED)
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix.lower() not in known or not path.is_file():
            continue
        if not path.resolve().is_relative_to(results):
            yield path


def _without_clashes(jobs: Sequence[Job]) -> list[Job]:
    """Drop results of this very plan that were named as inputs, as `*.png` names them.

    Raises:
        ValueError: two results would be one file, or a result one of the other inputs.
    """
    targets = {job.target.resolve() for job in jobs}
    kept = [job for job in jobs if job.source.resolve() not in targets]
    if len(kept) < len(jobs):
        own = [job for job in jobs if job.target.resolve() == job.source.resolve()]
        if own or not kept:
            job = (own or list(jobs))[0]
            raise ValueError(f"{job.source}: its result would take its place; name another output")
    seen: dict[Path, Path] = {}
    for job in kept:
        other = seen.setdefault(job.target.resolve(), job.source)
        if other != job.source:
            raise ValueError(f"{other} and {job.source} would both become {job.target}")
    return kept
