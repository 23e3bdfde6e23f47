"""Finds the faces in anything and reads their expressions."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.errors import Status, UnknownName, Unreadable, UsageError
from moue.image import MAX_PIXELS, Order, Photo, Truncated, check_order, read_photo
from moue.preprocess import ImageArray
from moue.runtime.crop import DetectedFaces, detect_faces
from moue.runtime.detect import CenterFace, Detector, PrecomputedDetector, open_detector
from moue.runtime.engine import Engine, EngineName, OptimizeFor, open_model
from moue.runtime.follow import FollowingDetector
from moue.runtime.inputs.resolve import is_input, resolve, resolve_single
from moue.runtime.inputs.source import Source
from moue.runtime.network.retry import RETRIES
from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.runtime.results import Faces, Predictions, class_probabilities
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.weights import version_of

#: A stream classifies the faces of at most this many images together.
MAX_PENDING = 16
#: Options of :meth:`Recognizer.read` for videos.
_VIDEO_OPTIONS = ("every", "fps", "start", "end", "smooth")


class Recognizer:
    """Reads expressions; made once, used often, safe to share between threads.

    The arguments are the fields of :class:`moue.runtime.options.RecognizerOptions`, which documents them; ``options``
    holds them, and ``spec`` what the model was trained for, with the threshold and the views that are in use.

    Raises:
        UsageError: for a value out of its range.
        UnknownName: for a model, detector or engine that is not known.
        ModelError: when model or detector are missing or damaged.
        MissingExtra: when the engine or the model is in an extra that is not installed.
    """

    def __init__(
        self,
        model: str | Path | Engine = "default",
        detector: str | Detector = "centerface",
        *,
        engine: EngineName = "auto",
        threads: int = 0,
        min_score: float = 0.5,
        uncertain_below: float | None = None,
        logit_adjustment: float | None = None,
        small_faces: bool = False,
        long_side: int = 1280,
        video_side: int = 384,
        detect_every: int = 1,
        views: int | None = None,
        batch_size: int | None = None,
        optimize_for: OptimizeFor = "latency",
        max_pixels: int = MAX_PIXELS,
        truncated: Truncated = "read",
    ) -> None:
        options = RecognizerOptions(
            model=model,
            detector=detector,
            engine=engine,
            threads=threads,
            min_score=min_score,
            uncertain_below=uncertain_below,
            logit_adjustment=logit_adjustment,
            small_faces=small_faces,
            long_side=long_side,
            video_side=video_side,
            detect_every=detect_every,
            views=views,
            batch_size=batch_size,
            optimize_for=optimize_for,
            max_pixels=max_pixels,
            truncated=truncated,
        )
        self._open(options)

    @classmethod
    def from_options(cls, options: RecognizerOptions) -> Recognizer:
        """A recognizer with these options."""
        recognizer = cls.__new__(cls)
        recognizer._open(options)
        return recognizer

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its options, so that worker processes open models of their own."""
        return type(self).from_options, (self.options,)

    def _open(self, options: RecognizerOptions, detector: Detector | None = None, model: Engine | None = None) -> None:
        """Open detector and model: those of the options, unless open ones are given."""
        self.options = options
        # The detector first: it is quicker to fail.
        self.detector = open_detector(
            options.detector if detector is None else detector,
            long_side=options.search_side,
            engine=options.engine,
            threads=options.threads,
            optimize_for=options.optimize_for,
        )
        given = options.model if model is None else model
        if isinstance(given, Engine):
            self._engine = given
        else:
            self._engine = open_model(
                given, engine=options.engine, threads=options.threads, optimize_for=options.optimize_for
            )
        changes = {name: getattr(options, name) for name in ("uncertain_below", "views", "logit_adjustment")}
        self.spec = self._engine.spec.replace(**{name: value for name, value in changes.items() if value is not None})

    def for_video(self) -> Recognizer:
        """This recognizer as videos and cameras use it; it shares the graphs.

        It searches on ``video_side``, and averages two views at most unless ``views`` asks for more: smoothing over
        time does for a video what many views do for a photo. With ``detect_every`` above 1 it is for one video, whose
        frames come in their order.
        """
        views = self.options.views or min(self.spec.views, 2)
        options = replace(self.options, long_side=self.options.video_side, views=views)
        detector = self.detector
        if isinstance(detector, CenterFace):
            detector = detector.for_video(options.search_side)
            if options.detect_every > 1:
                detector = FollowingDetector(detector, options.detect_every)
        recognizer = type(self).__new__(type(self))
        recognizer._open(options, detector, self._engine)
        return recognizer

    def read(
        self,
        x: Any,
        *,
        color: Order = "rgb",
        boxes: ArrayLike | None = None,
        every: int = 1,
        fps: float | None = None,
        start: float = 0,
        end: float | None = None,
        smooth: float = SMOOTH,
    ) -> Faces | list[Faces]:
        """Read the faces in anything.

        Args:
            x: an image as :func:`moue.read_image` takes it; a video's path, bytes or open file; a folder, a glob, or
                a list of all these; uint8 ``(N, H, W, 3)``; a camera's number, or the address of a live stream, for
                one image from it; the address of a film or photo.
            color: order of an array's channels, "rgb" or "bgr".
            boxes: ``(F, 4)`` faces of the one image ``x``, as x, y, width, height; used instead of the detector.
            every: of a video, every Nth frame.
            fps: of a video, at most this many frames per second; instead of ``every``.
            start: of a video, seconds of the first frame; frames keep the numbers and timestamps of the whole video.
            end: of a video, seconds before which frames are read; None for all.
            smooth: time constant of the smoothing of a video's probabilities, in seconds; 0 for each frame's own.

        Returns:
            The result of one image; for anything else a list, in order, with one result an image or frame. What
            cannot be read has a result with status and reason.

        Raises:
            UsageError: when ``x`` is of no type that could hold an image, or an option cannot be used.
        """
        check_order(color)
        options = VideoOptions(every, fps, smooth, start, end)
        source = resolve_single(x)
        if source is not None and source.kind == "image":
            detector = None if boxes is None else PrecomputedDetector(boxes)
            return self._classify([self._detect(source, color, detector)])[0]
        if boxes is not None:
            raise UsageError("boxes belong to one image: read the images one by one.")
        if source is not None and source.kind in ("camera", "stream"):
            return self._read_opened(source, color, options)
        return list(self.stream(source or x, color=color, every=every, fps=fps, start=start, end=end, smooth=smooth))

    def stream(
        self,
        sources: Any,
        *,
        color: Order = "rgb",
        every: int = 1,
        fps: float | None = None,
        start: float = 0,
        end: float | None = None,
        smooth: float = SMOOTH,
        reconnect: int = RETRIES,
    ) -> Iterator[Faces]:
        """Read one input after the other in constant memory.

        Args:
            sources: one or many of what :meth:`read` takes; a camera or a live stream is read until it ends.
            color: order of the arrays' channels.
            every: of videos, every Nth frame.
            fps: of videos, at most this many frames per second.
            start: of videos and live streams, seconds of the first frame.
            end: of videos and live streams, seconds before which frames are read; None for all.
            smooth: of videos and cameras, the smoothing's time constant in seconds; 0 for each frame's own.
            reconnect: how often in a row a lost connection to a stream is made again, with a warning each time.

        Yields:
            At least one result an input, in order: one an image, one a frame of a video, one a file of a folder, with
            status and reason where there is nothing to read.

        Raises:
            UsageError: when ``sources`` can be no input, or an option cannot be used.
        """
        check_order(color)
        options = VideoOptions(every, fps, smooth, start, end, reconnect=reconnect)
        pending: list[DetectedFaces | Faces] = []
        for source in resolve(sources):
            if source.kind in ("video", "camera", "stream"):
                yield from self._classify(pending)
                pending = []
                yield from self._stream_source(source, color, options)
                continue
            try:
                pending.append(self._detect(source, color))
            except UsageError as error:
                # One input of a wrong type must not lose the others.
                pending.append(self.failed(source.name, "unreadable", str(error)))
            if len(pending) >= max(MAX_PENDING, self._batch_size // 4) or len(_crops(pending)) >= self._batch_size:
                yield from self._classify(pending)
                pending = []
        yield from self._classify(pending)

    def faces(self, image: NDArray[Any] | Photo, source: str = "", boxes: ArrayLike | None = None) -> Faces:
        """Read one image.

        Args:
            image: an array as :func:`moue.read_image` takes it, RGB; or what :meth:`open` returned.
            source: its name in the result.
            boxes: ``(F, 4)`` faces to read instead of those that the detector would find.

        Raises:
            Unreadable: when the array is no image.
        """
        detector = None if boxes is None else PrecomputedDetector(boxes)
        return self._classify([self._detect_in(self._photo(image), source, detector)])[0]

    def batch(self, images: Sequence[NDArray[Any] | Photo]) -> list[Faces]:
        """Read several images, their faces classified together; the results are those of :meth:`faces`.

        Raises:
            Unreadable: when one of the arrays is no image.
            UsageError: when ``images`` is one image, not a list.
        """
        if is_input(images) or not isinstance(images, Iterable):
            raise UsageError(f"batch takes a list of images. Got one {type(images).__name__} instead.")
        return self._classify([self._detect_in(self._photo(image)) for image in images])

    def classify(self, crops: NDArray[np.uint8]) -> Predictions:
        """Expressions of faces that are already cropped and scaled.

        Args:
            crops: uint8 ``(N, C, size, size)``, 0..255, as the model's spec says; N may be 0.

        Raises:
            UsageError: for another dtype or shape.
        """
        logits = self._engine.tta_logits(np.asarray(crops), self.spec.views, self.options.batch_size)
        return Predictions(class_probabilities(logits, self.spec), self.spec.labels, self.spec.uncertain_below)

    def failed(self, source: str, status: Status, reason: str) -> Faces:
        """The result of an input that was not searched for faces; it has the model's labels like any other."""
        empty = Predictions.empty(self.spec.labels)
        return Faces(source, status, reason=reason, predictions=empty, model=self.spec.name)

    def open(self, x: Any, color: Order = "rgb") -> Photo:
        """:func:`moue.image.read_photo` with this recognizer's options."""
        return read_photo(x, color=color, max_pixels=self.options.max_pixels, truncated=self.options.truncated)

    def _photo(self, image: NDArray[Any] | Photo) -> Photo:
        return image if isinstance(image, Photo) else self.open(image)

    def _detect(
        self, source: Source, color: Order, detector: PrecomputedDetector | None = None
    ) -> DetectedFaces | Faces:
        """The faces of a source, not classified yet; the final result where it cannot be read."""
        if source.reason is not None:
            return self.failed(source.name, "skipped" if source.kind == "skipped" else "unreadable", source.reason)
        try:
            return self._detect_in(self.open(source.data, color), source.name, detector)
        except Unreadable as error:
            return self.failed(source.name, error.status, str(error))

    def _detect_in(self, photo: Photo, source: str = "", detector: PrecomputedDetector | None = None) -> DetectedFaces:
        image = photo.pixels
        # Coordinates are those of the whole photo, also where it was read at half its size.
        across, down = photo.width / image.shape[1], photo.height / image.shape[0]
        given = self.detector if detector is None else detector.scaled(1 / across, 1 / down)
        try:
            found = detect_faces(image, given, self.spec, source, min_score=self.options.min_score)
        except MemoryError:
            raise Unreadable(f"not enough memory to search {image.shape[1]}×{image.shape[0]} pixels") from None
        detections = found.detections.scaled(across, down)
        return replace(found, width=photo.width, height=photo.height, detections=detections, remark=photo.remark)

    def _classify(self, pending: Sequence[DetectedFaces | Faces]) -> list[Faces]:
        """Classify the faces of several images together."""
        shape = (-1, self.spec.channels, self.spec.size, self.spec.size)
        predictions = self.classify(np.asarray(_crops(pending), np.uint8).reshape(shape))
        results, start = [], 0
        for item in pending:
            if isinstance(item, Faces):
                results.append(item)
                continue
            end = start + len(item.crops)
            results.append(item.classified(predictions[start:end]))
            start = end
        return results

    def _read_opened(self, source: Source, color: Order, options: VideoOptions) -> Faces | list[Faces]:
        """One image of a camera or a live stream; all that another address holds."""
        from moue.runtime.frames import opened

        with (
            opened(source, options, self.options.max_pixels) as found,
            closing(self._stream_source(found, color, options)) as frames,
        ):
            return list(frames) if found.kind == "video" else next(frames)

    def _stream_source(self, source: Source, color: Order, options: VideoOptions) -> Generator[Faces, None, None]:
        """The results of a source that may have many."""
        from moue.runtime.frames import opened, stream_frames

        with opened(source, options, self.options.max_pixels) as found:
            if found.kind in ("video", "camera", "stream"):
                yield from stream_frames(self.for_video(), found, options, max_pixels=self.options.max_pixels)
            else:
                yield self._classify([self._detect(found, color)])[0]

    @property
    def _batch_size(self) -> int:
        return self.options.batch_size or self._engine.graph.batch_size


def _crops(pending: Sequence[DetectedFaces | Faces]) -> list[ImageArray]:
    return [crop for item in pending if isinstance(item, DetectedFaces) for crop in item.crops]


def read(x: Any, *, color: Order = "rgb", boxes: ArrayLike | None = None, **options: Any) -> Faces | list[Faces]:
    """Read the faces in a photo, a video, a folder or a list of them.

    ::

        for face in moue.read("photo.jpg"):
            print(face.box, face.label, face.confidence)
        for frame in moue.read("clip.mp4", fps=5, model="ferplus"):
            print(frame.timestamp, [face.label for face in frame])

    The recognizer behind it is made once for each set of options, and anew when the model's file changes.

    Args:
        x: an image as :func:`moue.read_image` takes it (path, bytes, open file, Pillow image, array); a video's
            path, bytes or open file; a folder, a glob, or a list of all these; uint8 ``(N, H, W, 3)``; a camera's
            number, for one image from it.
        color: order of an array's channels, "rgb" or "bgr" (OpenCV's).
        boxes: ``(F, 4)`` faces of the one image ``x``, as x, y, width, height in pixels; used instead of the detector.
        options: ``every``, ``fps``, ``start``, ``end`` and ``smooth`` of :meth:`Recognizer.read`, and the fields of
            :class:`moue.runtime.options.RecognizerOptions`: ``model``, ``detector``, ``views`` and so on.

    Returns:
        One :class:`Faces` for one image, else a list, in order, with one an image or frame. What cannot be read has
        one whose ``status`` and ``reason`` say so.

    Raises:
        UsageError: for an unknown option, one that cannot be used, or an ``x`` of no type that could hold an image.
        ModelError: when the model or the detector is missing or damaged.
        MissingExtra: when the model or the engine is in an extra that is not installed.
    """
    video_options = {name: options.pop(name) for name in _VIDEO_OPTIONS if name in options}
    known = {field.name for field in fields(RecognizerOptions)}
    for name in options.keys() - known:
        raise UnknownName("option of read", name, {*known, *_VIDEO_OPTIONS, "boxes", "color"})
    recognizer = _recognizer(RecognizerOptions(**options))
    return recognizer.read(x, color=color, boxes=boxes, **video_options)


def _recognizer(options: RecognizerOptions) -> Recognizer:
    try:
        hash(options)
    except TypeError:
        # What cannot be hashed, as a detector may be, cannot be the key of a cache.
        return Recognizer.from_options(options)
    return _cached_recognizer(options, () if isinstance(options.model, Engine) else version_of(options.model))


@functools.lru_cache(maxsize=4)
def _cached_recognizer(options: RecognizerOptions, version: tuple[object, ...]) -> Recognizer:
    return Recognizer.from_options(options)
