"""Recognises errors that mean that a GPU or the machine is out of memory."""

from __future__ import annotations

import torch

OUT_OF_MEMORY = "out of memory"
"""Beginning of the reason of a run that ended for lack of memory."""

_MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "_STATUS_ALLOC_FAILED",
    "Storage size calculation overflowed",
    "multiplication overflow",
)
"""Parts of torch's RuntimeErrors for lack of memory (from CUDA, the CPU allocator, cuBLAS, cuDNN),
and for a size that exceeds 64 bits."""


def lacks_memory(error: Exception) -> bool:
    """Whether an error means lack of memory, for which torch has several types and messages.

    >>> lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), lacks_memory(
    ...     ValueError("out of memory"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _MESSAGES)
