"""What an update is, whatever the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moue.models import create
from moue.training import checkpoints
from moue.training.config import OptimConfig
from moue.training.muon import Muon, newton_schulz
from moue.training.optimizers import build, suit


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


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_run_begun_on_cuda_goes_on_elsewhere_and_back(name: str, tmp_path: Path) -> None:
    def steps(*devices: str) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
        """Weights after two steps on each device; as a run does it, with a checkpoint between."""
        weights = [torch.nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3)), torch.nn.Parameter(torch.ones(3))]
        optimizer = kind(weights)
        for device in devices:
            if (tmp_path / name).exists():
                optimizer = kind(weights)
                optimizer.load_state_dict(checkpoints.load(tmp_path / name)["optimizer"])
            suit(optimizer, torch.device(device))
            for _ in range(2):
                optimizer.zero_grad()
                sum((w**3).sum() for w in weights).backward()  # type: ignore[union-attr]
                optimizer.step()
            checkpoints.save({"optimizer": optimizer.state_dict()}, tmp_path / name)
        (tmp_path / name).unlink()
        return [w.detach() for w in weights], optimizer

    def kind(weights: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        if name == "sgd":
            return torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](weights, lr=0.1)

    expected, _ = steps("cpu", "cpu", "cpu")
    found, optimizer = steps("cuda", "cpu", "mps")
    torch.testing.assert_close(found, expected)
    for group in optimizer.param_groups:
        assert group["fused"] is None
        assert not group.get("capturable")
    found, optimizer = steps("cpu", "cpu", "cuda")
    torch.testing.assert_close(found, expected)
    for group in optimizer.param_groups:
        assert group["fused"]
        assert group.get("capturable", True)


def test_weights_that_were_frozen_step_beside_others_on_cuda() -> None:
    def trained(device: str) -> list[torch.Tensor]:
        weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
        optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
        suit(optimizer, torch.device(device))
        for epoch in range(3):
            optimizer.zero_grad()
            weights[1].requires_grad_(epoch > 0)
            (weights[0] ** 2 + weights[1] ** 3).sum().backward()
            optimizer.step()
        return [w.detach() for w in weights]

    torch.testing.assert_close(trained("cuda"), trained("cpu"))
