"""A Gaussian process for few observations, and the logarithm of expected improvement."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import erfcx, log_ndtr

Array = npt.NDArray[np.float64]

_SCALE_SPREAD = 1.0
"""Standard deviation of the prior of a length scale's logarithm."""

_NOISE = 0.05
"""Median of the prior of the noise's variance, where the observations have variance 1."""

_NOISE_SPREAD = 1.0
"""Standard deviation of the prior of the logarithm of the noise's variance."""

_FITTED = 128
"""Observations that length scales are fitted to at most: the newest. All count in a prediction."""


class GaussianProcess:
    """A Gaussian process with a Matern-5/2 kernel and one length scale for each quantity.

    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006. Observations are
    expected with mean 0 and variance 1. Length scales and noise are those of largest posterior
    density. The prior of a length scale is log-normal around a median that grows with the square
    root of the number of quantities, so that distances of random points stay of its order: Hvarfner
    et al., "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024.

    Args:
        inputs_ND: the observed places.
        values_N: what was observed there.
        quantities_D: for each coordinate the number of its quantity, from 0.
    """

    def __init__(
        self, inputs_ND: Array, values_N: Array, quantities_D: npt.NDArray[np.intp]
    ) -> None:
        self._quantities = quantities_D
        self._log_scales, log_noise = self._fit(inputs_ND[-_FITTED:], values_N[-_FITTED:])
        self._noise = math.exp(log_noise)
        self._observe(inputs_ND, values_N)

    def predict(self, inputs_MD: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noiseless function at each place."""
        cross_MN = _matern(self._squared_distances(inputs_MD))
        mean_M = cross_MN @ self._weights
        half_NM = solve_triangular(self._root, cross_MN.T, lower=True)
        variance_M = np.maximum(1.0 - np.sum(half_NM**2, axis=0), 1e-10)
        return mean_M, np.sqrt(variance_M)

    def believe(self, inputs_MD: Array) -> None:
        """Take the predicted means at `inputs_MD` for observations, as of trials that still run.

        The "Kriging believer" of Ginsbourger et al., "Kriging Is Well-Suited to Parallelize
        Optimization", 2010.
        """
        mean_M, _ = self.predict(inputs_MD)
        values = np.concatenate([self._values, mean_M])
        self._observe(np.concatenate([self._inputs, inputs_MD]), values)

    def _observe(self, inputs_ND: Array, values_N: Array) -> None:
        self._inputs, self._values = inputs_ND, values_N
        kernel_NN = _matern(self._squared_distances(inputs_ND))
        self._root = cholesky(kernel_NN + self._noise * np.eye(len(values_N)), lower=True)
        self._weights = cho_solve((self._root, True), values_N)

    def _squared_distances(self, inputs_MD: Array) -> Array:
        """Return the squared distances from the observed places, in length scales."""
        scales_D = np.exp(self._log_scales)[self._quantities]
        return np.asarray(cdist(inputs_MD / scales_D, self._inputs / scales_D, "sqeuclidean"))

    def _fit(self, inputs_ND: Array, values_N: Array) -> tuple[Array, float]:
        """Return the logarithms of the length scales and of the noise's variance."""
        count = int(self._quantities.max(initial=-1)) + 1
        squares_QNN = _squares(inputs_ND, inputs_ND, self._quantities)
        centre = np.append(np.full(count, 0.5 * math.log(max(count, 1)) - 0.5), math.log(_NOISE))
        spread = np.append(np.full(count, _SCALE_SPREAD), _NOISE_SPREAD)

        def loss(parameters: Array) -> tuple[float, Array]:
            value, slope = _negative_log_likelihood(parameters, squares_QNN, values_N)
            off = (parameters - centre) / spread
            return value + 0.5 * float(off @ off), slope + off / spread

        bounds = [
            (middle - 4 * width, middle + 4 * width)
            for middle, width in zip(centre, spread, strict=True)
        ]
        found = minimize(
            loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30}
        )
        return found.x[:-1], float(found.x[-1])


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return log E[max(f - best, 0)] of normal variables f, accurate where it underflows.

    Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian Optimization",
    NeurIPS 2023, equations 8 to 10.
    """
    z = (mean - best) / deviation
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near = np.log(np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) + z * np.exp(log_ndtr(z)))
        tail = np.maximum(-z, 1.0)
        ratio = np.log1p(-math.sqrt(math.pi / 2) * erfcx(tail / math.sqrt(2)) * tail)
        ratio = np.where(tail > 1e4, -2 * np.log(tail), ratio)
        far = -(tail**2) / 2 - math.log(2 * math.pi) / 2 + ratio
    return np.log(deviation) + np.where(z > -1, near, far)


def _negative_log_likelihood(
    parameters: Array, squares_QNN: Array, values_N: Array
) -> tuple[float, Array]:
    """Return -log p(values) without its constant, and its slope in each parameter.

    Rasmussen and Williams, equations 2.30 and 5.9.
    """
    log_scales, noise = parameters[:-1], math.exp(parameters[-1])
    distance_NN = np.sqrt(_weighted(squares_QNN, log_scales))
    kernel_NN = _matern(distance_NN**2)
    root = cholesky(kernel_NN + noise * np.eye(len(values_N)), lower=True)
    weights_N = cho_solve((root, True), values_N)
    value = 0.5 * float(values_N @ weights_N) + float(np.log(np.diag(root)).sum())
    outer_NN = np.outer(weights_N, weights_N) - cho_solve((root, True), np.eye(len(values_N)))
    steep_NN = 5 / 3 * (1 + math.sqrt(5) * distance_NN) * np.exp(-math.sqrt(5) * distance_NN)
    slopes_Q = -0.5 * np.einsum("nm,qnm->q", outer_NN * steep_NN, squares_QNN)
    slopes_Q = slopes_Q * np.exp(-2 * log_scales)
    return value, np.append(slopes_Q, -0.5 * noise * float(np.trace(outer_NN)))


def _squares(one_ND: Array, other_MD: Array, quantities_D: npt.NDArray[np.intp]) -> Array:
    """Return the squared distances in each quantity, of shape (quantities, N, M)."""
    count = int(quantities_D.max(initial=-1)) + 1
    squares_QNM = np.zeros((count, len(one_ND), len(other_MD)))
    for coordinate, quantity in enumerate(quantities_D):
        squares_QNM[quantity] += (one_ND[:, coordinate, None] - other_MD[None, :, coordinate]) ** 2
    return squares_QNM


def _weighted(squares_QNM: Array, log_scales_Q: Array) -> Array:
    return np.asarray(np.einsum("q,qnm->nm", np.exp(-2 * log_scales_Q), squares_QNM))


def _matern(squares: Array) -> Array:
    """Return the Matern-5/2 kernel of squared distances in length scales."""
    distance = np.sqrt(squares)
    kernel: Array = (1 + math.sqrt(5) * distance + 5 / 3 * squares) * np.exp(
        -math.sqrt(5) * distance
    )
    return kernel
