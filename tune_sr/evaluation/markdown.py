"""Formats the rows of the papers' table as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_sr.cli.formatting import footnote_marks, format_count
from tune_sr.cli.streams import one_line

if TYPE_CHECKING:
    from tune_sr.evaluation.row import Row


def markdown(table: Sequence[Row], mark: str = "") -> str:
    """Format rows as Markdown, one table for each protocol, with caveats as footnotes below.

    Args:
        table: the rows, in their order.
        mark: appended to the name of every network, such as `+` for self-ensemble.
    """
    names = _short({row.network for row in table})
    caveats = footnote_marks(row.caveat for row in table)
    more: dict[str, Callable[[Row], float | None]] = {
        "to teacher, dB": lambda row: row.psnr_to_teacher_db,
        "LPIPS": lambda row: row.lpips,
        "DISTS": lambda row: row.dists,
    }
    more = {head: of for head, of in more.items() if any(of(row) is not None for row in table)}
    parts = []
    for protocol in dict.fromkeys(row.protocol for row in table):
        heads = ["data", "scale", "network", f"PSNR, dB ({protocol})", f"SSIM ({protocol})"]
        heads += ["params", "MACs", "images/s", *more]
        lines = [heads, ["---"] * 3 + ["--:"] * (len(heads) - 3)]
        for row in (row for row in table if row.protocol == protocol):
            name = row.network if row.params is None else names[row.network] + mark
            name += caveats.get(row.caveat or "", "")
            cells = [row.data, f"x{row.scale}", name, _figure(row.psnr_y_db, ".2f")]
            cells += [_figure(row.ssim, ".4f"), _count(row.params), _count(row.macs)]
            cells += [_figure(row.images_per_second, ".3g")]
            cells += [
                _figure(of(row), ".2f" if "dB" in head else ".4f") for head, of in more.items()
            ]
            lines.append(cells)
        parts.append("\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines))
    if caveats:
        shown = (f"{star} {one_line(caveat)}" for caveat, star in caveats.items())
        parts.append("\n".join(shown))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    """Escape a text for a table cell: one line, no control characters, no bare `|`."""
    return one_line(text).replace("|", "\\|")


def _short(labels: Collection[str]) -> dict[str, str]:
    """Shorten paths to file names, where the file name is unique among `labels`."""
    names = {label: Path(label).name for label in labels}
    shown = list(names.values())
    return {label: name if shown.count(name) == 1 else label for label, name in names.items()}


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _count(number: int | None) -> str:
    return "" if number is None else format_count(number)
