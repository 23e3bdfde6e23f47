"""Out of memory: an error that names the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moue.errors import TrainingError


@contextmanager
def explain_out_of_memory(batch_size: int) -> Iterator[None]:
    """Torch's own errors of too little memory as a `TrainingError` that names what to type."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in str(error):
            raise
        # A run that was started keeps its settings, and 2 is the smallest batch.
        smaller = batch_size // 2
        remedy = f"Try smaller ones, in another folder: --set optim.batch_size={smaller}"
        raise TrainingError(
            f"there is not enough memory for batches of {batch_size}. "
            + (remedy if smaller > 1 else "Take a smaller network.")
        ) from error
