"""Behind a proxy, under another name or path, and for the pages of other sites."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from uploads import QueueEvents, Start

from moue.server.addresses import check_host, check_origin, check_proxy, check_root_path
from moue.server.app import create_app
from moue.server.settings import Settings

SITE = "https://app.example"


def test_a_refused_host_is_told_what_to_type(start: Start) -> None:
    response = start().get("/v1/models", headers={"host": "moue.example:8443"})
    assert response.status_code == 400
    assert "--allow-host moue.example;" in response.json()["detail"]
    client = start(allowed_hosts=("MOUE.example",))
    for host in ("moue.example", "Moue.Example:8443", "localhost:1", "127.0.0.1"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200
    for host in ("other.example", "moue.example.evil.example", "evil.example:moue.example", ""):
        assert client.get("/v1/models", headers={"host": host}).status_code == 400
    # Probes name the address of a container.
    assert client.get("/healthz", headers={"host": "10.1.2.3:8000"}).status_code == 200
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://other.example/v1/frames"):
        pass
    with client.websocket_connect("ws://moue.example/v1/frames"):
        pass


def test_named_hosts_are_the_only_ones_of_an_open_server(start: Start) -> None:
    client = start(local_only=False, token="x", allowed_hosts=("moue.example",))
    assert client.get("/", headers={"host": "moue.example"}).status_code == 200
    response = client.get("/", headers={"host": "evil.example"})
    assert (response.status_code, "localhost, moue.example" in response.json()["detail"]) == (400, True)
    assert start(local_only=False, token="x").get("/", headers={"host": "any.example"}).status_code == 200


def test_a_refused_origin_is_told_what_to_type(client: TestClient) -> None:
    response = client.get("/v1/models", headers={"origin": SITE})
    assert response.status_code == 403
    assert f"--allow-origin {SITE} " in response.json()["detail"]
    assert "Host header" in response.json()["detail"]


def test_pages_of_allowed_sites_can_use_it(start: Start, face: bytes) -> None:
    client = start(token="s3cret", allowed_origins=(SITE, "http://localhost:5173"))
    for origin in (SITE, "http://localhost:5173"):
        ask = {"origin": origin, "access-control-request-method": "POST"}
        ask["access-control-request-headers"] = "authorization,content-type"
        # Browsers send no token with a preflight request.
        headers = client.options("/v1/faces", headers=ask).raise_for_status().headers
        assert headers["access-control-allow-origin"] == origin
        assert headers["access-control-allow-credentials"] == "true"
        assert "POST" in headers["access-control-allow-methods"]
        assert {"authorization", "content-type"} <= set(headers["access-control-allow-headers"].lower().split(", "))
        assert "Origin" in headers["vary"]
        assert headers["x-content-type-options"] == "nosniff"
        response = client.post("/v1/faces", content=face, headers={"origin": origin, "authorization": "Bearer s3cret"})
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
        assert "Origin" in response.headers["vary"]
        assert "Retry-After" in response.headers["access-control-expose-headers"]
        # Errors can be read as well.
        for bad in (
            client.post("/v1/faces", headers={"origin": origin}),
            client.get("/no", headers={"origin": origin}),
        ):
            assert (bad.status_code, bad.headers["access-control-allow-origin"]) in ((401, origin), (404, origin))
    # Others cannot, and the server's own page needs no header.
    for origin in ("https://app.example.evil.example", "http://app.example", "https://app.example:444", "null"):
        response = client.options("/v1/faces", headers={"origin": origin, "access-control-request-method": "POST"})
        assert (response.status_code, "access-control-allow-origin" in response.headers) == (403, False)
        assert client.get("/v1/models", headers={"origin": origin}).status_code == 403
    own = client.get("/", headers={"origin": "http://127.0.0.1:8000"})
    assert (own.status_code, "access-control-allow-origin" in own.headers) == (200, False)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/frames", headers={"origin": "http://a.b"}):
        pass


def test_preflight_requests_do_not_reach_routes_and_name_what_is_missing(start: Start) -> None:
    client = start(allowed_origins=(SITE,))
    ask = {"origin": SITE, "access-control-request-method": "PUT"}
    assert client.options("/v1/faces", headers=ask).status_code == 400
    private = {**ask, "access-control-request-method": "GET", "access-control-request-private-network": "true"}
    assert client.options("/v1/models", headers=private).headers["access-control-allow-private-network"] == "true"
    # A request of another host stays one, whatever its origin.
    assert client.options("/v1/faces", headers={**ask, "host": "evil.example"}).status_code == 400


def test_a_camera_of_an_allowed_site_is_read(start: Start, face: bytes) -> None:
    client = start(allowed_origins=(SITE,))
    with client.websocket_connect("ws://127.0.0.1:8000/v1/frames", headers={"origin": SITE}) as socket:
        socket.send_bytes(face)
        assert socket.receive_json()["status"] == "ok"


def test_all_sites_can_be_allowed_without_a_token_and_without_credentials(start: Start) -> None:
    headers = start(allowed_origins=("*",)).get("/v1/models", headers={"origin": "https://any.example"}).headers
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers


@pytest.fixture(params=["kept", "removed"])
def prefixed(request: pytest.FixtureRequest, start: Start) -> tuple[TestClient, str]:
    """A server behind a proxy that keeps the prefix, or removes it; and what the proxy puts before a path."""
    return start(root_path="/tools/moue/", token="s3cret"), "/tools/moue" if request.param == "kept" else ""


def test_everything_works_under_a_root_path(prefixed: tuple[TestClient, str], face: bytes) -> None:
    client, prefix = prefixed
    page = client.get(f"{prefix}/").text
    assert '<base href="/tools/moue/">' in page
    for link in re.findall(r'(?:href|src)="([^"#:/]+)"', page):
        assert client.get(f"{prefix}/{link}").status_code == 200, link
    # The token protects the same URLs.
    for path in ("/v1/models", "/metrics"):
        assert client.get(f"{prefix}{path}").status_code == 401
    token = {"authorization": "Bearer s3cret"}
    response = client.post(f"{prefix}/v1/faces", content=face, headers=token)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert client.get(f"{prefix}/healthz").status_code == 200
    assert 'route="/v1/faces"' in client.get(f"{prefix}/metrics", headers=token).text
    assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/tools/moue"}]
    protocols = ["moue.v1", "bearer.czNjcmV0"]
    with client.websocket_connect(f"ws://127.0.0.1:8000{prefix}/v1/frames", subprotocols=protocols) as socket:
        socket.send_bytes(face)
        assert socket.receive_json()["status"] == "ok"


def test_the_page_is_found_without_the_last_slash_too(start: Start) -> None:
    client = start(root_path="/moue")
    assert client.get("/moue").text == client.get("/moue/").text
    assert client.get("/mouette").status_code == client.get("/moue/moue/").status_code == 404


def test_the_location_of_a_job_is_below_the_root_path(start: Start, video: bytes) -> None:
    client = start(root_path="/moue")
    location = client.post("/v1/videos", content=video).headers["location"]
    assert location.startswith("/moue/v1/videos/")
    assert client.get(location).status_code == 200


def test_a_mounted_application_is_protected_too(tiny_onnx, tmp_path) -> None:
    outer = FastAPI()
    outer.mount("/inner", create_app(Settings((str(tiny_onnx),), "none", token="x", temp_folder=tmp_path)))
    client = TestClient(outer, base_url="http://localhost")
    assert client.get("/inner/v1/models").status_code == 401
    assert client.get("/inner/v1/models", headers={"authorization": "Bearer x"}).status_code == 200
    assert '<base href="/inner/">' in client.get("/inner/").text


def test_only_trusted_proxies_say_who_the_client_is(start: Start, face: bytes, queue_events: QueueEvents) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}

    def client_of(peer: str, **settings: object) -> str:
        app = start(**settings).app
        with TestClient(app, base_url="http://localhost", client=(peer, 1)) as client:
            client.post("/v1/faces", content=face, headers=forwarded).raise_for_status()
        return queue_events.clients[-1]

    assert client_of("127.0.0.1") == "127.0.0.1"
    # Each proxy adds the address that it sees: the last one that is no proxy is the client.
    assert client_of("10.1.2.3", trusted_proxies=("10.0.0.0/8",)) == "198.51.100.7"
    assert client_of("10.1.2.3", trusted_proxies=("10.0.0.0/8", "198.51.100.7")) == "203.0.113.9"
    assert client_of("11.1.2.3", trusted_proxies=("10.0.0.0/8",)) == "11.1.2.3"


def test_addresses_are_brought_into_one_form() -> None:
    assert check_host(" Moue.Example ") == "moue.example"
    assert check_host("[::1]") == "::1"
    assert check_origin("HTTPS://App.Example:443/") == SITE
    assert check_origin("http://localhost:5173") == "http://localhost:5173"
    assert check_origin("http://[::1]:80") == "http://[::1]"
    assert check_proxy("172.16.3.4/12") == "172.16.0.0/12"
    assert check_root_path("/") == check_root_path("") == ""
