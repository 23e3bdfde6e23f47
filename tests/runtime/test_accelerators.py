"""Engines on a GPU: asked for by name or chosen, they run or say why not, and never give way to the CPU in silence."""

from __future__ import annotations

import io
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from moue.cli.main import main
from moue.errors import MissingExtra, ModelError, UsageError
from moue.runtime import accelerators, graph
from moue.runtime.accelerators import ACCELERATORS, is_available
from moue.runtime.engine import EngineName, choose_engine, open_graph, open_model
from moue.runtime.recognizer import Recognizer
from moue.trained.open import open_any


@pytest.fixture(autouse=True)
def nothing_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "_GIVEN_UP", set())


IN_ONNXRUNTIME: list[EngineName] = ["cuda", "directml", "coreml"]


class FakeOnnxRuntime(types.ModuleType):
    """ONNX Runtime with a provider more than the installed one has.

    Args:
        provider: its name.
        starts: whether it starts; the session has the CPU alone where it does not, as the real one does.
        error: what making a session with it raises.
    """

    def __init__(self, provider: str, starts: bool = True, error: Exception | None = None) -> None:
        super().__init__("onnxruntime")
        self.provider, self.starts, self.error = provider, starts, error
        self.asked: list[list[Any]] = []
        self.no_fallback = 0
        self.running = self.most_running = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return [self.provider, "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("libcudart.so was not found")

    def InferenceSession(self, model: Any, options: Any, providers: list[Any], **more: Any) -> Any:
        self.asked.append(providers)
        on_gpu = providers[0] != "CPUExecutionProvider"
        if on_gpu and self.error is not None:
            raise self.error
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], **more)
        return FakeSession(self, session, on_gpu and self.starts)


class FakeSession:
    def __init__(self, module: FakeOnnxRuntime, session: Any, on_gpu: bool) -> None:
        self._module, self._session, self._on_gpu = module, session, on_gpu

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [*([self._module.provider] if self._on_gpu else []), "CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        self._module.no_fallback += 1

    def run(self, *arguments: Any) -> Any:
        self._module.running += 1
        self._module.most_running = max(self._module.most_running, self._module.running)
        try:
            return self._session.run(*arguments)
        finally:
            self._module.running -= 1


def install(monkeypatch: pytest.MonkeyPatch, module: FakeOnnxRuntime) -> FakeOnnxRuntime:
    for user in (accelerators, graph):
        monkeypatch.setattr(user, "import_onnxruntime", lambda: module)
    return module


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 1, 48, 48), dtype=np.uint8)


def test_every_engine_of_this_machine_gives_the_same_labels(record_property: Any) -> None:
    """Those of the GPUs among them, where there are any."""
    installed = [name for name in ACCELERATORS if is_available(name)]
    record_property("accelerators", installed)
    expected, shown = open_model("tiny", engine="onnxruntime").logits(images(200)), images(200)
    for engine in ("onnxruntime", "openvino", *installed):
        model = open_model("tiny", engine=engine)  # type: ignore[arg-type]
        assert model.graph.engine == engine
        for batch in (None, 1, 7, 200):
            logits = model.logits(shown, batch)
            assert np.array_equal(logits.argmax(1), expected.argmax(1)), (engine, batch)
            assert np.abs(logits - expected).max() < 1e-3, (engine, batch)


@pytest.mark.parametrize("engine", [name for name in IN_ONNXRUNTIME if not is_available(name)])
def test_what_is_not_installed_says_what_is_and_what_to_install(
    engine: EngineName, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moue.runtime.accelerators.platform", ACCELERATORS[engine].platform or "linux")
    with pytest.raises(UsageError) as caught:
        open_graph(tiny_onnx, engine=engine)
    said = str(caught.value)
    assert ACCELERATORS[engine].device in said
    assert f"The installed one, {onnxruntime.__version__}, has " in said
    assert "CPUExecutionProvider" in said
    assert "Type: pip " in said
    assert main(["predict", str(tiny_onnx), "--detector", "none", "--model", str(tiny_onnx), "--engine", engine]) == 2
    assert ACCELERATORS[engine].device in capsys.readouterr().err


@pytest.mark.parametrize(("engine", "needs"), [("coreml", "macOS"), ("directml", "Windows")])
def test_what_another_system_alone_has_cannot_be_installed(
    engine: EngineName, needs: str, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moue.runtime.accelerators.platform", "linux")
    install(monkeypatch, FakeOnnxRuntime("CPUExecutionProvider"))
    with pytest.raises(UsageError, match=f"needs {needs}.*, which this machine does not have") as caught:
        open_graph(tiny_onnx, engine=engine)
    assert "pip" not in str(caught.value)


@pytest.mark.parametrize("engine", IN_ONNXRUNTIME)
def test_a_provider_that_starts_runs_with_options_that_keep_the_results(
    engine: EngineName, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accelerator = ACCELERATORS[engine]
    module = install(monkeypatch, FakeOnnxRuntime(accelerator.device))
    model = open_model(tiny_onnx, engine=engine)
    assert model.graph.engine == engine
    assert model.graph.batch_size == accelerator.batch_size
    assert module.asked == [[(accelerator.device, dict(accelerator.options)), "CPUExecutionProvider"]]
    assert module.no_fallback == 1
    assert capsys.readouterr().out == ""
    expected = open_model(tiny_onnx, engine="openvino").logits(images(300))
    assert np.abs(model.logits(images(300)) - expected).max() < 1e-4
    assert np.abs(model.graph({"pixels": images(3)}, release=True)[0] - expected[:3]).max() < 1e-4


def test_graphs_are_given_batches_that_suit_their_device(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeOnnxRuntime(ACCELERATORS["cuda"].device))
    for engine, sizes in {"onnxruntime": [64, 64, 64, 64, 44], "cuda": [256, 44]}.items():
        model = open_model(tiny_onnx, engine=engine)  # type: ignore[arg-type]
        seen: list[int] = []
        inner = model.graph

        def counted(inputs: Any, *, release: bool = False, inner: Any = inner, seen: list[int] = seen) -> Any:
            seen.append(len(inputs["pixels"]))
            return inner(inputs, release=release)

        counted.batch_size = inner.batch_size  # type: ignore[attr-defined]
        model.graph = counted  # type: ignore[assignment]
        model.logits(images(300))
        assert seen == sizes


def test_directml_is_given_one_batch_at_a_time(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = install(monkeypatch, FakeOnnxRuntime(ACCELERATORS["directml"].device))
    model = open_model(tiny_onnx, engine="directml")
    threads = [threading.Thread(target=lambda: [model.logits(images(50)) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert module.most_running == 1


FAILURES: list[dict[str, Any]] = [{"starts": False}, {"error": RuntimeError("no CUDA-capable device")}]


@pytest.mark.parametrize("failure", FAILURES, ids=["falls back", "raises"])
def test_a_provider_that_does_not_start_is_an_error_where_it_was_asked_for(
    failure: dict[str, Any], tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, FakeOnnxRuntime(ACCELERATORS["cuda"].device, **failure))
    with pytest.raises(UsageError, match=r"is installed and does not start\. It needs an NVIDIA GPU, its driver"):
        Recognizer(tiny_onnx, "none", engine="cuda")
    (tmp_path / "cut.onnx").write_bytes(tiny_onnx.read_bytes()[:200])
    with pytest.raises(ModelError, match="damaged, or no ONNX graph"):
        open_graph(tmp_path / "cut.onnx", engine="cuda")


@pytest.mark.parametrize("failure", FAILURES, ids=["falls back", "raises"])
def test_a_provider_that_does_not_start_is_a_remark_where_it_was_chosen(
    failure: dict[str, Any], tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, FakeOnnxRuntime(ACCELERATORS["cuda"].device, **failure))
    with pytest.warns(UserWarning, match="cuda is installed and does not start: openvino runs on the CPU instead"):
        model = open_model(tiny_onnx, optimize_for="throughput")
    assert model.graph.engine == "openvino"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_model(tiny_onnx, optimize_for="throughput").graph.engine == "openvino"


def test_a_warning_is_a_remark_of_the_command_line(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, FakeOnnxRuntime(ACCELERATORS["cuda"].device, starts=False))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setattr(warnings, "formatwarning", None)
    with pytest.warns(UserWarning, match="does not start") as caught:
        assert main(["predict", "-", "--detector", "none", "--model", str(tiny_onnx), "--format", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    [warning] = caught
    shown = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
    assert shown == "moue: the engine cuda is installed and does not start: openvino runs on the CPU instead\n"
    assert warnings.formatwarning("of another", UserWarning, pytest.__file__, 7).startswith(f"{pytest.__file__}:7: ")


def test_auto_takes_a_gpu_for_many_images_alone(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine, chosen in {"cuda": "cuda", "directml": "directml", "coreml": "openvino"}.items():
        install(monkeypatch, FakeOnnxRuntime(ACCELERATORS[engine].device))
        assert choose_engine(optimize_for="throughput") == chosen
        assert choose_engine(optimize_for="latency") == "onnxruntime"
    assert open_any(tiny_onnx).logits(images(2)).shape == (2, 7)


def test_openvino_s_gpu(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        def __init__(self) -> None:
            self.available_devices = ["CPU", "GPU.0", "GPU.1"]

        def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
            asked.append((device, settings))
            if device == "GPU" and not starts:
                raise RuntimeError("no OpenCL platform")
            return openvino.Core().compile_model(model, "CPU", settings)

    fake = types.SimpleNamespace(Core=Core)
    asked: list[tuple[str, dict[str, Any]]] = []
    starts = True
    import openvino.frontend

    for user in (accelerators, graph):
        monkeypatch.setattr(
            user, "import_openvino", lambda submodule="": openvino.frontend if submodule == "frontend" else fake
        )
    model = open_model(tiny_onnx, engine="openvino-gpu")
    assert model.graph.engine == "openvino-gpu"
    [(device, settings)] = asked
    assert device == "GPU"
    assert settings["EXECUTION_MODE_HINT"] == "ACCURACY"
    assert "INFERENCE_NUM_THREADS" not in settings
    starts = False
    with pytest.raises(UsageError, match=r"openvino-gpu is installed and does not start\. It needs a GPU of Intel's"):
        open_model(tiny_onnx, engine="openvino-gpu")


def test_openvino_s_gpu_where_there_is_none(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.SimpleNamespace(Core=lambda: types.SimpleNamespace(available_devices=["CPU"]))
    monkeypatch.setattr(accelerators, "import_openvino", lambda: fake)
    with pytest.raises(UsageError, match="OpenVINO finds CPU on this machine"):
        open_model(tiny_onnx, engine="openvino-gpu")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"pip install 'moue\[fast\]'"):
        open_model(tiny_onnx, engine="openvino-gpu")


def test_a_run_is_opened_by_an_engine_where_it_was_exported(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.safetensors").touch()
    with pytest.raises(ModelError, match=r"has no model\.onnx for onnxruntime\. Type: moue export"):
        open_any(tmp_path / "run", "onnxruntime")
