"""The server's description of itself, ``/openapi.json``."""

from __future__ import annotations

from fastapi.testclient import TestClient


def test_the_description_says_what_errors_look_like(client: TestClient) -> None:
    text = client.get("/openapi.json").json()
    assert set(text["paths"]) >= {"/v1/faces", "/v1/videos", "/v1/videos/{identity}/rows", "/v1/models", "/healthz"}
    for path, operations in text["paths"].items():
        for operation in operations.values():
            assert "HTTPValidationError" not in str(operation), path
    assert text["components"]["schemas"]["Problem"]["required"] == ["detail"]
