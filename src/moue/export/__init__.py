"""Turns a run into a model that needs no torch: an ONNX graph and its spec, checked against torch; or into a `.pt2`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moue.data.table import SPLITS, ImageTable
from moue.errors import DataError, UnknownName, UsageError, require
from moue.evaluation.scoring import truth_of
from moue.export.files import model_files, write_model
from moue.export.parity import check_parity, evenly_spaced, sample_images
from moue.files import require_no_overwrite
from moue.preprocess import to_inputs
from moue.progress import ProgressFactory, no_progress
from moue.run_folder import EXPORTED
from moue.runtime.engine import Engine, open_graph
from moue.runtime.weights import files_of, find_model, is_known
from moue.spec import ModelSpec
from moue.trained.split_of import split_of_spec

if TYPE_CHECKING:
    import onnx

    from moue.export.graph import Store

__all__ = ["CALIBRATION_IMAGES", "TOLERANCE", "export", "exportable_spec"]

#: Largest difference allowed between torch's logits and a float32 graph's, relative to the largest logit or to 1.
TOLERANCE = 1e-4

#: The same for graphs whose weights are stored in fewer bits.
QUANTIZED_TOLERANCE = {"float16": 2e-2, "int8": 2e-1}

#: Of a file that ``torch.export.load`` reads.
PROGRAM_SUFFIX = ".pt2"

#: How many training images calibrate the ranges of an 8-bit model.
CALIBRATION_IMAGES = 512

#: Where the loss of accuracy by quantization is measured: the first of these that has rows. The run's own split says
#: what is "validation" and what is "train", where it is one of the data set.
MEASURE_SPLITS = ("public_test", "test", "validation", "train")


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    int8: bool = False,
    store: Store = "float32",
    data: ImageTable | None = None,
    split: str | None = None,
    name: str | None = None,
    progress: ProgressFactory = no_progress,
) -> ModelSpec:
    """Write a run's network as ``out`` and its spec as the ``.json`` beside it.

    Before anything is written, the graph's logits are compared with torch's, on noise and, where ``data`` is given, on
    its images, in every engine that is installed.

    Args:
        run: a run folder.
        out: path of the ``.onnx`` file; ``model.onnx`` in the run folder by default. A name that ends in ``.pt2`` is
            written as a ``torch.export`` program instead, with the spec inside and no ``.json``; it takes neither
            ``int8`` nor ``store`` nor ``split``.
        int8: multiply in 8 bits, with ranges taken from training images of ``data``.
        store: how the file holds the weights: "float32", "float16" (half the file) or "int8" with scales (a
            quarter; see :func:`moue.export.graph.quantize_weights`). Arithmetic stays float32.
        data: images to check, calibrate and measure with.
        split: where accuracy before and after rounding is measured; by default the first of :data:`MEASURE_SPLITS`
            with rows. Rows that 8-bit ranges were taken from are left out of it.
        name: the model's name; by default the file's, or the run's where the file is called ``model.onnx``.
        progress: called at the start of each step; what it gives is not reported to.

    Returns:
        The spec as written. After ``int8`` or a smaller ``store`` with ``data`` its scores are those of the rounded
        model, ``{split: accuracy, split + "_fp32": accuracy before}``; scores of the model as it was are dropped.

    Raises:
        MissingExtra: without torch or onnx.
        UsageError: for a file name that ends in neither .onnx nor .pt2 or whose ``.json`` would replace a file of the
            run, int8 together with a smaller ``store``, int8 without data, or a model that is no run.
        DataError: when the data has no training images or other classes than the model.
        ModelError: when the run cannot be read, or graph and network differ.
    """
    path = Path(run) / EXPORTED if out is None else Path(out)
    _check_options(path, int8, store, data, split)
    require("torch", "train")
    require("onnx", "train")
    from moue.export.graph import quantize_weights, trace
    from moue.models.load import load_run

    spec = exportable_spec(run)
    # An older export may be overwritten.
    require_no_overwrite(model_files(path), set(files_of(Path(run))).difference(model_files(Path(run) / EXPORTED)))
    with progress("loading the network", ""):
        loaded = load_run(run, device="cpu")
    spec = spec.replace(name=name or (spec.name if path.stem == "model" else path.stem))
    prepared = None if data is None else _prepare(run, data, spec, split, int8)
    samples = sample_images(spec, None if prepared is None else prepared.images)
    exact = loaded.logits(samples)
    if path.suffix == PROGRAM_SUFFIX:
        from moue.export.program import check_program, program_of, write_program

        with progress("tracing the network", ""):
            program = program_of(loaded.network, spec)
        with progress("comparing the program with the network", ""):
            check_program(spec, program, samples, exact, TOLERANCE)
        return write_program(path, program, spec)

    with progress("tracing the network", ""):
        graph = trace(loaded.network, spec)
    with progress("comparing the graph with the network", ""):
        check_parity(spec, graph, samples, exact, TOLERANCE)
    quantized = graph
    if store != "float32":
        with progress("storing and comparing smaller weights", ""):
            quantized = quantize_weights(graph, store)
            check_parity(spec, quantized, samples, exact, QUANTIZED_TOLERANCE[store])
    if int8 and prepared is not None:
        from moue.export.int8 import quantize

        with progress("calibrating 8-bit ranges", ""):
            quantized = quantize(graph, prepared.images[prepared.calibration])
    if quantized is not graph and prepared is not None:
        with progress("measuring the loss of accuracy", ""):
            after, before = (_accuracy(spec, g, prepared) for g in (quantized, graph))
        spec = spec.replace(scores={prepared.split: after, f"{prepared.split}_fp32": before})
    return write_model(path, quantized, spec)


def _check_options(path: Path, int8: bool, store: str, data: ImageTable | None, split: str | None) -> None:
    """Refuse what cannot be exported, before anything is read."""
    if path.suffix not in (".onnx", PROGRAM_SUFFIX):
        raise UsageError(f"a model file must end in .onnx, or in .pt2 for torch.export. Got {path} instead.")
    if store not in QUANTIZED_TOLERANCE and store != "float32":
        raise UnknownName("store", store, ["float32", *QUANTIZED_TOLERANCE])
    if path.suffix == PROGRAM_SUFFIX and (int8 or store != "float32" or split is not None):
        raise UsageError(
            f"a .pt2 file holds the network as it is, in float32. Leave --int8, --store and --split out, or type: -o "
            f"{path.with_suffix('.onnx')}"
        )
    if int8 and store != "float32":
        raise UsageError("int8 takes no store: a model that multiplies in 8 bits holds 8-bit weights already.")
    if int8 and data is None:
        raise UsageError("int8 needs training images to take its ranges from. Add --data SET.")
    if split is not None and split not in SPLITS:
        raise UnknownName("split", split, SPLITS)


def exportable_spec(run: str | Path) -> ModelSpec:
    """The spec of a run that can be exported.

    A folder takes precedence over a bundled model of the same name, which is exported already.

    Raises:
        UsageError: for a model that is exported already.
        ModelError: when there is no such run, or it is not finished.
    """
    from moue.models.load import spec_of_run

    if (is_known(run) and not Path(run).is_dir()) or Path(run).suffix == ".onnx":
        raise UsageError(f"{run} is exported already: its file is {find_model(run).path}. Give the folder of a run.")
    return spec_of_run(Path(run))


class _ExportData(NamedTuple):
    """How a data set is used; prepared before anything slow, so that an unsuitable set is refused at once."""

    images: NDArray[np.uint8]
    """All images, in the model's size and color."""
    truth: NDArray[np.int64]
    """Their classes, as positions in the model's outputs."""
    calibration: NDArray[np.int64]
    """Training rows that 8-bit ranges are taken from; none without int8."""
    split: str
    """Where the loss is measured."""
    measured: NDArray[np.int64]
    """The rows it is measured on."""


def _prepare(run: str | Path, data: ImageTable, spec: ModelSpec, split: str | None, int8: bool) -> _ExportData:
    truth = truth_of(data, spec)
    rows = _rows(run, data, spec)
    calibration = np.zeros(0, np.int64)
    if int8:
        if not len(rows["train"]):
            data.part("train")  # Says which splits there are.
        calibration = rows["train"][evenly_spaced(len(rows["train"]), CALIBRATION_IMAGES)]
    for name in (split,) if split else MEASURE_SPLITS:
        if len(measured := np.setdiff1d(rows[name], calibration)):
            images = to_inputs(data.images, spec.size, spec.color)
            return _ExportData(images, truth, calibration, name, measured)
    raise DataError(f"{data.name or 'the data set'} has no rows left to measure on in {split or 'any split'}.")


def _rows(run: str | Path, data: ImageTable, spec: ModelSpec) -> dict[str, NDArray[np.int64]]:
    """Which rows each split has; "validation" and "train" are those of the run, where it was trained on this set."""
    rows = {name: np.flatnonzero(data.split == name) for name in SPLITS}
    rows["test"] = np.flatnonzero(~np.isin(data.split, ("train", "validation")))
    own = split_of_spec(run, spec, data)
    return rows if own is None else {**rows, "train": own.train, "validation": own.validation}


def _accuracy(spec: ModelSpec, graph: onnx.ModelProto, prepared: _ExportData) -> float:
    engine = Engine(open_graph(graph.SerializeToString(), optimize_for="throughput"), spec)
    right = engine.predict(prepared.images[prepared.measured]).class_ids == prepared.truth[prepared.measured]
    return round(float(right.mean()), 6)
