"""A camera in, one result a frame out, with a live window: the latest frame wins, a lost camera ends cleanly."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
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

#: Time constant, in seconds, of the moving average that the window shows as frames/s.
_FPS_TIME_CONSTANT = 1.0


class Capture(Protocol):
    """What is needed of a camera; OpenCV's ``VideoCapture`` is one."""

    def read(self) -> tuple[bool, Any]:
        """(whether there was an image, uint8 ``(H, W, 3)`` BGR); waits for the next one."""
        ...

    def release(self) -> None:
        """Close the camera."""
        ...


class Window(Protocol):
    """Where images are shown."""

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show one image, uint8 ``(H, W, 3)`` RGB; False when the user closed the window."""
        ...

    def close(self) -> None:
        """Close the window."""
        ...


class _LatestFrames:
    """Reads a capture in its own thread and keeps the newest image only, so that slow recognition never lags."""

    def __init__(self, capture: Capture) -> None:
        self.error: Exception | None = None
        """The driver's error that ended the capture, if any."""
        self._capture = capture
        self._changed = threading.Condition()
        self._latest: tuple[int, float, Any] | None = None
        self._ended = self._closing = False
        self._thread = threading.Thread(target=self._run, name="moue-camera", daemon=True)
        self._thread.start()

    def __iter__(self) -> Generator[Frame, None, None]:
        """Frames, each newer than the one before, until the camera is lost; closes it at the end."""
        start: float | None = None
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._latest is not None or self._ended)
                    latest, self._latest = self._latest, None
                if latest is None:
                    return
                index, moment, image = latest
                start = moment if start is None else start
                yield Frame(index, moment - start, np.ascontiguousarray(image[:, :, ::-1]))
        finally:
            self._closing = True
            # A camera that hangs inside its driver must not hang the program too.
            self._thread.join(timeout=2)

    def _run(self) -> None:
        index = 0
        try:
            while not self._closing:
                success, image = self._capture.read()
                if not success or image is None:
                    break
                with self._changed:
                    self._latest = (index, time.monotonic(), image)
                    self._changed.notify()
                index += 1
        except Exception as error:
            # A driver's own error ends the stream as unplugging does; its last result has the error's text.
            self.error = error
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify()


def camera_frames(index: int = 0, *, capture: Capture | None = None) -> Generator[Frame, None, None]:
    """Stream a camera's images, the newest each time; those in between are skipped.

    Args:
        index: the camera's number.
        capture: another source of BGR images, used instead of the camera.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera.
    """
    return iter(_LatestFrames(capture or open_camera(index)))


def open_camera(index: int = 0) -> Capture:
    """Open a camera with OpenCV.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera, or another program uses it.
    """
    cv2 = require("cv2", "camera")
    capture: Capture = cv2.VideoCapture(index)
    if not capture.isOpened():  # type: ignore[attr-defined]
        raise UsageError(f"there is no camera {index}, or another program uses it.")
    return capture


def stream_camera(
    recognizer: FaceReader,
    index: int = 0,
    *,
    smooth: float = SMOOTH,
    track: bool = True,
    window: bool | Window = False,
    capture: Capture | None = None,
) -> Generator[Faces, None, None]:
    """Read the faces before a camera, one result a frame, until it is lost or the window is closed.

    A lost camera gives one last result of status "camera_lost" with the reason.

    Args:
        recognizer: a :class:`moue.Recognizer`, or another :class:`moue.runtime.video.stream.FaceReader`.
        index: the camera's number.
        smooth: time constant of the probabilities' smoothing over time, in seconds.
        track: whether to give faces an identity that stays.
        window: True for a window with boxes, names, probabilities and frames/s, which q or Esc closes; or another
            :class:`Window`.
        capture: another source of BGR images, used instead of the camera.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera.
    """
    smoother = TrackSmoother(track, smooth)
    shown = CameraWindow() if window is True else window or None
    return _stream(recognizer, f"camera {index}", _LatestFrames(capture or open_camera(index)), smoother, shown)


def _stream(
    recognizer: FaceReader, name: str, latest: _LatestFrames, smoother: TrackSmoother, window: Window | None
) -> Generator[Faces, None, None]:
    width = height = 0
    fps = previous = 0.0
    with ExitStack() as stack:
        frames = iter(latest)
        stack.callback(frames.close)
        if window is not None:
            stack.callback(window.close)
        for frame in frames:
            height, width = frame.image.shape[:2]
            [faces] = recognizer.batch([frame.image])
            faces = smoother(faces.replace(source=name, frame=frame.index, timestamp=frame.timestamp))
            interval, previous = frame.timestamp - previous, frame.timestamp
            if interval > 0:
                fps += min(1.0, interval / _FPS_TIME_CONSTANT) * (1 / interval - fps) if fps else 1 / interval
            is_open = window is None or window.show(draw(frame.image, faces, caption=f"{fps:.1f} frames/s"))
            yield faces
            if not is_open:
                return
    reason = "the camera gives no more images" + (f": {latest.error}" if latest.error else "")
    yield recognizer.failed(name, "camera_lost", reason).replace(width=width, height=height)


class CameraWindow:
    """A window on the screen (OpenCV); q, Esc or its close button ends it.

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
            raise UsageError("there is no screen to show the camera's window on: turn the window off.") from error

    def close(self) -> None:
        """Close the window."""
        if self._open:
            self._cv2.destroyWindow(self._title)
            self._open = False
