"""Several models as one: a graph with all of them that gives the mean of their logits.

The mean is taken of calibrated logits, ``z = sum_i w_i z_i / T_i`` with weights that add up to 1. A softmax of it is
the normalized geometric mean of the members' probabilities (a product of experts, Hinton, "Training products of experts
by minimizing contrastive divergence", 2002), as the constants by which logits and log-probabilities differ cancel. It
was chosen over the arithmetic mean of probabilities because it is linear: averaging views before or after it is the
same, one temperature calibrates the mean like a single model, and the graph needs no logarithm of a rounded zero.
Dividing by each member's temperature first keeps an over-confident member from dominating the others.
"""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue._version import __version__
from moue.data.table import ImageTable
from moue.errors import DataError, ModelError, UsageError, quoted, require
from moue.evaluation.calibration import calibrate
from moue.evaluation.scoring import truth_of
from moue.export import QUANTIZED_TOLERANCE, TOLERANCE, export
from moue.export.files import model_files, write_model
from moue.export.parity import check_parity, sample_images
from moue.files import require_no_overwrite
from moue.preprocess import to_inputs
from moue.runtime.engine import Engine, open_graph, open_model
from moue.runtime.weights import ModelFile, files_of, find_model
from moue.spec import ModelSpec
from moue.trained.open import run_of, spec_of
from moue.trained.split_of import split_of

if TYPE_CHECKING:
    import onnx

    from moue.export.graph import Store

#: What the members must share: one crop, one input, one order of labels.
SHARED = ("labels", "size", "color", "margin", "align")

#: When models hold out the same rows.
SAME_ROWS = (
    "Runs with the same data.validation, data.split_seed and data.fold hold out the same ones; with "
    "data.validation = 0 they hold out none"
)


def merge(
    members: Sequence[str | Path],
    out: str | Path,
    weights: Sequence[float] | None = None,
    *,
    store: Store = "float32",
    data: ImageTable | None = None,
    name: str | None = None,
) -> ModelSpec:
    """Write several models as one ``.onnx`` with its ``.json``, after comparing it with its members in every engine.

    Args:
        members: two or more of: a run folder (exported first), the path of an ``.onnx`` with its ``.json``, a name of
            ``moue models``.
        out: path of the ``.onnx`` file.
        weights: one above 0 for each member; equal ones by default. Only their ratios matter.
        store: how the weights of run folders are stored, as for :func:`moue.export.export`; files stay unchanged.
        data: the set that the runs were trained on. With it, temperature and threshold are fitted on the rows that
            every member held out, after views and members are averaged; without it, or where these are too few, the
            temperature is 1, and without any the threshold the members' mean: ``trained["remarks"]`` then says so. Of
            members without a split, the set's own validation rows count as held out.
        name: the ensemble's name; by default the file's.

    Returns:
        The spec as written: parameters are the members' sum, views their most, and ``trained["members"]`` names each
        with its hash, weight and temperature.

    Raises:
        UsageError: for fewer than two members, wrong weights, or a file name that does not end in .onnx or is a
            member's.
        ModelError: when members differ in :data:`SHARED` or cannot be opened.
        DataError: when a member does not say which rows it held out, or was trained on another set.
        MissingExtra: without onnx, or for run folders without torch.
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise UsageError(f"an ensemble is written as .onnx. Got {path} instead.")
    if len(members) < 2:
        raise UsageError(f"an ensemble needs at least two members. Got {len(members)} instead.")
    shares = _shares(weights, len(members))
    require_no_overwrite(model_files(path), (file for member in members for file in files_of(member)))
    onnx = require("onnx", "train")
    held_out = None if data is None else held_out_rows(members, data)
    with tempfile.TemporaryDirectory(prefix="moue-members-") as folder:
        files = [_file(member, Path(folder) / f"{i}.onnx", store) for i, member in enumerate(members)]
        specs = [file.spec for file in files]
        require_compatible(specs)
        engines = [open_model(file.path, engine="onnxruntime") for file in files]
        graphs = [onnx.load(file.path, load_external_data=False) for file in files]
        factors = [share / spec.temperature for share, spec in zip(shares, specs, strict=True)]
        graph, spec = _graph(graphs, factors), _spec(specs, shares, name or path.stem)
        samples = sample_images(
            spec, None if held_out is None else to_inputs(held_out.images[:64], spec.size, spec.color)
        )
        exact = np.stack([f * e.logits(samples) for f, e in zip(factors, engines, strict=True)]).sum(0, np.float32)
    # Each engine rounds 8-bit activations in its own way.
    int8 = any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    check_parity(spec, graph, samples, exact, QUANTIZED_TOLERANCE["int8"] if int8 else TOLERANCE)
    if held_out is not None:
        spec = _calibrated(spec, graph, held_out)
    return write_model(path, graph, spec)


def _shares(weights: Sequence[float] | None, n: int) -> list[float]:
    weights = [1.0] * n if weights is None else list(weights)
    if len(weights) != n or not all(math.isfinite(w) and w > 0 for w in weights):
        raise UsageError(f"weights must be {n} numbers above 0, one for each member. Got {weights} instead.")
    return [w / sum(weights) for w in weights]


def _file(member: str | Path, target: Path, store: Store) -> ModelFile:
    """A member's graph and spec; a run's network is exported to ``target`` under its own name."""
    run = run_of(member)
    if run is None:
        return find_model(member)
    export(run, target, store=store, name=spec_of(run).name)
    return find_model(target)


def require_compatible(specs: Sequence[ModelSpec]) -> None:
    """Check that models can be averaged.

    Raises:
        ModelError: when they differ in :data:`SHARED`.
    """
    first = specs[0]
    for other in specs[1:]:
        for field in SHARED:
            a, b = getattr(first, field), getattr(other, field)
            if a != b:
                raise ModelError(
                    f"the members of an ensemble must share their {field}. "
                    f"{quoted(first.name)} has {_text(a)}, {quoted(other.name)} has {_text(b)}."
                )


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _graph(members: Sequence[onnx.ModelProto], factors: Sequence[float]) -> onnx.ModelProto:
    """One graph from ``images`` to ``logits``, the members' names prefixed so that none collide."""
    from onnx import TensorProto, compose, helper, numpy_helper

    from moue.export.graph import IR_VERSION, tidy

    opsets: dict[str, int] = {}
    for member in members:
        for o in member.opset_import:
            if opsets.setdefault(o.domain, o.version) != o.version:
                raise ModelError(
                    f"the members were exported for operator sets {opsets[o.domain]} and {o.version}. Export them "
                    "again with one version of moue: moue export RUN -o FILE"
                )
    nodes, initializers, functions = [], [], []
    for i, member in enumerate(members):
        prefixed = compose.add_prefix(member, f"member{i}/")
        # Older files list weights as inputs too.
        weights = {t.name for t in prefixed.graph.initializer}
        (source,) = [port.name for port in prefixed.graph.input if port.name not in weights]
        nodes.append(helper.make_node("Identity", ["images"], [source], name=f"member{i}/images"))
        nodes += prefixed.graph.node
        scaled = f"member{i}/share"
        initializers += [
            *prefixed.graph.initializer,
            numpy_helper.from_array(np.float32(factors[i]), f"{scaled}_factor"),
        ]
        nodes.append(
            helper.make_node("Mul", [prefixed.graph.output[0].name, f"{scaled}_factor"], [scaled], name=scaled)
        )
        functions += prefixed.functions
    nodes.append(helper.make_node("Sum", [f"member{i}/share" for i in range(len(members))], ["logits"], name="mean"))
    shapes = [_shape(member, ports) for member in members[:1] for ports in ("input", "output")]
    graph = helper.make_graph(
        nodes,
        "ensemble",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *shapes[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", *shapes[1]])],
        initializers,
    )
    return tidy(
        helper.make_model(
            graph,
            functions=functions,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
            ir_version=min(max(m.ir_version for m in members), IR_VERSION),
        )
    )


def _shape(model: onnx.ModelProto, ports: str) -> list[int]:
    return [d.dim_value for d in getattr(model.graph, ports)[0].type.tensor_type.shape.dim[1:]]


def _spec(specs: Sequence[ModelSpec], shares: Sequence[float], name: str) -> ModelSpec:
    members = [
        {
            "name": s.name,
            "network": s.network,
            "sha256": s.sha256,
            "weight": round(share, 6),
            "temperature": s.temperature,
            "trained": {key: value for key, value in s.trained.items() if key != "curves"},
        }
        for s, share in zip(specs, shares, strict=True)
    ]
    return specs[0].replace(
        name=name,
        network="ensemble",
        temperature=1.0,
        uncertain_below=sum(share * s.uncertain_below for s, share in zip(specs, shares, strict=True)),
        class_frequencies=_mean_frequencies(specs, shares),
        logit_adjustment=0.0,
        views=max(s.views for s in specs),
        sha256="",
        license="; ".join(dict.fromkeys(s.license for s in specs if s.license)),
        parameters=sum(s.parameters for s in specs),
        scores={},
        trained={"members": members, "moue": __version__},
    )


def _mean_frequencies(specs: Sequence[ModelSpec], shares: Sequence[float]) -> tuple[float, ...]:
    """The members' class frequencies, averaged; empty where one of them does not say its own."""
    if not all(spec.class_frequencies for spec in specs):
        return ()
    mean = np.average([spec.class_frequencies for spec in specs], axis=0, weights=shares)
    return tuple(round(share, 6) for share in mean.tolist())


def held_out_rows(members: Sequence[str | Path], data: ImageTable) -> ImageTable:
    """The rows that every member held out: those of its split, or, of a member without one, the set's validation rows.

    A run on other data is refused, even where the set has validation rows: it says nothing about them.

    Raises:
        DataError: when a member has no split and the set no validation rows, or was trained on another set.
    """
    validation = np.flatnonzero(data.split == "validation")
    held_out = []
    for member in members:
        try:
            split = split_of(member, data)
        except DataError as error:
            raise DataError(f"{member}: {error} Or export without --data.") from error
        if split is None and not len(validation):
            raise DataError(
                f"{member} does not say which rows it held out. Give run folders, or a data set with validation rows "
                "of its own; moue export also works without --data."
            )
        held_out.append(validation if split is None else split.validation)
    rows = functools.reduce(np.intersect1d, held_out)
    return data.take(rows)


def _calibrated(spec: ModelSpec, graph: onnx.ModelProto, held_out: ImageTable) -> ModelSpec:
    if not len(held_out):
        remark = f"its temperature stays 1: no image was held out by every member. {SAME_ROWS}"
        return spec.replace(trained={**spec.trained, "remarks": [remark]})
    engine = Engine(open_graph(graph.SerializeToString(), optimize_for="throughput"), spec)
    truth: NDArray[np.int64] = truth_of(held_out, spec)
    logits = engine.tta_logits(to_inputs(held_out.images, spec.size, spec.color), spec.views)
    temperature, uncertain_below, remark = calibrate(logits, truth)
    return spec.replace(
        temperature=temperature,
        uncertain_below=uncertain_below,
        scores={"validation": round(float((logits.argmax(1) == truth).mean()), 6)},
        trained={**spec.trained, **({"remarks": [remark]} if remark else {})},
    )
