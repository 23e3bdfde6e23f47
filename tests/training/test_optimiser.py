"""What an update is, whatever the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moue.training.optimiser import orthogonal


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_orthogonal_keeps_the_directions_and_levels_their_lengths(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    k = min(shape)
    left = np.linalg.qr(draw.normal(size=(shape[0], k)))[0]
    right = np.linalg.qr(draw.normal(size=(shape[1], k)))[0]
    # Lengths over a factor of ten; their scale must not matter.
    matrix = torch.from_numpy(1000 * left @ np.diag(np.geomspace(1, 0.1, k)) @ right.T)

    nearest = orthogonal(matrix)

    assert nearest.shape == matrix.shape
    assert nearest.dtype == matrix.dtype
    lengths = left.T @ nearest.numpy() @ right
    assert np.diag(lengths).min() > 0.3
    assert np.diag(lengths).max() < 1.3
    assert np.abs(lengths - np.diag(np.diag(lengths))).max() < 1e-4


def test_orthogonal_of_nothing_is_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(4, 9)), torch.zeros(4, 9))
