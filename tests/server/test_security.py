"""Who may ask, from where, and what every answer carries."""

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


def test_every_answer_carries_the_headers_that_keep_browsers_careful(client: TestClient) -> None:
    for path in ("/", "/app.js", "/v1/models", "/nothing", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/models").headers["cache-control"] == "no-store"


def test_the_page_takes_nothing_from_elsewhere_and_runs_nothing_inline(client: TestClient) -> None:
    page = client.get("/").text
    for word in ("http:", "//", "<style", " style=", " onclick", "javascript:"):
        assert word not in page.replace("<!doctype html>", "")
    assert page.count("<script") == page.count('<script type="module" src=')


def test_other_hosts_and_other_sites_are_refused(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "["):
        answer = client.get("/v1/models", headers={"host": host})
        assert (answer.status_code, "this machine only" in answer.json()["detail"]) == (400, True)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "127.0.0.2:8000"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "http://["):
        assert client.post("/v1/faces", headers={"origin": origin}, content=b"x").status_code == 403
    assert client.get("/v1/models", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    answer = client.options("/v1/faces", headers={"origin": "http://a.b", "access-control-request-method": "POST"})
    assert answer.status_code == 403


def test_a_token_is_asked_for_everything_but_the_page(start: Start) -> None:
    client = start(token="sécret", local=False)
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    for path in ("/v1/models", "/metrics", "/v1/videos/x"):
        answer = client.get(path)
        assert (answer.status_code, "token" in answer.json()["detail"]) == (401, True)
    assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/v1/models", headers={b"authorization": "Bearer sécret".encode()}).status_code == 200
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/frames"):
        pass
    coded = base64.urlsafe_b64encode("sécret".encode()).decode().rstrip("=")
    with client.websocket_connect("/v1/frames", subprotocols=["moue.v1", f"bearer.{coded}"]) as socket:
        assert socket.accepted_subprotocol == "moue.v1"


def test_blanks_around_a_token_do_not_count(start: Start) -> None:
    client = start(token="secret\n")
    assert client.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
    coded = base64.urlsafe_b64encode(b"secret ").decode().rstrip("=")
    with client.websocket_connect("ws://127.0.0.1:8000/v1/frames", subprotocols=["moue.v1", f"bearer.{coded}"]):
        pass
    assert client.get("/v1/models", headers={"authorization": "Bearer"}).status_code == 401


def test_models_can_be_opened_while_they_are_listed(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, real = ModelPool(Settings(models=(str(tiny_onnx),), detector="none")), ModelSpec.to_dict

    def opening(self: ModelSpec) -> dict[str, Any]:
        monkeypatch.setattr(ModelSpec, "to_dict", real)
        shelf.get("tiny")
        return real(self)

    monkeypatch.setattr(ModelSpec, "to_dict", opening)
    assert "tiny" in {row["name"] for row in shelf.rows()}


def test_who_only_asks_whether_it_lives_may_ask_for_the_head(client: TestClient) -> None:
    asked = client.head("/healthz")
    assert (asked.status_code, asked.headers["content-type"]) == (200, "application/json")


def test_unknown_addresses_and_methods_are_sentences(client: TestClient) -> None:
    assert "nothing at this address" in client.get("/v2/x").json()["detail"]
    wrong = client.get("/v1/faces")
    assert (wrong.status_code, "does not take GET" in wrong.json()["detail"]) == (405, True)
    assert client.get("/../pyproject.toml").status_code == 404
    assert client.get("/docs").status_code == 404


def test_models_are_told_without_where_they_lie(client: TestClient, tiny_onnx) -> None:
    rows = client.get("/v1/models").json()
    assert rows[0]["default"] is True
    assert set(rows[0]["colors"]) == set(rows[0]["labels"])
    assert str(tiny_onnx.parent) not in client.get("/v1/models").text


def test_metrics_count_answers(client: TestClient, face: bytes) -> None:
    client.post("/v1/faces", content=face)
    client.post("/v1/faces", content=b"nothing")
    text = client.get("/metrics").text
    assert 'moue_requests_total{route="/v1/faces",status="200"} 1.0' in text
    assert 'moue_requests_total{route="/v1/faces",status="422"} 1.0' in text
    assert "moue_faces_total 1.0" in text
    assert "moue_waiting 0.0" in text
