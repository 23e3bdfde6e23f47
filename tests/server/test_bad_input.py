"""What broken and hostile clients send, over real connections: each has its answer, and the server goes on."""

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
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets.sync.client as websockets
from PIL import Image
from uploads import encoded, running
from videos import make_video, scene

from moue.server.jobs import PREFIX
from moue.server.settings import Settings

LIMIT = 300_000
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def port(tiny_onnx: Path, folder: Path) -> Iterator[int]:
    limits: dict[str, Any] = {"max_bytes": LIMIT, "max_video_bytes": LIMIT, "upload_seconds": 1.0, "max_files": 32}
    with running(Settings(models=(str(tiny_onnx),), detector="none", folder=folder, **limits)) as port:
        yield port


@pytest.fixture(autouse=True)
def _goes_on(port: int, folder: Path, face: bytes) -> Iterator[None]:
    """Whatever a test does to the server, it answers the next one, and keeps nothing."""
    yield
    assert asked(port, "/v1/faces", face)[0] == 200
    deadline = time.monotonic() + 30
    while any(p.is_dir() for server in folder.glob(f"{PREFIX}*") for p in server.iterdir()):
        assert time.monotonic() < deadline, "a video was left behind"
        time.sleep(0.05)


def asked(port: int, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body, given, encode_chunked=given.get("Transfer-Encoding") == "chunked")
    answer = connection.getresponse()
    text = json.loads(answer.read())
    connection.close()
    return answer.status, text


def opened(port: int, path: str, *lines: str) -> socket.socket:
    """A connection on which a request has begun."""
    door = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = "\r\n".join((f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""))
    door.sendall(head.encode())
    return door


def heard(door: socket.socket) -> tuple[int, str]:
    """Code and sentence of the answer."""
    answer = http.client.HTTPResponse(door)
    answer.begin()
    return answer.status, json.loads(answer.read())["detail"]


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
def test_an_image_that_cannot_be_read_is_a_sentence(port: int, name: str) -> None:
    content, code, words = BAD[name]
    body, kind = form([(name, content)])
    status, answer = asked(port, "/v1/faces", body, Content_Type=kind)
    assert (status, words in answer["detail"]) == (code, True), answer
    assert answer["detail"].startswith(f"{name}: ")
    assert "\n" not in answer["detail"]


def test_among_others_it_is_a_row(port: int) -> None:
    given = [*((name, content) for name, (content, _, _) in BAD.items()), *GOOD.items()]
    body, kind = form(given)
    status, rows = asked(port, "/v1/faces", body, Content_Type=kind)
    assert status == 200
    assert [row["source"] for row in rows] == [name for name, _ in given]
    for row in rows:
        assert (row["status"] == "ok") == (row["source"] in GOOD), row
        assert (row["reason"] is None) == (row["source"] in GOOD), row


@pytest.mark.parametrize("name", GOOD)
def test_images_out_of_the_ordinary_are_read(port: int, name: str) -> None:
    status, [row] = asked(port, "/v1/faces", GOOD[name])
    size = (1, 1) if name == "one.png" else (50, 40)
    assert (status, row["status"], len(row["faces"]), (row["width"], row["height"])) == (200, "ok", 1, size)


def test_ten_thousand_tiny_files_are_refused(port: int) -> None:
    body, kind = form([("a.png", b"x")] * 10_000)
    with opened(port, "/v1/faces", f"Content-Type: {kind}", "Transfer-Encoding: chunked") as door:
        # As many as fit under the limit of bytes: their number alone is too large.
        piece = body[: LIMIT - 1000]
        door.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        code, said = heard(door)
    assert (code, "32 files at most" in said) == (413, True)
    with opened(port, "/v1/faces", f"Content-Type: {kind}", f"Content-Length: {len(body)}") as door:
        code, said = heard(door)
    assert (code, f"{LIMIT:,} bytes at most" in said) == (413, True)


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_two_gigabytes_are_refused_announced_or_not(port: int, path: str) -> None:
    with opened(port, path, "Content-Length: 2000000000") as door:
        code, said = heard(door)
    assert (code, "2,000,000,000" in said) == (413, True)
    with opened(port, path, "Transfer-Encoding: chunked") as door:
        sent, piece = 0, b"10000\r\n" + bytes(0x10000) + b"\r\n"
        # The server listens on for a while, so that who sends hears the answer, and not to the end.
        while sent < 2_000_000_000 and not select.select([door], [], [], 0)[0]:
            door.sendall(piece)
            sent += 0x10000
        code, said = heard(door)
        assert (code, "bytes at most" in said) == (413, True)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            door.sendall(piece * 2000)


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_a_slow_upload_is_given_up(port: int, path: str) -> None:
    with opened(port, path, "Content-Length: 1000") as door:
        door.sendall(b"x" * 10)
        code, said = heard(door)
    assert (code, "too long" in said) == (408, True)


def test_silent_connections_do_not_keep_others_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.server.connection.SECONDS", 1.0)
    with ExitStack() as stack:
        for i in range(260):
            door = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            if i % 2:
                door.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        deadline = time.monotonic() + 30
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                break
            assert time.monotonic() < deadline
            connection.close()
            time.sleep(0.2)
        # Some bytes more are no request either, on this connection as on those before.
        connection.sock.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        while not select.select([connection.sock], [], [], 0.1)[0]:
            assert time.monotonic() < deadline
            connection.sock.sendall(b"o")
        connection.close()


def test_who_has_said_what_it_wants_may_take_its_time(port: int, face: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moue.server.connection.SECONDS", 0.3)
    with opened(port, "/v1/faces", f"Content-Length: {len(face)}") as door:
        time.sleep(0.6)
        door.sendall(face)
        answer = http.client.HTTPResponse(door)
        answer.begin()
        assert (answer.status, len(json.loads(answer.read()))) == (200, 1)
    with websockets.connect(f"ws://127.0.0.1:{port}/v1/frames") as camera:
        time.sleep(0.6)
        camera.send(face)
        assert json.loads(camera.recv(60))["status"] == "ok"


def test_a_connection_cut_in_mid_upload_leaves_nothing(port: int, folder: Path) -> None:
    for path in ("/v1/faces", "/v1/videos"):
        for ending in (b"", b"\x01\0\0\0\0\0\0\0"):
            with opened(port, path, "Content-Length: 100000") as door:
                door.sendall(b"x" * 5000)
                if ending:
                    # Closed with a reset instead of an end.
                    door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ending)


def test_a_connection_cut_while_a_video_is_fetched(port: int, tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(30)]).read_bytes()
    status, job = asked(port, "/v1/videos", video)
    assert status == 202
    deadline = time.monotonic() + 60
    while told(port, "GET", job["id"])["status"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for path in ("rows", "annotated"):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as door:
            door.sendall(f"GET /v1/videos/{job['id']}/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert door.recv(20).startswith(b"HTTP/1.1 200")
            door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert told(port, "GET", job["id"])["status"] == "done"
    told(port, "DELETE", job["id"])


def told(port: int, method: str, identity: str) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, f"/v1/videos/{identity}")
    answer = connection.getresponse().read()
    connection.close()
    return json.loads(answer) if answer else {}


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_a_wrong_content_type_is_refused(port: int, face: bytes, path: str) -> None:
    for kind in ("text/html", "application/json"):
        status, answer = asked(port, path, face, Content_Type=kind)
        assert (status, kind in answer["detail"]) == (415, True)


def test_a_video_among_images_is_sent_where_videos_are_read(port: int) -> None:
    status, answer = asked(port, "/v1/faces", BAD["video.mp4"][0], Content_Type="video/mp4")
    assert (status, "/v1/videos" in answer["detail"]) == (415, True)


def test_who_sends_before_listening_hears_why(port: int, face: bytes) -> None:
    status, said = asked(port, "/v1/faces", bytes(40_000_000))
    assert (status, "Got 40,000,000" in said["detail"]) == (413, True)
    # A small body that is refused unread does not cost the connection.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for body, code in ((bytes(2 * LIMIT), 413), (face, 200)):
        connection.request("POST", "/v1/faces", body)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read()), answer.will_close) == (code, True, False)
    connection.close()


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\0" * 999]
)
def test_what_is_no_http_is_sent_away(port: int, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as door:
        door.sendall(noise)
        door.shutdown(socket.SHUT_WR)
        answer = door.recv(100)
    assert not answer or b" 400 " in answer or b" 505 " in answer


def test_what_a_killed_server_held_is_swept_by_the_next_one(tiny_onnx: Path, tmp_path: Path) -> None:
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
            said = server.stderr.readline()
            port = int(said.rstrip().rstrip("/").rpartition(":")[2])
            assert asked(port, "/v1/videos", video)[0] == 202
            assert not any(folder.exists() for folder in left)
            left = list(videos.glob(f"{PREFIX}*"))
            assert len(left) == 1
            server.send_signal(ending)
            server.wait(60)
        finally:
            server.kill()
            server.wait(20)
            server.stderr.close()
        # A killed one cannot clean up; one that was asked to end does.
        assert left[0].exists() == (ending is signal.SIGKILL)
