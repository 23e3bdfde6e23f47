"""`compare --seeds`: recipes that are trained several times."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparisons import TINY

from moue.cli.main import main
from moue.comparison import compare
from moue.errors import TrainingError, UsageError
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.run_folder import Run


def test_a_recipe_is_trained_with_several_seeds_which_are_resumed(
    data: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seeds"
    shutil.copytree(finished, out)
    first = out / "runs" / "demo-vit" / "weights.safetensors"
    before = first.stat().st_mtime_ns
    settings = [f"--set={setting}" for setting in TINY]
    command = ["compare", "demo/vit", "tiny", "--data", data, "--out", str(out), *settings]
    assert main([*command, "--seeds", "2", "--format", "json"]) == 0
    assert first.stat().st_mtime_ns == before, "the run of the first seed is taken"
    second = out / "runs" / "demo-vit-seed-1" / "weights.safetensors"
    assert second.read_bytes() != first.read_bytes()
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    vit, tiny = content["rows"]
    assert (vit["model"], [run["seed"] for run in vit["seeds"]]) == ("vit", [0, 1])
    assert tiny["seeds"] == []
    accuracies = [run["accuracy"] for run in vit["seeds"]]
    assert vit["accuracy"] == accuracies[0]
    assert vit["over_seeds"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert content["provenance"]["Seeds"].startswith("0, 1")
    times = [path.stat().st_mtime_ns for path in (first, second)]
    capsys.readouterr()
    assert main([*command, "--seeds", "2"]) == 0
    assert [path.stat().st_mtime_ns for path in (first, second)] == times
    mean, sd = np.mean(accuracies), np.std(accuracies, ddof=1)
    assert f"{mean:.2%} ± {sd:.2%}" in capsys.readouterr().out


def test_seeds_that_nothing_would_use_are_refused(data: str, tmp_path: Path) -> None:
    for seeds in (0, 21):
        with pytest.raises(UsageError, match="between 1 and 20"):
            compare(["demo/vit"], data=data, out=tmp_path, seeds=seeds)
    with pytest.raises(UsageError, match="only recipes are trained with several seeds"):
        compare(["tiny"], data=data, out=tmp_path, seeds=2)
    assert not list(tmp_path.iterdir())


def test_a_seed_that_fails_is_named_and_the_others_count(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit_or_fail(config: Config, *args: Any, **kwargs: Any) -> Run:
        if config.run.seed == 0:
            raise TrainingError("the loss is no longer finite")
        return fit(config, *args, **kwargs)

    monkeypatch.setattr("moue.training.loop.fit", fit_or_fail)
    [row] = compare(["demo/vit"], data=data, out=tmp_path, settings=TINY, seeds=2)
    assert (row.name, row.status, len(row.seeds)) == ("vit", "ok", 1)
    assert "vit was not run: the loss is no longer finite" in row.details["remarks"]
