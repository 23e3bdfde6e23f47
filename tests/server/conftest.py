"""A server in this process, and what is sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from uploads import BatchGate, JobEvents, QueueEvents, Start, encoded
from videos import make_video, scene

from moue.server.app import create_app
from moue.server.settings import Settings
from moue.spec import ModelSpec

HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def other_onnx(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network at a higher temperature: its predictions are less confident."""
    path = tmp_path_factory.mktemp("models") / "tiny_doubtful.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    spec = replace(ModelSpec.load(tiny_onnx.with_suffix(".json")), name="tiny_doubtful", temperature=40.0)
    spec.save(path.with_suffix(".json"))
    return path


@pytest.fixture(scope="session")
def face() -> bytes:
    """An image that is one face, to be read with the detector "none"."""
    return encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of three frames."""
    return make_video(tmp_path_factory.mktemp("videos") / "video.mp4", [scene(i) for i in range(3)]).read_bytes()


@pytest.fixture
def start(tiny_onnx: Path, other_onnx: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers with changed settings; all images are faces unless told otherwise."""
    with ExitStack() as stack:

        def client(**changes: object) -> TestClient:
            models = (str(tiny_onnx), str(other_onnx))
            app = create_app(Settings(**{"models": models, "detector": "none", "temp_folder": tmp_path, **changes}))  # type: ignore[arg-type]
            return stack.enter_context(TestClient(app, base_url=HERE, raise_server_exceptions=False))

        yield client


@pytest.fixture
def client(start: Start) -> TestClient:
    return start()


@pytest.fixture
def job_events(monkeypatch: pytest.MonkeyPatch) -> JobEvents:
    return JobEvents(monkeypatch)


@pytest.fixture
def queue_events(monkeypatch: pytest.MonkeyPatch) -> QueueEvents:
    return QueueEvents(monkeypatch)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchGate]:
    gate = BatchGate(monkeypatch)
    yield gate
    gate.open()
