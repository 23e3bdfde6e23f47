"""Hosts, origins, tokens and the headers of every response."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from uploads import Start

from moue.server.model_pool import ModelPool
from moue.server.settings import Settings
from moue.spec import ModelSpec


def test_every_response_has_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/app.js", "/v1/models", "/nothing", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/models").headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_other_sites_and_has_no_inline_scripts(client: TestClient) -> None:
    page = client.get("/").text
    for word in ("http:", "//", "<style", " style=", " onclick", "javascript:"):
        assert word not in page.replace("<!doctype html>", "")
    assert page.count("<script") == page.count('<script type="module" src=')


def test_other_hosts_and_origins_are_rejected(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "["):
        response = client.get("/v1/models", headers={"host": host})
        assert (response.status_code, "this machine only" in response.json()["detail"]) == (400, True)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "127.0.0.2:8000"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "http://["):
        assert client.post("/v1/faces", headers={"origin": origin}, content=b"x").status_code == 403
    assert client.get("/v1/models", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    response = client.options("/v1/faces", headers={"origin": "http://a.b", "access-control-request-method": "POST"})
    assert response.status_code == 403


def test_everything_but_the_page_needs_the_token(start: Start) -> None:
    client = start(token="s3cr&t", local_only=False)
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    for path in ("/v1/models", "/metrics", "/v1/videos/x"):
        response = client.get(path)
        assert (response.status_code, "token" in response.json()["detail"]) == (401, True)
    assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/v1/models", headers={"authorization": "Bearer s3cr&t"}).status_code == 200
    assert client.get("/v1/models", headers={b"authorization": "Bearer sécret".encode()}).status_code == 401
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/frames"):
        pass
    encoded = base64.urlsafe_b64encode(b"s3cr&t").decode().rstrip("=")
    with client.websocket_connect("/v1/frames", subprotocols=["moue.v1", f"bearer.{encoded}"]) as socket:
        assert socket.accepted_subprotocol == "moue.v1"


def test_white_space_around_a_token_is_ignored(start: Start) -> None:
    client = start(token="secret\n")
    assert client.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
    encoded = base64.urlsafe_b64encode(b"secret ").decode().rstrip("=")
    with client.websocket_connect("ws://127.0.0.1:8000/v1/frames", subprotocols=["moue.v1", f"bearer.{encoded}"]):
        pass
    assert client.get("/v1/models", headers={"authorization": "Bearer"}).status_code == 401


def test_models_can_be_opened_while_they_are_listed(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, real = ModelPool(Settings(models=(str(tiny_onnx),), detector="none")), ModelSpec.to_dict

    def opening(self: ModelSpec) -> dict[str, Any]:
        monkeypatch.setattr(ModelSpec, "to_dict", real)
        pool.get("tiny")
        return real(self)

    monkeypatch.setattr(ModelSpec, "to_dict", opening)
    assert "tiny" in {row["name"] for row in pool.rows()}


def test_the_health_check_supports_head(client: TestClient) -> None:
    for page in ("/", "/help.html", "/style.css"):
        assert (client.head(page).status_code, client.head(page).content) == (200, b"")
    response = client.head("/healthz")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


def test_unknown_urls_and_methods_are_errors_with_a_message(client: TestClient) -> None:
    assert "nothing at this URL" in client.get("/v2/x").json()["detail"]
    wrong = client.get("/v1/faces")
    assert (wrong.status_code, "does not support GET" in wrong.json()["detail"]) == (405, True)
    assert client.get("/../pyproject.toml").status_code == 404
    assert client.get("/docs").status_code == 404


def test_models_are_listed_without_their_paths(client: TestClient, tiny_onnx) -> None:
    rows = client.get("/v1/models").json()
    assert rows[0]["default"] is True
    assert set(rows[0]["colors"]) == set(rows[0]["labels"])
    assert str(tiny_onnx.parent) not in client.get("/v1/models").text


def test_metrics_count_requests(client: TestClient, face: bytes) -> None:
    client.post("/v1/faces", content=face)
    client.post("/v1/faces", content=b"nothing")
    text = client.get("/metrics").text
    assert 'moue_http_requests_total{code="200",route="/v1/faces"} 1.0' in text
    assert 'moue_http_requests_total{code="422",route="/v1/faces"} 1.0' in text
    assert "moue_faces_total 1.0" in text
    assert "moue_queued_images 0.0" in text
