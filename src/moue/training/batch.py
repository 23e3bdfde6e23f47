"""Images with all that is known of them, on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.data.table import ImageTable
from moue.models.base import InputSpec
from moue.preprocess import to_inputs


@dataclass(frozen=True)
class Batch:
    """N images and their targets; a step's, or a whole set's, which lies on the device: there are no loader workers."""

    images: Tensor
    """``(N, C, size, size)``, 0..255, in the network's size and color; uint8, or float32 once augmented."""
    labels: Tensor
    """int64 ``(N,)``."""
    targets: Tensor
    """float32 ``(N, K)``, rows add up to 1: soft targets where the table has them, else one-hot labels."""
    votes: Tensor | None = None
    """float32 ``(N, 8)``: FER+'s shares of the votes; a row of zeros where there are none."""
    teacher_images: Tensor | None = None
    """``images`` before they were damaged, where they were and teachers look on."""
    teacher_probs: Tensor | None = None
    """float32 ``(N, K)``: what the teachers say of them, where they were asked already."""
    teacher_mask: Tensor | None = None
    """float32 ``(N, T)``: how much each of T teachers counts for an image; None where all count the same."""
    weights: Tensor | None = None
    """float32 ``(N,)``: how much each image counts in the labels' loss, 1 on average over the set; None where all count
    the same."""

    @classmethod
    def of(
        cls, table: ImageTable, rows: NDArray[np.int64], spec: InputSpec, device: torch.device, votes: bool = False
    ) -> Batch:
        """The given rows of a table in a network's size and color, with FER+'s votes where ``votes`` is set."""
        labels = torch.from_numpy(table.labels[rows])
        if table.targets is None:
            targets = F.one_hot(labels, len(table.label_set)).float()
        else:
            targets = torch.from_numpy(table.targets[rows])
        return cls(
            torch.from_numpy(to_inputs(table.images[rows], spec.size, spec.color)).to(device),
            labels.to(device),
            targets.to(device),
            torch.from_numpy(table.votes[rows]).to(device) if votes and table.votes is not None else None,
        )

    def take(self, rows: Any) -> Batch:
        """The images at these positions: a slice, or an int64 tensor on the batch's device."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[rows] for name, value in values.items() if value is not None})

    def __len__(self) -> int:
        return len(self.labels)
