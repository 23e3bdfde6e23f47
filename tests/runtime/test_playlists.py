"""A file that names other files, addresses or ports is no video: nothing that it names is opened."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from videos import make_video, scene

from moue import Faces, Recognizer
from moue.runtime.video.container import open_container
from moue.signatures import VIDEO_SUFFIXES

#: Text that FFmpeg takes for a kind of playlist; {secret} is another file, {port} a port that listens. A control
#: character keeps it from being told from a video as text.
PLAYLISTS = {
    "concat": "ffconcat version 1.0\n#\x01\nfile {secret}\n",
    "hls": "#EXTM3U\n#\x01x\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\n{secret}\n#EXT-X-ENDLIST\n",
    "hls of an address": "#EXTM3U\n#\x01x\n#EXT-X-TARGETDURATION:9\n#EXTINF:5,\nhttp://127.0.0.1:{port}/a.ts\n",
    "dash": '<?xml version="1.0"?>\x01<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet mimeType="'
    'video/mp4"><Representation id="1"><BaseURL>http://127.0.0.1:{port}/</BaseURL></Representation></AdaptationSet></Period>'
    "</MPD>",
    "rtsp": "RTSPtext\nrtsp://127.0.0.1:{port}/\n\x01",
    "sdp": "a=b.ftypjp2 .\nv=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@contextmanager
def watch_sockets() -> Iterator[set[str]]:
    """The sockets that this process opens meanwhile."""
    before, opened, done = sockets(), set[str](), threading.Event()

    def watch() -> None:
        while not done.is_set():
            opened.update(sockets() - before)
            done.wait(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield opened
    finally:
        done.set()
        thread.join()


def sockets() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)  # noqa: PTH115 - "socket:[1]" is no path
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "file"])
def test_nothing_that_a_file_names_is_opened(
    kind: str, as_bytes: bool, tmp_path: Path, tiny_onnx: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "secret.mp4", [scene(i) for i in range(10)])
    # FFmpeg looks for what a file's bytes name in the working directory.
    monkeypatch.chdir(tmp_path)
    text = PLAYLISTS[kind].format(secret="secret.mp4", port=listener.getsockname()[1])
    (tmp_path / "film.mp4").write_bytes(text.encode())
    recognizer = Recognizer(tiny_onnx, "none")
    with watch_sockets() as opened:
        [faces] = recognizer.stream([text.encode() if as_bytes else tmp_path / "film.mp4"])
        # What FFmpeg itself would do, were it asked for a video whatever the first bytes look like.
        with pytest.raises(ValueError, match="video"), open_container(text.encode()):
            pass
    assert faces.status == "unreadable"
    assert faces.reason
    assert not opened
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_text_is_never_a_raw_video(tmp_path: Path, tiny_onnx: Path) -> None:
    """Formats whose start is a few bits are found in any text; H.263 gave a picture of 176×144 pixels."""
    recognizer = Recognizer(tiny_onnx, "none")
    starts = [bytes(zeros) + bytes([start]) for zeros in (1, 2, 3) for start in (0x01, 0x10, 0x80, 0x83, 0xB3, 0xE0)]
    for text in (b"%!PS (photo.png) run\n" + start + 40 * b"n\n" for start in starts):
        for name in ("text", "text.mp4"):
            (tmp_path / name).write_bytes(text)
            [faces] = recognizer.stream([tmp_path / name])
            assert faces.status == "unreadable", text


def test_a_photo_of_a_phone_without_its_brand_is_no_video(tmp_path: Path, tiny_onnx: Path) -> None:
    """FFmpeg demuxes HEIF as it does MP4; a damaged photo was a video of one frame as a file, and not as bytes."""
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), (200, 120, 60))).save(file)
    damaged = file.getvalue().replace(b"ftyp", b"ftYp", 1)
    (tmp_path / "photo").write_bytes(damaged)
    recognizer = Recognizer(tiny_onnx, "none")
    for source in (damaged, tmp_path / "photo"):
        faces = recognizer.read(source)
        assert isinstance(faces, Faces), "one image has one result, a video a list"
        assert faces.status == "unreadable"


#: Of these FFmpeg writes no H.264, or nothing by their name.
OTHER_CODECS = {".264", ".hevc", ".mxf", ".ogv", ".wmv", ".webm"}


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES - OTHER_CODECS))
def test_containers_that_cameras_and_programs_write_are_opened(suffix: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / f"video{suffix}", [scene(i) for i in range(5)])
    for source in (path, path.read_bytes()):
        with open_container(source) as container:
            assert container.streams.video
