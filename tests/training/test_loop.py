"""The loop, on drawn faces: it learns, alike every time, and leaves a whole folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import SMALL
from torch import Tensor

from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.errors import DataError, UsageError
from moue.models.base import Network
from moue.training.batch import Batch
from moue.training.config import Config
from moue.training.loop import fit, train
from moue.training.prepare import prepare
from moue.training.progress import Status
from moue.training.run_folder import Run, rank
from moue.training.tasks import ClassificationTask, TaskOutput


def test_a_run_learns_and_leaves_a_whole_folder(table: ImageTable, tmp_path: Path) -> None:
    seen: list[Status] = []
    config = SMALL.override(
        ["optim.epochs=6", "optim.keep=best", "optim.name=muon", "optim.lr=0.1", "data.augment=false"]
    )
    run = fit(config, table, tmp_path / "run", progress=seen.append)
    history = run.history()
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert run.finished
    spec = run.spec()
    assert spec.labels == table.label_set.labels
    assert spec.scores["validation"] > 0.3, "guessing the largest class gives about 0.25"
    assert 0.1 < spec.temperature < 10
    best = max(range(6), key=lambda i: rank(history[i]))
    assert spec.trained["epoch_kept"] == history[best]["epoch"]
    record = run.record()
    assert record["machine"]["versions"]["torch"]
    assert record["peak_memory_gb"]["process"] > 0
    assert Config.from_dict(json.loads((tmp_path / "run" / "config.json").read_text())) == run.config()
    split = run.split(table)
    assert not set(split.train) & set(split.validation)
    assert seen[-1].epoch == seen[-1].epochs == 6
    assert seen[-1].validation_accuracy == pytest.approx(history[-1]["validation_accuracy"])
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert not [p for p in (tmp_path / "run").rglob("*") if p.suffix in (".pt", ".pth", ".ckpt", ".pkl")]


def test_images_are_degraded_from_the_epoch_on_that_is_asked_for(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, learn = list[Tensor](), ClassificationTask.__call__

    def task(self: ClassificationTask, network: Network, batch: Batch, *rest: Any) -> TaskOutput:
        seen.append(batch.images)
        return learn(self, network, batch, *rest)

    monkeypatch.setattr(ClassificationTask, "__call__", task)

    def images(*settings: str) -> list[Tensor]:
        seen.clear()
        fit(SMALL.override(["optim.epochs=2", "optim.steps=1", *settings]), table, tmp_path / "-".join(settings))
        return list(seen)

    plain, degraded = images("data.degradation=0"), ["data.degradation=1", "data.gamma=1"]
    whole, late = images(*degraded), images(*degraded, "data.degradation_from=0.5")
    assert torch.equal(late[0], plain[0])
    assert (whole[0] - plain[0]).abs().mean() > 2
    assert torch.equal(late[1], whole[1])
    assert (late[1] - plain[1]).abs().mean() > 2


def test_a_plan_is_resolved_and_writes_nothing_before_it_is_trained(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=2", "optim.steps=3", "data.validation=0.25", "run.device=cpu"])
    plan = prepare(config, table, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert plan.config.data.labels == "fer2013"
    assert plan.steps == 3
    assert plan.validation is not None
    assert (len(plan.train), len(plan.validation)) == (len(plan.split.train), len(plan.split.validation))
    assert (plan.device.type, plan.precision) == ("cpu", "fp32")
    assert plan.schedule(5) < plan.schedule(1)
    run = train(plan)
    assert run.finished
    same = fit(config, table, tmp_path / "same")
    a, b = (load_file(r.folder / "weights.safetensors") for r in (run, same))
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=1", "optim.steps=3"])
    folders = [
        fit(c, table, tmp_path / n).folder
        for n, c in (("a", config), ("b", config), ("c", config.override(["run.seed=1"])))
    ]
    a, b, c = (load_file(f / "weights.safetensors") for f in folders)
    held_out = [json.loads((f / "split.json").read_text()) for f in folders]
    assert held_out[0] == held_out[2], "runs of several seeds are compared on the same rows"
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not all(np.array_equal(a[k], c[k]) for k in a)


def test_a_folder_with_a_run_is_not_overwritten(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=1", "optim.steps=1"])
    run = fit(config, table, tmp_path / "run")
    before = (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns
    with pytest.raises(UsageError, match="--resume"):
        fit(config, table, tmp_path / "run")
    assert fit(config, table, tmp_path / "run", resume=True).folder == run.folder
    assert (tmp_path / "run" / "weights.safetensors").stat().st_mtime_ns == before, (
        "a finished run is not trained again"
    )
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(DataError, match="another data set"):
        fit(config, synthetic(300, seed=9), tmp_path / "run", resume=True)


def test_a_cluster_s_scheduler_changes_nothing(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NTASKS": "2", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NNODES": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert fit(SMALL.override(["optim.epochs=1", "optim.steps=2"]), table, tmp_path / "run").finished


def test_images_are_the_same_in_either_precision(table: ImageTable, tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Look(ClassificationTask):
        def __call__(self, network: Network, batch: Batch, generator: torch.Generator, size: int | None = None) -> Any:
            seen.append(batch.images.detach().clone())
            return super().__call__(network, batch, generator, size)

    for precision in ("fp32", "bf16"):
        config = SMALL.override(["optim.epochs=1", "optim.steps=1", f"run.precision={precision}"])
        fit(config, table, tmp_path / precision, task=Look(config.optim))
    assert torch.equal(*seen)


def test_half_the_precision_learns_as_well(table: ImageTable, tmp_path: Path) -> None:
    learned = {}
    for precision in ("fp32", "bf16"):
        run = fit(SMALL.override([f"run.precision={precision}", "optim.lr=0.01"]), table, tmp_path / precision)
        learned[precision] = run.history()[-1]
    assert learned["fp32"] != learned["bf16"]
    assert abs(learned["fp32"]["train_loss"] - learned["bf16"]["train_loss"]) < 0.1, learned
    assert learned["bf16"]["train_loss"] < 1.9, "7 classes at random: 1.95"


def test_balance_and_soft_choices_run(table: ImageTable, tmp_path: Path) -> None:
    settings = [
        "optim.epochs=1",
        "data.class_weights=true",
        "data.oversample=true",
        "optim.progressive_sizes=[32, 48]",
        "optim.grad_clip=1",
    ]
    config = SMALL.override(
        [*settings, "optim.label_smoothing=0.1", "data.random_erasing=0.5", "optim.name=adamw", "optim.epochs=2"]
    )
    run = fit(config, table, tmp_path / "run")
    split = run.split(table)
    counts = np.bincount(table.labels[split.train])
    assert len(run.history()) == 2
    assert counts.max() * len(counts) > len(split.train), "oversampling makes the epoch longer than the part"


def test_a_run_s_threads_are_its_own(table: ImageTable, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        steps = ["optim.epochs=1", "optim.steps=1"]
        threads = []
        for asked in (1, 0):
            run = fit(SMALL.override([*steps, f"run.threads={asked}"]), table, tmp_path / str(asked))
            threads.append(run.history()[0]["threads"])
            assert torch.get_num_threads() == 2
        assert threads == [1, 2]
    finally:
        torch.set_num_threads(before)


def test_few_epochs_train_at_the_last_sizes(table: ImageTable, tmp_path: Path) -> None:
    seen: list[int | None] = []

    class Sizes(ClassificationTask):
        def __call__(self, network: Network, batch: Batch, generator: Any, size: Any = None) -> Any:
            seen.append(size)
            return super().__call__(network, batch, generator, size)

    for epochs, expected in ((1, [48]), (2, [32, 48]), (6, [24, 24, 32, 32, 48, 48])):
        seen.clear()
        config = SMALL.override([f"optim.epochs={epochs}", "optim.steps=1", "optim.progressive_sizes=[24, 32, 48]"])
        fit(config, table, tmp_path / str(epochs), task=Sizes(config.optim))
        assert seen == expected


def test_quietness(table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(SMALL.override(["optim.epochs=1", "optim.steps=1", "run.precision=bf16"]), table, tmp_path / "run")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == ""


def test_of_equal_accuracies_the_lower_loss_is_better(tmp_path: Path) -> None:
    run = Run(tmp_path)
    losses = {1: 0.28, 2: 0.18, 3: 0.2}
    for epoch, loss in losses.items():
        run.log({"epoch": epoch, "train_loss": 1, "validation_loss": loss, "validation_accuracy": 0.9, "seconds": 1})
    assert run.best_rank(before=2) < run.best_rank(before=3) == run.best_rank(before=4)
    assert max(run.history(), key=rank)["epoch"] == 2
    # Without a validation part no epoch is better than another, and none at all is the worst.
    assert rank({"validation_loss": None, "validation_accuracy": None}) == run.best_rank(before=1)
