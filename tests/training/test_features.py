"""Frozen layers run once for each view: what is trained is the same, and a cache of something else is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import SMALL
from torch import Tensor

from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.errors import UsageError
from moue.models import create
from moue.models.vit import ViT
from moue.training import budget, views
from moue.training.batch import Batch
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.prepare import prepare
from moue.training.progress import Status
from moue.training.tasks import mixup

SHAPE = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
SHAPE |= {"intermediate_size": 48, "image_size": 48, "patch_size": 12}


@pytest.fixture(scope="module")
def faces() -> ImageTable:
    return synthetic(260, seed=2)


def config_of(*settings: str, layers: int = 1) -> Config:
    config = SMALL.override(["model.network=vit", "optim.epochs=5", "optim.cached_views=2", *settings])
    options = {"pretrained": False, "architecture": SHAPE, "trainable_layers": layers}
    return replace(config, model=replace(config.model, options=options))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass through the frozen layers had."""
    seen: list[int] = []
    whole = ViT.forward_frozen

    def counted(self: ViT, pixels: Tensor) -> Tensor:
        seen.append(len(pixels))
        return whole(self, pixels)

    monkeypatch.setattr(ViT, "forward_frozen", counted)
    return seen


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
def test_features_give_the_gradients_of_images(layers: int) -> None:
    torch.manual_seed(0)
    network = create("vit", 7, pretrained=False, architecture=SHAPE, trainable_layers=layers).train()
    images = torch.rand(6, 1, 48, 48) * 255
    targets = torch.arange(6)

    def gradients(inputs: Tensor) -> dict[str, Tensor]:
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    with torch.no_grad():
        features = network.forward_frozen(images)
    assert features.shape[1:] == network.frozen_shape
    direct, exact = gradients(images), gradients(features)
    assert direct.keys() == exact.keys() == {n for n, p in network.named_parameters() if p.requires_grad}
    rounded = gradients(features.bfloat16().float())
    for name, gradient in direct.items():
        assert torch.allclose(exact[name], gradient, atol=1e-6, rtol=1e-3), name
        assert float((rounded[name] - gradient).norm()) <= 0.02 * float(gradient.norm()) + 1e-6, name


def test_frozen_layers_run_once_for_each_view(faces: ImageTable, tmp_path: Path, passes: list[int]) -> None:
    said: list[str] = []
    run = fit(config_of(), faces, tmp_path / "run", announce=said.append)
    held_out = len(run.split(faces).validation)
    trained = len(run.split(faces).train) // 64 * 64 + len(run.split(faces).train) % 64
    assert sum(passes) == 2 * trained + held_out
    assert not (tmp_path / "run" / "features").exists()
    [size] = said
    assert "MB, in" in size
    plain = fit(config_of("optim.cached_views=0"), faces, tmp_path / "plain")
    # The first two epochs see the same views, to the rounding of what is kept.
    for a, b in zip(run.history()[:2], plain.history()[:2], strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=2e-3)
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], abs=2e-3)


def test_cached_features_are_mixed_anew_in_every_epoch(
    faces: ImageTable, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed: list[tuple[float, Tensor]] = []

    def kept(batch: Batch, share: float, others: Tensor) -> Batch:
        result = mixup(batch, share, others)
        assert torch.equal(result.images, batch.images * share + batch.images[others] * (1 - share))
        mixed.append((share, others))
        return result

    monkeypatch.setattr(views, "mixup", kept)
    config = config_of("optim.cached_views=1", "optim.epochs=2", "optim.mixup=0.4")
    run = fit(config, faces, tmp_path / "run")
    rows = len(run.split(faces).train) + len(run.split(faces).validation)
    assert sum(passes) == rows, "mixing needs no pass of the frozen layers"
    steps = len(mixed) // 2
    assert len({share for share, _ in mixed}) == 2 * steps
    assert not torch.equal(mixed[0][1], mixed[steps][1])


def test_a_killed_run_goes_on_with_what_is_cached(faces: ImageTable, tmp_path: Path, passes: list[int]) -> None:
    whole = fit(config_of(), faces, tmp_path / "whole")
    done = sum(passes)

    def stop(status: Status) -> None:
        if status.epoch == 2 and not status.ended:
            raise KeyboardInterrupt

    passes.clear()
    with pytest.raises(KeyboardInterrupt):
        fit(config_of(), faces, tmp_path / "broken", progress=stop)
    assert json.loads((tmp_path / "broken" / "features" / "features.json").read_text())["rows"]["view-0"] > 0
    resumed = fit(config_of(), faces, tmp_path / "broken", resume=True)
    assert sum(passes) <= done + len(resumed.split(faces).train), "one view at most is computed again"
    a, b = (load_file(run.folder / "weights.safetensors") for run in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_runs_share_a_cache_and_one_of_something_else_is_refused(
    faces: ImageTable, tmp_path: Path, passes: list[int]
) -> None:
    kept = f"run.features={tmp_path / 'kept'}"
    fit(config_of(kept, "optim.epochs=2"), faces, tmp_path / "a")
    assert (tmp_path / "kept" / "view-1.bf16").exists()
    passes.clear()
    fit(config_of(kept, "optim.epochs=2", "optim.lr=0.01"), faces, tmp_path / "b")
    assert passes == []
    for setting, words in (("data.rotation=3", "augmentation and settings"), ("run.seed=1", "weights")):
        with pytest.raises(UsageError, match=rf"made with other .*{words}.*Delete that folder.*run\.features=FOLDER"):
            fit(config_of(kept, setting), faces, tmp_path / setting)
    with pytest.raises(UsageError, match="other data"):
        fit(config_of(kept), synthetic(250, seed=4), tmp_path / "c")
    (tmp_path / "kept" / "features.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        fit(config_of(kept), faces, tmp_path / "d")


def test_too_small_a_disk_is_told_before_the_first_step(
    faces: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: list[int]
) -> None:
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UsageError, match=r"0\.0 GB free\. Take fewer views.*--set run\.features=FOLDER"):
        fit(config_of(), faces, tmp_path / "run")
    assert passes == []


def test_what_cannot_be_cached_is_a_usage_error(faces: ImageTable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"whose first layers are frozen: vit"):
        fit(SMALL.override(["optim.cached_views=2"]), faces, tmp_path / "run")
    with pytest.raises(UsageError, match=r"optim\.progressive_sizes changes"):
        Config().override(["optim.cached_views=2", "optim.progressive_sizes=[24, 48]"])
    assert not (tmp_path / "run").exists()


def test_a_time_budget_knows_that_later_epochs_are_cheap(
    faces: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []
    runs: list[int] = []

    def clock(step: Callable[[int], None], seeds: Iterable[int]) -> float:
        before = len(runs)
        step(0)
        timed.append(len(runs) - before)
        return 0.1 if timed[-1] else 0.01

    whole = ViT.forward_features

    def counted(self: ViT, x: Tensor) -> Tensor:
        runs.append(len(x))
        return whole(self, x)

    monkeypatch.setattr(ViT, "forward_features", counted)
    monkeypatch.setattr(budget, "_median_time", clock)
    plan = prepare(config_of("run.minutes=1", "optim.epochs=1000"), faces, tmp_path / "run")
    assert timed == [1, 0], "the frozen layers run in the first one alone"
    assert plan.budget is not None
    assert plan.budget.seconds_of(plan.config.optim, 2) < 0.4 * plan.budget.seconds_of(plan.config.optim, 1)
