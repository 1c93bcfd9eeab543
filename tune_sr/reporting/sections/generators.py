"""What did the generators imagine? How far training moved them, and what they made."""

from __future__ import annotations

from tune_sr.reporting.markup import joined
from tune_sr.reporting.plots import generator_change
from tune_sr.reporting.section import Section, plot
from tune_sr.reporting.study_data import StudyData
from tune_sr.reporting.table import lead, note

_UNTRAINED = 0.02
"""A change below it is as good as none: the images are those of an untrained generator."""


def section(data: StudyData) -> Section | None:
    """The curve of the change; None where no method has a generator."""
    figure = generator_change.figure(data)
    if figure is None:
        return None
    said = (
        "How far the images of 16 fixed latents lie from those of the untrained generator: RMS of "
        "the difference over their contrast."
    )
    sentence = change_sentence(data)
    body = joined(lead(said), note(sentence) if sentence else None,
                  plot("generator-change", "change of the generators over updates"))  # fmt: skip
    numbers = {trial.name: trial.change for trial in data.trials}
    return Section("generators", "generators", "What did the generators imagine?", body,
                   {"generator-change": figure}, numbers={"generator_change": numbers})  # fmt: skip


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
