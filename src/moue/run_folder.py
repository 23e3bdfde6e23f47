"""The files of a run folder: training writes them, and whoever opens a run reads them."""

from __future__ import annotations

from pathlib import Path

#: The resolved configuration; its presence says that a run was begun.
CONFIG = "config.json"

#: Which rows were held out.
SPLIT = "split.json"

#: Machine, versions, git, data fingerprint, wall time, peak memory, status.
RECORD = "run.json"

#: One row an epoch.
HISTORY = "history.csv"

#: The weights that the run keeps.
WEIGHTS = "weights.safetensors"

#: The :class:`~moue.spec.ModelSpec` of those weights.
SPEC = "spec.json"

#: The graph that ``moue export RUN`` writes unless it is told another place; its spec lies beside it.
EXPORTED = "model.onnx"

#: All of the above: what belongs to the run.
OWN = (CONFIG, SPLIT, RECORD, HISTORY, WEIGHTS, SPEC, EXPORTED, "model.json")


def is_run(path: Path | str) -> bool:
    """Whether this is a run folder with trained weights."""
    return (Path(path) / WEIGHTS).is_file()
