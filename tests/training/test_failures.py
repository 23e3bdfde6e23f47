"""What ends a training is a sentence, and the last good checkpoint is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file
from small import SMALL

from moue.data.table import ImageTable
from moue.errors import DataError, TrainingError, UsageError
from moue.models.base import Network
from moue.training import checkpoints
from moue.training.batch import Batch
from moue.training.loop import fit
from moue.training.tasks import ClassificationTask
from moue.training.views import Views


def test_too_little_memory_is_a_sentence(table: ImageTable, tmp_path: Path) -> None:
    def task(network: Network, batch: Batch, generator: torch.Generator, size: int | None = None) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(TrainingError, match=r"batches of 64\. Try smaller ones, .*: --set optim\.batch_size=32"):
        fit(SMALL, table, tmp_path / "run", task=task)
    with pytest.raises(TrainingError, match=r"batches of 2\. Take a smaller network"):
        fit(SMALL.override(["optim.batch_size=2"]), table, tmp_path / "least", task=task)


def test_a_loss_that_blows_up_ends_with_words_and_keeps_the_checkpoint(table: ImageTable, tmp_path: Path) -> None:
    seen = []

    class Wild(ClassificationTask):
        def __call__(self, network: Network, batch: Batch, generator: torch.Generator, size: int | None = None) -> Any:
            seen.append(len(batch))
            output = super().__call__(network, batch, generator, size)
            # The second epoch's first step.
            return replace(output, loss=output.loss * float("nan")) if len(seen) > 2 else output

    config = SMALL.override(["optim.steps=2"])
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 2;.*another folder: --set optim\.lr=0\.001"):
        fit(config, table, tmp_path / "run", task=Wild(config.optim))
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert checkpoints.load(last)["epoch"] == 1
    assert all(bool(v.isfinite().all()) for v in load_file(last).values())
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert fit(config, table, tmp_path / "run", resume=True).finished


def test_weights_that_blow_up_never_replace_good_ones(table: ImageTable, tmp_path: Path) -> None:
    wild = SMALL.override(["optim.name=sgd", "optim.lr=1e12", "optim.schedule=constant", "optim.warmup=0"])
    with pytest.raises(TrainingError, match="no longer finite"):
        fit(wild, table, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert not last.exists() or all(np.isfinite(v).all() for v in load_file(last).values())


def test_a_class_without_rows_is_named(table: ImageTable, tmp_path: Path) -> None:
    disgust = table.label_set.index("disgust")
    with pytest.raises(DataError, match="disgust"):
        fit(SMALL, table.take(table.labels != disgust), tmp_path / "run")


def test_no_space_left_keeps_the_last_checkpoint(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = safetensors.torch.save_file, []

    def sometimes(*args: object, **kwargs: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(*args, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", sometimes)
    with pytest.raises(TrainingError, match="No space left"):
        fit(SMALL.override(["data.validation=0"]), table, tmp_path / "run")
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "last.safetensors")["epoch"] == 1


def test_a_cache_that_cannot_be_written_loses_no_epoch(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(views: Views) -> None:
        raise TrainingError("teachers.safetensors cannot be written (No space left on device).")

    with monkeypatch.context() as patch:
        patch.setattr(Views, "flush", full)
        with pytest.raises(TrainingError, match="No space left"):
            fit(SMALL, table, tmp_path / "run")
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "last.safetensors")["epoch"] == 1
    assert fit(SMALL, table, tmp_path / "run", resume=True).finished


def test_a_size_that_the_network_cannot_take_begins_no_run(table: ImageTable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="41×41"):
        fit(SMALL.override(["optim.progressive_sizes=[41, 48]"]), table, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for options, words in (("{widths: 8}", "widths"), ("{widths: [8, 16], blocks: [1, 1]}", "blocks must be 1")):
        with pytest.raises(UsageError, match=words):
            fit(SMALL.override([f"model.options={options}"]), table, tmp_path / "run")
