"""Some rows of a table on the device that trains: the whole set lies there, so there are no loader workers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.data.table import ImageTable
from moue.models.base import InputSpec
from moue.preprocess import to_inputs


@dataclass(frozen=True)
class Rows:
    """Images and their targets, aligned."""

    images: Tensor
    """uint8 ``(N, C, size, size)``, 0..255, in the network's size and color."""
    labels: Tensor
    """int64 ``(N,)``."""
    targets: Tensor
    """float32 ``(N, K)``: soft targets where the table has them, else one-hot labels. With votes ``(N, K + 8)``:
    the table's vote shares stand behind them; behind these whatever :meth:`beside` adds."""

    @classmethod
    def of(
        cls, table: ImageTable, rows: NDArray[np.int64], spec: InputSpec, device: torch.device, votes: bool = False
    ) -> Rows:
        """The given rows of a table in a network's size and color; ``votes`` appends FER+'s shares to the targets."""
        images = to_inputs(table.images[rows], spec.size, spec.color)
        labels = torch.from_numpy(table.labels[rows])
        if table.targets is None:
            targets = F.one_hot(labels, len(table.label_set)).float()
        else:
            targets = torch.from_numpy(table.targets[rows])
        if votes and table.votes is not None:
            targets = torch.cat([targets, torch.from_numpy(table.votes[rows])], dim=1)
        return cls(torch.from_numpy(images).to(device), labels.to(device), targets.to(device))

    def beside(self, columns: NDArray[np.float32]) -> Rows:
        """The same rows with further columns ``(N, M)`` behind their targets, for a task that knows them."""
        return replace(self, targets=torch.cat([self.targets, torch.from_numpy(columns).to(self.targets)], dim=1))

    def __len__(self) -> int:
        return len(self.labels)
