"""Live images in, one result an image out: annotated and shown on request, until they end."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack

from moue.errors import Status
from moue.progress import Report
from moue.runtime.draw import draw
from moue.runtime.results import Faces
from moue.runtime.video.latest import LatestFrames
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.video.stream import FaceReader, TrackSmoother
from moue.runtime.video.window import ScreenWindow, Window
from moue.runtime.video.writer import VideoWriter

#: Time constant, in seconds, of the moving average that the window shows as frames/s.
_FPS_TIME_CONSTANT = 1.0


def stream_latest(
    recognizer: FaceReader,
    name: str,
    latest: LatestFrames,
    lost: Callable[[], tuple[Status, str] | None],
    *,
    smooth: float = SMOOTH,
    track: bool = True,
    window: bool | Window = False,
    annotated: str | os.PathLike[str] | None = None,
    report: Report | None = None,
    on_remark: Callable[[str], object] | None = None,
) -> Generator[Faces, None, None]:
    """Read the faces in live images, one result an image that is read.

    Args:
        recognizer: a :class:`moue.Recognizer`, or another :class:`moue.runtime.video.stream.FaceReader`.
        name: what the results call the source.
        latest: the images.
        lost: asked when they end before their time: the status and the reason of a last result; None for none.
        smooth: time constant of the probabilities' smoothing over time, in seconds.
        track: whether to give faces an identity that stays.
        window: True for a window with boxes, names, probabilities and frames/s, which q or Esc closes; or another
            :class:`Window`.
        annotated: where to write an annotated video (.mp4) of the images that are read; there is none without images.
        report: called after each image with (images so far, None).
        on_remark: called with one sentence when a connection is lost, or the annotated video ends early.

    Raises:
        MissingExtra: when a window needs opencv-python.
        UsageError: when ``smooth`` is negative.
        OSError: when the annotated video cannot be written; what was written plays.
    """
    smoother = TrackSmoother(track, smooth)
    shown = ScreenWindow() if window is True else window or None
    return _stream(recognizer, name, latest, lost, smoother, shown, annotated, report, on_remark)


def _stream(
    recognizer: FaceReader,
    name: str,
    latest: LatestFrames,
    lost: Callable[[], tuple[Status, str] | None],
    smoother: TrackSmoother,
    window: Window | None,
    annotated: str | os.PathLike[str] | None,
    report: Report | None,
    on_remark: Callable[[str], object] | None,
) -> Generator[Faces, None, None]:
    width = height = 0
    fps = previous = 0.0
    writer: VideoWriter | None = None
    with ExitStack() as stack:
        frames = latest.frames(on_remark)
        stack.callback(frames.close)
        if window is not None:
            stack.callback(window.close)
        for count, frame in enumerate(frames, start=1):
            height, width = frame.image.shape[:2]
            [faces] = recognizer.batch([frame.image])
            faces = smoother(faces.replace(source=name, frame=frame.index, timestamp=frame.timestamp))
            if annotated is not None:
                writer = writer or stack.enter_context(VideoWriter(annotated, on_remark=on_remark))
                writer.write(draw(frame.image, faces), frame.timestamp)
            interval, previous = frame.timestamp - previous, frame.timestamp
            if interval > 0:
                fps += min(1.0, interval / _FPS_TIME_CONSTANT) * (1 / interval - fps) if fps else 1 / interval
            is_open = window is None or window.show(draw(frame.image, faces, caption=f"{fps:.1f} frames/s"))
            yield faces
            if report is not None:
                report(count, None)
            if not is_open:
                return
    last = None if latest.over and width else lost()
    if last is None and not width:
        last = "unreadable", "it gave no image in the part that was to be read"
    if last is not None:
        yield recognizer.failed(name, *last).replace(width=width, height=height)
