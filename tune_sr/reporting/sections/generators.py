"""What did the generators imagine? How far training moved them, and what they made."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from trainables.snapshot_files import IMAGINED, snapshots_of
from tune_sr.reporting.markup import Markup, joined, tag
from tune_sr.reporting.plots import generator_change
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData, Trial
from tune_sr.reporting.table import lead, note

_UNTRAINED = 0.02
"""A change below it is as good as none: the images are those of an untrained generator."""


_TITLE = "What did the generators imagine?"
_COLUMNS = 6


def section(data: StudyData) -> Section | None:
    """Images of fixed latents over updates, and the curve of their change.

    Without a generator it shows one strip, of what the students learn from; None where no method
    makes its images.
    """
    figure = generator_change.figure(data)
    strips = _strips(data)
    if figure is None:
        if not strips:
            return None
        title, files = next(iter(strips.items()))
        newest = {step: path for step, path in files.items() if step == max(files)}
        said = "There is no generator: 16 of the images that the students learn from."
        body = joined(lead(said), _strip(title, newest))
        return Section("generators", "generators", _TITLE, body)
    said = (
        "How far the images of 16 fixed latents lie from those of the untrained generator: RMS of "
        "the difference over their contrast."
    )
    sentence = change_sentence(data)
    body = joined(*(_strip(title, files) for title, files in strips.items()),
                  lead(said), note(sentence) if sentence else None,
                  plot("generator-change", "change of the generators over updates"))  # fmt: skip
    numbers = {trial.name: trial.change for trial in data.trials}
    return Section("generators", "generators", _TITLE, body,
                   {"generator-change": figure}, numbers={"generator_change": numbers})  # fmt: skip


def _strips(data: StudyData) -> dict[str, dict[int, Path]]:
    """By title the pictures of the first point, of the best and of the largest change."""
    moved = [(trial.change, trial) for trial in data.trials if trial.change is not None]
    largest = max(moved, key=lambda each: each[0])[1] if moved else None
    roles: dict[str, list[str]] = {}
    for role, trial in (
        ("first point", data.first), ("best", data.best), ("largest change", largest),
    ):  # fmt: skip
        if trial is not None:
            roles.setdefault(trial.name, []).append(role)
    found = {}
    for name, held in roles.items():
        files = snapshots_of(data.results.folder, name, IMAGINED)
        if files:
            found[f"{', '.join(held)}: {name}{_moved(data.by_name[name])}"] = files
    return found


def _moved(trial: Trial) -> str:
    return "" if trial.change is None else f", moved by {100 * trial.change:.1f} %"


def _strip(title: str, files: Mapping[int, Path]) -> Markup:
    """One row of pictures: the untrained generator's, the newest, and up to four between."""
    steps = sorted(files)
    last = len(steps) - 1
    count = min(_COLUMNS, len(steps))
    chosen = sorted({round(place * last / max(count - 1, 1)) for place in range(count)})
    columns = [_column(steps[place], files[steps[place]]) for place in chosen]
    return tag("figure", tag("figcaption", title), tag("div", *columns, class_="columns"),
               class_="imagined")  # fmt: skip


def _column(step: int, path: Path) -> Markup:
    caption = "untrained" if step == 0 else f"update {step:,}"
    try:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:  # pruned while the page is written
        return tag("div", tag("p", "its file is gone", class_="gone"), tag("p", caption),
                   class_="column")  # fmt: skip
    image = tag("img", src=f"data:image/png;base64,{data}", alt=f"imagined, {caption}")
    return tag("div", image, tag("p", caption), class_="column")


def change_sentence(data: StudyData) -> str | None:
    """What the best trial's change means; None where it has none."""
    best = data.best
    change = None if best is None else best.change
    if best is None or change is None:
        return None
    said = f"The best trial's generator moved by {100 * change:.1f} %"
    if change < _UNTRAINED:
        return f"{said}: as good as untrained, so weights of its loss can hardly have mattered."
    return f"{said} of its images' contrast."
