"""The server's description of itself, ``/openapi.json``, and whether it keeps to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from uploads import running
from videos import make_video, scene

from moue.server.settings import Settings

#: That a body is binary is all that a schema can say of an image, so that some which fit it are refused.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    *(("POST", "/v1/faces"), ("POST", "/v1/videos"), ("GET", "/v1/videos/{identity}")),
    *(("GET", "/v1/videos/{identity}/rows"), ("GET", "/v1/videos/{identity}/annotated")),
    *(("DELETE", "/v1/videos/{identity}"), ("GET", "/v1/models"), ("GET", "/v1/limits")),
    *(("GET", "/healthz"), ("GET", "/metrics")),
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    return make_video(path, [scene(i) for i in range(3)]).read_bytes()


@pytest.fixture(scope="module")
def address(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with running(Settings(models=(str(tiny_onnx),), detector="none", folder=folder, jobs=16)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def described(address: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_the_description_says_what_errors_look_like(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    assert {(m.upper(), p) for p, path in text["paths"].items() for m in path} == set(OPERATIONS)
    for path, operations in text["paths"].items():
        for operation in operations.values():
            assert "HTTPValidationError" not in str(operation), path
    assert text["components"]["schemas"]["Problem"]["required"] == ["detail"]


def explore(operation: APIOperation, mode: Any, n: int, **fixed: Any) -> set[int]:
    """Make requests up from the description; the codes that came. Fails where an answer is not as described."""
    codes = set()

    @seed(0)
    @settings(
        max_examples=n, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(mode, **fixed))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(timeout=60)
        codes.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    return codes


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_made_up_requests_are_answered_as_described(described: schemathesis.BaseSchema, method: str, path: str) -> None:
    operation = described[path][method]
    explore(operation, GenerationMode.POSITIVE, 12)
    if operation.query or operation.body:
        assert explore(operation, GenerationMode.NEGATIVE, 12) - {200, 202}


def test_made_up_parameters_of_images_and_videos_are_answered_as_described(
    described: schemathesis.BaseSchema, address: str, face: bytes, video: bytes
) -> None:
    binary: dict[str, Any] = {"media_type": "application/octet-stream"}
    faces, videos = described["/v1/faces"]["POST"], described["/v1/videos"]["POST"]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        assert explore(faces, mode, 8, body=face, **binary) <= {200, 400}
        assert explore(videos, mode, 8, body=video, **binary) <= {202, 400, 429}
    assert explore(faces, GenerationMode.POSITIVE, 1, body=face, query={}, **binary) == {200}
    identity = httpx2.post(f"{address}/v1/videos", content=video).json()["id"]
    deadline = time.monotonic() + 60
    while httpx2.get(f"{address}/v1/videos/{identity}").json()["status"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    held: dict[str, Any] = {"path_parameters": {"identity": identity}}
    for path in ("", "/rows", "/annotated"):
        operation = described[f"/v1/videos/{{identity}}{path}"]["GET"]
        assert 200 in explore(operation, GenerationMode.POSITIVE, 8, **held)
    assert 400 in explore(described["/v1/videos/{identity}/rows"]["GET"], GenerationMode.NEGATIVE, 8, **held)
    assert 204 in explore(described["/v1/videos/{identity}"]["DELETE"], GenerationMode.POSITIVE, 1, **held)
