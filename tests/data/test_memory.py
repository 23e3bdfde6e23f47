"""Sets that are larger than memory at the size that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from sets import folder_of, jpeg

from moue.cli.main import main
from moue.data import load
from moue.data import memory as module
from moue.errors import DataError, UsageError


@pytest.mark.parametrize("command", [["data", "info", "synth:20"], ["data", "import", "synth:20", "-o", "set.npz"]])
def test_a_size_that_no_model_has_is_refused_by_name(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--size", "100000"]) == 2
    assert "--size must be a whole number from 1 to 4096. Got 100000 instead." in capsys.readouterr().err
    with pytest.raises(UsageError, match="size must be from 1 to 4096 pixels"):
        load("synth:20", size=100_000)


def test_a_set_that_memory_does_not_hold_says_what_it_takes(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "lacks_memory", lambda size: size > 100_000_000)
    faces = folder_of(tmp_path / "faces", {f"{c}/{i}.jpg": jpeg(i) for c in ("happy", "sad") for i in range(2)})
    assert load(str(faces), size=200).images.shape == (4, 1, 200, 200)
    for source, name, taken, n in ((str(faces), "faces", "0.1", 4), ("synth:20", "synth:20:0", "0.3", 20)):
        assert main(["data", "info", source, "--size", "4000"]) == 2
        error = capsys.readouterr().err
        assert f"{name} at 4000 × 4000 pixels takes {taken} GB of memory for {n} images, more than there is" in error
        assert "--size" in error
    command = ["evaluate", str(tiny_onnx), "--data", "synth:20", "--split", "train", "--size", "4000"]
    assert main(command) == 2
    assert "synth:20:0 at 4000 × 4000 pixels takes" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"takes 1\.0 GB of memory for 20 images"):
        load("synth:20", size=4000, color="rgb")
