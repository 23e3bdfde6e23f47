"""A video in, one row a frame out: recognized in batches, tracked, smoothed, and annotated on request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.errors import Status, Unreadable
from moue.image import MAX_PIXELS
from moue.progress import Report
from moue.runtime.draw import draw
from moue.runtime.results import Faces, Predictions
from moue.runtime.validation import check
from moue.runtime.video.container import VideoLike, name_of
from moue.runtime.video.decode import Frame, Sampler, Video, open_video
from moue.runtime.video.smooth import SMOOTH, Smoother
from moue.runtime.video.track import Tracker
from moue.runtime.video.writer import VideoWriter


class FaceReader(Protocol):
    """What a recognizer must be able to do here."""

    def batch(self, images: Sequence[NDArray[np.uint8]], /) -> Sequence[Faces]:
        """One answer for each image, uint8 ``(H, W, 3)`` RGB."""
        ...

    def failed(self, source: str, status: Status, reason: str, /) -> Faces:
        """The answer where there is no image, with the reason."""
        ...


class TrackSmoother:
    """Turns the answers for single frames into those of a video: who is who, and steady probabilities.

    Args:
        track: whether to give faces an identity; without it nothing is smoothed either.
        smooth: time constant in seconds; 0 for none.

    Raises:
        UsageError: when ``smooth`` is negative.
    """

    def __init__(self, track: bool = True, smooth: float = SMOOTH) -> None:
        self._tracker = Tracker() if track else None
        self._smoother = Smoother(smooth)

    def __call__(self, faces: Faces) -> Faces:
        """The same faces with their tracks and smoothed probabilities.

        Args:
            faces: those of one frame, with its ``timestamp``; frames must come in order.
        """
        if self._tracker is None:
            return faces
        assert faces.timestamp is not None
        tracks = self._tracker.update(faces.boxes, faces.scores, faces.timestamp)
        p = faces.predictions
        smoothed = self._smoother(tracks, p.probabilities, faces.timestamp)
        return faces.replace(tracks=tracks, predictions=Predictions(smoothed, p.labels, p.uncertain_below))


def frame_result(faces: Faces, frame: Frame, source: str) -> Faces:
    """The faces of an image as those of a video's frame: with the video's name, the frame's number and its time."""
    return faces.replace(source=source, frame=frame.index, timestamp=frame.timestamp)


def stream_video(
    recognizer: FaceReader,
    source: VideoLike | Video,
    *,
    every: int = 1,
    fps: float | None = None,
    smooth: float = SMOOTH,
    track: bool = True,
    batch_size: int = 8,
    annotated: str | os.PathLike[str] | BinaryIO | None = None,
    report: Report | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Faces]:
    """Read the faces in a video, one row a frame, in constant memory.

    A video that cannot be read gives one row that says why. One that is cut off or damaged gives a row for each frame
    that can be decoded, and then one last row, without frame number, of status "unreadable" with the reason.

    Args:
        recognizer: a :class:`moue.Recognizer`, or whatever else a :class:`FaceReader` is.
        source: path, bytes, seekable binary file object, or an opened :class:`Video`.
        every: read each Nth frame.
        fps: read at most that many frames a second of video; instead of ``every``.
        smooth: time constant of the probabilities' smoothing over time, in seconds; 0 for none.
        track: whether to give faces an identity that stays (1, 2, …); smoothing needs it.
        batch_size: frames that go to the recognizer together.
        annotated: where to write an annotated video (.mp4); it has all frames, those not read with the faces last seen.
            Closing the iterator early leaves a video that plays.
        report: called after each batch with (frames gone by, frames in all or None).
        max_pixels: a video of larger images is refused; an opened one is not asked again.

    Raises:
        UsageError: at once, when an option cannot be used.
        OSError: when the annotated video cannot be written (disk full); what was written plays.
    """
    wanted = Sampler(every, fps)
    follow = TrackSmoother(track, smooth)
    check("batch_size", batch_size, 1, whole=True)
    check("max_pixels", max_pixels, 1, whole=True)
    return _rows(recognizer, source, wanted, follow, batch_size, annotated, report, max_pixels)


def _rows(
    recognizer: FaceReader,
    source: VideoLike | Video,
    wanted: Sampler,
    follow: TrackSmoother,
    batch_size: int,
    annotated: str | os.PathLike[str] | BinaryIO | None,
    report: Report | None,
    max_pixels: int,
) -> Iterator[Faces]:
    name = source.name if isinstance(source, Video) else name_of(source)
    try:
        video = source if isinstance(source, Video) else open_video(source, max_pixels=max_pixels)
    except Unreadable as error:
        yield recognizer.failed(name, error.status, str(error))
        return
    except OSError as error:
        yield recognizer.failed(name, "unreadable", (error.strerror or str(error)).lower())
        return
    ended: Unreadable | None = None
    last: Faces | None = None
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(annotated, like=video)) if annotated is not None else None
        walk = video.iter_frames(wanted, all_images=writer is not None)
        stack.callback(walk.close)
        while ended is None:
            held: list[tuple[Frame, bool]] = []
            # Frames between those that are read are held too when a video is written, so they count for the memory.
            try:
                while sum(taken for _, taken in held) < batch_size and len(held) < 2 * batch_size:
                    held.append(next(walk))
            except StopIteration:
                if not held:
                    break
            except Unreadable as error:
                ended = error
            answers = iter(recognizer.batch([frame.image for frame, taken in held if taken]) if held else ())
            for frame, taken in held:
                if taken:
                    last = follow(frame_result(next(answers), frame, name))
                if writer is not None:
                    writer.write(draw(frame.image, last) if last is not None else frame.image, frame.timestamp)
                if taken and last is not None:
                    yield last
            if report is not None and held:
                report(held[-1][0].index + 1, video.frame_count)
    if ended is not None:
        yield recognizer.failed(name, ended.status, str(ended)).replace(width=video.width, height=video.height)
