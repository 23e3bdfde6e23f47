"""The loop, on drawn faces: it learns, it can be killed, it says what went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from disk import room
from safetensors.torch import load_file
from torch import Tensor

from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.errors import DataError, TrainingError, UsageError
from moue.export import export
from moue.labels import LabelSet
from moue.models import create
from moue.models import load as loading
from moue.models.base import InputSpec, Network
from moue.models.load import load_run
from moue.trained.open import split_of
from moue.training import budget, checkpoints
from moue.training.config import Config
from moue.training.learner import Learner, Status
from moue.training.loop import fit
from moue.training.rows import Rows
from moue.training.run_folder import LICENSE, Run
from moue.training.tasks import ClassificationTask, Task
from moue.training.teachers import held_out

SMALL = Config().override(
    [
        "model.options={widths: [8, 16], blocks: [1]}",
        "optim.epochs=3",
        "optim.lr=0.003",
        "optim.batch_size=64",
        "optim.ema=0.9",
        "optim.schedule=onecycle",
        "optim.warmup=0.2",
        "optim.keep=last",
        "run.threads=1",
        "run.precision=fp32",  # alike on every machine
    ]
)


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return synthetic(900, seed=1)


def test_a_run_learns_and_leaves_a_whole_folder(table: ImageTable, tmp_path: Path) -> None:
    seen: list[Status] = []
    config = SMALL.override(
        ["optim.epochs=6", "optim.keep=best", "optim.name=muon", "optim.lr=0.1", "data.augment=false"]
    )
    run = fit(config, table, tmp_path / "run", watch=seen.append)
    history = run.history()
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert run.finished
    spec = run.spec()
    assert spec.labels == table.label_set.labels
    assert spec.scores["validation"] > 0.3, "guessing the largest class gives about 0.25"
    assert 0.1 < spec.temperature < 10
    best = max(range(6), key=lambda i: history[i]["validation_accuracy"])
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


def test_the_same_seed_gives_the_same_weights_and_another_one_others(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=1"])
    folders = [
        fit(c, table, tmp_path / n).folder
        for n, c in (("a", config), ("b", config), ("c", config.override(["run.seed=1"])))
    ]
    a, b, c = (load_file(f / "weights.safetensors") for f in folders)
    held_out = [json.loads((f / "split.json").read_text()) for f in folders]
    assert held_out[0] == held_out[2], "runs of several seeds are compared on the same rows"
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not all(np.array_equal(a[k], c[k]) for k in a)


def test_a_run_killed_in_mid_epoch_ends_with_the_same_weights(tmp_path: Path) -> None:
    """SIGKILL gives no chance to tidy up; the resumed run ends bit for bit as the unbroken one."""

    def command(out: Path, *more: str) -> list[str]:
        settings = ["model.options={widths: [8, 16], blocks: [1]}", "optim.epochs=4", "optim.ema=0.9", "run.threads=1"]
        settings += ["data.oversample=true", "optim.mixup=0.2", "optim.batch_size=32", "optim.keep=last"]
        sets = [a for s in settings for a in ("--set", s)]
        return [
            sys.executable,
            "-m",
            "moue",
            "train",
            "compact",
            "--data",
            "synth:900:1",
            "--out",
            str(out),
            *sets,
            *more,
        ]

    environment = {**os.environ, "MOUE_CACHE": str(tmp_path / "cache")}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(whole), check=True, env=environment, capture_output=True)
    process = subprocess.Popen(command(broken), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        # The second epoch's checkpoint is there, so the third epoch is being trained.
        if (broken / "history.csv").exists() and (broken / "history.csv").read_text().count("\n") >= 3:
            break
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert not (broken / "weights.safetensors").exists()
    subprocess.run(command(broken, "--resume"), check=True, env=environment, capture_output=True)
    a, b = load_file(whole / "weights.safetensors"), load_file(broken / "weights.safetensors")
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[k], b[k]) for k in a)
    epochs = [line.split(",")[0] for line in (broken / "history.csv").read_text().splitlines()[1:]]
    assert epochs == ["1", "2", "3", "4"]


def test_a_folder_with_a_run_is_not_overwritten(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=1"])
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


def test_a_time_budget_sets_the_epochs(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=500", "run.minutes=0.05"])
    run = fit(config, table, tmp_path / "run")
    epochs = run.config().optim.epochs
    assert 1 <= epochs < 500
    assert len(run.history()) == epochs
    # A budget below one epoch gives one short epoch.
    short = fit(config.override(["run.minutes=0.0005"]), table, tmp_path / "short").config().optim
    assert (short.epochs, short.steps is not None and short.steps < 12) == (1, True)


@pytest.mark.timeout(60)
def test_a_time_budget_is_found_among_any_number_of_epochs(table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_median_time", lambda step, seeds: 0.5)
    rows = Rows.of(table, np.arange(4), InputSpec(), torch.device("cpu"))
    for most, minutes, found in ((100_000, 100, 1140), (100_000, 10**6, 100_000), (3, 100, 3)):
        config = SMALL.override([f"optim.epochs={most}", f"run.minutes={minutes}", "optim.progressive_sizes=[32, 48]"])
        task = ClassificationTask(config.optim)
        fitted = budget.fit_to_time(config, create("compact", 7, widths=[8, 16]), task, rows, None, 10, "fp32")
        assert fitted.optim.epochs == found


def test_a_time_budget_counts_a_teachers_time_only_while_it_answers(
    table: ImageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()

    def time(step: Any, seeds: range) -> float:
        known = seen.issuperset(seeds)
        seen.update(seeds)
        return 0.5 if known else 2.0

    monkeypatch.setattr(budget, "_median_time", time)
    rows = Rows.of(table, np.arange(4), InputSpec(), torch.device("cpu"))
    found = []
    for views in (0, 4):
        sizes = ["optim.progressive_sizes=[32, 48]", "optim.teachers=[default]", f"optim.teacher_views={views}"]
        config = SMALL.override(["optim.epochs=1000", "run.minutes=10", *sizes])
        task = ClassificationTask(config.optim)
        fitted = budget.fit_to_time(config, create("compact", 7, widths=[8, 16]), task, rows, None, 10, "fp32")
        found.append(fitted.optim.epochs)
        seen.clear()
    # 570 s at 20 s each; four at 20 s, the rest at 5.
    assert found == [28, 102]


def test_the_command_that_began_a_run_goes_on_with_it(table: ImageTable, tmp_path: Path) -> None:
    settings = ["optim.epochs=500", "run.minutes=0.05"]
    asked = SMALL.override(settings)
    run = fit(asked, table, tmp_path / "run", recipe=SMALL)
    assert run.config().optim.epochs < 500
    assert run.resume_config(SMALL, asked, settings).optim.epochs == run.config().optim.epochs
    # Another budget would change nothing of what is planned.
    with pytest.raises(UsageError, match=r"run\.minutes=0\.05, not 3"):
        run.resume_config(SMALL, SMALL.override(["run.minutes=3"]), ["run.minutes"])


def test_too_little_memory_is_a_sentence(table: ImageTable, tmp_path: Path) -> None:
    def out_of_memory(*_: Any) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    task = cast(Task, out_of_memory)
    with pytest.raises(TrainingError, match=r"batches of 64\. Try smaller ones, .*: --set optim\.batch=32"):
        fit(SMALL, table, tmp_path / "run", task=task)
    with pytest.raises(TrainingError, match=r"batches of 2\. Take a smaller network"):
        fit(SMALL.override(["optim.batch_size=2"]), table, tmp_path / "least", task=task)


def test_a_cluster_s_scheduler_changes_nothing(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NTASKS": "2", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NNODES": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert fit(SMALL.override(["optim.epochs=1", "optim.steps=2"]), table, tmp_path / "run").finished


def test_images_are_the_same_in_either_precision(table: ImageTable, tmp_path: Path) -> None:
    seen: dict[str, Tensor] = {}
    for precision in ("fp32", "bf16"):

        class Look(ClassificationTask):
            def __call__(self, network: Network, images: Tensor, *rest: Any, precision: str = precision) -> Any:
                seen.setdefault(precision, images.detach().clone())
                return super().__call__(network, images, *rest)

        config = SMALL.override(["optim.epochs=1", "optim.steps=1", f"run.precision={precision}"])
        fit(config, table, tmp_path / precision, task=cast(Task, Look(config.optim)))
    assert torch.equal(seen["fp32"], seen["bf16"])


def test_half_the_precision_learns_as_well(table: ImageTable, tmp_path: Path) -> None:
    learned = {}
    for precision in ("fp32", "bf16"):
        run = fit(SMALL.override([f"run.precision={precision}", "optim.lr=0.01"]), table, tmp_path / precision)
        learned[precision] = run.history()[-1]
    assert learned["fp32"] != learned["bf16"]
    assert abs(learned["fp32"]["train_loss"] - learned["bf16"]["train_loss"]) < 0.1, learned
    assert learned["bf16"]["train_loss"] < 1.9, "7 classes at random: 1.95"


def test_a_loss_that_blows_up_ends_with_words_and_keeps_the_checkpoint(table: ImageTable, tmp_path: Path) -> None:
    seen = []

    class Wild(ClassificationTask):
        def __call__(self, network: Network, images: Tensor, *rest: Any) -> Any:
            seen.append(len(images))
            answer = super().__call__(network, images, *rest)
            # The second epoch's first step.
            return {**answer, "loss": answer["loss"] * float("nan")} if len(seen) > 2 else answer

    config = SMALL.override(["optim.steps=2"])
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 2;.*another folder: --set optim\.lr=0\.001"):
        fit(config, table, tmp_path / "run", task=cast(Task, Wild(config.optim)))
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert checkpoints.load(last)["epoch"] == 0, "epochs count from 0 there"
    assert all(bool(v.isfinite().all()) for v in load_file(last).values())
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert fit(config, table, tmp_path / "run", resume=True).finished


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
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "last.safetensors")["epoch"] == 0


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


def test_machine_auto_precision_is_never_slower_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from moue.training import devices

    for amx, avx512_bf16, wanted in ((False, False, "fp32"), (True, False, "bf16"), (False, True, "bf16")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=amx: has, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=avx512_bf16: has, raising=False)
        assert devices.precision("auto", torch.device("cpu")) == wanted
    with pytest.raises(UsageError, match="cpu, cuda or mps"):
        devices.choose("gpu0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose("cuda:1").index == 1
    with pytest.raises(UsageError, match=r"one of the 2 that torch finds, counted from cuda:0\. Got 'cuda:2'"):
        devices.choose("cuda:2")


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


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_repeats_of_an_image_are_mirrored_every_other_time(
    epoch: int, table: ImageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "current_epoch", epoch)
    table = table.take(np.concatenate([np.flatnonzero(table.labels == k)[:n] for k, n in ((3, 40), (4, 10))]))
    table = replace(table, label_set=LabelSet("folders", ("happy", "sad")), labels=table.labels - 3)
    rows = Rows.of(table, np.arange(50), InputSpec(), torch.device("cpu"))
    network = create("compact", 2, widths=[8, 16])

    def drawn(*settings: str) -> tuple[Any, Any]:
        config = SMALL.override(settings)
        learner = Learner(config, network, ClassificationTask(config.optim), rows, None, None, 2)
        learner.on_train_epoch_start()
        assert learner.flipped is not None
        return learner.order, learner.flipped.numpy()

    order, flipped = drawn("data.oversample=true")
    for row in range(40, 50):
        assert flipped[order == row].sum() == 2, "of four times"
    # Each once: as a coin an image says, turned from epoch to epoch.
    order, flipped = drawn()
    coin = np.random.default_rng([0, epoch // 2, 1]).random(50) < 0.5
    assert (flipped == (coin ^ bool(epoch % 2))[order]).all()
    assert (order == np.random.default_rng([0, epoch]).permutation(50)).all()


def test_members_for_bagging_are_trained_on_rows_of_their_own(table: ImageTable, tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def task(network: Any, images: Any, targets: Any, generator: Any, size: Any = None) -> Any:
        # Pixels as they are tell which rows came.
        seen[-1] += [hash(image.numpy().tobytes()) for image in images]
        return ClassificationTask(config.optim)(network, images, targets, generator, size)

    for name, settings in (("all", []), ("a", ["data.bootstrap=true"]), ("b", ["data.bootstrap=true", "run.seed=1"])):
        config = SMALL.override(["optim.epochs=1", "data.augment=false", *settings])
        seen.append([])
        run = fit(config, table, tmp_path / name, task=task)
    whole, a, b = map(set, seen)
    assert a < whole
    assert 0.5 < len(a) / len(whole) < 0.75
    assert a != b
    # What is held out is the same for all.
    assert len(run.split(table).validation) > 0
    assert (run.split(table).validation == Run(tmp_path / "all").split(table).validation).all()


def test_the_views_that_teachers_answered_for_come_again(table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows.of(table.take(np.arange(40)), np.arange(40), InputSpec(), torch.device("cpu"))
    network = create("compact", 7, widths=[8, 16])

    def drawn(epoch: int, *settings: str) -> tuple[list[int], list[bool], int, int]:
        monkeypatch.setattr(Learner, "current_epoch", epoch)
        config = SMALL.override(settings)
        learner = Learner(config, network, ClassificationTask(config.optim), rows, None, None, 7)
        learner.on_train_epoch_start()
        assert learner.flipped is not None
        views = learner._seed(0).initial_seed()
        return learner.order.tolist(), learner.flipped.tolist(), views, torch.initial_seed()

    kept = ["optim.teachers=[default]", "optim.teacher_views=2"]
    first, second, third = (drawn(epoch, *kept) for epoch in (0, 1, 2))
    assert first[:3] == third[:3]
    assert not any(a == b for a, b in zip(first[:3], second[:3], strict=True))
    assert first[3] != third[3], "dropout never repeats itself"
    assert drawn(0)[2] != drawn(2)[2]
    assert drawn(2) == drawn(2, "optim.teachers=[default]"), "without the setting, each epoch has its own"


def test_quietness(table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(SMALL.override(["optim.epochs=1"]), table, tmp_path / "run")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == ""


def test_a_run_starts_from_another_ones_weights_and_a_new_last_layer_where_classes_differ(
    table: ImageTable, tmp_path: Path
) -> None:
    first = fit(SMALL, table, tmp_path / "first")
    assert first.spec().license == "", "drawn faces bind nobody"
    first.spec().replace(license="for research").save(first.folder / "spec.json")
    still = ["optim.epochs=1", "optim.lr=1e-12", "optim.ema=0", f"model.init={tmp_path / 'first'}"]
    second = fit(SMALL.override(still), table, tmp_path / "second")
    a, b = (load_file(run.folder / "weights.safetensors") for run in (first, second))
    learned = [name for name in a if name.endswith("weight")]
    assert all(np.allclose(a[name], b[name], atol=1e-6) for name in learned)
    two = LabelSet("folders", ("smile", "none"))
    happy = (table.labels == table.label_set.index("happy")).astype(np.int64)
    own = ImageTable(table.images, 1 - happy, table.split, table.source, two)
    third = fit(SMALL.override(still), own, tmp_path / "third")
    c = load_file(third.folder / "weights.safetensors")
    assert third.spec().labels == two.labels
    assert third.spec().license == "for research", "weights keep what binds those that they come from"
    assert c["classifier.weight"].shape == (2, 16)
    assert all(np.allclose(a[name], c[name], atol=1e-6) for name in learned if name != "classifier.weight")
    with pytest.raises(UsageError, match="same network"):
        fit(SMALL.override([*still, "model.options={widths: [8, 24], blocks: [1]}"]), table, tmp_path / "fourth")


@pytest.mark.parametrize("network", ["compact", "googlenet"])
def test_a_last_layer_is_taken_over_by_its_classes_names(network: str, table: ImageTable, tmp_path: Path) -> None:
    options = {"compact": "{widths: [7, 14], blocks: [1]}", "googlenet": "{width: 0.125}"}[network]
    base = SMALL.override([f"model.network={network}", f"model.options={options}", "optim.epochs=1", "optim.steps=1"])
    first = fit(base, table, tmp_path / "first")
    still = base.override(["optim.lr=1e-12", "optim.ema=0", f"model.init={first.folder}"])
    a = load_file(first.folder / "weights.safetensors")
    a = {name: value for name, value in a.items() if name.endswith(("weight", "bias"))}
    heads = [name for name in a if "classifier" in name and len(a[name]) == 7]
    assert len(heads) == (1 if network == "compact" else 6)
    turned = LabelSet("folders", ("Happiness", *(x for x in reversed(table.label_set.labels) if x != "happy")))
    order = [table.label_set.index(name) for name in turned.labels]
    own = replace(table, label_set=turned, labels=np.argsort(order)[table.labels])
    b = load_file(fit(still, own, tmp_path / "turned").folder / "weights.safetensors")
    for name in a:
        assert np.allclose(a[name][order] if name in heads else a[name], b[name], atol=1e-6), name
    others = replace(table, label_set=LabelSet("folders", tuple("abcdefg")))
    c = load_file(fit(still, others, tmp_path / "others").folder / "weights.safetensors")
    assert not any(np.isclose(a[name], c[name]).all() for name in heads if name.endswith("weight"))
    assert all(np.allclose(a[name], c[name], atol=1e-6) for name in a if name not in heads)


def voted(table: ImageTable) -> ImageTable:
    """Votes that say the same as the labels, for every other row."""
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    order = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"]
    assert list(table.label_set.labels) == names
    votes = np.eye(8, dtype=np.float32)[[order.index(names[k]) for k in table.labels]]
    votes[::2] = 0
    return replace(table, votes=votes)


def test_the_head_of_the_votes_is_dropped_at_the_end_and_survives_a_resume(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.votes_weight=0.5", "optim.epochs=2"])
    run = fit(config, voted(table), tmp_path / "run")
    weights = load_file(run.folder / "weights.safetensors")
    assert weights["classifier.weight"].shape == (7, 16)
    assert run.spec().labels == table.label_set.labels
    assert run.spec().license == LICENSE
    model = load_run(run.folder)
    assert model.logits(table.images[:5]).shape == (5, 7)
    assert sum(p.numel() for p in model.network.parameters()) == run.spec().parameters
    alone = load_file(fit(SMALL.override(["optim.epochs=2"]), table, tmp_path / "b").folder / "weights.safetensors")
    assert not np.allclose(alone["features.1.0.weight"], weights["features.1.0.weight"]), "the votes taught nothing"

    class Stop(Exception):
        pass

    def stop(status: Status) -> None:
        if status.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(config, voted(table), tmp_path / "broken", watch=stop)
    again = fit(config, voted(table), tmp_path / "broken", resume=True)
    resumed = load_file(again.folder / "weights.safetensors")
    assert all(np.array_equal(resumed[name], weights[name]) for name in weights)
    with pytest.raises(UsageError, match="--votes"):
        fit(config, table, tmp_path / "without")


def test_a_run_from_published_weights_goes_on_without_them(table: ImageTable, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    published = transformers.ViTConfig(**shape, image_size=16, patch_size=8)
    transformers.ViTForImageClassification(published).save_pretrained(tmp_path / "published")
    config = SMALL.override(["model.network=vit", "optim.epochs=2", "optim.steps=2"])
    config = replace(config, model=replace(config.model, options={"source": str(tmp_path / "published")}))

    def stop(status: Status) -> None:
        if status.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, table, tmp_path / "run", watch=stop)
    (tmp_path / "published").rename(tmp_path / "gone")
    run = fit(config, table, tmp_path / "run", resume=True)
    assert run.finished
    assert load_run(run.folder).logits(table.images[:2]).shape == (2, 7)


@pytest.mark.parametrize("network", ["hf", "vit"])
def test_a_published_head_never_answers_in_an_order_of_its_own(network: str, table: ImageTable, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = ("happiness", "sadness", "neutral", "angry", "disgust", "fear", "surprise")
    published = transformers.ViTConfig(**shape, image_size=16, patch_size=8, id2label=dict(enumerate(names)))
    model = transformers.ViTForImageClassification(published)
    model.classifier.bias.data = torch.arange(1.0, 8)
    model.save_pretrained(tmp_path / "published")
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "published")
    source = str(tmp_path / "published")
    config = SMALL.override(["optim.epochs=1", "optim.steps=1", "optim.lr=1e-9", "optim.ema=0"])
    chosen = ("vit", {"source": source}) if network == "vit" else (f"hf:{source}", {})
    config = replace(config, model=replace(config.model, network=chosen[0], options=chosen[1]))
    run = fit(config, table, tmp_path / "run")
    assert run.config().model.options == chosen[1]
    bias = load_file(run.folder / "weights.safetensors")[f"{'model.' if network == 'vit' else ''}classifier.bias"]
    kept = [4, 5, 6, 1, 2, 7, 3] if network == "hf" else [0] * 7
    assert np.allclose(bias, kept, atol=1e-5)
    (tmp_path / "published").rename(tmp_path / "gone")
    assert load_run(run.folder).logits(table.images[:2]).shape == (2, 7)
    again = replace(config, model=replace(config.model, init=str(run.folder)))
    assert fit(again, table, tmp_path / "again").finished


def test_a_run_killed_before_its_first_checkpoint_still_starts_from_its_init(table: ImageTable, tmp_path: Path) -> None:
    first = fit(SMALL.override(["optim.epochs=1"]), table, tmp_path / "first")
    still = SMALL.override([f"model.init={first.folder}", "optim.lr=1e-12", "optim.epochs=1", "optim.ema=0"])

    def stop(status: Status) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(still, table, tmp_path / "second", watch=stop)
    second = fit(still, table, tmp_path / "second", resume=True)
    before, after = (load_file(r.folder / "weights.safetensors")["classifier.weight"] for r in (first, second))
    assert np.allclose(before, after, atol=1e-6)


def test_weights_that_blow_up_never_replace_good_ones(table: ImageTable, tmp_path: Path) -> None:
    wild = SMALL.override(["optim.name=sgd", "optim.lr=1e12", "optim.schedule=constant", "optim.warmup=0"])
    with pytest.raises(TrainingError, match="no longer finite"):
        fit(wild, table, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    assert not last.exists() or all(np.isfinite(v).all() for v in load_file(last).values())


def test_few_epochs_train_at_the_last_sizes(table: ImageTable, tmp_path: Path) -> None:
    seen: list[int | None] = []

    class Sizes(ClassificationTask):
        def forward(self, network: Network, images: Tensor, targets: Tensor, generator: Any, size: Any = None) -> Any:
            seen.append(size)
            return super().forward(network, images, targets, generator, size)

    for epochs, wanted in ((1, [48]), (2, [32, 48]), (6, [24, 24, 32, 32, 48, 48])):
        seen.clear()
        config = SMALL.override([f"optim.epochs={epochs}", "optim.steps=1", "optim.progressive_sizes=[24, 32, 48]"])
        fit(config, table, tmp_path / str(epochs), task=Sizes(config.optim))
        assert seen == wanted


def test_a_size_that_the_network_cannot_take_begins_no_run(table: ImageTable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="41×41"):
        fit(SMALL.override(["optim.progressive_sizes=[41, 48]"]), table, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for options, words in (("{widths: 8}", "widths"), ("{widths: [8, 16], blocks: [1, 1]}", "blocks must be 1")):
        with pytest.raises(UsageError, match=words):
            fit(SMALL.override([f"model.options={options}"]), table, tmp_path / "run")


def test_a_disk_that_is_full_at_the_end_leaves_a_run_that_can_go_on(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=1", "optim.steps=1"])

    with pytest.MonkeyPatch.context() as patch:
        whole = loading.save_weights

        def full(*arguments: Any) -> None:
            with room(100):
                whole(*arguments)

        patch.setattr(loading, "save_weights", full)
        with pytest.raises(TrainingError, match="--resume"):
            fit(config, table, tmp_path / "run")
    assert fit(config, table, tmp_path / "run", resume=True).finished


def test_a_student_learns_from_teachers_and_does_not_carry_them(table: ImageTable, tmp_path: Path) -> None:
    teacher = fit(
        SMALL.override(["optim.name=muon", "optim.lr=0.1", "data.augment=false"]), table, tmp_path / "teacher"
    )
    learn = ["optim.epochs=1", "optim.name=muon", "optim.lr=0.1", "data.augment=false", "optim.teacher_weight=1"]
    taught = SMALL.override([*learn, f"optim.teachers=[{teacher.folder}]"])
    wrong = replace(table, labels=np.roll(table.labels, 1))
    student = fit(taught, wrong, tmp_path / "student")
    sizes = [(tmp_path / n / "checkpoints" / "last.safetensors").stat().st_size for n in ("teacher", "student")]
    assert sizes[1] < sizes[0] * 1.05
    test = synthetic(400, seed=5)
    answers = [load_run(r.folder).logits(test.images).argmax(1) for r in (teacher, student)]
    agree = float((answers[0] == answers[1]).mean())
    assert agree > 0.4, "labels that say nothing were all that was learned from"
    # The same as a model without its run: one graph, no torch weights.
    export(teacher.folder, tmp_path / "teacher.onnx")
    alone = fit(taught.override([f"optim.teachers=[{tmp_path / 'teacher.onnx'}]"]), wrong, tmp_path / "alone")
    again = load_run(alone.folder).logits(test.images).argmax(1)
    assert float((again == answers[0]).mean()) > 0.4
    assert alone.spec().trained["teachers"] == ["teacher.onnx"]
    two = LabelSet("folders", ("smile", "none"))
    own = ImageTable(table.images, (table.labels == 3).astype(np.int64), table.split, table.source, two)
    with pytest.raises(UsageError, match="smile, none"):
        fit(taught, own, tmp_path / "other")


def test_each_image_is_taught_by_the_teachers_that_held_it_out(table: ImageTable, tmp_path: Path) -> None:
    halves = [
        fit(SMALL.override(["optim.epochs=1", "data.validation=0.5", f"data.fold={fold}"]), table, tmp_path / f"{fold}")
        for fold in (0, 1)
    ]
    splits = [run.split(table) for run in halves]
    assert not set(splits[0].validation) & set(splits[1].validation)
    # A teacher without its run, too: its spec says which rows those were.
    export(halves[1].folder, tmp_path / "1.onnx")
    names = [str(halves[0].folder), str(tmp_path / "1.onnx")]
    again = split_of(names[1], table)
    assert again is not None
    assert (again.validation == splits[1].validation).all()
    held = held_out(names, table, splits[0].train)
    assert held[:, 1].all()
    assert not held[:, 0].any()
    taught = ["optim.epochs=1", "optim.teacher_weight=1", "optim.teachers_out_of_fold=true"]
    student = fit(SMALL.override([*taught, f"optim.teachers=[{', '.join(names)}]"]), table, tmp_path / "student")
    assert student.finished
    with pytest.raises(UsageError, match=r"held out by no teacher\. Train one for each part"):
        fit(SMALL.override([*taught, f"optim.teachers=[{names[0]}, {names[0]}]"]), table, tmp_path / "half")
    with pytest.raises(UsageError, match="nothing says which rows"):
        fit(SMALL.override([*taught, f"optim.teachers=[{names[0]}, tiny]"]), table, tmp_path / "unknown")
    assert not (tmp_path / "half").exists()
    assert not (tmp_path / "unknown").exists()
    with pytest.raises(UsageError, match="needs two teachers or more"):
        SMALL.override([*taught, f"optim.teachers=[{names[0]}]"])
