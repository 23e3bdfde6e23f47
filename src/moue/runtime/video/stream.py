"""A video in, one result a frame out: recognized in batches, tracked, smoothed, and annotated on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.errors import Status, Unreadable
from moue.image import MAX_PIXELS
from moue.progress import Report
from moue.runtime.draw import draw
from moue.runtime.results import Faces
from moue.runtime.validation import check_number
from moue.runtime.video.animation import open_film
from moue.runtime.video.container import VideoLike, name_of
from moue.runtime.video.cuts import CutDetector, face_images
from moue.runtime.video.decode import Frame, Sampler, Video
from moue.runtime.video.smooth import SMOOTH, Smoother
from moue.runtime.video.track import Tracker
from moue.runtime.video.writer import VideoWriter

#: Frames of more pixels together do not go to the recognizer at once: eight of 4K do.
BATCH_PIXELS = 70_000_000


class FaceReader(Protocol):
    """What videos and cameras need of a recognizer."""

    def batch(self, images: Sequence[NDArray[np.uint8]], /) -> Sequence[Faces]:
        """The faces of each image, uint8 ``(H, W, 3)`` RGB."""
        ...

    def failed(self, source: str, status: Status, reason: str, /) -> Faces:
        """The result of an input that cannot be read, with the reason."""
        ...


class TrackSmoother:
    """Adds to the results of single frames what only a sequence has: tracks and smoothed probabilities.

    Args:
        track: whether to track faces; without it nothing is smoothed either.
        smooth: time constant in seconds; 0 for none.

    Raises:
        UsageError: when ``smooth`` is negative.
    """

    def __init__(self, track: bool = True, smooth: float = SMOOTH) -> None:
        self._tracker = Tracker() if track else None
        self._smoother = Smoother(smooth)
        self._cuts = CutDetector()

    def __call__(self, faces: Faces, image: NDArray[np.uint8] | None = None) -> Faces:
        """The same faces in the order of their tracks, with smoothed probabilities.

        Args:
            faces: those of one frame, with its ``timestamp``; frames must come in order.
            image: the frame, uint8 ``(H, W, 3)`` RGB: at a cut all tracks end, and at one between like scenes the track
                of a face that another one takes the place of. None where there are no cuts, as from a camera.
        """
        if self._tracker is None:
            return faces
        assert faces.timestamp is not None
        looks = None
        if image is not None:
            change = self._cuts(image, faces.timestamp)
            if change == "cut":
                self._tracker.restart()
            # In the light of a flash all faces look different.
            looks = [None] * len(faces) if change == "unclear" else face_images(image, faces.boxes)
        tracks = self._tracker.update(faces.boxes, faces.scores, faces.timestamp, looks)
        smoothed = self._smoother(tracks, faces.predictions.probabilities, faces.timestamp)
        faces = faces.replace(tracks=tracks, predictions=replace(faces.predictions, probabilities=smoothed))
        order = np.argsort(tracks)
        return faces if np.array_equal(order, np.arange(len(faces))) else faces[order]


def stream_video(
    recognizer: FaceReader,
    source: VideoLike | Video,
    *,
    every: int = 1,
    fps: float | None = None,
    start: float = 0,
    end: float | None = None,
    smooth: float = SMOOTH,
    track: bool = True,
    batch_size: int = 8,
    annotated: str | os.PathLike[str] | BinaryIO | None = None,
    report: Report | None = None,
    max_pixels: int = MAX_PIXELS,
    on_remark: Callable[[str], object] | None = None,
) -> Generator[Faces, None, None]:
    """Read the faces in a video, one result a frame, in constant memory.

    A video that cannot be read gives one result that says why. One that is cut off or damaged gives a result for each
    frame that can be decoded, and then a last one, without frame number, of status "unreadable" with the reason.

    Args:
        recognizer: a :class:`moue.Recognizer`, or another :class:`FaceReader`.
        source: path, bytes, seekable binary file object, or an opened :class:`Video`.
        every: read every Nth frame.
        fps: read at most this many frames per second of video; instead of ``every``.
        start: seconds of the first frame to read; numbers and timestamps of the frames stay those of the whole video.
        end: seconds before which frames are read; None for all.
        smooth: time constant of the probabilities' smoothing over time, in seconds; 0 for none.
        track: whether to give faces an identity that stays (1, 2, …); smoothing needs it.
        batch_size: frames that go to the recognizer together; fewer where they have many pixels.
        annotated: where to write an annotated video (.mp4); it has all frames from ``start`` to ``end``, those not read
            with the faces last seen. Closing the iterator early leaves a video that plays.
        report: called after each batch with (frames decoded, frames in all or None), both of the range.
        max_pixels: refuse a video whose images have more pixels; an opened :class:`Video` is not checked again.
        on_remark: called with one sentence when the annotated video or its sound ends early, as
            :class:`moue.runtime.video.writer.VideoWriter` does; the results go on.

    Raises:
        UsageError: at once, when an option cannot be used.
        OSError: when the annotated video cannot be written (disk full); what was written plays.
    """
    sampler = Sampler(every, fps, start, end)
    smoother = TrackSmoother(track, smooth)
    check_number("batch_size", batch_size, 1, integer=True)
    check_number("max_pixels", max_pixels, 1, integer=True)
    return _stream(recognizer, source, sampler, smoother, batch_size, annotated, report, max_pixels, on_remark)


def _stream(
    recognizer: FaceReader,
    source: VideoLike | Video,
    sampler: Sampler,
    smoother: TrackSmoother,
    batch_size: int,
    annotated: str | os.PathLike[str] | BinaryIO | None,
    report: Report | None,
    max_pixels: int,
    on_remark: Callable[[str], object] | None,
) -> Generator[Faces, None, None]:
    name = source.name if isinstance(source, Video) else name_of(source)
    try:
        video = source if isinstance(source, Video) else open_film(source, max_pixels=max_pixels)
    except Unreadable as error:
        yield recognizer.failed(name, error.status, str(error))
        return
    except OSError as error:
        yield recognizer.failed(name, "unreadable", (error.strerror or str(error)).lower())
        return
    latest: Faces | None = None
    total, decoded = video.count(sampler), 0
    with ExitStack() as stack:
        writer = None
        if annotated is not None:
            writer = VideoWriter(annotated, like=video, start=sampler.start, end=sampler.end, on_remark=on_remark)
            stack.enter_context(writer)
        frames = video.iter_frames(sampler, convert_all=writer is not None)
        stack.callback(frames.close)
        try:
            # Few large images together are as quick as many small ones, and take as much memory.
            size = max(1, min(batch_size, BATCH_PIXELS // max(1, video.width * video.height)))
            for batch in _batches(frames, size):
                results = iter(recognizer.batch([frame.image for frame in batch if frame.sampled]))
                for frame in batch:
                    if frame.sampled:
                        faces = next(results).replace(source=name, frame=frame.index, timestamp=frame.timestamp)
                        latest = smoother(faces, frame.image)
                    if writer is not None:
                        image = frame.image if latest is None else draw(frame.image, latest)
                        writer.write(image, frame.timestamp)
                    if frame.sampled and latest is not None:
                        yield latest
                decoded += len(batch)
                if report is not None:
                    report(decoded, total)
        except Unreadable as error:
            yield recognizer.failed(name, error.status, str(error)).replace(width=video.width, height=video.height)


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    """Frames in lists with ``size`` sampled ones each, and at most twice as many frames in all.

    Frames that are not sampled count, as they take memory too when a video is written. An Unreadable that ends the
    frames is raised after the last list.
    """
    batch: list[Frame] = []
    damage: Unreadable | None = None
    try:
        for frame in frames:
            batch.append(frame)
            if len(batch) == 2 * size or sum(frame.sampled for frame in batch) == size:
                yield batch
                batch = []
    except Unreadable as error:
        damage = error
    if batch:
        yield batch
    if damage is not None:
        raise damage
