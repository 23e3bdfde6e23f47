"""Hybrids: a network's features and a classifier of scikit-learn, written as one graph.

The network ends before its last layer. In its place stands a support vector machine, or gradient-boosted trees, fitted
on the features of training images (after Tang, "Deep learning using linear support vector machines", 2013; and
Georgescu et al., see :mod:`moue.ensembles.classifiers.knn_svm`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moue._version import __version__
from moue.data.readers.fer2013_csv import is_fer2013
from moue.data.splits import Split, copy_groups
from moue.data.table import ImageTable
from moue.ensembles.classifiers import CLASSIFIERS
from moue.ensembles.classifiers.base import Classifier, Kind, Settings
from moue.ensembles.features import Trunk, open_trunk
from moue.ensembles.gain import with_gain
from moue.ensembles.members import calibrated, require_ensemble_file, with_remarks
from moue.errors import DataError, ModelError, UnknownName, UsageError, quoted, require
from moue.evaluation.calibration import MIN_ROWS, fit_temperature
from moue.evaluation.metrics import negative_log_likelihood
from moue.export.files import write_model
from moue.export.parity import check_parity, evenly_spaced, sample_images
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.runtime.results import softmax
from moue.spec import ModelSpec, join_licenses
from moue.training.config import DataConfig
from moue.training.provenance import LICENSE, data_record, member_record
from moue.training.unseen import unseen_split
from moue.tta import make_views, mean_over_views

if TYPE_CHECKING:
    import onnx

#: Operator sets of graphs that take the classifiers' nodes, at least.
OPSET = 13

#: Largest difference between a hybrid's graph and its classifier, relative to the largest logit or to 1: float32
#: against scikit-learn's float64.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and their scores on the rows that were held out."""

    settings: Settings
    accuracy: float
    log_loss: float
    """At the temperature that suits them best."""
    chosen: bool


@dataclass(frozen=True)
class Hybrid:
    """What fitting a hybrid gives."""

    spec: ModelSpec
    """As written; ``trained["gain"]`` sets it beside the network alone, where both have the same classes."""
    trials: tuple[Trial, ...]
    """Empty where no row is held out."""
    classifier: Classifier
    """As fitted."""


@dataclass(frozen=True)
class Fitting:
    """A network's features of a data set, which all classifiers are fitted on."""

    model: str | Path
    trunk: Trunk
    table: ImageTable
    split: Split
    features: NDArray[np.float32]
    """``(N, D)`` of the training rows."""
    held_out: NDArray[np.float32]
    """``(H V, D)`` of the held-out rows' views."""
    network_logits: NDArray[np.float32]
    """``(H V, K)`` of the network itself for these."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 ``(N,)`` of the training rows."""
        return self.table.labels[self.split.train]

    @property
    def truth(self) -> NDArray[np.int64]:
        """int64 ``(H,)`` of the held-out rows."""
        return self.table.labels[self.split.validation]

    def held_out_logits(self, classifier: Classifier) -> NDArray[np.float32]:
        """A classifier's logits ``(H, K)`` of the held-out rows, averaged over views as in service."""
        return mean_over_views(classifier.logits(self.held_out), self.trunk.spec.views)


def hybrid(
    model: str | Path,
    out: str | Path,
    data: ImageTable,
    classifier: str = "linear-svm",
    *,
    settings: Mapping[str, Sequence[float]] | None = None,
    name: str | None = None,
    progress: Report | None = None,
) -> Hybrid:
    """Fit a classifier on a network's features, and write both as one ``.onnx`` with its ``.json``.

    Args:
        model: as of :func:`moue.ensembles.features.open_trunk`.
        out: path of the ``.onnx`` file.
        data: the set to fit on; its classes become the model's. Where the network was trained on it, the rows that it
            held out are held out here, too; else a fifth of Training is, stratified, duplicates on one side.
        classifier: a name of :data:`moue.ensembles.classifiers.CLASSIFIERS`.
        settings: values of the classifier's settings, to choose from by the least log loss on held-out rows; its own
            grid by default.
        name: the model's name; by default the file's.
        progress: called while features are computed.

    Raises:
        UnknownName: for another classifier or setting.
        UsageError: for a value that a setting cannot have; for a file name that does not end in .onnx or is the
            model's; where the network was trained on the set's images and does not say on which.
        ModelError: for an ensemble, or a model that cannot be opened.
        DataError: for a class without training rows.
        MissingExtra: without onnx and scikit-learn, or for a run without torch.
    """
    _grid(classifier, settings)
    path = require_ensemble_file(out, [model])
    require("sklearn", "train")
    return fit_hybrid(compute_features(model, data, progress), path, classifier, settings=settings, name=name)


def compute_features(model: str | Path, data: ImageTable, progress: Report | None = None) -> Fitting:
    """The features that a hybrid is fitted on; arguments and errors as of :func:`hybrid`."""
    trunk = open_trunk(model)
    spec = trunk.spec
    split = unseen_split([(str(model), spec)], data, DataConfig())
    counts = np.bincount(data.labels[split.train], minlength=len(data.label_set))
    if (absent := np.flatnonzero(counts == 0)).size:
        names = ", ".join(data.label_set.labels[i] for i in absent)
        raise DataError(
            f"{data.name or 'the data set'} has no training rows of the class {names}. Add some, or, for class folders "
            "of your own, type --labels folders."
        )
    faces = to_inputs(data.images[split.validation], spec.size, spec.color)
    pixels = make_views(faces, spec.views, spec.crop_size)
    total = len(split.train) + len(pixels)

    def report(done: int, _: int | None = None) -> None:
        if progress:
            progress(len(split.train) + done, total)

    def first_report(done: int, _: int | None = None) -> None:
        report(done - len(split.train))

    features, _ = trunk(data.images[split.train], first_report)
    return Fitting(model, trunk, data, split, features, *trunk(pixels, report))


def fit_hybrid(
    fitting: Fitting,
    out: Path,
    classifier: str,
    *,
    settings: Mapping[str, Sequence[float]] | None = None,
    name: str | None = None,
) -> Hybrid:
    """Fit a classifier on features that are computed, and write it with its network; see :func:`hybrid`."""
    kind, grid = _grid(classifier, settings)
    k, spec = len(fitting.table.label_set), fitting.trunk.spec
    trials: tuple[Trial, ...] = ()
    remarks = []
    if len(fitting.truth) >= MIN_ROWS:
        chosen, fitted, trials, predicted = _choose(fitting, kind, grid, k)
    else:
        chosen = {key: values[0] if len(values) == 1 else kind.defaults[key] for key, values in grid.items()}
        fitted = _fit(fitting, kind, chosen, k)
        predicted = fitting.held_out_logits(fitted) if len(fitting.truth) else np.zeros((0, k), np.float32)
        remarks.append(_few(fitting, grid, chosen))
    if (rows := len(_sample(fitting.labels, kind.fitted_on))) < len(fitting.labels):
        remarks.append(
            f"fitted on {rows:,} of {len(fitting.labels):,} training images, as the time grows with their square"
        )
    written = spec.replace(
        name=name or out.stem,
        network="hybrid",
        labels=fitting.table.label_set.labels,
        temperature=1.0,
        class_frequencies=tuple((np.bincount(fitting.labels, minlength=k) / len(fitting.labels)).round(6).tolist()),
        logit_adjustment=0.0,
        sha256="",
        license=join_licenses([spec.license, LICENSE if is_fer2013(fitting.table) else ""]),
        scores={},
        trained={
            "ensemble": "hybrid",
            "classifier": classifier,
            "settings": chosen,
            "data": data_record(fitting.table, fitting.split),
            "members": [{**member_record(spec), "weight": 1.0, "temperature": spec.temperature}],
            "moue": __version__,
        },
    )
    written = with_remarks(written, *remarks)
    if len(fitting.truth):
        written = calibrated(written, predicted, fitting.truth)
        if spec.labels == written.labels:
            alone = mean_over_views(fitting.network_logits, spec.views)
            written = with_gain(written, predicted, [(spec.name, alone)], fitting.truth)
    graph, numbers = _graph(fitting.trunk, fitted, k)
    written = written.replace(parameters=max(0, spec.parameters - fitting.trunk.removed) + numbers)
    _check(fitting, fitted, written, graph)
    return Hybrid(write_model(out, graph, written), trials, fitted)


def _grid(classifier: str, settings: Mapping[str, Sequence[float]] | None) -> tuple[Kind, dict[str, Sequence[float]]]:
    """A classifier, and the values of its settings to choose from."""
    kind: Kind = CLASSIFIERS.load(classifier)()
    for key, values in (settings or {}).items():
        if key not in kind.grid:
            raise UnknownName(f"setting of {classifier}", key, kind.grid)
        if wrong := [value for value in values if not 0 < value < np.inf]:
            raise UsageError(f"{key} of {classifier} must be above 0. Got {quoted(wrong[0])} instead.")
        if key in kind.whole and (wrong := [value for value in values if value != round(value)]):
            raise UsageError(f"{key} of {classifier} must be a whole number. Got {quoted(wrong[0])} instead.")
    return kind, {**kind.grid, **(settings or {})}


def _choose(
    fitting: Fitting, kind: Kind, grid: Mapping[str, Sequence[float]], k: int
) -> tuple[Settings, Classifier, tuple[Trial, ...], NDArray[np.float32]]:
    """The settings with the least log loss on held-out rows, the classifier, all trials, and logits ``(H, K)``.

    The logits of one half of the held-out rows are those with the settings that are best on the other half: what is
    scored and calibrated on has not been chosen by its own label.
    """
    rows, truth = _sample(fitting.labels, kind.tried_on), fitting.truth
    tried = list(kind.fit_each(fitting.features[rows], fitting.labels[rows], k, grid))
    logits = [fitting.held_out_logits(classifier) for _, classifier in tried]

    def best(half: NDArray[np.bool_]) -> int:
        return int(np.argmin([_calibrated_loss(z[half], truth[half]) for z in logits]))

    finals: dict[int, Classifier] = {}

    def final(i: int) -> Classifier:
        if i not in finals:
            same = len(rows) == len(_sample(fitting.labels, kind.fitted_on))
            finals[i] = tried[i][1] if same else _fit(fitting, kind, tried[i][0], k)
        return finals[i]

    groups = copy_groups(fitting.table.take(fitting.split.validation), fitting.split.duplicates)
    first = np.random.default_rng(0).permutation(groups.max() + 1)[groups] % 2 == 0
    chosen, predicted = best(np.ones(len(truth), bool)), np.empty_like(logits[0])
    for half in (first, ~first):
        predicted[half] = fitting.held_out_logits(final(best(~half)))[half]
    trials = tuple(
        Trial(settings, float((z.argmax(1) == truth).mean()), _calibrated_loss(z, truth), i == chosen)
        for i, ((settings, _), z) in enumerate(zip(tried, logits, strict=True))
    )
    return tried[chosen][0], final(chosen), trials, predicted


def _calibrated_loss(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    return negative_log_likelihood(softmax(logits, fit_temperature(logits, truth)), truth)


def _fit(fitting: Fitting, kind: Kind, settings: Settings, k: int) -> Classifier:
    rows = _sample(fitting.labels, kind.fitted_on)
    return kind.fit(fitting.features[rows], fitting.labels[rows], k, settings)


def _sample(labels: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    """Up to that many rows, or one of each class, in the classes' proportions."""
    if most is None or len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(0).permutation(len(labels))
    counts = np.bincount(labels)
    due = np.maximum(1, counts * most // len(labels))
    parts = [order[labels[order] == label][: due[label]] for label in np.flatnonzero(counts)]
    return np.sort(np.concatenate(parts))


def _few(fitting: Fitting, grid: Mapping[str, Sequence[float]], chosen: Settings) -> str:
    """Why settings were not chosen, and which they are."""
    n, name = len(fitting.truth), fitting.trunk.spec.name
    given = ", ".join(f"{key}={chosen[key]:g}" for key in grid)
    why = (
        f"{name} was trained on all rows of {fitting.table.name or 'this set'}, so that none is left to choose on; its "
        "temperature stays 1"
        if not n
        else f"{n} held-out images are too few to choose on"
    )
    return f"its settings ({given}) are not chosen but given or the defaults: {why}"


def _graph(trunk: Trunk, classifier: Classifier, k: int) -> tuple[onnx.ModelProto, int]:
    """The network's graph with the classifier behind it, and how many numbers the latter has."""
    from onnx import ModelProto, TensorProto, helper

    from moue.export.graph import tidy

    opset = max((o.version for o in trunk.graph.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OPSET:
        raise ModelError(
            f"{trunk.spec.name} was exported for operator set {opset}, and a classifier needs {OPSET} or later. Export "
            "it again: moue export RUN -o FILE"
        )
    nodes, constants = classifier.nodes(trunk.graph.graph.output[0].name)
    model = ModelProto()
    model.CopyFrom(trunk.graph)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", k]))
    return tidy(model), sum(math.prod(constant.dims) for constant in constants)


def _check(fitting: Fitting, classifier: Classifier, spec: ModelSpec, graph: onnx.ModelProto) -> None:
    """Compare the graph with the classifier, in every engine, on images whose logits do not jump with rounding."""
    rows = fitting.split.train[evenly_spaced(len(fitting.split.train), 64)]
    samples = sample_images(spec, to_inputs(fitting.table.images[rows], spec.size, spec.color))
    features, _ = fitting.trunk(samples)
    exact, decided = classifier.logits(features), classifier.is_decided(features)
    if decided.any():
        check_parity(spec, graph, samples[decided], exact[decided], TOLERANCE)
