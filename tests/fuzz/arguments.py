"""Command lines: commands, their options, and values of every type that do not fit."""

from __future__ import annotations

from moue.cli.main import COMMANDS
from tests.fuzz.mutate import Rng

#: What would not end, or would take the machine: serving, training.
_LEFT_OUT = ("serve", "train", "compare")
_OPTIONS = (
    "--out", "--model", "--detector", "--engine", "--threads", "--min-score", "--uncertain", "--small-faces", "--views",
    "--every", "--fps", "--smooth", "--max-pixels", "--truncated", "--no-window", "--format", "--data", "--votes",
    "--labels", "--classes", "--label-pattern", "--skip-bad", "--split", "--help", "--version", "--size", "--color",
    "--target", "--method", "--quantize", "--seed", "--", "-", "-x", "--formt", "--debugg",
)  # fmt: skip
_VALUES = (
    "", " ", "-", "--", "0", "-1", "1", "2.5", "nan", "inf", "-inf", "1e999", "9" * 400, "x" * 5000, "é\n\t", "\udcff",
    "*", "[", "**/*", "model/small.onnx", "model/small.json", "model", "photo.png", "absent.png", "synth:70:1",
    "synth:-1:x", "synth:9999999999999", "none", "json", "csv", "parquet", "table", "centerface", "fer2013", "ferplus",
    "folders", "/dev/null", "/dev/full", "http://localhost/x.png", "rtsp://localhost:9/x", "file:///etc/passwd",
    "1=happy,2=sad",
    "a=b=c", "(?P<label>.)", "(", "(a+)+$", "default", "tiny", "info", "import", "synth", "jaffe", "raf-db", "onnx",
    "\x1b[31m", "%s%n{0}", "999999999999", "0x10", "１",
)  # fmt: skip


def words(rng: Rng) -> list[str]:
    """A command line."""
    commands = [name for name in COMMANDS if name not in _LEFT_OUT]
    line = [commands[int(rng.integers(len(commands)))]] if rng.random() < 0.95 else []
    if line == ["data"]:
        line.append(("info", "import", "synth")[int(rng.integers(3))])
    if line == ["predict"] and rng.random() < 0.5:
        line += ["--model", "model/small.onnx", "--detector", "none"]
    for _ in range(int(rng.integers(0, 7))):
        choices = _OPTIONS if rng.random() < 0.45 else _VALUES
        line.append(choices[int(rng.integers(len(choices)))])
    return line
