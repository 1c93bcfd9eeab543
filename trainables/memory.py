"""Tells an error that means that there was no more memory, of a GPU or of the machine."""

from __future__ import annotations

import torch

OUT_OF_MEMORY = "out of memory"
"""How the reason begins for which a run ends that found no more."""

_SAID = (
    "out of memory",
    "can't allocate memory",
    "_STATUS_ALLOC_FAILED",
    "Storage size calculation overflowed",
    "multiplication overflow",
)
"""By torch in a RuntimeError: its CUDA, its allocator on a CPU, cuBLAS and cuDNN; and of a size
that no number of 64 bits holds."""


def lacks_memory(error: Exception) -> bool:
    """Whether there was no more memory: torch has many words for it.

    >>> lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), lacks_memory(
    ...     ValueError("out of memory"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _SAID)
