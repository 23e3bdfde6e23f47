"""Requests of broken and hostile clients, over real connections: each gets a response, and the server goes on."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets.sync.client as websockets
from PIL import Image
from uploads import JobEvents, encoded, running
from videos import make_video, scene

from moue.server.settings import Settings
from moue.server.workspace import PREFIX

pytestmark = pytest.mark.xdist_group("server")

LIMIT = 300_000
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def port(tiny_onnx: Path, folder: Path) -> Iterator[int]:
    limits: dict[str, Any] = {
        "max_bytes": LIMIT,
        "max_video_bytes": LIMIT,
        "upload_timeout_seconds": 1.0,
        "max_files": 32,
    }
    with running(Settings(models=(str(tiny_onnx),), detector="none", temp_folder=folder, **limits)) as port:
        yield port


@pytest.fixture(autouse=True)
def _still_works(port: int, folder: Path, face: bytes, job_events: JobEvents) -> Iterator[None]:
    """Whatever a test does to the server, it responds to the next request, and keeps no video."""
    yield
    assert post(port, "/v1/faces", face)[0] == 200
    job_events.wait_for(lambda: not any(p.is_dir() for server in folder.glob(f"{PREFIX}*") for p in server.iterdir()))


def post(port: int, path: str, body: Any, content_type: str | None = None) -> tuple[int, Any]:
    return request(port, "POST", path, body, {"Content-Type": content_type} if content_type else {})


def request(port: int, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if content else None


def begin_request(port: int, path: str, *lines: str) -> socket.socket:
    """A connection on which the head of a request is sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = "\r\n".join((f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""))
    connection.sendall(head.encode())
    return connection


def read_error(connection: socket.socket) -> tuple[int, str]:
    """Status and message of the response."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())["detail"]


def form(files: list[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A multipart body, and its type."""
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="{}"\r\n\r\n'
    parts = [head.format(name).encode() + content + b"\r\n" for name, content in files]
    return b"".join([*parts, b"--b--\r\n"]), "multipart/form-data; boundary=b"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(side: int = 30_000) -> bytes:
    """A PNG of side × side pixels in some hundred kilobytes, all of it there."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def moving(format: str) -> bytes:
    frames = [Image.fromarray(np.roll(NOISE, 5 * i, axis=1)) for i in range(3)]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


BAD = {
    "text.txt": (b"this is no image", 422, "not an image"),
    "empty.jpg": (b"", 422, "empty"),
    **{f"{n} bytes": (b"B" * n, 422, "not an image") for n in (1, 2, 3, 5)},
    "truncated.jpg": (encoded(Image.fromarray(NOISE), "JPEG")[:900], 422, "damaged"),
    "truncated.png": (encoded(Image.fromarray(NOISE))[:900], 422, "damaged"),
    "header.png": (encoded(Image.fromarray(NOISE))[:8], 422, "PNG"),
    "bomb.png": (bomb(), 413, "more than the limit"),
    "vector.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 422, "not an image"),
    "video.mp4": (b"\0\0\0\x18ftypisom" + bytes(90), 422, "/v1/videos"),
}
GOOD = {
    "cmyk.jpg": encoded(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "palette.png": encoded(Image.fromarray(NOISE).quantize(16)),
    "moving.gif": moving("GIF"),
    "moving.webp": moving("WEBP"),
    "sixteen.png": encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)),
    "alpha.png": encoded(Image.fromarray(np.dstack([NOISE, NOISE[..., :1]]))),
    "one.png": encoded(Image.fromarray(NOISE[:1, :1])),
    "Ängström 笑顔 😀.png": encoded(Image.fromarray(NOISE)),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unreadable_image_is_an_error_with_a_message(port: int, name: str) -> None:
    content, code, words = BAD[name]
    body, kind = form([(name, content)])
    status, error = post(port, "/v1/faces", body, kind)
    assert (status, words in error["detail"]) == (code, True), error
    assert error["detail"].startswith(f"{name}: ")
    assert "\n" not in error["detail"]


def test_an_unreadable_image_among_others_is_a_row(port: int) -> None:
    files = [*((name, content) for name, (content, _, _) in BAD.items()), *GOOD.items()]
    body, kind = form(files)
    status, rows = post(port, "/v1/faces", body, kind)
    assert status == 200
    assert [row["source"] for row in rows] == [name for name, _ in files]
    for row in rows:
        assert (row["status"] == "ok") == (row["source"] in GOOD), row
        # Of an animation, the first image is read.
        assert (row["reason"] is None) == (row["source"] in GOOD and not row["source"].startswith("moving")), row


@pytest.mark.parametrize("name", GOOD)
def test_unusual_images_are_read(port: int, name: str) -> None:
    status, [row] = post(port, "/v1/faces", GOOD[name])
    size = (1, 1) if name == "one.png" else (50, 40)
    assert (status, row["status"], len(row["faces"]), (row["width"], row["height"])) == (200, "ok", 1, size)


def test_ten_thousand_tiny_files_are_rejected(port: int) -> None:
    body, kind = form([("a.png", b"x")] * 10_000)
    with begin_request(port, "/v1/faces", f"Content-Type: {kind}", "Transfer-Encoding: chunked") as connection:
        # As many as fit into the byte limit: only their number is too large.
        piece = body[: LIMIT - 1000]
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        code, detail = read_error(connection)
    assert (code, "32 files at most" in detail) == (413, True)
    with begin_request(port, "/v1/faces", f"Content-Type: {kind}", f"Content-Length: {len(body)}") as connection:
        code, detail = read_error(connection)
    assert (code, f"{LIMIT:,} bytes at most" in detail) == (413, True)


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_two_gigabytes_are_rejected_with_and_without_a_content_length(port: int, path: str) -> None:
    with begin_request(port, path, "Content-Length: 2000000000") as connection:
        code, detail = read_error(connection)
    assert (code, "2,000,000,000" in detail) == (413, True)
    with begin_request(port, path, "Transfer-Encoding: chunked") as connection:
        sent, piece = 0, b"10000\r\n" + bytes(0x10000) + b"\r\n"
        # The server reads on for a while, so that the client receives the response, but not to the end.
        while sent < 2_000_000_000 and not select.select([connection], [], [], 0)[0]:
            connection.sendall(piece)
            sent += 0x10000
        code, detail = read_error(connection)
        assert (code, "bytes at most" in detail) == (413, True)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            connection.sendall(piece * 2000)


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_a_slow_upload_times_out(port: int, path: str) -> None:
    with begin_request(port, path, "Content-Length: 1000") as connection:
        connection.sendall(b"x" * 10)
        code, detail = read_error(connection)
    assert (code, "too long" in detail) == (408, True)


def test_idle_connections_are_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.server.connection.REQUEST_HEAD_TIMEOUT", 1.0)
    with ExitStack() as stack:
        idle = []
        for i in range(260):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            idle.append(connection)
            if i % 2:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        for connection in idle:
            assert_closed(connection)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        client.request("GET", "/healthz")
        response = client.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
        # On a connection that is kept alive, an incomplete head is no request either, however long it trickles in.
        client.sock.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        for _ in range(300):
            if select.select([client.sock], [], [], 0.1)[0]:
                break
            client.sock.sendall(b"o")
        assert_closed(client.sock)
        client.close()


def assert_closed(connection: socket.socket) -> None:
    """Wait for the server to close a connection on which it sent nothing."""
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def test_after_the_head_a_client_has_time(port: int, face: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.server.connection.REQUEST_HEAD_TIMEOUT", 0.3)
    with begin_request(port, "/v1/faces", f"Content-Length: {len(face)}") as connection:
        assert not select.select([connection], [], [], 0.6)[0], "the server closed the connection"
        connection.sendall(face)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, len(json.loads(response.read()))) == (200, 1)
    with websockets.connect(f"ws://127.0.0.1:{port}/v1/frames") as camera:
        with pytest.raises(TimeoutError):
            camera.recv(0.6)
        camera.send(face)
        assert json.loads(camera.recv(60))["status"] == "ok"


def test_a_connection_cut_in_mid_upload_leaves_nothing(port: int, folder: Path) -> None:
    for path in ("/v1/faces", "/v1/videos"):
        for ending in (b"", b"\x01\0\0\0\0\0\0\0"):
            with begin_request(port, path, "Content-Length: 100000") as connection:
                connection.sendall(b"x" * 5000)
                if ending:
                    # Closed with a reset instead of an end.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ending)


def test_a_connection_cut_while_a_video_is_fetched(port: int, tmp_path: Path, job_events: JobEvents) -> None:
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(30)]).read_bytes()
    status, job = post(port, "/v1/videos", video)
    assert status == 202
    url = f"/v1/videos/{job['id']}"
    job_events.wait_for(lambda: request(port, "GET", url)[1]["status"] == "done")
    for path in ("rows", "annotated"):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(f"GET {url}/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert connection.recv(20).startswith(b"HTTP/1.1 200")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert request(port, "GET", url)[1]["status"] == "done"
    assert request(port, "DELETE", url) == (204, None)


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_a_wrong_content_type_is_rejected(port: int, face: bytes, path: str) -> None:
    for kind in ("text/html", "application/xml"):
        status, error = post(port, path, face, kind)
        assert (status, kind in error["detail"]) == (415, True)


def test_a_video_sent_as_an_image_is_referred_to_the_route_for_videos(port: int) -> None:
    status, error = post(port, "/v1/faces", BAD["video.mp4"][0], "video/mp4")
    assert (status, "/v1/videos" in error["detail"]) == (415, True)


def test_a_client_that_sends_before_it_reads_receives_the_error(port: int, face: bytes) -> None:
    status, error = post(port, "/v1/faces", bytes(40_000_000))
    assert (status, "Got 40,000,000" in error["detail"]) == (413, True)
    # After a small body that is rejected the connection is kept.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for body, code in ((bytes(2 * LIMIT), 413), (face, 200)):
        connection.request("POST", "/v1/faces", body)
        response = connection.getresponse()
        assert (response.status, bool(response.read()), response.will_close) == (code, True, False)
    connection.close()


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\0" * 999]
)
def test_other_protocols_than_http_are_rejected(port: int, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        response = connection.recv(100)
    assert not response or b" 400 " in response or b" 505 " in response


def test_the_files_of_a_killed_server_are_removed_by_the_next_one(tiny_onnx: Path, tmp_path: Path) -> None:
    videos = tmp_path / "tmp"
    videos.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "TMPDIR": str(videos)}
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(60)]).read_bytes()
    left: list[Path] = []
    for ending in (signal.SIGKILL, signal.SIGINT):
        words = [sys.executable, "-m", "moue", "serve", "--detector", "none", "--port", "0"]
        words += ["--model", str(tiny_onnx)]
        server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
        assert server.stderr is not None
        try:
            line = server.stderr.readline()
            port = int(line.rstrip().rstrip("/").rpartition(":")[2])
            assert post(port, "/v1/videos", video)[0] == 202
            assert not any(folder.exists() for folder in left)
            left = list(videos.glob(f"{PREFIX}*"))
            assert len(left) == 1
            server.send_signal(ending)
            server.wait(60)
        finally:
            server.kill()
            server.wait(20)
            server.stderr.close()
        # A killed server cannot clean up; one that is interrupted does.
        assert left[0].exists() == (ending is signal.SIGKILL)
