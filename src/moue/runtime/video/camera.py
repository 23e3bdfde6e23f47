"""A camera in, one row a frame out, with a live window: the latest frame wins, a lost camera ends cleanly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError, require
from moue.runtime.draw import draw
from moue.runtime.results import Faces
from moue.runtime.video.decode import Frame
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.video.stream import FaceReader, TrackSmoother

#: The rate in the window's corner is the mean over about this many seconds.
_RATE_OVER = 1.0


class Capture(Protocol):
    """What a camera must be able to do; OpenCV's ``VideoCapture`` is one."""

    def read(self) -> tuple[bool, Any]:
        """(whether there was an image, uint8 ``(H, W, 3)`` BGR); waits for the next one."""
        ...

    def release(self) -> None:
        """Give the camera back."""
        ...


class Window(Protocol):
    """Where images are shown."""

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show one image, uint8 ``(H, W, 3)`` RGB; False when the user has ended it."""
        ...

    def close(self) -> None:
        """Take the window away."""
        ...


class _Latest:
    """Reads a capture in a thread of its own and holds the newest image, so that slow recognition never lags."""

    def __init__(self, capture: Capture, clock: Callable[[], float]) -> None:
        self._capture, self._clock = capture, clock
        self._news = threading.Condition()
        self._image: tuple[int, float, Any] | None = None
        self._over = self._stop = False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="moue-camera", daemon=True)
        self._thread.start()

    def next(self) -> tuple[int, float, Any] | None:
        """(number, seconds, image), newer than what was taken before; None when the camera is gone."""
        with self._news:
            self._news.wait_for(lambda: self._image is not None or self._over)
            taken, self._image = self._image, None
            return taken

    def close(self) -> None:
        """Stop reading and give the camera back."""
        self._stop = True
        # A camera that hangs inside its driver must not hang the program too.
        self._thread.join(timeout=2)

    def _run(self) -> None:
        index = 0
        try:
            while not self._stop:
                there, image = self._capture.read()
                if not there or image is None:
                    break
                with self._news:
                    self._image = (index, self._clock(), image)
                    self._news.notify()
                index += 1
        except Exception as error:
            # A driver's own error ends the camera as unplugging it does; the row tells.
            self.error = error
        finally:
            self._capture.release()
            with self._news:
                self._over = True
                self._news.notify()


def camera_frames(index: int = 0, *, capture: Capture | None = None) -> Generator[Frame, None, None]:
    """Stream a camera's images; those that come while the last one is worked on are stepped over.

    Args:
        index: the camera's number.
        capture: another source of BGR images, used instead of the camera.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera.
    """
    return _frames(_Latest(capture or open_camera(index), time.monotonic))


def _frames(latest: _Latest) -> Generator[Frame, None, None]:
    start: float | None = None
    try:
        while (news := latest.next()) is not None:
            number, moment, image = news
            start = moment if start is None else start
            yield Frame(number, moment - start, np.ascontiguousarray(image[:, :, ::-1]))
    finally:
        latest.close()


def open_camera(index: int = 0) -> Capture:
    """Open a camera with OpenCV.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera, or it is taken.
    """
    cv2 = require("cv2", "camera")
    capture: Capture = cv2.VideoCapture(index)
    if not capture.isOpened():  # type: ignore[attr-defined]
        raise UsageError(f"there is no camera {index}, or another program holds it.")
    return capture


def stream_camera(
    recognizer: FaceReader,
    index: int = 0,
    *,
    smooth: float = SMOOTH,
    track: bool = True,
    window: bool | Window = False,
    capture: Capture | None = None,
) -> Iterator[Faces]:
    """Read the faces before a camera, one row a frame, until it is lost or the window is closed.

    A lost camera gives one last row of status "camera_lost" with the reason.

    Args:
        recognizer: a :class:`moue.Recognizer`, or whatever else a :class:`moue.runtime.video.stream.FaceReader` is.
        index: the camera's number.
        smooth: time constant of the probabilities' smoothing over time, in seconds.
        track: whether to give faces an identity that stays.
        window: True for a window with boxes, names, probabilities and frames/s, which q or Esc closes; or one's own.
        capture: another source of BGR images, used instead of the camera.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera.
    """
    follow = TrackSmoother(track, smooth)
    latest = _Latest(capture or open_camera(index), time.monotonic)
    shown = CameraWindow() if window is True else window or None
    return _rows(recognizer, f"camera {index}", latest, follow, shown)


def _rows(
    recognizer: FaceReader, name: str, latest: _Latest, follow: TrackSmoother, window: Window | None
) -> Iterator[Faces]:
    size = (0, 0)
    rate = before = 0.0
    with ExitStack() as stack:
        frames = _frames(latest)
        stack.callback(frames.close)
        if window is not None:
            stack.callback(window.close)
        for frame in frames:
            size = (frame.image.shape[1], frame.image.shape[0])
            row = follow(
                recognizer.batch([frame.image])[0].replace(source=name, frame=frame.index, timestamp=frame.timestamp)
            )
            step, before = frame.timestamp - before, frame.timestamp
            if step > 0:
                rate += min(1.0, step / _RATE_OVER) * (1 / step - rate) if rate else 1 / step
            if window is not None and not window.show(draw(frame.image, row, caption=f"{rate:.1f} frames/s")):
                yield row
                return
            yield row
    why = f": {latest.error}" if latest.error else ""
    lost = recognizer.failed(name, "camera_lost", f"the camera gives no more images{why}")
    yield lost.replace(width=size[0], height=size[1])


class CameraWindow:
    """A window on the screen (OpenCV); q, Esc or its own button ends it.

    Raises:
        MissingExtra: without opencv-python.
    """

    def __init__(self, title: str = "moue") -> None:
        self._cv2 = require("cv2", "camera")
        self._title = title
        self._open = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show one image, uint8 ``(H, W, 3)`` RGB.

        Returns:
            False when q or Esc was pressed or the window was closed.

        Raises:
            UsageError: when this machine has no screen.
        """
        cv2 = self._cv2
        if self._open and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        try:
            cv2.imshow(self._title, np.ascontiguousarray(image[:, :, ::-1]))
            self._open = True
            return (cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)
        except cv2.error as error:
            raise UsageError("there is no screen to show the camera's window on: leave the window away.") from error

    def close(self) -> None:
        """Take the window away."""
        if self._open:
            self._cv2.destroyWindow(self._title)
            self._open = False
