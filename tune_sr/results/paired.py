"""Compares two configurations that were trained with the same seeds, pair by pair."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import correlation, mean, stdev
from typing import Final, Literal

Verdict = Literal["better", "worse", "equal", "inside the noise"]

MARGIN_DB: Final = 0.02
"""Differences of at most so many dB are none: papers round to 0.01 dB."""
MOST_SEEDS: Final = 50
"""Above so many seeds, how many would do is not said: nobody trains them."""
_EXACT: Final = (6, 16)
"""Numbers of pairs for which the sign-flip test is made: below, its smallest p is above 0.05."""


def verdict_of(low: float, high: float, margin: float = MARGIN_DB) -> Verdict:
    """What an interval of a difference allows to say.

    `better` or `worse` where it lies on one side of 0, `equal` where it lies within `margin` of
    0, else `inside the noise`.
    """
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "equal" if max(-low, high) <= margin else "inside the noise"


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two scores over K seeds, each seed giving one of either: in dB.

    The interval is Student's for the mean of the K differences. It is not the bootstrap's, which is
    too narrow for K <= 10, nor Welch's, which ignores that seeds are shared.
    """

    values: tuple[float, ...]
    """The difference with each seed."""
    mean: float
    sd: float
    low: float
    """Lower end of the 95 % confidence interval of the mean."""
    high: float
    """Upper end of it."""
    correlation: float | None
    """Of the two scores over the seeds; None of two seeds, and where one score does not vary."""
    p: float | None
    """Of the exact sign-flip test, two-sided; None below 6 and above 16 seeds."""
    margin: float = MARGIN_DB
    """Differences within so many dB of 0 are equal."""

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say, as `verdict_of` has it."""
        return verdict_of(self.low, self.high, self.margin)

    @property
    def visible_db(self) -> float:
        """The smallest difference that as many seeds of this spread would have shown."""
        return (self.high - self.low) / 2

    @property
    def seeds_needed(self) -> int | None:
        """The fewest seeds that show a difference of this size in four of five confirmations.

        At least 3; None above `MOST_SEEDS`.
        """

        def detectable(seeds: int) -> float:
            quantiles = _quantile(0.975, seeds - 1) + _quantile(0.80, seeds - 1)
            return quantiles * self.sd / math.sqrt(seeds)

        enough = (n for n in range(3, MOST_SEEDS + 1) if detectable(n) <= abs(self.mean))
        return next(enough, None)


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], margin: float = MARGIN_DB
) -> PairedDifference:
    """Compare scores in dB that were made with the same seeds, in the same order.

    `margin` is in dB: an interval within it of 0 is one of equal configurations.

    Raises:
        ValueError: there are fewer than two pairs, or one score lacks its partner.

    >>> difference = paired_difference([32.4, 32.5, 32.3], [32.2, 32.2, 32.2])
    >>> f"{difference.mean:.2f} {difference.low:.2f} {difference.high:.2f} {difference.verdict}"
    '0.20 -0.05 0.45 inside the noise'
    """
    values = tuple(one - other for one, other in zip(ours, theirs, strict=True))
    if len(values) < 2:
        raise ValueError("two pairs of scores at least: one tells nothing of their spread")
    centre, sd = mean(values), stdev(values)
    half = _quantile(0.975, len(values) - 1) * sd / math.sqrt(len(values))
    known = len(values) > 2 and len(set(ours)) > 1 and len(set(theirs)) > 1
    return PairedDifference(
        values=values,
        mean=centre,
        sd=sd,
        low=centre - half,
        high=centre + half,
        correlation=correlation(ours, theirs) if known else None,
        p=_sign_flip_p(values) if _EXACT[0] <= len(values) <= _EXACT[1] else None,
        margin=margin,
    )


def _quantile(probability: float, freedom: int) -> float:
    """Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _sign_flip_p(values: Sequence[float]) -> float:
    """Share of all choices of signs whose sum lies at least as far from 0 as that of `values`."""
    ours = abs(sum(values)) * (1 - 1e-12)  # sums in another order differ in the last digit
    signs = itertools.product((-1, 1), repeat=len(values) - 1)  # the first one's by symmetry
    totals = (
        values[0] + sum(sign * value for sign, value in zip(each, values[1:], strict=True))
        for each in signs
    )
    as_far = sum(abs(total) >= ours for total in totals)
    return float(as_far / 2 ** (len(values) - 1))
