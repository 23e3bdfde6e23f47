"""Bodies must arrive at a pace: an upload that drips must not keep others out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from pictures import saved
from PIL import Image
from uploads import Start
from videos import make_video, scene

from moue.errors import Unreadable, UsageError
from moue.runtime.video.animation import Animation
from moue.server.jobs import open_upload
from moue.server.settings import Settings
from moue.server.upload import Pace, read_body

#: As videos are uploaded by default.
PACE = Pace(Settings.video_upload_timeout_seconds, Settings.upload_timeout_seconds, Settings.min_upload_rate)


class Arrival:
    """A request whose parts arrive at times of a clock of its own."""

    def __init__(self, parts: Iterable[tuple[float, bytes]]) -> None:
        self.now = 1000.0
        self.headers: dict[str, str] = {}
        self._parts = parts

    async def stream(self) -> AsyncIterator[bytes]:
        for seconds, part in self._parts:
            self.now += seconds
            yield part

    def read(self, pace: Pace) -> int:
        """The bytes that are read."""

        async def read() -> int:
            request: Any = self
            return sum([len(part) async for part in read_body(request, 1 << 40, pace, clock=lambda: self.now)])

        return asyncio.run(read())


def drip(seconds: float, part: bytes, n: int = 10_000) -> Iterable[tuple[float, bytes]]:
    return ((seconds, part) for _ in range(n))


def test_a_byte_every_eight_seconds_is_ended_soon() -> None:
    request = Arrival(drip(8, b"x"))
    with pytest.raises(HTTPException) as error:
        request.read(PACE)
    assert error.value.status_code == 408
    assert "at least 16,384 bytes a second" in error.value.detail
    assert request.now <= 1000 + Settings.upload_timeout_seconds + 8


def test_a_fast_beginning_pays_for_no_more_than_its_bytes() -> None:
    request = Arrival([(0.0, bytes(1 << 20)), *drip(8, b"x")])
    with pytest.raises(HTTPException, match="bytes a second"):
        request.read(PACE)
    assert request.now <= 1000 + Settings.upload_timeout_seconds + (1 << 20) / Settings.min_upload_rate + 8


def test_a_slow_but_steady_upload_is_read_to_its_end() -> None:
    assert Arrival(drip(2, bytes(32 << 10), 1000)).read(PACE) == 1000 * (32 << 10)
    # A connection may take a moment to get going.
    assert Arrival([(25.0, b"x"), (2.0, bytes(1 << 20))]).read(PACE) == (1 << 20) + 1


def test_no_upload_is_longer_than_the_limit() -> None:
    request = Arrival(drip(10, bytes(10 << 20)))
    with pytest.raises(HTTPException, match="must arrive within 3600 s"):
        request.read(PACE)
    assert request.now <= 1000 + 3600 + 10


def test_silence_is_ended() -> None:
    request = Arrival([(1.0, bytes(100 << 20)), (31.0, b"x")])
    with pytest.raises(HTTPException, match="nothing arrived for 30 s"):
        request.read(PACE)


@pytest.mark.parametrize("setting", ["upload_timeout_seconds", "video_upload_timeout_seconds"])
def test_the_limits_of_videos_are_settings(start: Start, setting: str) -> None:
    # The bytes are there at once, and even so too late.
    response = start(**{setting: 1e-9}).post("/v1/videos", content=b"x" * 100)
    assert (response.status_code, "too long" in response.json()["detail"]) == (408, True)


@pytest.mark.parametrize("name", ["min_upload_rate", "video_upload_timeout_seconds"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be"):
        Settings(**{name: 0})  # type: ignore[arg-type]


def test_uploads_may_be_animations_and_not_images(tmp_path: Path) -> None:
    path, images = tmp_path / "upload", [Image.fromarray(scene(4 * i)) for i in range(3)]
    path.write_bytes(saved(images[0], "GIF", save_all=True, append_images=images[1:]))
    assert isinstance(open_upload(path, 10**6), Animation)
    path.write_bytes(saved(images[0]))
    with pytest.raises(Unreadable, match="not a video"):
        open_upload(path, 10**6)
    make_video(tmp_path / "a.mp4", [scene(i) for i in range(3)])
    assert open_upload(tmp_path / "a.mp4", 10**6).codec == "h264"
