"""The server against its own description, with requests that are made up from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from uploads import Start

from moue.server.app import create_app
from moue.server.settings import Settings

HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def described(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("server")
    app = create_app(Settings(models=(str(tiny_onnx),), detector="none", folder=folder, queue=1000, patience=60))
    return schemathesis.openapi.from_asgi("/openapi.json", app, base_url=HERE, headers={"host": "127.0.0.1:8000"})


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(
        base_url=HERE,
        headers={"host": "127.0.0.1:8000"},
        checks=[
            schemathesis.checks.not_a_server_error,
            schemathesis.openapi.checks.status_code_conformance,
            schemathesis.openapi.checks.content_type_conformance,
            schemathesis.openapi.checks.response_schema_conformance,
        ],
    )


def test_the_description_says_what_errors_look_like(start: Start) -> None:
    text = start().get("/openapi.json").json()
    assert set(text["paths"]) >= {"/v1/faces", "/v1/videos", "/v1/models", "/healthz"}
    for path, operations in text["paths"].items():
        for operation in operations.values():
            assert "HTTPValidationError" not in str(operation), path
    assert text["components"]["schemas"]["Problem"]["required"] == ["detail"]
