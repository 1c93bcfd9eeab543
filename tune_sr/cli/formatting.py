"""Formats values, counts, costs, durations and footnote marks for tables and log lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any


def footnote_marks(caveats: Iterable[str | None]) -> dict[str, str]:
    """Give each distinct caveat its footnote mark, in order of appearance; None and "" get none.

    >>> footnote_marks([None, "of CSD", "of CSD", "of FAKD"])
    {'of CSD': '*', 'of FAKD': '**'}
    """
    different = dict.fromkeys(caveat for caveat in caveats if caveat)
    return {caveat: "*" * number for number, caveat in enumerate(different, start=1)}


def format_value(value: Any) -> str:
    """Format a searched value in few characters: a float to four significant digits.

    >>> format_value(0.0123456), format_value(2), format_value(1.0), format_value("new")
    ('0.01235', '2', '1', 'new')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_cost(key: str, value: float) -> str:
    """Format a student's cost: milliseconds for `latency_ms`, else a count (parameters, MACs).

    >>> format_cost("params", 1369859.0), format_cost("latency_ms", 12.3456)
    ('1.37 M', '12.3 ms')
    """
    return f"{value:.3g} ms" if key == "latency_ms" else format_count(round(value))


def format_count(number: int) -> str:
    """Format a count as papers write it, in thousands (K), millions (M) or billions (G).

    >>> format_count(664704), format_count(1517571), format_count(612), format_count(174218280960)
    ('664.7 K', '1.52 M', '612', '174.22 G')
    """
    for unit, size, digits in (("G", 10**9, 2), ("M", 10**6, 2), ("K", 10**3, 1)):
        if number >= size:
            return f"{number / size:.{digits}f} {unit}"
    return str(number)


def format_duration(seconds: float) -> str:
    """Format a duration in seconds as `h:mm:ss`, or `m:ss` below an hour.

    >>> format_duration(75), format_duration(3 * 3600 + 62)
    ('1:15', '3:01:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Name quantities by the last part of their dotted paths; with the part before it if unclear.

    >>> short_names(["method.w_R", "optimiser.lr", "generator.lr"])
    {'method.w_R': 'w_R', 'optimiser.lr': 'optimiser.lr', 'generator.lr': 'generator.lr'}
    """
    last = {path: path.rpartition(".")[2] for path in dict.fromkeys(paths)}
    several = Counter(last.values())
    return {
        path: name if several[name] == 1 else ".".join(path.split(".")[-2:])
        for path, name in last.items()
    }


def cut_name(name: str, most: int) -> str:
    """Cut the words of a name, the longest first, to three letters until it has `most` characters.

    A name that is too long even so loses its end.

    >>> cut_name("generator_lr", 8), cut_name("part_fraction", 8), cut_name("w_R", 8)
    ('gen_lr', 'part_fra', 'w_R')
    """
    words = name.split("_")
    while len("_".join(words)) > most and max(map(len, words)) > 3:
        longest = max(range(len(words)), key=lambda place: len(words[place]))
        words[longest] = words[longest][:3]
    return "_".join(words)[:most]


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = ()) -> list[str]:
    """Lines of rows of cells, columns two spaces apart, to the right but for those in `left`.

    >>> aligned([["trial", "dB"], ["0", "31.5"]], left=[0])
    ['trial    dB', '0      31.5']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
