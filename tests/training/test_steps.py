"""A captured step is the plain one. CUDA's graphs are played by ones that record what runs on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import graphs
import pytest
import torch
from safetensors.torch import load_file
from small import SMALL
from torch import Tensor

from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.run_folder import WEIGHTS
from moue.training import optimizers, steps
from moue.training.config import Config
from moue.training.ema import EMA
from moue.training.fabric import launch
from moue.training.loop import fit
from moue.training.prepare import Plan, prepare
from moue.training.steps import WARM_UP, CapturedStep, Step
from moue.training.tasks import ClassificationTask

CUDA = torch.device("cuda")
CONFIG = SMALL.override(["optim.batch_size=8", "model.options.dropout=0.2", "run.device=cpu"])


@pytest.fixture(autouse=True)
def _graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs.use(monkeypatch)


@pytest.fixture(scope="module")
def few() -> ImageTable:
    return synthetic(75, seed=1)


def test_a_captured_run_is_the_plain_one(few: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = fit(CONFIG.override(["optim.epochs=1", "optim.steps=1"]), few, tmp_path / "teacher")
    settings = ["optim.name=muon", "optim.lr=0.05", "optim.mixup=0.2", "optim.grad_clip=1", "data.validation=0"]
    sizes = ["optim.epochs=4", "optim.progressive_sizes=[32, 48]", "optim.frozen_epochs=1"]
    config = CONFIG.override([*settings, *sizes, f"optim.teachers=[{teacher.folder}]"])
    plain = fit(config, few, tmp_path / "plain")
    made: list[CapturedStep] = []

    def build(*args: Any) -> Step:
        made.append(CapturedStep(*args))
        return made[0]

    monkeypatch.setattr(steps, "build", build)
    captured = fit(config, few, tmp_path / "captured")

    # Of the last layer alone, of all layers, and of all at the larger size.
    replays = [graph.graph.replays for graph in made[0].graphs.values()]  # type: ignore[attr-defined]
    per_epoch = int((few.split == "train").sum()) // 8
    assert replays == [per_epoch - WARM_UP, per_epoch - WARM_UP, 2 * per_epoch - WARM_UP]
    assert len(made[0].seen) == 6, "the smaller last batches are kinds of their own"
    assert not made[0].failed
    _require_same(_weights(captured.folder), _weights(plain.folder))
    for a, b in zip(captured.history(), plain.history(), strict=True):
        assert a["lr"] == b["lr"]
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
        assert a["train_accuracy"] == b["train_accuracy"]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_rates_follow_the_schedule_from_one_replay_to_the_next(name: str, few: ImageTable, tmp_path: Path) -> None:
    config = CONFIG.override([f"optim.name={name}", "optim.weight_decay=0.01", "optim.trunk_lr=0.5"])
    plain, _ = _train(Step, config, few, tmp_path / "plain", [48] * 9)
    captured, step = _train(CapturedStep, config, few, tmp_path / "captured", [48] * 9)
    assert _replays(step) == [9 - WARM_UP]
    _require_same(captured, plain)
    rates = [group["lr"] for group in step.optimizer.param_groups]
    assert all(type(rate) is float for rate in rates), "a checkpoint would hold tensors of a device"
    fixed, _ = _train(Step, config, few, tmp_path / "fixed", [48] * 9, lambda at: 1.0)
    assert any(not torch.allclose(fixed[key], plain[key], atol=1e-4) for key in plain), "rates must matter"


def test_a_kind_that_cannot_be_captured_leaves_the_others_captured(few: ImageTable, tmp_path: Path) -> None:
    def reads_small(network: Any) -> None:
        def look(module: Any, args: tuple[Tensor, ...]) -> None:
            if args[0].shape[-1] < 40:
                args[0].sum().item()

        network.register_forward_pre_hook(look)
        inner = network.forward_with_aux

        def looking(images: Tensor) -> Any:
            look(network, (images,))
            return inner(images)

        network.forward_with_aux = looking

    config = CONFIG.override(["optim.name=muon", "optim.lr=0.05"])
    sizes = [32, 48] * 7
    plain, _ = _train(Step, config, few, tmp_path / "plain", sizes)
    captured, step = _train(CapturedStep, config, few, tmp_path / "captured", sizes, change=reads_small)
    assert isinstance(step, CapturedStep)
    assert [kind[1] for kind in step.failed] == [32]
    assert "not permitted" in next(iter(step.failed.values()))
    assert [kind[1] for kind in step.graphs] == [48]
    assert _replays(step) == [7 - WARM_UP]
    _require_same(captured, plain)


def test_epochs_in_evaluation_mode_are_a_kind_of_their_own(few: ImageTable, tmp_path: Path) -> None:
    config = CONFIG.override(["optim.name=muon", "optim.lr=0.05"])
    plain, _ = _train(Step, config, few, tmp_path / "plain", [48] * 10, frozen=5)
    captured, step = _train(CapturedStep, config, few, tmp_path / "captured", [48] * 10, frozen=5)
    assert _replays(step) == [5 - WARM_UP] * 2
    _require_same(captured, plain)


def test_only_known_tasks_on_cuda_are_captured(few: ImageTable, tmp_path: Path) -> None:
    class Own(ClassificationTask):
        pass

    plan = prepare(CONFIG, few, tmp_path / "run")
    rest = _parts(plan)
    assert type(steps.build(plan, *rest)) is Step
    assert type(steps.build(replace(plan, device=CUDA), *rest)) is CapturedStep
    assert type(steps.build(replace(plan, device=CUDA, task=Own(plan.config.optim)), *rest)) is Step


def _parts(plan: Plan) -> tuple[Any, Any, EMA, Any]:
    fabric = launch(plan.device, plan.precision, may_freeze=False)
    ema = EMA(plan.network, plan.config.optim.ema)
    network, optimizer = fabric.setup(plan.network, optimizers.build(plan.network, plan.config.optim, plan.head))
    network.mark_forward_method("forward_with_aux")
    # Torch's own optimizers take tensors as rates in that form alone; on the CPU it runs, too.
    optimizers.suit(optimizer, CUDA)
    return network, optimizer, ema, fabric


def _train(
    kind: type[Step],
    config: Config,
    table: ImageTable,
    folder: Path,
    sizes: list[int],
    schedule: Callable[[int], float] = lambda at: 1 / (1 + at),
    change: Callable[[Any], None] = lambda network: None,
    frozen: int = 0,
) -> tuple[dict[str, Tensor], Step]:
    """Weights and averages after a step of each size."""
    plan = prepare(config, table, folder)
    network, optimizer, ema, fabric = _parts(plan)
    change(plan.network)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    step = kind(plan, network, optimizer, ema, fabric)
    for i, size in enumerate(sizes):
        plan.network.train(i >= frozen)
        torch.manual_seed(i)
        batch = plan.train.take(torch.arange(i, i + 8))
        batch = replace(batch, images=batch.images.float())
        output = step(batch, torch.Generator(), size, i + 1)
        assert output.logits.shape == (8, 7)
        scheduler.step()
    means = {f"mean {name}": value for name, value in ema.state_dict().items()}
    return {**plan.network.state_dict(), **means}, step


def _replays(step: Any) -> list[int]:
    return [graph.graph.replays for graph in step.graphs.values()]


def _weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / WEIGHTS)


def _require_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
