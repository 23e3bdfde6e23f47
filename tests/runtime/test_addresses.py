"""Films and photos on the web: read as the files that they are, whatever happens to the connection."""

from __future__ import annotations

import io
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from servers import WebServer, chunked, content, guarded, make_certificate, refusal, unmeasured, web_server
from videos import SquareReader, make_video, scene

from moue import Faces, Recognizer
from moue.errors import UsageError
from moue.runtime.frames import opened, stream_frames
from moue.runtime.inputs.resolve import resolve
from moue.runtime.network import retry
from moue.runtime.network.url import Url, public_name
from moue.runtime.options import VideoOptions

SECRETS = ("bob", "geheim", "s3cr3t")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.001)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A film whose table of contents is at its end."""
    path = make_video(tmp_path_factory.mktemp("film") / "clip.mp4", [scene(i) for i in range(40)], sound="aac")
    return path.read_bytes()


def read(address: str, remarks: list[str] | None = None, **options: Any) -> list[Faces]:
    [source] = resolve([address])
    remarks = [] if remarks is None else remarks
    with opened(source, VideoOptions(**options), on_remark=remarks.append) as found:
        if found.kind == "unreadable":
            return [SquareReader().failed(found.name, "unreadable", found.reason or "")]
        return list(stream_frames(SquareReader(), found, VideoOptions(**options), on_remark=remarks.append))


def local(data: bytes, **options: Any) -> list[Faces]:
    [source] = resolve([data])
    return list(stream_frames(SquareReader(), source, VideoOptions(**options)))


def same(rows: list[Faces], expected: list[Faces]) -> bool:
    return [(r.status, r.frame, r.timestamp, r.boxes.tolist()) for r in rows] == [
        (r.status, r.frame, r.timestamp, r.boxes.tolist()) for r in expected
    ]


@pytest.mark.parametrize(
    ("address", "name", "stem"),
    [
        ("rtsp://bob:geheim@cam.local:8554/live", "rtsp://cam.local:8554/live", "cam_local_8554_live"),
        ("RTSP://bob@10.0.0.1/h264?channel=2&token=s3cr3t", "rtsp://10.0.0.1/h264?channel=2&token=…", "10_0_0_1_h264"),
        ("http://h/films/clip.mp4?s3cr3t#geheim", "http://h/films/clip.mp4?…", "h_films_clip"),
        ("rtsp://h/user=bob_password=geheim_channel=1.sdp", "rtsp://h/user=…_password=…_channel=1.sdp", None),
        ("http://bob:gehe@im/s3cr3t@h/a", "http://…@h/a", "h_a"),
        ("http://bob:geheim?s3cr3t@h/a", "http://…@h/a", None),
        ("http://bob:gehe@[::1]:80/a?b@c", "http://[::1]:80/a?…", "1_80_a"),
        ("http://h:80/@user/clip.mp4?mail=x@y", "http://…@user/clip.mp4?mail=…", None),
        ("ftp://bob:geheim@h/a", "ftp://h/a", None),
        ("http://", "http://", None),
        ("http:///a?b", "http:///a?…", None),
        ("http:///geh@im", "http://…@im", None),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_secrets(address: str, name: str, stem: str | None) -> None:
    assert public_name(address) == name
    if stem is not None:
        url = Url(address)
        assert url.file_stem == stem
        assert not any(secret in f"{url} {url!r} {url.name}" for secret in SECRETS)


def test_an_address_without_a_host_is_refused() -> None:
    for wrong in ("http:///a.mp4", "rtsp://host:99999/", "rtsp://host:port/", "http://a\r\nb/", "udp://h:1"):
        with pytest.raises(UsageError, match="address"):
            Url(wrong)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_film_is_read_as_the_file_that_it_is(server: WebServer, film: bytes, ranges: bool) -> None:
    server.answers["/clip.mp4"] = content(film, "video/mp4", ranges=ranges)
    rows = read(server.url("/clip.mp4"))
    assert same(rows, local(film))
    assert {row.source for row in rows} == {server.url("/clip.mp4")}
    assert len(server.requests) == 1


def test_every_frame_of_a_film_counts_and_options_hold(server: WebServer, film: bytes) -> None:
    server.answers["/clip.mp4"] = content(film, "application/octet-stream")
    assert [row.frame for row in read(server.url("/clip.mp4"), every=4, end=1)] == list(range(0, 25, 4))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_film_goes_on_where_its_connection_broke(server: WebServer, film: bytes, ranges: bool) -> None:
    server.answers["/clip.mp4"] = content(film, "video/mp4", ranges=ranges, drops=[1000, 3000])
    remarks: list[str] = []
    assert same(read(server.url("/clip.mp4?token=s3cr3t"), remarks), local(film))
    assert len(server.requests) == 3
    assert [request.get("Range") for _, request in server.requests[:2]] == [None, "bytes=1000-"]
    assert len(remarks) == 2
    assert all("connecting again" in remark and "s3cr3t" not in remark for remark in remarks)


def test_a_film_that_does_not_come_to_its_end_says_so(server: WebServer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 160, 3), dtype=np.uint8)
    clip = make_video(tmp_path / "clip.mkv", list(noise)).read_bytes()
    half = len(clip) // 2
    server.answers["/clip.mkv"] = content(clip, "video/x-matroska", drops=[half, 0, 0, 0])
    remarks: list[str] = []
    rows = read(server.url("/clip.mkv"), remarks, reconnect=2)
    assert all(row.readable for row in rows[:-1])
    assert 0 < len(rows) - 1 < 40
    assert rows[-1].status == "unreadable"
    assert f"after {half:,} of {len(clip):,} bytes" in (rows[-1].reason or "")
    assert [remark.partition("(")[2] for remark in remarks] == ["attempt 1 of 2)", "attempt 2 of 2)"]


#: Interrupts itself while the reader waits for a film's end. A process of its own: a signal that came a moment too soon
#: or too late would end the tests.
INTERRUPTED = """
import signal, sys, threading, time
from moue import Recognizer
from moue.runtime.network.download import Download

signal.signal(signal.SIGINT, signal.default_int_handler)
waiting = threading.Event()
has_news = Download._has_news

def watched(self):
    news = has_news(self)
    if not news:
        waiting.set()
    return news

def interrupt():
    waiting.wait()
    time.sleep(0.2)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

Download._has_news = watched
threading.Thread(target=interrupt, daemon=True).start()
try:
    list(Recognizer("tiny", "none").stream(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_ends_waiting_for_a_film(server: WebServer, film: bytes) -> None:
    """PyAV drops it where it comes inside of a read; the rest of this film never comes."""
    over = threading.Event()

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(film)))
        handler.end_headers()
        # The table of contents is at the film's end: the reader waits for it.
        handler.wfile.write(film[: len(film) // 2])
        over.wait()

    server.answers["/clip.mp4"] = half
    command = [sys.executable, "-c", INTERRUPTED, server.url("/clip.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    over.set()
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr


def test_another_film_under_the_same_address_is_not_glued_to_the_first(server: WebServer, film: bytes) -> None:
    first = content(film, "video/mp4", drops=[1000])
    server.answers["/clip.mp4"] = lambda handler: (
        first if len(server.requests) == 1 else content(film * 2, "video/mp4", ranges=False)
    )(handler)
    [row] = read(server.url("/clip.mp4"))
    assert row.status == "unreadable"
    assert "changed on the server" in (row.reason or "")


def test_photos_are_read_too(server: WebServer) -> None:
    file = io.BytesIO()
    Image.fromarray(scene(3)).save(file, "PNG")
    server.answers["/photo"] = content(file.getvalue(), "image/png")
    recognizer = Recognizer("tiny", "none", threads=1)
    faces = recognizer.read(server.url("/photo", "bob:geheim@"))
    assert isinstance(faces, Faces)
    assert faces.source == server.url("/photo")
    expected = recognizer.read(file.getvalue())
    assert isinstance(expected, Faces)
    np.testing.assert_array_equal(faces.predictions.probabilities, expected.predictions.probabilities)


def test_photos_of_which_the_length_is_not_told(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    file, moving = io.BytesIO(), io.BytesIO()
    Image.fromarray(scene(3)).save(file, "JPEG")
    frames = [Image.fromarray(scene(i)) for i in range(3)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:], duration=100)
    photo = file.getvalue()
    server.answers["/closed"] = unmeasured(photo, "image/jpeg")
    server.answers["/chunked"] = chunked(photo, "image/jpeg")
    server.answers["/broken"] = chunked(photo, "image/jpeg", len(photo) // 2)
    server.answers["/moving"] = chunked(moving.getvalue(), "image/gif")
    recognizer = Recognizer("tiny", "none", threads=1)
    expected = recognizer.read(photo)
    assert isinstance(expected, Faces)
    for path in ("/closed", "/chunked"):
        faces = recognizer.read(server.url(path))
        assert isinstance(faces, Faces)
        np.testing.assert_array_equal(faces.predictions.probabilities, expected.predictions.probabilities)
    assert len(read(server.url("/moving"))) == 3
    [broken] = read(server.url("/broken"))
    assert (broken.status, broken.reason) == ("unreadable", "the connection broke off")
    monkeypatch.setattr("moue.runtime.network.connect.MAX_IMAGE_BYTES", 100)
    [endless] = read(server.url("/chunked"))
    assert (endless.status, "an image of more than 100 bytes" in str(endless.reason)) == ("unreadable", True)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_user_and_password_go_to_their_host_alone(server: WebServer, film: bytes, scheme: str) -> None:
    server.answers["/clip.mp4"] = guarded(content(film, "video/mp4"), "bob", "geh:eim", scheme)
    address = server.url("/clip.mp4", f"bob:{quote('geh:eim')}@")
    assert same(read(address), local(film))
    [row] = read(server.url("/clip.mp4"))
    assert "asks for a user and a password (401): give them as http://USER:PASSWORD@HOST" in (row.reason or "")
    with web_server() as other:
        other.answers["/clip.mp4"] = guarded(content(film, "video/mp4"), "bob", "geh:eim", scheme)
        server.answers["/moved"] = refusal(302, other.url("/clip.mp4"))
        [row] = read(server.url("/moved", "bob:geh%3Aeim@"))
        assert "does not accept" in (row.reason or "")
        assert not any("Authorization" in headers for _, headers in other.requests)


def test_what_servers_answer_is_told_in_a_sentence(server: WebServer) -> None:
    server.answers |= {
        "/denied": guarded(refusal(200), "bob", "other"),
        "/digest": guarded(refusal(200), "alice", "other", "Digest"),
        "/page": content(b"<html>", "text/html"),
        "/list": content(b"#EXTM3U", "application/vnd.apple.mpegurl"),
        "/text": content(b"#EXTM3U\nhttp://127.0.0.1:1/a.ts\n", "video/mp4"),
        "/empty": content(b"", "video/mp4"),
        "/file": refusal(302, "file:///etc/passwd"),
        "/ftp": refusal(301, "ftp://127.0.0.1/a"),
        "/loop": refusal(302, "/loop"),
        "/broken": lambda handler: handler.wfile.write(b"\0\1\2 no HTTP\r\n\r\n"),
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"http://bob:geheim@127.0.0.1:{free.getsockname()[1]}/"
    said = {
        server.url("/denied", "bob:geheim@"): "does not accept this user and password",
        server.url("/digest", "bob:geheim@"): "does not accept this user and password",
        server.url("/none", "bob:geheim@"): "404",
        server.url("/page?token=s3cr3t"): "a web page",
        server.url("/list"): "a playlist",
        server.url("/text"): "",
        server.url("/empty"): "",
        server.url("/file"): "does not follow",
        server.url("/ftp"): "does not follow",
        server.url("/loop"): "does not follow",
        server.url("/broken"): "does not answer as a web server does",
        closed: "connection refused",
        "http://bob:geheim@no-such-host.invalid/": "no connection to the server",
    }
    rows = list(Recognizer("tiny", "none", threads=1).stream(list(said)))
    assert [row.status for row in rows] == ["unreadable"] * len(said)
    for row, words in zip(rows, said.values(), strict=True):
        assert row.reason
        assert words in row.reason
        assert not any(secret in f"{row.source} {row.reason}" for secret in SECRETS)


def test_a_redirect_to_the_film_is_followed(server: WebServer, film: bytes) -> None:
    server.answers |= {"/clip.mp4": content(film, "video/mp4"), "/moved": refusal(302, "/clip.mp4")}
    assert same(read(server.url("/moved")), local(film))


def test_a_playlist_that_passes_for_a_film_opens_nothing(server: WebServer, tmp_path: Path) -> None:
    secret = make_video(tmp_path / "secret.ts", [scene(i) for i in range(10)])
    server.answers["/secret.ts"] = content(secret.read_bytes(), "video/mp2t")
    for other in (str(secret), server.url("/secret.ts")):
        text = f"#EXTM3U\n#\x01\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n".encode()
        server.answers |= {"/list.mp4": content(text, "video/mp4"), "/endless": unmeasured(text)}
        for path in ("/list.mp4", "/endless"):
            [row] = read(server.url(path))
            assert row.status == "unreadable"
    assert not any(path == "/secret.ts" for path, _ in server.requests)


def test_certificates_are_verified(film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with web_server(certificate) as server:
        server.answers["/clip.mp4"] = content(film, "video/mp4")
        [row] = read(server.url("/clip.mp4", "bob:geheim@"))
        assert "certificate is not trusted" in (row.reason or "")
        assert "SSL_CERT_FILE" in (row.reason or "")
        assert not server.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert same(read(server.url("/clip.mp4")), local(film))
        with web_server() as plain:
            plain.answers["/clip.mp4"] = content(film, "video/mp4")
            server.answers["/downgrade"] = refusal(302, plain.url("/clip.mp4"))
            [row] = read(server.url("/downgrade"))
            assert "does not follow" in (row.reason or "")
            assert not plain.requests
    assert ssl.get_default_verify_paths().cafile == str(certificate[0])
