"""A run becomes an ONNX graph that gives its network's logits in both engines, or nothing is written."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from moue import export as exporting
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.ensembles.voting import merge
from moue.errors import DataError, ModelError, UnknownName, UsageError
from moue.evaluation.scoring import score
from moue.export import export
from moue.export import graph as graphs
from moue.export.flops import gflop
from moue.export.int8 import quantize
from moue.labels import FER2013, LabelSet
from moue.models import create
from moue.models.load import TorchModel, load_run, save_weights
from moue.models.summary import describe
from moue.progress import Report, no_progress
from moue.runtime.engine import open_model
from moue.runtime.weights import find_model
from moue.spec import ModelSpec, file_sha256
from moue.trained.open import open_any

OPTIONS = {"widths": [8, 8, 16], "blocks": [1, 1]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a small `compact` with random weights and batch norms that are no identities."""
    torch.manual_seed(0)
    network = create("compact", len(FER2013), **OPTIONS)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    folder = tmp_path_factory.mktemp("runs") / "mine"
    folder.mkdir()
    save_weights(network.state_dict(), folder / "weights.safetensors", network.rebuild)
    (folder / "config.json").write_text(json.dumps({"model": {"network": "compact", "options": OPTIONS}}))
    ModelSpec(
        "mine",
        "compact",
        FER2013.labels,
        temperature=1.25,
        uncertain_below=0.3,
        views=2,
        license="MIT",
        parameters=sum(p.numel() for p in network.parameters()),
        scores={"public_test": 0.6, "public_test_se": 0.01},
        trained={"seed": 3},
    ).save(folder / "spec.json")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _traced_once() -> Iterator[None]:
    """All tests export the same network, and tracing is the slow part."""
    with pytest.MonkeyPatch.context() as patch:
        trace = graphs.trace
        done: list[bytes] = []

        def once(network: torch.nn.Module, spec: ModelSpec) -> onnx.ModelProto:
            done[:] = done or [trace(network, spec).SerializeToString()]
            return onnx.ModelProto.FromString(done[0])

        patch.setattr(graphs, "trace", once)
        yield


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    export(run)
    return run / "model.onnx"


def drawn_images(n: int, seed: int = 0, size: int = 48) -> np.ndarray:
    """Drawn images, uint8 (n, 1, size, size): smooth slopes with discs on them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    slope = 100 + 80 * (rng.normal(size=(n, 2, 1, 1)) * np.stack([x, y])).sum(1)
    center = rng.uniform(0.2, 0.8, (2, n, 1, 1))
    disc = 90 * ((x - center[0]) ** 2 + (y - center[1]) ** 2 < 0.03)
    return np.asarray((slope + disc).clip(0, 255).astype(np.uint8)[:, None])


def table(run: Path, n: int = 60, labels: LabelSet = FER2013, size: int = 48) -> ImageTable:
    """Drawn images that bear the labels the network gives them, so the float32 graph is right about all."""
    images = drawn_images(n, size=size)
    truth = np.arange(n) % 7
    if size == 48:
        network = load_run(run)  # Its spec has two views: a face and its mirror image.
        truth = (network.logits(images) + network.logits(images[..., ::-1])).argmax(1)
    split = np.where(np.arange(n) % 3 > 0, "train", "public_test")
    return ImageTable(images, truth.astype(np.int64), split, [f"row {i}" for i in range(n)], labels, name="drawn")


def test_the_flops_of_a_graph_are_those_that_torch_counts(run: Path, tmp_path: Path) -> None:
    for store in ("float32", "int8"):
        export(run, tmp_path / "mine.onnx", store=store)
        assert gflop(tmp_path / "mine.onnx") == describe("compact", len(FER2013), **OPTIONS)["gflop"] > 0


def test_both_engines_give_the_networks_logits(run: Path, exported: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (70, 1, 48, 48), dtype=np.uint8)
    images = np.concatenate([noise, drawn_images(70)])
    expected = load_run(run).logits(images)
    for engine in ("onnxruntime", "openvino"):
        model = open_model(exported, engine=engine)
        logits = model.logits(images)
        assert np.abs(logits - expected).max() < 1e-4
        assert np.array_equal(logits.argmax(1), expected.argmax(1))
        assert np.abs(model.logits(images[3:4]) - expected[3:4]).max() < 1e-4


def test_a_run_and_its_export_have_the_same_scores_over_ten_crops(run: Path, exported: Path) -> None:
    part = table(run).part("public_test")
    scores = [score(model, part, views=10)[0] for model in (open_any(run), open_model(exported))]
    assert isinstance(open_any(run), TorchModel)
    assert scores[0].views == 10
    assert scores[0].accuracy == scores[1].accuracy
    assert abs(scores[0].nll - scores[1].nll) < 1e-5


def test_a_runs_own_spec_is_not_replaced(run: Path) -> None:
    before = (run / "spec.json").read_bytes()
    with pytest.raises(UsageError, match=r"spec\.json is read or written by this command"):
        export(run, run / "spec.onnx")
    assert (run / "spec.json").read_bytes() == before


def test_a_run_folder_is_a_member_of_an_ensemble(run: Path, exported: Path, tmp_path: Path) -> None:
    spec = merge([run, exported], tmp_path / "full.onnx", store="float16")
    assert [m["name"] for m in spec.trained["members"]] == ["mine", "mine"]
    assert spec.trained["members"][1]["sha256"] == file_sha256(exported)
    assert spec.views == 2
    images = drawn_images(10)
    expected = load_run(run).logits(images) / 1.25
    got = open_model(tmp_path / "full.onnx").logits(images)
    assert np.abs(got - expected).max() < 0.02 * max(1, np.abs(expected).max())


def test_graph_and_spec_travel_together(exported: Path, run: Path) -> None:
    path, spec = find_model(run)
    assert path == exported
    assert spec.sha256 == file_sha256(exported)
    kept = ModelSpec.load(run / "spec.json")
    assert spec.replace(sha256="") == kept
    graph = onnx.load(exported, load_external_data=False)
    assert [i.name for i in graph.graph.input] == ["images"]
    assert [o.name for o in graph.graph.output] == ["logits"]
    assert next(o.version for o in graph.opset_import if not o.domain) >= 17
    assert not any(t.external_data for t in graph.graph.initializer)
    assert "BatchNormalization" not in {n.op_type for n in graph.graph.node}
    assert sorted(p.name for p in run.iterdir() if "model" in p.name) == ["model.json", "model.onnx"]


def test_the_file_has_no_metadata_of_the_machine(exported: Path) -> None:
    content = exported.read_bytes()
    for trace in (str(Path(__file__).parent.parent), "site-packages", "stack_trace", str(Path.home())):
        assert trace.encode() not in content


def test_wide_layers_are_stored_once_and_vectors_as_they_are() -> None:
    weight = np.random.default_rng(0).normal(size=(300, 4, 3, 3)).astype(np.float32)
    values = {"weight": weight, "bias": np.arange(300, dtype=np.float32)}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", *values], ["logits"])],
        "wide",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 4, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 300, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    kinds = {t.name: t.data_type for t in graphs.quantize_weights(model, "int8").graph.initializer}
    expected = {"weight_int8": TensorProto.INT8, "weight_scale": TensorProto.FLOAT, "bias": TensorProto.FLOAT}
    assert kinds == expected


@pytest.mark.parametrize(("store", "share", "apart"), [("float16", 0.65, 0.02), ("int8", 0.45, 0.2)])
def test_weights_in_fewer_bits_make_a_smaller_file(
    run: Path, exported: Path, tmp_path: Path, store: graphs.Store, share: float, apart: float
) -> None:
    spec = export(run, tmp_path / "small.onnx", store=store, data=table(run))
    assert spec.name == "small"
    assert (tmp_path / "small.onnx").stat().st_size < share * exported.stat().st_size
    assert spec.scores["public_test_fp32"] == 1.0
    assert spec.scores["public_test"] >= 0.85
    images = drawn_images(20, seed=4)
    expected = open_model(exported).logits(images)
    for engine in ("onnxruntime", "openvino"):
        logits = open_model(tmp_path / "small.onnx", engine=engine).logits(images)
        assert 0 < np.abs(logits - expected).max() < apart * max(1, np.abs(expected).max())


def test_int8_is_measured_on_rows_that_it_was_not_calibrated_on(
    run: Path, exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps: list[str] = []

    def progress(step: str, unit: str) -> AbstractContextManager[Report]:
        steps.append(step)
        return no_progress(step, unit)

    spec = export(run, tmp_path / "int8.onnx", int8=True, data=table(run), progress=progress)
    assert capfd.readouterr() == ("", "")
    assert [step.split()[0] for step in steps] == ["loading", "tracing", "comparing", "calibrating", "measuring"]
    assert set(spec.scores) == {"public_test", "public_test_fp32"}
    assert spec.scores["public_test_fp32"] == 1.0
    assert spec.scores["public_test"] >= 0.8
    kinds = {n.op_type for n in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    images = drawn_images(40, seed=9)
    expected = open_model(exported).logits(images).argmax(1)
    for engine in ("onnxruntime", "openvino"):
        logits = open_model(tmp_path / "int8.onnx", engine=engine).logits(images).argmax(1)
        assert (logits == expected).mean() >= 0.8


def test_int8_of_a_set_without_test_rows_is_measured_on_what_the_run_held_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = table(run)
    whole = dataclasses.replace(whole, split=np.full(len(whole), "train"))
    mine = shutil.copytree(run, tmp_path / "mine")
    split = stratified_split(whole, 0.3)
    split.save(mine / "split.json")
    seen: list[bytes] = []

    def spy(graph: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
        seen.extend(image.tobytes() for image in images)
        return quantize(graph, images)

    monkeypatch.setattr("moue.export.int8.quantize", spy)
    spec = export(mine, tmp_path / "int8.onnx", int8=True, data=whole)
    assert set(spec.scores) == {"validation", "validation_fp32"}
    assert sorted(seen) == sorted(image.tobytes() for image in whole.images[split.train])
    with pytest.raises(DataError, match="no rows left to measure on in train"):
        export(mine, tmp_path / "b.onnx", int8=True, data=whole, split="train")


def test_a_graph_that_differs_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", 1e-12)
    with pytest.raises(ModelError, match=r"differs from its network by .* in onnxruntime, .* nothing was written"):
        export(run, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_data_of_other_size_and_order_fits(run: Path, tmp_path: Path) -> None:
    names = LabelSet("folders", ("Happiness", "anger", "disgust", "fear", "sad", "surprise", "neutral"))
    small = table(run, labels=names, size=32)
    spec = export(run, tmp_path / "rounded.onnx", store="int8", data=small, split="train")
    evaluation, _ = score(open_model(tmp_path / "rounded.onnx"), small.part("train"))
    assert spec.scores["train"] == pytest.approx(evaluation.accuracy, abs=1e-6)


def test_usage_errors_are_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        export(run, tmp_path / "model.pt")
    with pytest.raises(UsageError, match="Add --data SET"):
        export(run, tmp_path / "a.onnx", int8=True)
    with pytest.raises(UsageError, match="takes no store"):
        export(run, tmp_path / "a.onnx", int8=True, store="float16", data=table(run))
    with pytest.raises(UnknownName, match="int4"):
        export(run, tmp_path / "a.onnx", store="int4")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="there is no run folder"):
        export(tmp_path / "none", tmp_path / "a.onnx")
    other = table(run, labels=LabelSet("folders", ("a", "b", "c", "d", "e", "f", "g")))
    with pytest.raises(UsageError, match="does not know the classes b, f of"):
        export(run, tmp_path / "a.onnx", store="float16", data=other)
    held_out = table(run)
    with pytest.raises(DataError, match="no rows in the split 'train'"):
        export(run, tmp_path / "a.onnx", int8=True, data=held_out.part("public_test"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def program(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "mine.pt2"
    assert export(run, path).sha256 == file_sha256(path)
    return path


def test_torch_the_onnx_graph_and_the_program_give_the_same_logits(run: Path, exported: Path, program: Path) -> None:
    network, module = load_run(run, device="cpu"), torch.export.load(program).module()
    onnx_model = open_model(exported, engine="onnxruntime")
    for n in (1, 2, 3, 17, 130):
        images = np.random.default_rng(n).integers(0, 256, (n, 1, 48, 48), dtype=np.uint8)
        expected = network.logits(images)
        with torch.inference_mode():
            given = module(torch.from_numpy(images))
        assert (given.dtype, tuple(given.shape)) == (torch.float32, (n, 7))
        # Relative to the largest logit; measured: 0 for the program, 1e-6 for the graph.
        allowed = exporting.TOLERANCE * max(1.0, float(np.abs(expected).max()))
        assert np.abs(given.numpy() - expected).max() <= allowed
        assert np.abs(onnx_model.logits(images) - expected).max() <= allowed


def test_a_program_is_one_file_with_its_spec_and_names_no_folder_of_this_machine(run: Path, program: Path) -> None:
    assert [path.name for path in program.parent.iterdir()] == ["mine.pt2"]
    inside = {"spec.json": ""}
    torch.export.load(program, extra_files=inside)
    spec = ModelSpec.from_dict(json.loads(inside["spec.json"]))
    assert spec == ModelSpec.load(run / "spec.json").replace(name="mine")
    with zipfile.ZipFile(program) as archive:
        for name in archive.namelist():
            assert str(Path(exporting.__file__).parents[1]).encode() not in archive.read(name)


def test_a_program_that_differs_from_its_network_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="the exported program of 'other' differs from its network"):
        export(run, tmp_path / "other.pt2")
    assert not (tmp_path / "other.pt2").exists()


@pytest.mark.parametrize("options", [{"int8": True}, {"store": "float16"}, {"split": "test"}])
def test_a_program_is_never_quantized(run: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=r"a \.pt2 file holds the network as it is, in float32\. Leave --int8, --store"
    ):
        export(run, tmp_path / "mine.pt2", **options)


def test_what_cannot_read_or_be_a_program_says_so(run: Path, program: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must end in \.onnx.*A \.pt2 is for torch\.export\.load"):
        open_any(program)
    with pytest.raises(UsageError, match=r"an ensemble is written as \.onnx"):
        merge([run, run], tmp_path / "both.pt2")
