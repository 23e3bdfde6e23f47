"""The files of a run folder."""

from __future__ import annotations

from pathlib import Path

#: The resolved configuration; it is there once a run has begun.
CONFIG = "config.json"

#: Which rows were held out.
SPLIT = "split.json"

#: Machine, versions, git, data fingerprint, wall time, peak memory, status.
RECORD = "run.json"

#: One row an epoch.
HISTORY = "history.csv"

#: The trained weights.
WEIGHTS = "weights.safetensors"

#: The :class:`~moue.spec.ModelSpec` of those weights.
SPEC = "spec.json"

#: The graph that ``moue export RUN`` writes by default; its spec lies beside it.
EXPORTED = "model.onnx"

#: All files of a run.
RUN_FILES = (CONFIG, SPLIT, RECORD, HISTORY, WEIGHTS, SPEC, EXPORTED, "model.json")


def is_run(path: Path | str) -> bool:
    """Whether this is a run folder with trained weights."""
    return (Path(path) / WEIGHTS).is_file()
