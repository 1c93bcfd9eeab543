"""Resolves and checks the device that a configuration names."""

from __future__ import annotations

import torch

from trainables.errors import ConfigError


def chosen_device(name: str) -> torch.device:
    """Return the device of a name: `auto` (a GPU if there is one, else the CPU) or one of torch's.

    Raises:
        ConfigError: nothing can be computed on it here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()  # on torch's meta device there are no numbers
    except Exception as error:  # a torch without CUDA asserts; other devices import what is missing
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ConfigError("device", f"{name[:60]}: cannot be used here ({reason})") from None
    return device
