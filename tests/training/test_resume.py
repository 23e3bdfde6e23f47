"""A run that ended at any moment is resumed, and ends as an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk import room
from safetensors.torch import load_file
from small import SMALL

from moue.cli.main import main
from moue.data.table import ImageTable
from moue.errors import TrainingError, UsageError
from moue.models import load as loading
from moue.models.load import load_run
from moue.training import budget, checkpoints
from moue.training.loop import fit
from moue.training.progress import Status
from moue.training.provenance import LICENSE

#: Runs a command of moue, and kills itself in the middle of the third epoch.
KILLED = """
import os, signal, sys
from moue.cli.main import main
from moue.cli.train import TrainingProgress

def stop(self, status):
    if (status.epoch, status.step) == (3, 10):
        os.kill(os.getpid(), signal.SIGKILL)

TrainingProgress.__call__ = stop
main(sys.argv[1:])
"""


def test_a_run_killed_in_mid_epoch_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL gives no chance to tidy up; the resumed run ends bit for bit as the unbroken one."""
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "cache"))

    def command(out: Path, *more: str) -> list[str]:
        settings = ["model.options={widths: [8, 16], blocks: [1]}", "optim.epochs=4", "optim.ema=0.9", "run.threads=1"]
        settings += ["data.oversample=true", "optim.mixup=0.2", "optim.batch_size=32", "optim.keep=last"]
        sets = [a for s in settings for a in ("--set", s)]
        return ["train", "compact", "--data", "synth:500:1", "--out", str(out), *sets, *more]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    killed = subprocess.run([sys.executable, "-c", KILLED, *command(broken)], env=os.environ, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert (broken / "history.csv").read_text().count("\n") == 3, "two epochs are done"
    assert not (broken / "weights.safetensors").exists()
    assert main(command(broken, "--resume")) == 0
    assert main(command(whole)) == 0
    a, b = load_file(whole / "weights.safetensors"), load_file(broken / "weights.safetensors")
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[k], b[k]) for k in a)
    epochs = [line.split(",")[0] for line in (broken / "history.csv").read_text().splitlines()[1:]]
    assert epochs == ["1", "2", "3", "4"]


def test_a_checkpoint_of_another_version_is_refused_with_words(table: ImageTable, tmp_path: Path) -> None:
    def stop(status: Status) -> None:
        if status.epoch == 2:
            raise KeyboardInterrupt

    config = SMALL.override(["optim.steps=1"])
    with pytest.raises(KeyboardInterrupt):
        fit(config, table, tmp_path / "run", progress=stop)
    # What version 0.1.0 wrote there.
    checkpoints.save(
        {"epoch": 0, "global_step": 1, "pytorch-lightning_version": "2.6.0", "state_dict": {}, "optimizer_states": []},
        tmp_path / "run" / "checkpoints" / "last.safetensors",
    )
    with pytest.raises(TrainingError, match=r"another version of moue.*start the run again in another folder"):
        fit(config, table, tmp_path / "run", resume=True)


def voted(table: ImageTable) -> ImageTable:
    """Votes that say the same as the labels, for every other row."""
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    order = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"]
    assert list(table.label_set.labels) == names
    votes = np.eye(8, dtype=np.float32)[[order.index(names[k]) for k in table.labels]]
    votes[::2] = 0
    return replace(table, votes=votes)


def test_the_head_of_the_votes_is_dropped_at_the_end_and_survives_a_resume(table: ImageTable, tmp_path: Path) -> None:
    short = ["optim.epochs=2", "optim.steps=3"]
    config = SMALL.override(["optim.votes_weight=0.5", *short])
    run = fit(config, voted(table), tmp_path / "run")
    weights = load_file(run.folder / "weights.safetensors")
    assert weights["classifier.weight"].shape == (7, 16)
    assert run.spec().labels == table.label_set.labels
    assert run.spec().license == LICENSE
    model = load_run(run.folder)
    assert model.logits(table.images[:5]).shape == (5, 7)
    assert sum(p.numel() for p in model.network.parameters()) == run.spec().parameters
    alone = load_file(fit(SMALL.override(short), table, tmp_path / "b").folder / "weights.safetensors")
    assert not np.allclose(alone["features.1.0.weight"], weights["features.1.0.weight"]), "the votes taught nothing"

    class Stop(Exception):
        pass

    def stop(status: Status) -> None:
        if status.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(config, voted(table), tmp_path / "broken", progress=stop)
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
        fit(config, table, tmp_path / "run", progress=stop)
    (tmp_path / "published").rename(tmp_path / "gone")
    run = fit(config, table, tmp_path / "run", resume=True)
    assert run.finished
    assert load_run(run.folder).logits(table.images[:2]).shape == (2, 7)


def test_a_run_killed_before_its_first_checkpoint_still_starts_from_its_init(table: ImageTable, tmp_path: Path) -> None:
    short = SMALL.override(["optim.epochs=1", "optim.steps=1"])
    first = fit(short, table, tmp_path / "first")
    still = short.override([f"model.init={first.folder}", "optim.lr=1e-12", "optim.ema=0"])

    def stop(status: Status) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(still, table, tmp_path / "second", progress=stop)
    second = fit(still, table, tmp_path / "second", resume=True)
    before, after = (load_file(r.folder / "weights.safetensors")["classifier.weight"] for r in (first, second))
    assert np.allclose(before, after, atol=1e-6)


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


def test_the_command_that_started_a_run_resumes_it(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_median_time", lambda step, seeds: 0.1)
    settings = ["optim.epochs=500", "run.minutes=0.05"]
    requested = SMALL.override(settings)
    run = fit(requested, table, tmp_path / "run", recipe=SMALL)
    assert run.config().optim.epochs < 500
    assert run.resume_config(SMALL, requested, settings).optim.epochs == run.config().optim.epochs
    # Another budget would change nothing of what is planned.
    with pytest.raises(UsageError, match=r"run\.minutes=0\.05, not 3"):
        run.resume_config(SMALL, SMALL.override(["run.minutes=3"]), ["run.minutes"])


def test_a_run_of_0_1_0_is_accepted_with_its_recipe(table: ImageTable, tmp_path: Path) -> None:
    run = fit(SMALL.override(["optim.epochs=1", "optim.steps=1"]), table, tmp_path / "run", recipe=SMALL)
    record = json.loads((run.folder / "run.json").read_text())
    assert record["recipe"]["data"]["labels"] is None
    # That version wrote its default there.
    record["recipe"]["data"]["labels"] = "fer2013"
    (run.folder / "run.json").write_text(json.dumps(record))
    assert run.resume_config(SMALL, SMALL, []) == run.config()
    other = SMALL.override(["data.labels=ferplus"])
    with pytest.raises(UsageError, match=r"data\.labels=fer2013, not ferplus"):
        run.resume_config(other, other, [])
