"""Describes in one line how the tensors of a weights file differ from those of a network."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from torch import Tensor

from trainables.networks.official import infer

_NAME_SHOWN, _COMPARED = 60, 200
"""Characters of a tensor's name that are shown, and names among which the nearest is searched."""


def misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """Describe what is missing, unexpected or of another shape in `found`; None if it fits.

    Only names and shapes are compared. If they identify the network in `found`, it is named.
    """
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    if missing or unexpected:
        names = f"{_listed('missing', missing)}, {_listed('unexpected', unexpected)}"
        return f"{names}{_nearest(missing, unexpected)}; check name, blocks and scale{_held(found)}"
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            shapes = f"{tuple(found[key].shape)} where {tuple(value.shape)} is needed"
            return f"{key} is {shapes}; check features{_held(found)}"
    return None


def shortened(name: str) -> str:
    """Shorten a name from a file to at most 60 characters and dots.

    >>> shortened("body.0.conv1.weight")
    'body.0.conv1.weight'
    """
    return name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}..."


def _held(found: Mapping[str, Tensor]) -> str:
    try:
        return "; the file holds " + ", ".join(f"{k}: {v}" for k, v in infer(found).items())
    except ValueError:  # no network of this project
        return ""


def _listed(word: str, keys: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return f"{word} {', '.join(map(shortened, keys[:shown])) + more if keys else 'nothing'}"


def _nearest(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    if not missing or not unexpected:
        return ""
    compared = [key for key in unexpected[:_COMPARED] if len(key) <= _NAME_SHOWN]
    match = difflib.get_close_matches(missing[0], compared, n=1, cutoff=0.3)
    return f" (nearest to {missing[0]}: {match[0]})" if match else ""
