"""The setting `study.prior`: what a searcher believes before the first trial."""

from __future__ import annotations

from typing import Literal

from trainables.values import Config


class PriorConfig(Config):
    """The belief that a searcher begins with."""

    around: Literal["first"] = "first"
    """The points that good ones are thought to lie near: the space's `first` points."""
    confidence: Literal["low", "medium", "high"] = "medium"
    """How near: numbers within about 0.5, 0.25 or 0.12 of their range."""


DEFAULT_PRIOR = PriorConfig()
"""The belief of a study that names none."""
