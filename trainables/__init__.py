"""Trains one super-resolution student from one configuration; independent of any search."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.methods import METHODS
    from trainables.networks import NETWORKS, build_network
    from trainables.ray_trainable import trainable_for
    from trainables.run import Run

__all__ = ["METHODS", "NETWORKS", "Run", "TrialConfig", "build_network", "trainable_for"]

_HOMES = {
    "METHODS": "trainables.methods",
    "NETWORKS": "trainables.networks",
    "Run": "trainables.run",
    "TrialConfig": "trainables.config",
    "build_network": "trainables.networks",
    "trainable_for": "trainables.ray_trainable",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: importing torch alone takes a second."""
    if name not in _HOMES:
        raise AttributeError(f"module 'trainables' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
