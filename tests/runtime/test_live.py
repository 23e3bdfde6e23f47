"""Live streams of cameras: whatever becomes of their connections, numbers and times go on, and no secret is shown."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import av.logging
import numpy as np
import pytest
from servers import Gate, WebServer, guarded, make_certificate, mjpeg, rtsp_server, unmeasured, web_server
from videos import SquareReader, make_video, scene

from moue import Faces
from moue.errors import UsageError
from moue.runtime.frames import opened, stream_frames
from moue.runtime.inputs.resolve import resolve
from moue.runtime.network import retry
from moue.runtime.network.live import Clock
from moue.runtime.options import VideoOptions
from moue.runtime.video.decode import Sampler, open_video
from moue.runtime.video.latest import Item, LatestFrames

ALL = VideoOptions()
SECRETS = ("bob", "geheim", "s3cr3t")


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture(scope="module")
def camera() -> Iterator[int]:
    """The port of an RTSP camera."""
    with rtsp_server([scene(i) for i in range(50)]) as port:
        yield port


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.001)


def read(
    address: str,
    options: VideoOptions = ALL,
    remark: Callable[[str], object] = lambda text: None,
    **arguments: Any,
) -> Generator[Faces, None, None]:
    [source] = resolve([address])
    with opened(source, options, on_remark=remark) as found:
        assert found.kind == "stream"
        yield from stream_frames(SquareReader(), found, options, on_remark=remark, **arguments)


def check_order(rows: list[Faces]) -> None:
    """Numbers and times grow from row to row, from zero on."""
    frames, times = [row.frame for row in rows], [row.timestamp for row in rows]
    assert None not in frames
    assert None not in times
    assert all(a < b for a, b in itertools.pairwise(frames))  # type: ignore[operator]
    assert all(a < b for a, b in itertools.pairwise(times))  # type: ignore[operator]
    assert times[0] == 0 or frames[0] > 0  # type: ignore[operator]


# --- the newest image wins


def numbered(count: int, go_on: threading.Semaphore) -> Callable[[threading.Event], Generator[Item, None, None]]:
    def produce(closing: threading.Event) -> Generator[Item, None, None]:
        for index in range(count):
            while not go_on.acquire(timeout=0.05):
                if closing.is_set():
                    return
            yield index, index / 10, np.full((2, 2, 3), index, np.uint8)

    return produce


def test_the_newest_image_wins_and_those_that_are_passed_over_are_not_converted() -> None:
    go_on = threading.Semaphore(1)
    converted: list[int] = []

    def convert(image: np.ndarray) -> np.ndarray:
        converted.append(int(image[0, 0, 0]))
        return image

    latest = LatestFrames(numbered(6, go_on), convert)
    frames = latest.frames()
    assert next(frames).index == 0
    go_on.release(5)
    latest._thread.join()
    assert [frame.index for frame in frames] == [5]
    assert converted == [0, 5]


def test_a_range_of_a_stream_is_read() -> None:
    go_on = threading.Semaphore(1)
    latest = LatestFrames(numbered(9, go_on), lambda image: image, Sampler(every=2, start=0.2, end=0.7))
    read = []
    go_on.release(8)
    for frame in latest.frames():
        read.append(frame.index)
    assert latest.over
    assert set(read) <= {2, 4, 6}


def test_a_stream_ends_in_time_though_no_image_comes() -> None:
    go_on = threading.Semaphore(1)
    latest = LatestFrames(numbered(9, go_on), lambda image: image, Sampler(end=0.05))
    assert [frame.index for frame in latest.frames()] == [0]
    assert latest.over


def test_times_are_the_stream_s_own_while_they_can_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock()
    assert clock(7.0) == 0
    now = 100.05
    assert clock(7.04) == pytest.approx(0.04)  # Its own time, not that of its arrival.
    now = 103.0
    clock.restart()
    assert clock(0.0) == pytest.approx(3.0)  # Another connection, after three seconds.
    assert clock(0.04) == pytest.approx(3.04)
    assert clock(1e6) == pytest.approx(3.041)  # A jump.
    now = 104.0
    assert clock(1e6 + 1) == pytest.approx(4.041)
    assert clock(1e6) > 4.041  # Back in time.
    assert clock(None) > 4.041  # Without a time.


# --- MJPEG over HTTP


@pytest.mark.parametrize("lengths", [True, False])
def test_an_mjpeg_camera_goes_on_after_its_connection_broke(server: WebServer, lengths: bool) -> None:
    server.answers["/video"] = mjpeg([[scene(i) for i in range(20)] for _ in range(3)], lengths=lengths)
    remarks: list[str] = []
    rows = list(read(server.url("/video?token=s3cr3t"), VideoOptions(reconnect=2), remarks.append))
    assert rows[-1].status == "unreadable"
    assert "503" in (rows[-1].reason or "")
    assert "(2 attempts)" in (rows[-1].reason or "")
    check_order(rows[:-1])
    assert all(row.status == "ok" for row in rows[:-1])
    assert {row.source for row in rows} == {server.url("/video?token=…")}
    # Each of the three connections gave images, and was followed by one more attempt than the last.
    assert [remark.rpartition("(")[2] for remark in remarks] == [
        "attempt 1 of 2)", "attempt 1 of 2)", "attempt 1 of 2)", "attempt 2 of 2)",
    ]  # fmt: skip
    assert not any("s3cr3t" in remark for remark in remarks)
    assert len(server.requests) == 5


def test_a_camera_that_was_never_there_is_told_at_once(server: WebServer) -> None:
    server.answers["/video"] = mjpeg([[]])
    [row] = read(server.url("/video"))
    assert row.status == "unreadable"
    assert len(server.requests) == 1


def test_mjpeg_times_are_those_of_arrival(server: WebServer) -> None:
    def slowly() -> Iterator[np.ndarray]:
        for i in range(6):
            yield scene(i)
            time.sleep(0.2)

    server.answers["/video"] = mjpeg([slowly()])
    rows = list(read(server.url("/video"), VideoOptions(reconnect=0)))[:-1]
    # FFmpeg counts 25 images a second, whatever their pace.
    assert rows[-1].timestamp is not None
    assert rows[-1].timestamp > 0.4


def test_what_is_sent_without_length_is_read_to_its_orderly_end(server: WebServer, tmp_path: Path) -> None:
    film = make_video(tmp_path / "clip.ts", [scene(i) for i in range(30)]).read_bytes()

    def chunked(handler: Any, broken: bool = False) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n" % len(film) + film + b"\r\n" + (b"" if broken else b"0\r\n\r\n"))
        handler.close_connection = True

    server.answers["/whole"] = chunked
    rows = list(read(server.url("/whole")))
    assert all(row.status == "ok" for row in rows)
    assert rows[-1].frame == 29
    assert len(server.requests) == 1
    server.answers["/broken"] = lambda handler: chunked(handler, broken=True)
    rows = []
    for row in read(server.url("/broken"), VideoOptions(reconnect=1)):
        rows.append(row)
        if (row.frame or 0) > 40:
            break
    check_order(rows)
    assert len(server.requests) > 2


def test_images_that_are_too_large_end_a_stream(server: WebServer) -> None:
    server.answers["/video"] = mjpeg([[scene(i) for i in range(3)]])
    [source] = resolve([server.url("/video")])
    with opened(source, VideoOptions(), max_pixels=5000) as found:
        rows = list(stream_frames(SquareReader(), found, VideoOptions()))
    assert [row.status for row in rows] == ["too_large"]


def test_a_live_stream_is_annotated(server: WebServer, tmp_path: Path) -> None:
    # FFmpeg opens the stream with the first images; each of the others comes when the one before was read.
    go_on = threading.Semaphore(4)
    server.answers["/video"] = mjpeg([(scene(i) for i in range(30) if go_on.acquire())])
    rows = []
    for row in read(server.url("/video"), VideoOptions(reconnect=0), annotated=tmp_path / "out.mp4"):
        rows.append(row)
        go_on.release()
    frames = list(open_video(tmp_path / "out.mp4").frames())
    assert len(frames) == len(rows) - 1 > 20
    times = [row.timestamp for row in rows[:-1] if row.timestamp is not None]
    assert [frame.timestamp for frame in frames] == pytest.approx(np.subtract(times, times[0]), abs=2e-3)


class Screen:
    """A window that is closed after some images."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def show(self, image: np.ndarray) -> bool:
        self.shown.append(image)
        return len(self.shown) < 3

    def close(self) -> None:
        self.shown.append(np.zeros(0))


def test_a_stream_is_watched_in_a_window(camera: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("moue.runtime.video.live.ScreenWindow", lambda: screen)
    rows = list(read(f"rtsp://127.0.0.1:{camera}/live", VideoOptions(window=True)))
    assert len(rows) == 3
    assert [image.shape for image in screen.shown] == [(96, 160, 3)] * 3 + [(0,)]


# --- RTSP


def test_an_rtsp_camera_is_read_until_the_end(camera: int) -> None:
    rows = list(read(f"rtsp://127.0.0.1:{camera}/live", VideoOptions(end=1.5)))
    check_order(rows)
    assert all(row.status == "ok" for row in rows)
    assert rows[-1].timestamp is not None
    assert rows[-1].timestamp < 1.5
    # Times are the camera's, 25 images a second, however late they were read. Its first image has none.
    frames = np.array([row.frame for row in rows[1:]])
    times = np.array([row.timestamp for row in rows[1:]])
    assert np.diff(times) * 25 == pytest.approx(np.diff(frames), abs=0.1)


def test_rtsp_goes_on_after_its_connection_broke_and_prefers_tcp(camera: int) -> None:
    remarks: list[str] = []
    with Gate(camera) as gate:
        rows, broken = [], 0
        for row in read(f"rtsp://127.0.0.1:{gate.port}/live?token=s3cr3t", remark=remarks.append):
            rows.append(row)
            if len(rows) in (5, 10):
                gate.break_connections()
                broken += 1
            if len(rows) == 20:
                break
    check_order(rows)
    assert all(row.status == "ok" for row in rows)
    assert len(remarks) >= 2
    assert not any("s3cr3t" in remark for remark in remarks)
    setups = [request for request in gate.requests if request.startswith("SETUP")]
    assert len(setups) >= 3
    assert all("RTP/AVP/TCP" in setup for setup in setups)


def test_rtsp_that_does_not_come_back_ends_with_a_row(camera: int) -> None:
    remarks: list[str] = []
    with Gate(camera) as gate:
        rows = []
        for row in read(f"rtsp://127.0.0.1:{gate.port}/live", VideoOptions(reconnect=3), remarks.append):
            rows.append(row)
            if len(rows) == 5:
                gate.__exit__()
    assert rows[-1].status == "unreadable"
    assert "connection refused (3 attempts)" in (rows[-1].reason or "")
    assert rows[-1].width == 160
    assert len(remarks) == 3
    check_order(rows[:-1])


def test_rtsp_by_udp_where_there_is_no_tcp(camera: int) -> None:
    with Gate(camera, udp_only=True) as gate:
        rows = list(itertools.islice(read(f"rtsp://127.0.0.1:{gate.port}/live"), 5))
    assert all(row.status == "ok" for row in rows)
    assert [request.split()[0] for request in gate.requests].count("SETUP") == 2


def test_rtsp_passwords_are_given_and_never_shown(
    camera: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    with Gate(camera, password="bob:geheim") as gate:
        good = f"rtsp://bob:geheim@127.0.0.1:{gate.port}/live?key=s3cr3t"
        for level in (None, av.logging.VERBOSE):
            av.logging.set_level(level)
            try:
                rows = list(itertools.islice(read(good, remark=said.append), 3))
                assert all(row.status == "ok" for row in rows)
                wrong = list(read(good.replace("geheim", "geheim2"), remark=said.append))
            finally:
                av.logging.set_level(None)
            assert "does not accept this user and password (401)" in (wrong[0].reason or "")
            said += [f"{row.source} {row.reason} {row!r}" for row in rows + wrong]
        [row] = read(f"rtsp://127.0.0.1:{gate.port}/live?key=s3cr3t")
    assert "give them as rtsp://USER:PASSWORD@HOST" in (row.reason or "")
    shown = "".join([*said, str(row), caplog.text, *capfd.readouterr()])
    assert not any(secret in shown for secret in SECRETS)


def test_rtsp_failures_are_sentences(server: WebServer) -> None:
    [row] = read("rtsp://bob:geheim@no-such-host.invalid/live")
    assert "no connection to the server" in (row.reason or "")
    [row] = read(server.url("/none").replace("http", "rtsp"))
    assert "does not give this stream" in (row.reason or "")


def test_rtsps_verifies_certificates(camera: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with Gate(camera, certificate=certificate, password="bob:geheim") as gate:
        address = f"rtsps://bob:geheim@127.0.0.1:{gate.port}/live"
        [row] = read(address)
        assert row.status == "unreadable"
        assert "certificate is not trusted" in (row.reason or "")
        assert "SSL_CERT_FILE" in (row.reason or "")
        assert not gate.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        rows = list(itertools.islice(read(address), 3))
        assert all(row.status == "ok" for row in rows)


def test_a_stream_without_images_has_a_row_that_says_so(server: WebServer, tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.ts", [scene(i) for i in range(5)]).read_bytes()
    server.answers["/clip"] = unmeasured(clip)
    [row] = read(server.url("/clip"), VideoOptions(start=3600))
    assert row.status == "unreadable"
    assert "no image in the part" in (row.reason or "")


def test_options_of_streams_are_checked() -> None:
    with pytest.raises(UsageError, match="reconnect"):
        VideoOptions(reconnect=-1)


def test_mjpeg_behind_a_password(server: WebServer) -> None:
    server.answers["/video"] = guarded(mjpeg([[scene(i) for i in range(5)]]), "bob", "geheim", "Digest")
    rows = list(read(server.url("/video", "bob:geheim@"), VideoOptions(reconnect=0)))
    assert rows[0].status == "ok"
    assert not any(secret in str(row.source) for row in rows for secret in SECRETS)
