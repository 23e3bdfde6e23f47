"""What an update is, whatever the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from moue.models import create
from moue.training.config import OptimConfig
from moue.training.muon import Muon, newton_schulz
from moue.training.optimizers import build


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_newton_schulz_keeps_the_directions_and_levels_their_lengths(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    k = min(shape)
    left = np.linalg.qr(draw.normal(size=(shape[0], k)))[0]
    right = np.linalg.qr(draw.normal(size=(shape[1], k)))[0]
    # Lengths over a factor of ten; their scale must not matter.
    matrix = torch.from_numpy(1000 * left @ np.diag(np.geomspace(1, 0.1, k)) @ right.T)

    nearest = newton_schulz(matrix)

    assert nearest.shape == matrix.shape
    assert nearest.dtype == matrix.dtype
    lengths = left.T @ nearest.numpy() @ right
    assert np.diag(lengths).min() > 0.3
    assert np.diag(lengths).max() < 1.3
    assert np.abs(lengths - np.diag(np.diag(lengths))).max() < 1e-4


def test_newton_schulz_of_zeros_is_zeros() -> None:
    assert torch.equal(newton_schulz(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_muon_turns_published_weights_by_no_more_than_its_rate() -> None:
    network = create("effnet-lite0", 7, pretrained=False)  # built as for published weights
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = build(network, OptimConfig(name="muon", lr=1e-9))
    network(torch.zeros(2, 1, 48, 48)).sum().backward()
    optimizer.step()
    for name, p in network.named_parameters():
        torch.testing.assert_close(p, before[name], msg=name)


def test_muon_steps_a_transformer_s_matrices_along_orthogonal_ones() -> None:
    network = create("vit-compact", 7, dim=24, heads=2, depth=1)
    weight = network.get_parameter("layers.0.mlp.0.weight")
    before = weight.detach().clone()
    optimizer = build(network, OptimConfig(name="muon", lr=0.1))
    network(torch.randint(0, 255, (4, 1, 48, 48)).float()).square().sum().backward()
    optimizer.step()
    assert weight.grad is not None

    def directions(matrix: torch.Tensor) -> float:
        """How many count: the stable rank."""
        lengths = torch.linalg.svdvals(matrix)
        return float(lengths.square().sum() / lengths.max().square())

    assert directions(before - weight.detach()) > 2 * directions(weight.grad)


def test_muon_takes_parameters_and_numbers() -> None:
    torch.manual_seed(0)
    filters, matrix, bias = (torch.nn.Parameter(torch.randn(*shape)) for shape in ((4, 3, 3, 3), (6, 6), (4,)))
    optimizer = Muon([filters], [matrix], [bias], lr=0.1, matrix_weight_decay=0.5, other_lr=0.2, other_momentum=0)
    before = matrix.detach().clone(), bias.detach().clone()
    for p in (filters, bias):
        p.grad = torch.randn_like(p)
    matrix.grad = torch.zeros_like(matrix)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), before[0] * (1 - 0.1 * 0.03 * 0.5))
    assert bias.grad is not None
    torch.testing.assert_close(bias.detach(), before[1] - 0.02 * bias.grad)
    assert float(filters.detach().norm()) == pytest.approx(2, abs=0.2), "kept at the root of their number"


def test_auxiliary_classifiers_are_no_step_of_the_ladder() -> None:
    network = create("googlenet", 7, width=0.125)
    groups = build(network, OptimConfig(name="adamw", lr=1.0, layer_decay=0.5)).param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    plain = create("googlenet", 7, width=0.125, aux=False)
    groups = build(plain, OptimConfig(name="adamw", lr=1.0, layer_decay=0.5)).param_groups
    alone = {id(p): group["lr"] for group in groups for p in group["params"]}
    expected = {name: alone[id(p)] for name, p in plain.named_parameters()}
    assert expected["classifier.weight"] == 1.0
    for name, p in network.named_parameters():
        assert rate[id(p)] == expected.get(name, 1.0), name


def test_few_epochs_are_trained_at_the_last_sizes() -> None:
    config = OptimConfig(progressive_sizes=(32, 40, 48), epochs=6)
    assert [config.size_in(e, 48) for e in range(6)] == [32, 32, 40, 40, 48, 48]
    assert [replace(config, epochs=2).size_in(e, 48) for e in range(2)] == [40, 48]
    assert OptimConfig(epochs=1).size_in(0, 64) == 64
