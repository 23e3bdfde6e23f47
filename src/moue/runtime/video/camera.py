"""A camera in, one result a frame out, with a live window: the latest frame wins, a lost camera ends cleanly."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator
from functools import partial
from typing import Any, Protocol

import numpy as np

from moue.errors import Status, UsageError, require
from moue.runtime.results import Faces
from moue.runtime.video.decode import Frame, Sampler
from moue.runtime.video.latest import Item, LatestFrames
from moue.runtime.video.live import stream_latest
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.video.stream import FaceReader
from moue.runtime.video.window import Window


class Capture(Protocol):
    """What is needed of a camera; OpenCV's ``VideoCapture`` is one."""

    def read(self) -> tuple[bool, Any]:
        """(whether there was an image, uint8 ``(H, W, 3)`` BGR); waits for the next one."""
        ...

    def release(self) -> None:
        """Close the camera."""
        ...


def _images(capture: Capture, closing: threading.Event) -> Generator[Item, None, None]:
    """What a capture gives, until it ends; closes it then."""
    begin: float | None = None
    try:
        for index in itertools.count():
            success, image = capture.read()
            if not success or image is None or closing.is_set():
                return
            moment = time.monotonic()
            begin = moment if begin is None else begin
            yield index, moment - begin, image
    finally:
        capture.release()


def _latest(capture: Capture, sampler: Sampler | None = None) -> LatestFrames:
    return LatestFrames(partial(_images, capture), lambda bgr: np.ascontiguousarray(bgr[:, :, ::-1]), sampler)


def camera_frames(index: int = 0, *, capture: Capture | None = None) -> Generator[Frame, None, None]:
    """Stream a camera's images, the newest each time; those in between are skipped.

    Args:
        index: the camera's number.
        capture: another source of BGR images, used instead of the camera.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera.
    """
    return _latest(capture or open_camera(index)).frames()


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
    sampler: Sampler | None = None,
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
        sampler: which images may be read; the results end with its range.
        window: True for a window with boxes, names, probabilities and frames/s, which q or Esc closes; or another
            :class:`Window`.
        capture: another source of BGR images, used instead of the camera.

    Raises:
        MissingExtra: without opencv-python.
        UsageError: when there is no such camera.
    """
    latest = _latest(capture or open_camera(index), sampler)
    lost = partial(_lost, latest)
    return stream_latest(recognizer, f"camera {index}", latest, lost, smooth=smooth, track=track, window=window)


def _lost(latest: LatestFrames) -> tuple[Status, str]:
    return "camera_lost", "the camera gives no more images" + (f": {latest.error}" if latest.error else "")
