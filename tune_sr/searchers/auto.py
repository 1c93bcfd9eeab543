"""The searcher `auto`: a Gaussian process and a belief, for 8 to 64 trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tune_sr.searchers.belief import Belief, draw_near
from tune_sr.searchers.gaussian_process import GaussianProcess, log_expected_improvement
from tune_sr.searchers.unit_cube import UnitCube
from tune_sr.searchers.worths import worths

if TYPE_CHECKING:
    import numpy.typing as npt

    from tune_sr.searchers.context import ProposalContext

    Array = npt.NDArray[np.float64]

STARTUP = 2
"""Ended trials with a value from which on the model is used."""

_CANDIDATES = 512
"""Rows drawn from the space, and as many from the belief, to compare by the acquisition."""

_LEADERS = 8
"""Rows of the largest acquisition around which others are drawn."""

_STEPS = (0.2, 0.1, 0.05, 0.02)
"""Widths of those draws, one round each, in a number's range of length 1."""

_NEIGHBOURS = 16
"""Draws around each leader in a round."""

_DECAY = 1.0
"""Weight of the belief's logarithm beside that of expected improvement, divided by the number of
trials that the model has: beta of pi-BO."""

_FLOOR = -2.0
"""Standard deviations below the median at which a value counts, however much lower it is."""


def propose_by_model(context: ProposalContext) -> dict[str, Any]:
    """Return the point of largest expected improvement, weighted by the belief."""
    rng = np.random.default_rng(context.seed)
    space, cube = context.space, UnitCube(context.space)
    belief = Belief(space, cube, context.prior) if context.prior and space.first_points else None
    known = list(worths(context))
    if len(known) < STARTUP:
        return cube.point((belief.draw(1, rng) if belief else _uniform(cube, 1, rng))[0])

    values = _standardised(_scalarised(np.array([values for _, values in known]), rng))
    rows = cube.rows([record.point for record, _ in known])
    if belief and _misleads(cube.rows(space.first_points)[0], rows, values):
        belief = None
    running = cube.rows([record.point for record in context.running])
    return cube.point(_Acquisition(cube, rows, values, running, belief).largest(rng))


class _Acquisition:
    """Log expected improvement plus the belief's decaying log density.

    Hvarfner et al., "piBO: Augmenting Acquisition Functions with User Beliefs for Bayesian
    Optimization", ICLR 2022, equation 6. What is to be improved on is the largest mean of the
    model at a point that was tried, since observations are noisy.
    """

    def __init__(
        self, cube: UnitCube, rows: Array, values: Array, running: Array, belief: Belief | None
    ) -> None:
        self._cube, self._belief = cube, belief
        vectors = cube.vectors(rows)
        self._model = GaussianProcess(vectors, values, cube.quantities)
        means, _ = self._model.predict(vectors)
        self._best = float(means.max())
        self._tried = rows[np.argsort(-means, kind="stable")[:_LEADERS]]
        self._weight = _DECAY / len(rows)
        if len(running):
            self._model.believe(cube.vectors(running))

    def largest(self, rng: np.random.Generator) -> Array:
        """Return the row of the largest acquisition among candidates and their neighbours."""
        rows = np.concatenate(
            [_uniform(self._cube, _CANDIDATES, rng), self._around(self._tried, _STEPS[0], rng)]
        )
        if self._belief:
            rows = np.concatenate([rows, self._belief.draw(_CANDIDATES, rng)])
        scores = self._scores(rows)
        for width in _STEPS:
            leaders = rows[np.argsort(-scores, kind="stable")[:_LEADERS]]
            found = self._around(leaders, width, rng)
            rows = np.concatenate([rows, found])
            scores = np.append(scores, self._scores(found))
        return np.asarray(rows[int(np.argmax(scores))])

    def _around(self, leaders: Array, width: float, rng: np.random.Generator) -> Array:
        renewed = 1 / (2 * len(self._cube.dimensions) + 1)
        return draw_near(self._cube, np.repeat(leaders, _NEIGHBOURS, axis=0), width, renewed, rng)

    def _scores(self, rows: Array) -> Array:
        means, deviations = self._model.predict(self._cube.vectors(rows))
        scores = log_expected_improvement(means, deviations, self._best)
        if self._belief:
            scores = scores + self._weight * self._belief.log_density(rows)
        return scores


def _uniform(cube: UnitCube, count: int, rng: np.random.Generator) -> Array:
    return cube.settle(rng.random((count, len(cube.dimensions))))


def _scalarised(values: Array, rng: np.random.Generator) -> Array:
    """Return one value for each trial: its only one, or a random weighting of value and cost.

    The augmented Chebyshev function of Knowles, "ParEGO", IEEE TEVC 2006, equation 2, with a
    weight drawn anew for each proposal.
    """
    if values.shape[1] == 1:
        return np.ravel(values)
    gains = values * [1.0, -1.0]
    low, high = gains.min(axis=0), gains.max(axis=0)
    losses = (high - gains) / np.where(high > low, high - low, 1.0)
    share = rng.random()
    weighted = losses * [share, 1 - share]
    return np.asarray(-(weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)))


def _standardised(values: Array) -> Array:
    """Return the values with mean 0 and variance 1, far outliers below raised to `_FLOOR`."""
    middle = np.median(values)
    upper = values[values >= middle] - middle
    width = float(np.sqrt(np.mean(upper**2)))
    floored = np.maximum(values, middle + _FLOOR * width) if width > 0 else values
    centred = floored - floored.mean()
    spread = float(centred.std())
    return np.asarray(centred / spread if spread > 0 else centred)


def _misleads(first: Array, rows: Array, values: Array) -> bool:
    """Whether the first point, with a value, is worse than half of at least four trials."""
    (same,) = np.nonzero(np.all((rows == first) | (np.isnan(rows) & np.isnan(first)), axis=1))
    return len(rows) >= 4 and len(same) > 0 and bool(values[same[0]] < np.median(values))
