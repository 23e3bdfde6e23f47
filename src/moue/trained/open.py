"""Opens any trained model: a run's torch weights, an ONNX file, or a name of ``moue models``."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.damage import read_json
from moue.errors import MissingExtra, ModelError
from moue.labels import FER2013, FERPLUS, labels_for
from moue.run_folder import CONFIG, EXPORTED, SPEC, is_run
from moue.runtime.weights import find_model, is_known
from moue.spec import ModelSpec

if TYPE_CHECKING:
    from moue.runtime.engine import EngineName


class Model(Protocol):
    """An opened model."""

    @property
    def spec(self) -> ModelSpec:
        """Labels, input and temperature."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits float32 ``(N, K)`` of uint8 images ``(N, C, size, size)``, 0..255, in the spec's color."""


class WithSpec:
    """An opened model with some fields of its spec changed.

    Args:
        model: the model.
        changes: as of :meth:`moue.spec.ModelSpec.replace`.

    Raises:
        ModelError: for a value that its spec cannot have.
    """

    def __init__(self, model: Model, **changes: Any) -> None:
        self.spec, self.logits = model.spec.replace(**changes), model.logits


def run_of(name: str | Path) -> Path | None:
    """The run folder that a name stands for; None for other models.

    The name of a bundled model is that model, even beside a folder of that name: ``./tiny``, or a ``Path``, is the run.
    """
    return Path(name) if is_run(name) and not is_known(name) else None


def open_any(name: str | Path, engine: EngineName = "auto") -> Model:
    """Open a trained model.

    Args:
        name: a name of ``moue models``, which wins, see :func:`run_of`; a run folder (its torch weights; its exported
            ``model.onnx`` where torch is not installed); or the path of an ``.onnx`` with its ``.json``.
        engine: see :func:`moue.runtime.engine.open_graph`; with another one than "auto", a run's
            ``model.onnx`` is opened.

    Raises:
        UnknownName: when there is no such model.
        ModelError: when it is damaged, or not what its spec says.
        MissingExtra: when it is in an extra that is not installed.
    """
    if (run := run_of(name)) is not None:
        if engine == "auto" and importlib.util.find_spec("torch") is not None:
            from moue.models.load import load_run

            return load_run(run)
        if not (run / EXPORTED).is_file():
            if engine != "auto":
                raise ModelError(f"{run} has no {EXPORTED} for {engine}. Type: moue export {run} -o {run / EXPORTED}")
            raise MissingExtra("torch", "train")
    _require_finished(name)
    from moue.runtime.engine import open_model

    return open_model(name, engine=engine, optimize_for="throughput")


def spec_of(name: str | Path) -> ModelSpec:
    """The spec of what :func:`open_any` would open, without opening it.

    Raises:
        UnknownName, ModelError, MissingExtra: as :func:`open_any`.
    """
    if (run := run_of(name)) is not None:
        return ModelSpec.load(run / SPEC)
    _require_finished(name)
    return find_model(name).spec


def labels_of(name: str | Path, votes: bool = False) -> str:
    """The name of the label set in which to read data for a model by default.

    For a run it is the one that it was trained on; for others, see :func:`moue.labels.labels_for`.

    Args:
        name: what :func:`open_any` would open.
        votes: whether FER+'s votes are given.

    Raises:
        UnknownName, ModelError, MissingExtra: as :func:`open_any`.
    """
    if (run := run_of(name)) is not None:
        # What is wrong with it is said where the model is opened.
        with contextlib.suppress(OSError, ModelError, KeyError, TypeError):
            trained = str(read_json(run / CONFIG, ModelError)["data"]["labels"])
            # Without votes a model of FER+'s classes can still be scored on FER-2013's labels.
            if trained in ("folders", FER2013.name) or (trained == FERPLUS.name and votes):
                return trained
    return labels_for(spec_of(name).labels, votes)


def _require_finished(name: str | Path) -> None:
    if not is_known(name) and (Path(name) / CONFIG).is_file() and not (Path(name) / EXPORTED).is_file():
        raise ModelError(f"the run {name} is not finished. Go on with: moue train … --resume")
