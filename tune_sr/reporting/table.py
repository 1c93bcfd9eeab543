"""A table of a report: as HTML, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_sr.reporting.markup import Markup, tag
from tune_sr.reporting.plots.style import short_number

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    key: str
    """Its heading, and its name in CSV and `--json`."""
    digits: int | None = None
    """Decimals of its numbers; None: three significant digits, as `1.2e-6`."""
    signed: bool = False
    """Whether positive numbers have a sign."""

    def shown(self, value: Any) -> str:
        """A value as the page and LaTeX show it; what is not there is empty."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value).lower() if isinstance(value, bool) else str(value)
        if isinstance(value, int) or math.isinf(value):
            return str(value)
        if self.digits is None:
            return short_number(value)
        value = round(value, self.digits) + 0.0  # no -0.00
        return f"{value:+.{self.digits}f}" if self.signed else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """Rows of values under columns, with the name that its files get."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    trials: Sequence[str] = field(default=())
    """The trial of each row, for a click; empty: rows are no trials."""

    def to_html(self) -> Markup:
        """A table that scrolls in its own box; a click on a heading sorts it."""
        head = tag("tr", *(tag("th", c.key, scope="col") for c in self.columns))
        body = [self._row(place, row) for place, row in enumerate(self.rows)]
        buttons = tag(
            "p",
            tag("button", "copy as CSV", type="button", data_copy="csv"),
            tag("button", "copy as LaTeX", type="button", data_copy="latex"),
            class_="buttons",
        )
        table = tag("table", tag("thead", head), tag("tbody", *body))
        return tag("div", tag("div", table, class_="scroll"), buttons, class_="table")

    def _row(self, place: int, row: Sequence[Any]) -> Markup:
        cells = [
            tag("td", column.shown(value), data_value=_sort_key(value),
                class_="number" if _is_number(value) else None)
            for column, value in zip(self.columns, row, strict=True)
        ]  # fmt: skip
        trial = self.trials[place] if self.trials else None
        return tag("tr", *cells, data_trial=trial, tabindex="0" if trial else None)

    def to_csv(self) -> str:
        """All digits, one line for each row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        writer.writerows(self.rows)
        return text.getvalue()

    def to_latex(self) -> str:
        """A `tabular` of the package booktabs; numbers to the right."""
        numbers = [any(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]
        lines = [
            rf"\begin{{tabular}}{{{''.join('r' if n else 'l' for n in numbers)}}}",
            r"\toprule",
            " & ".join(latex(column.key) for column in self.columns) + r" \\",
            r"\midrule",
        ]
        for row in self.rows:
            cells = (c.shown(value) for c, value in zip(self.columns, row, strict=True))
            lines.append(" & ".join(latex(cell) for cell in cells) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as mappings, with what JSON cannot write as None."""
        return [
            {c.key: _plain(value) for c, value in zip(self.columns, row, strict=True)}
            for row in self.rows
        ]


def latex(text: str) -> str:
    r"""Text with LaTeX's own characters escaped.

    >>> latex("w_R 5 %")
    'w\\_R 5 \\%'
    """
    return "".join(_LATEX.get(character, character) for character in text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sort_key(value: Any) -> str | None:
    return repr(value) if _is_number(value) else None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def note(*children: object) -> Markup:
    """A box for a sentence that answers the section's question."""
    return tag("p", *children, class_="note")


def lead(*children: object) -> Markup:
    """The line under a heading."""
    return tag("p", *children, class_="lead")
