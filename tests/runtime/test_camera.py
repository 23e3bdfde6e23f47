from __future__ import annotations

import sys
import threading
import types
from typing import Any

import numpy as np
import pytest
from videos import SquareReader, scene

from moue.errors import MissingExtra, UsageError
from moue.runtime.draw import draw
from moue.runtime.video import camera, live
from moue.runtime.video.camera import camera_frames, stream_camera
from moue.runtime.video.decode import Sampler


class Images:
    """A camera that gives some images, each when asked to, and is then unplugged."""

    def __init__(self, count: int, *, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.given = 0
        self.released = False
        self.more = threading.Semaphore(0)

    def read(self) -> tuple[bool, Any]:
        self.more.acquire()
        if self.given == self.count:
            if self.error:
                raise self.error
            return False, None
        self.given += 1
        return True, scene(self.given - 1)[:, :, ::-1]

    def release(self) -> None:
        self.released = True


class Endless(Images):
    """A camera that always has another image at once."""

    def __init__(self) -> None:
        super().__init__(10**9)

    def read(self) -> tuple[bool, Any]:
        self.more.release()
        return super().read()


class Screen:
    """A window whose user closes it after some images."""

    def __init__(self, after: int = 10**9) -> None:
        self.after = after
        self.shown: list[np.ndarray] = []
        self.closed = False

    def show(self, image: np.ndarray) -> bool:
        self.shown.append(image)
        return len(self.shown) < self.after

    def close(self) -> None:
        self.closed = True


def test_a_lost_camera_ends_with_a_row_that_says_so() -> None:
    for error in (None, RuntimeError("bus reset")):
        capture, screen, rows = Images(3, error=error), Screen(), []
        capture.more.release()
        for row in stream_camera(SquareReader(), capture=capture, window=screen):
            rows.append(row)
            capture.more.release()
        assert [r.status for r in rows] == ["ok", "ok", "ok", "camera_lost"]
        assert [r.frame for r in rows[:3]] == [0, 1, 2]
        assert rows[0].timestamp == 0
        assert all(r.tracks is not None and r.tracks.tolist() == [1] for r in rows[:3])
        assert rows[-1].reason
        assert (error is None) or ("bus reset" in rows[-1].reason)
        assert capture.released
        assert screen.closed
        assert len(screen.shown) == 3


def test_the_latest_frame_wins() -> None:
    capture = Images(6)
    capture.more.release()
    frames = camera_frames(capture=capture)
    assert next(frames).index == 0
    # Five more come while nobody looks, and then it is unplugged.
    capture.more.release(6)
    assert ended(capture)
    last = next(frames)
    assert last.index == 5
    np.testing.assert_array_equal(last.image, scene(5))
    with pytest.raises(StopIteration):
        next(frames)


def ended(capture: Images) -> bool:
    """Whether the camera was closed; waits until its thread has ended."""
    for thread in threading.enumerate():
        if thread.name == "moue-live":
            thread.join(timeout=10)
    return capture.released


def test_closing_the_window_closes_the_camera() -> None:
    capture, screen = Endless(), Screen(after=2)
    rows = list(stream_camera(SquareReader(), capture=capture, window=screen))
    assert len(rows) == 2
    assert rows[-1].status == "ok"
    assert screen.closed
    assert capture.released
    # The image has the rate in its corner and the box around the square.
    x, y, width, _ = rows[0].boxes[0].astype(int)
    assert (screen.shown[0][y : y + 2, x : x + width] != scene(0)[y : y + 2, x : x + width]).any()
    assert (screen.shown[0][:10, :40] != scene(0)[:10, :40]).any()


def test_a_camera_is_read_until_the_end() -> None:
    rows = list(stream_camera(SquareReader(), capture=Endless(), sampler=Sampler(end=0.2)))
    assert {row.status for row in rows} == {"ok"}
    assert all(row.timestamp is not None and row.timestamp < 0.2 for row in rows)


def test_stopping_early_closes_the_camera() -> None:
    capture = Endless()
    rows = stream_camera(SquareReader(), capture=capture)
    next(rows)
    rows.close()
    assert ended(capture)


def test_without_opencv_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str, extra: str) -> None:
        raise MissingExtra(module, extra)

    monkeypatch.setattr(camera, "require", absent)
    with pytest.raises(MissingExtra, match=r"moue\[camera\]"):
        stream_camera(SquareReader(), 0)
    with pytest.raises(MissingExtra, match=r"moue\[camera\]"):
        camera_frames(0)


class FakeCv2(types.ModuleType):
    """What moue asks of OpenCV: a camera of three images and a window that keeps what it is shown."""

    WND_PROP_VISIBLE = 4
    error = RuntimeError

    def __init__(self) -> None:
        super().__init__("cv2")
        self.shown: list[np.ndarray] = []
        self.windows: list[str] = []
        self.key = -1
        self.capture = Images(3)
        self.capture.more.release(4)

    def VideoCapture(self, index: int) -> Any:
        self.capture.isOpened = lambda: index == 0  # type: ignore[attr-defined]
        return self.capture

    def imshow(self, title: str, image: np.ndarray) -> None:
        self.windows = [title]
        self.shown.append(image)

    def waitKey(self, milliseconds: int) -> int:
        return self.key

    def getWindowProperty(self, title: str, which: int) -> int:
        return int(title in self.windows)

    def destroyWindow(self, title: str) -> None:
        self.windows.remove(title)


def test_opencv_s_window_shows_bgr_with_names_and_rate_until_the_camera_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cv2 = FakeCv2()
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    captions: list[str] = []

    def recorded(image: np.ndarray, row: Any, **options: Any) -> np.ndarray:
        captions.append(options["caption"])
        return draw(image, row, **options)

    monkeypatch.setattr(live, "draw", recorded)
    rows = list(stream_camera(SquareReader(), 0, window=True))
    assert rows[-1].status == "camera_lost"
    assert len(cv2.shown) == len(rows) - 1 == len(captions) > 0
    assert all(caption.endswith(" frames/s") for caption in captions)
    expected = draw(scene(rows[-2].frame or 0), rows[-2], caption=captions[-1])
    np.testing.assert_array_equal(cv2.shown[-1], expected[:, :, ::-1])
    assert cv2.windows == []
    assert cv2.capture.released
    with pytest.raises(UsageError, match="no camera 1"):
        stream_camera(SquareReader(), 1, window=True)


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_q_and_esc_end_opencv_s_window(key: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = FakeCv2()
    cv2.key = key
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    rows = list(stream_camera(SquareReader(), 0, window=True))
    assert [row.status for row in rows] == ["ok"]
    assert cv2.windows == []


def test_a_machine_without_a_screen_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = FakeCv2()
    cv2.imshow = lambda *_: (_ for _ in ()).throw(cv2.error("no display"))  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    with pytest.raises(UsageError, match="no screen"):
        list(stream_camera(SquareReader(), 0, window=True))
    assert cv2.capture.released
