"""The members of an ensemble: what they share, the rows that none of them was trained on, their graphs as one graph."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue._version import __version__
from moue.data.table import ImageTable
from moue.ensembles.combination import Combination
from moue.errors import DataError, ModelError, UsageError, quoted, require
from moue.evaluation.calibration import calibrate
from moue.export import QUANTIZED_TOLERANCE, TOLERANCE, export
from moue.export.files import model_files, write_model
from moue.export.parity import check_parity, sample_images
from moue.files import require_no_overwrite
from moue.runtime.engine import Engine, open_graph
from moue.runtime.weights import ModelFile, files_of, find_model
from moue.spec import ModelSpec, join_licenses
from moue.trained.open import run_of, spec_of
from moue.trained.split_of import split_of, split_of_spec
from moue.training.unseen import may_have_seen
from moue.tta import tta_logits

if TYPE_CHECKING:
    import onnx

    from moue.export.graph import Store

#: Added to what is wrong with the rows that a member held out.
WITHOUT_DATA = (
    "moue ensemble vote and moue export also work without --data; moue ensemble vote, rank and stack take --unseen for "
    "models that were trained on other images."
)

#: What the members must share: one crop, one input, one order of labels.
SHARED = ("labels", "size", "color", "margin", "align")

#: When models hold out the same rows.
SAME_ROWS = (
    "Runs with the same data.validation, data.duplicates, data.split_seed and data.fold hold out the same ones; with "
    "data.validation = 0 they hold out none"
)


@dataclass(frozen=True)
class Members:
    """Opened members, in their order."""

    specs: list[ModelSpec]
    engines: list[Engine]
    graphs: list[onnx.ModelProto]

    def logits(self, images: NDArray[np.uint8], views: int = 1) -> list[NDArray[np.float32]]:
        """Logits ``(N, K)`` of each member, averaged over views, of uint8 ``(N, C, S, S)``."""
        return [engine.tta_logits(images, views) for engine in self.engines]

    def take(self, which: Sequence[int]) -> Members:
        """Some of the members."""
        return Members(
            [self.specs[i] for i in which], [self.engines[i] for i in which], [self.graphs[i] for i in which]
        )

    def combined(self, combination: Combination, images: NDArray[np.uint8], views: int = 1) -> NDArray[np.float32]:
        """The ensemble's logits ``(N, K)``: combined for each view, then averaged, as in service."""
        return self.combined_beside(combination, images, views)[0]

    def combined_beside(
        self, combination: Combination, images: NDArray[np.uint8], views: int = 1
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """The ensemble's logits, as of :meth:`combined`, and those of each member with as many views."""

        def logits(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
            own = [engine.logits(rows) for engine in self.engines]
            return np.concatenate([combination.apply(own), *own], axis=1)

        # Averaging over views is the same for each column.
        first, *others = np.split(tta_logits(logits, images, views, 64), 1 + len(self.engines), axis=1)
        return first, others


@contextmanager
def open_members(names: Sequence[str | Path], store: Store = "float32") -> Iterator[Members]:
    """Open the members of an ensemble; run folders are exported into a temporary folder.

    Args:
        names: run folders, paths of ``.onnx`` files with their ``.json``, names of ``moue models``.
        store: how the weights of run folders are stored.

    Raises:
        UsageError: for fewer than two.
        ModelError: when they differ in :data:`SHARED` or cannot be opened.
        MissingExtra: without onnx, or for run folders without torch.
    """
    if len(names) < 2:
        raise UsageError(f"an ensemble needs at least two members. Got {len(names)} instead.")
    onnx = require("onnx", "train")
    with tempfile.TemporaryDirectory(prefix="moue-members-") as folder:
        files = [_file(member, Path(folder) / f"{i}.onnx", store) for i, member in enumerate(names)]
        # Of several networks, those that were trained on crops are given whole images, too.
        specs = [file.spec.replace(crop_size=0) for file in files]
        require_compatible(specs)
        engines = [
            Engine(open_graph(file.path, engine="onnxruntime"), spec) for file, spec in zip(files, specs, strict=True)
        ]
        yield Members(specs, engines, [onnx.load(file.path, load_external_data=False) for file in files])


def write_ensemble(
    members: Members, combination: Combination, spec: ModelSpec, out: Path, images: NDArray[np.uint8] | None = None
) -> ModelSpec:
    """Write members and their combination as one graph, after comparing it with numpy's result in every engine.

    Args:
        members: the opened members.
        combination: of their logits.
        spec: the ensemble's, but for its hash.
        out: path of the ``.onnx`` file; the ``.json`` goes beside it.
        images: uint8 ``(N, C, S, S)`` to compare on, some of which are taken; random ones by default.

    Returns:
        The spec as written.
    """
    graph = _graph(members.graphs, combination, spec)
    samples = sample_images(spec, images)
    samples = samples[combination.is_decided(members.logits(samples))]
    exact = members.combined(combination, samples)
    # Each engine rounds 8-bit activations in its own way.
    int8 = any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    check_parity(spec, graph, samples, exact, QUANTIZED_TOLERANCE["int8"] if int8 else TOLERANCE)
    return write_model(out, graph, spec)


def require_ensemble_file(out: str | Path, members: Sequence[str | Path]) -> Path:
    """The path to write, where it can be written.

    Raises:
        UsageError: for a name that does not end in .onnx or is a member's file.
    """
    path = Path(out)
    if path.suffix != ".onnx":
        raise UsageError(f"an ensemble is written as .onnx. Got {path} instead.")
    require_no_overwrite(model_files(path), (file for member in members for file in files_of(member)))
    return path


def require_distinct(members: Sequence[str | Path]) -> None:
    """Check that no model is given twice.

    Raises:
        UsageError: naming the first one that is.
    """
    names = [str(member) for member in members]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]} is given twice.")


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


def _graph(members: Sequence[onnx.ModelProto], combination: Combination, spec: ModelSpec) -> onnx.ModelProto:
    """One graph from ``images`` to ``logits``, the members' names prefixed so that none collide."""
    from onnx import TensorProto, compose, helper

    from moue.export.graph import IR_VERSION, tidy

    opsets: dict[str, int] = {}
    for member in members:
        for o in member.opset_import:
            if opsets.setdefault(o.domain, o.version) != o.version:
                raise ModelError(
                    f"the members were exported for operator sets {opsets[o.domain]} and {o.version}. Export them "
                    "again with one version of moue: moue export RUN -o FILE"
                )
    nodes, initializers, functions, outputs = [], [], [], []
    for i, member in enumerate(members):
        prefixed = compose.add_prefix(member, f"member{i}/")
        # Older files list weights as inputs too.
        weights = {t.name for t in prefixed.graph.initializer}
        (source,) = [port.name for port in prefixed.graph.input if port.name not in weights]
        nodes.append(helper.make_node("Identity", ["images"], [source], name=f"member{i}/images"))
        nodes += prefixed.graph.node
        initializers += prefixed.graph.initializer
        outputs.append(prefixed.graph.output[0].name)
        functions += prefixed.functions
    combined, constants = combination.nodes(outputs)
    nodes += combined
    initializers += constants
    graph = helper.make_graph(
        nodes,
        "ensemble",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *spec.input_shapes[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(spec.labels)])],
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


def spec_of_ensemble(specs: Sequence[ModelSpec], shares: Sequence[float], name: str, kind: str) -> ModelSpec:
    """The spec of an ensemble, before it is calibrated.

    Args:
        specs: the members'.
        shares: their weights; they add up to 1.
        name: the ensemble's name.
        kind: how members are combined, kept as ``trained["ensemble"]``.

    Returns:
        Parameters are the members' sum, views their most, and ``trained["members"]`` names each with its hash, weight
        and temperature.
    """
    members = [
        {
            "name": s.name,
            "network": s.network,
            "sha256": s.sha256,
            "weight": round(share, 6),
            "temperature": s.temperature,
            "license": s.license,
            "trained": {key: value for key, value in s.trained.items() if key not in ("curves", "gain")},
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
        license=join_licenses(s.license for s in specs),
        parameters=sum(s.parameters for s in specs),
        scores={},
        robustness={},
        trained={"ensemble": kind, "members": members, "moue": __version__},
    )


def _mean_frequencies(specs: Sequence[ModelSpec], shares: Sequence[float]) -> tuple[float, ...]:
    """The members' class frequencies, averaged; empty where one of them does not say its own."""
    if not all(spec.class_frequencies for spec in specs):
        return ()
    mean = np.average([spec.class_frequencies for spec in specs], axis=0, weights=shares)
    return tuple(round(share, 6) for share in mean.tolist())


def held_out_rows(members: Sequence[str | Path], data: ImageTable, unseen: bool = False) -> ImageTable:
    """The rows that every member held out; arguments and errors as of :func:`held_out_positions`."""
    return data.take(functools.reduce(np.intersect1d, [held_out_positions(m, data, unseen) for m in members]))


def held_out_positions(member: str | Path, data: ImageTable, unseen: bool = False) -> NDArray[np.int64]:
    """The rows that a member held out: those of its split, or, without one, the set's validation rows.

    A run on other data is refused, even where the set has validation rows: its images may be the same ones, read in
    another size or with other labels.

    Args:
        member: as of :func:`moue.trained.open.open_any`.
        data: the set.
        unseen: whether a member without a split of this set has seen no image of it: it then held out all rows but
            those that are for testing.

    Raises:
        DataError: when a member has no split and the set no validation rows, or was trained on another set; with
            ``unseen``, when its spec says that it was trained on images of this one.
    """
    if unseen and (split := split_of_spec(member, spec_of(member), data)) is None:
        if may_have_seen(spec_of(member), data):
            raise DataError(
                f"{member} was trained on images of {data.name or 'this set'}, so that they are not unseen. Give a set "
                "of other images."
            )
        return np.flatnonzero(np.isin(data.split, ("train", "validation")))
    try:
        split = split_of(member, data)
    except DataError as error:
        raise DataError(f"{member}: {error} {WITHOUT_DATA}") from error
    validation = np.flatnonzero(data.split == "validation")
    if split is None and not len(validation):
        raise DataError(
            f"{member} does not say which rows it held out. Give run folders, or a data set with validation rows of "
            f"its own. {WITHOUT_DATA}"
        )
    return validation if split is None else split.validation


def with_remarks(spec: ModelSpec, *remarks: str) -> ModelSpec:
    """The spec with more remarks on how it was made; empty ones are left out."""
    found = [*spec.trained.get("remarks", []), *filter(None, remarks)]
    return spec.replace(trained={**spec.trained, "remarks": found}) if found else spec


def unseen_remark(members: Sequence[str | Path], data: ImageTable) -> str:
    """What a score says where members were said to have seen no image of a set; "" where all have a split of it."""
    if all(split_of_spec(member, spec_of(member), data) is not None for member in members):
        return ""
    return (
        f"models that were trained on other sets are taken to have seen no image of {data.name or 'this one'}, as "
        "--unseen says; of images that they have seen, scores are too high"
    )


def calibrated(spec: ModelSpec, logits: NDArray[np.floating], truth: NDArray[np.int64]) -> ModelSpec:
    """The spec with temperature, threshold and validation score from an ensemble's logits on held-out rows; with a
    remark instead where there are too few.

    Args:
        spec: the ensemble's.
        logits: ``(N, K)`` of rows that nothing was fitted on.
        truth: int64 ``(N,)``.
    """
    if not len(truth):
        return with_remarks(spec, f"its temperature stays 1: no image was held out by every member. {SAME_ROWS}")
    temperature, uncertain_below, remark = calibrate(logits, truth)
    fitted = spec.replace(
        temperature=temperature,
        uncertain_below=uncertain_below,
        scores={"validation": round(float((logits.argmax(1) == truth).mean()), 6)},
    )
    return with_remarks(fitted, remark)
