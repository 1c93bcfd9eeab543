"""The belief that good points lie near the space's first points, as a density and its draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from tune_sr.searchers.context import PriorConfig

if TYPE_CHECKING:
    import numpy.typing as npt

    from tune_sr.searchers.unit_cube import UnitCube
    from tune_sr.space.search_space import SearchSpace

    Array = npt.NDArray[np.float64]

WIDTHS = {"low": 0.5, "medium": 0.25, "high": 0.12}
"""Standard deviation of the belief in a number's range of length 1, by its confidence."""

DOUBT = 0.3
"""Share of every quantity's belief that is uniform, so that no value is thought impossible."""


class Belief:
    """A density over a space: a mixture over its first points, the same share each.

    Around a point the quantities are independent: a normal distribution in a number's range, the
    point's own word in a choice, each mixed with the uniform distribution.
    """

    def __init__(self, space: SearchSpace, cube: UnitCube, config: PriorConfig) -> None:
        self._cube = cube
        self._centres = cube.rows(space.first_points)
        self._width = WIDTHS[config.confidence]

    def log_density(self, rows: Array) -> Array:
        """Return the logarithm of the density at each row, the uniform one's being about 0."""
        logs = np.stack([self._around(centre, rows) for centre in self._centres])
        return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(logs)))

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Draw `count` rows."""
        centres = self._centres[rng.integers(len(self._centres), size=count)]
        return draw_near(self._cube, centres, self._width, DOUBT, rng)

    def _around(self, centre: Array, rows: Array) -> Array:
        """The log density around one first point; quantities that only one of both has count 0."""
        density = np.ones_like(rows)
        for column, ordered in enumerate(self._cube.ordered):
            middle, places = centre[column], rows[:, column]
            if ordered:
                inside = ndtr((1 - middle) / self._width) - ndtr(-middle / self._width)
                near = np.exp(-(((places - middle) / self._width) ** 2) / 2)
                near /= math.sqrt(2 * math.pi) * self._width * inside
            else:
                near = (places == middle) * float(len(self._cube.dimensions[column].args))
            density[:, column] = DOUBT + (1 - DOUBT) * near
        both = ~np.isnan(centre) & ~np.isnan(rows)
        return np.asarray(np.sum(np.log(np.where(both, density, 1.0)), axis=1))


def draw_near(
    cube: UnitCube, centres: Array, width: float, renewed: float, rng: np.random.Generator
) -> Array:
    """Draw one row near each of `centres`.

    Args:
        cube: the space.
        centres: rows; quantities that one lacks are drawn uniformly.
        width: standard deviation of a step in an ordered quantity; steps are reflected at the ends.
        renewed: probability with which a quantity is drawn uniformly instead.
        rng: the source of randomness.
    """
    uniform, anew = rng.random(centres.shape), rng.random(centres.shape) < renewed
    steps = rng.normal(0.0, width, centres.shape) * np.asarray(cube.ordered)
    moved = np.abs((centres + steps) % 2.0)
    moved = np.where(moved > 1.0, 2.0 - moved, moved)
    return cube.settle(np.where(anew | np.isnan(centres), uniform, moved))
