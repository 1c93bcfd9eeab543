"""Values, counts, costs and durations as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def footnote_marks(caveats: Iterable[str | None]) -> dict[str, str]:
    """Each different caveat with the mark of its footnote, in order of appearance.

    >>> footnote_marks([None, "of CSD", "of CSD", "of FAKD"])
    {'of CSD': '*', 'of FAKD': '**'}
    """
    different = dict.fromkeys(caveat for caveat in caveats if caveat)
    return {caveat: "*" * number for number, caveat in enumerate(different, start=1)}


def short(value: Any) -> str:
    """A searched value in few characters: a float to four digits.

    >>> short(0.0123456), short(2), short(1.0), short("new")
    ('0.01235', '2', '1', 'new')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cost_shown(key: str, value: float) -> str:
    """What a student costs, for a person.

    >>> cost_shown("params", 1369859.0), cost_shown("latency_ms", 12.3456)
    ('1.37 M', '12.3 ms')
    """
    return f"{value:.3g} ms" if key == "latency_ms" else count_shown(round(value))


def count_shown(number: int) -> str:
    """A count as papers write it.

    >>> count_shown(664704), count_shown(1517571), count_shown(612), count_shown(174218280960)
    ('664.7 K', '1.52 M', '612', '174.22 G')
    """
    for unit, size, digits in (("G", 10**9, 2), ("M", 10**6, 2), ("K", 10**3, 1)):
        if number >= size:
            return f"{number / size:.{digits}f} {unit}"
    return str(number)


def clock(seconds: float) -> str:
    """A duration as hours, minutes and seconds.

    >>> clock(75), clock(3 * 3600 + 62)
    ('1:15', '3:01:02')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
