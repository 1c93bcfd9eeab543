"""Distillation methods: how a student is trained."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from trainables.methods.base import Distiller, Pairing, Setting
from trainables.methods.csd import CSD, CSDConfig
from trainables.methods.dckd import DCKD, DCKDConfig
from trainables.methods.dfad import DFAD, DFADConfig
from trainables.methods.dfsr import DFSR, DFSRConfig
from trainables.methods.dfsr_cmi import DFSRCMI, DFSRCMIConfig
from trainables.methods.dukd import DUKD, DUKDConfig
from trainables.methods.eco import ECO, ECOConfig
from trainables.methods.fakd import FAKD, FAKDConfig
from trainables.methods.game import ProgressiveConfig
from trainables.methods.kd import KD, KDConfig
from trainables.methods.noise import Noise, NoiseConfig
from trainables.methods.scratch import Scratch, ScratchConfig

__all__ = [
    "METHODS",
    "Distiller",
    "MethodConfig",
    "Pairing",
    "ProgressiveConfig",
    "Setting",
    "make_method",
]

METHODS: dict[str, type[Distiller[Any]]] = {
    "scratch": Scratch,
    "kd": KD,
    "fakd": FAKD,
    "csd": CSD,
    "dukd": DUKD,
    "eco": ECO,
    "dckd": DCKD,
    "noise": Noise,
    "dfad": DFAD,
    "dfsr": DFSR,
    "dfsr_cmi": DFSRCMI,
}

MethodConfig = Annotated[
    ScratchConfig
    | KDConfig
    | FAKDConfig
    | CSDConfig
    | DUKDConfig
    | ECOConfig
    | DCKDConfig
    | NoiseConfig
    | DFADConfig
    | DFSRConfig
    | DFSRCMIConfig,
    Field(discriminator="name"),
]
"""The configuration of any method, discriminated by `name`."""


def make_method(config: Any, setting: Setting) -> Distiller[Any]:
    """Build the method of a configuration, ready for its first step.

    Args:
        config: a `MethodConfig`.
        setting: networks, optimiser and budget.
    """
    constructor: Any = METHODS[config.name]  # each takes its own configuration class
    method: Distiller[Any] = constructor(config, setting)
    return method
