"""The scripts that time training, in small: they train, and claim nothing that they did not see."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def run(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    return runpy.run_path(str(BENCHMARKS / script), run_name="__main__")


def test_a_training_against_the_clock_leaves_claims_open_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["optim.epochs=1", "optim.steps=1", "optim.batch_size=8", "run.threads=1"]
    tiny = [*settings, "model.options={widths: [8, 16], blocks: [1]}", "optim.progressive_sizes=[]"]
    out = tmp_path / "gpu.md"
    names = run(monkeypatch, "gpu_training.py", "synth:120:0", "--only", "quick", "--set", *tiny, "--out", str(out))
    text = out.read_text()
    assert "| compact | 1 |" in text
    assert "stays open: these are other images (synth:120:0)" in text
    assert "stays open" in capsys.readouterr().out
    claims, cuda, here = names["claims"], torch.device("cuda"), str(out)
    quick = {"seconds": 50.0, "accuracy": 0.66}
    assert [line.rpartition(". ")[2] for line in claims(quick, [], cuda, here)] == ["The claim holds."]
    for worse in ({"seconds": 61.0}, {"accuracy": 0.64}):
        assert claims({**quick, **worse}, [], cuda, here)[0].endswith("The claim does not hold.")
    assert "this machine has none" in claims(quick, [], torch.device("cpu"), here)[0]
    assert claims(None, [{"seconds": 500.0}, {"seconds": 401.0}], cuda, here)[0].endswith("does not hold.")


def test_captured_steps_are_set_beside_plain_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["optim.epochs=1", "optim.steps=1", "optim.batch_size=8", "run.threads=1"]
    tiny = [*settings, "model.options={widths: [8, 16], blocks: [1]}"]
    out = tmp_path / "gpu.md"
    names = run(monkeypatch, "gpu_training.py", "synth:120:0", "--only", "steps", "--set", *tiny, "--out", str(out))
    rows = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == ["plain", "plain again", "captured"]
    assert [float(row[-1]) for row in rows[2:]] == [0, 0, 0], "on a CPU all three are plain"
    assert "stays open: this machine has no GPU" in out.read_text()
    assert "claimed" not in out.read_text()
    found = [
        {"images/s": speed, "largest difference of weights": far}
        for speed, far in ((90, 0.0), (100, 0.01), (600, 0.02))
    ]
    sentence = names["verdict_of_steps"](found, torch.device("cuda"))
    assert "6.0 times as fast" in sentence
    assert "0.02 at most" in sentence
    assert "by 0.01." in sentence


def test_a_step_is_split_into_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "speed.md"
    options = ["model.options={widths: [8, 16], blocks: [1]}", "optim.batch_size=8"]
    run(
        monkeypatch,
        "training.py",
        *(
            "compact",
            "--data",
            "synth:200:0",
            "--set",
            *options,
            "--threads",
            "1",
            "--precisions",
            "fp32",
            "--steps",
            "1",
            "--out",
            str(out),
        ),
    )
    [row] = [line.split(" | ") for line in out.read_text().splitlines() if line.startswith("| compact")]
    assert row[4:7] == ["8", "1", "fp32"]
    assert sum(float(share.strip(" |")) for share in row[9:]) == pytest.approx(100, abs=0.3)
