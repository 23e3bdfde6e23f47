"""Whether the server responds as ``/openapi.json`` says."""

from __future__ import annotations

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
from uploads import JobEvents, running

from moue.server.settings import Settings

pytestmark = pytest.mark.xdist_group("server")

#: Without the check that valid requests are accepted: a schema can say of an image only that it is binary.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    *(("POST", "/v1/faces"), ("POST", "/v1/videos"), ("GET", "/v1/videos/{id}")),
    *(("GET", "/v1/videos/{id}/rows"), ("GET", "/v1/videos/{id}/annotated")),
    *(("DELETE", "/v1/videos/{id}"), ("GET", "/v1/models"), ("GET", "/v1/limits")),
    *(("GET", "/healthz"), ("GET", "/metrics")),
]


@pytest.fixture(scope="module")
def address(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with running(Settings(models=(str(tiny_onnx),), detector="none", temp_folder=folder, max_jobs=16)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def described(address: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_the_schema_describes_errors(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    assert {(m.upper(), p) for p, path in text["paths"].items() for m in path} == set(OPERATIONS)
    for path, operations in text["paths"].items():
        for operation in operations.values():
            assert "HTTPValidationError" not in str(operation), path
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] == "path" or parameter["description"], (path, parameter["name"])
    assert text["components"]["schemas"]["ErrorResponse"]["required"] == ["detail"]


def explore(operation: APIOperation, mode: Any, n: int, **fixed: Any) -> set[int]:
    """Send requests generated from the schema; their status codes. Fails where a response is not as described."""
    codes = set()

    @seed(0)
    @settings(
        max_examples=n, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(mode, **fixed))
    def send(case: schemathesis.Case) -> None:
        response = case.call(timeout=60)
        codes.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    send()
    return codes


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_generated_requests_get_responses_as_described(
    described: schemathesis.BaseSchema, method: str, path: str
) -> None:
    operation = described[path][method]
    explore(operation, GenerationMode.POSITIVE, 12)
    if operation.query or operation.body:
        assert explore(operation, GenerationMode.NEGATIVE, 12) - {200, 202}


def test_generated_parameters_of_images_and_videos_get_responses_as_described(
    described: schemathesis.BaseSchema, address: str, face: bytes, video: bytes, job_events: JobEvents
) -> None:
    binary: dict[str, Any] = {"media_type": "application/octet-stream"}
    faces, videos = described["/v1/faces"]["POST"], described["/v1/videos"]["POST"]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        assert explore(faces, mode, 8, body=face, **binary) <= {200, 400}
        assert explore(videos, mode, 8, body=video, **binary) <= {202, 400, 429}
    assert explore(faces, GenerationMode.POSITIVE, 1, body=face, query={}, **binary) == {200}
    id = httpx2.post(f"{address}/v1/videos", content=video).json()["id"]
    job_events.wait_for(lambda: httpx2.get(f"{address}/v1/videos/{id}").json()["status"] == "done")
    job: dict[str, Any] = {"path_parameters": {"id": id}}
    for path in ("", "/rows", "/annotated"):
        operation = described[f"/v1/videos/{{id}}{path}"]["GET"]
        assert 200 in explore(operation, GenerationMode.POSITIVE, 8, **job)
    assert 400 in explore(described["/v1/videos/{id}/rows"]["GET"], GenerationMode.NEGATIVE, 8, **job)
    assert 204 in explore(described["/v1/videos/{id}"]["DELETE"], GenerationMode.POSITIVE, 1, **job)
