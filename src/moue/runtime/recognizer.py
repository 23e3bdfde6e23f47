"""Finds the faces in anything and reads their expressions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.errors import Status, UnknownName, Unreadable, UsageError
from moue.image import MAX_PIXELS, Order, check_order, read_image
from moue.preprocess import ImageArray
from moue.runtime.crop import face_inputs
from moue.runtime.detect import STRIDE, CenterFace, Detector, PrecomputedDetector, WholeImage, open_detector
from moue.runtime.engine import Engine, EngineName, open_model
from moue.runtime.inputs.resolve import is_input, resolve, resolve_single
from moue.runtime.inputs.source import Source
from moue.runtime.results import Faces, Predictions, softmax
from moue.runtime.validation import check
from moue.runtime.video.decode import Sampler
from moue.runtime.video.smooth import SMOOTH
from moue.tta import check as check_views

#: Options of :meth:`Recognizer.read` for videos.
_MOVING = ("every", "fps", "smooth")
#: A stream holds the crops of this many images at most before it classifies them.
MAX_PENDING = 16


class Recognizer:
    """Reads expressions; made once, used often, safe to share between threads.

    Args:
        model: a name of ``moue models``, the path of an ``.onnx`` with its ``.json``, a run folder, or an open engine.
        detector: "centerface", "none" where each image is one face, or an object with ``detect``.
        engine: "onnxruntime", "openvino", or "auto" to take what suits ``many``.
        threads: CPU threads; 0 to choose.
        min_score: what the detector must give a face, 0 to 1.
        uncertain: a top probability below this marks an answer as uncertain, 0 to 1; the model's own where None.
        small_faces: whether to search at the native size instead of on ``long_side``: finds faces of 15 pixels in large
            images, and takes the longer the larger they are.
        long_side: larger photos are scaled to this long side, in pixels, for the search; a smaller one is quicker and
            misses the smaller faces.
        video_side: the same for videos and cameras, whose frames come by the dozen.
        views: how many views of a face are averaged, one of :data:`moue.spec.VIEWS`; the model's own where None.
        batch: crops, or views of them, classified at once; memory and speed, not answers.
        many: whether many images are to come: "auto" then takes the engine that starts slower and runs faster.
        max_pixels: larger photos, and videos of larger images, are refused.

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
        uncertain: float | None = None,
        small_faces: bool = False,
        long_side: int = 1280,
        video_side: int = 384,
        views: int | None = None,
        batch: int = 64,
        many: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        # First, while there are no other names than the options.
        self._made: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        for name, value in (("min_score", min_score), ("uncertain", uncertain)):
            if value is not None:
                check(name, value, 0, 1)
        for name, count in (("batch", batch), ("max_pixels", max_pixels)):
            check(name, count, 1, whole=True)
        for name, side in (("long_side", long_side), ("video_side", video_side)):
            check(name, side, STRIDE)
        if views is not None:
            check_views(views)
        # The detector first: it is the quicker to fail.
        self.detector = open_detector(
            detector, long_side=None if small_faces else long_side, engine=engine, threads=threads, many=many
        )
        opened = model if isinstance(model, Engine) else open_model(model, engine=engine, threads=threads, many=many)
        self._engine = opened
        self.spec = opened.spec.replace(
            uncertain_below=opened.spec.uncertain_below if uncertain is None else uncertain,
            views=opened.spec.views if views is None else views,
        )
        self.min_score, self._batch, self._max_pixels = min_score, batch, max_pixels
        self._video_side = None if small_faces else video_side
        # Smoothing over time does for a video what many views do for a photo, unless they are asked for.
        self._video_spec = self.spec if views is not None else self.spec.replace(views=min(self.spec.views, 2))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its options, so that worker processes open models of their own."""
        return _remade, (self._made,)

    def read(
        self,
        x: Any,
        *,
        color: Order = "rgb",
        boxes: ArrayLike | None = None,
        every: int = 1,
        fps: float | None = None,
        smooth: float = SMOOTH,
    ) -> Faces | list[Faces]:
        """Read the faces in anything.

        Args:
            x: an image as :func:`moue.read_image` takes it; a video's path, bytes or open file; a folder, a glob, or
                a list of all these; uint8 ``(N, H, W, 3)``; a camera's number, for one image from it.
            color: order of an array's channels, "rgb" or "bgr".
            boxes: ``(F, 4)`` faces of the one image ``x``, as x, y, width, height; nothing is searched then.
            every: of a video, each Nth frame.
            fps: of a video, at most that many frames a second; instead of ``every``.
            smooth: time constant of the smoothing of a video's probabilities, in seconds; 0 for each frame's own.

        Returns:
            The answer for one image; for anything else a list, in order, with one answer an image or frame. What
            cannot be read has an answer with status and reason.

        Raises:
            UsageError: when ``x`` is of no type that could hold an image, or an option cannot be used.
        """
        check_order(color)
        Sampler(every, fps)
        check("smooth", smooth, 0)
        single = resolve_single(x)
        if single is not None and single.kind == "image":
            detector = None if boxes is None else PrecomputedDetector(boxes)
            return self._answer([self._open_and_look(single, color, detector)])[0]
        if boxes is not None:
            raise UsageError("boxes belong to one image: read the images one by one.")
        if single is not None and single.kind == "camera":
            with closing(self._camera(single)) as frames:
                return next(frames)
        return list(self.stream(x if single is None else single, color=color, every=every, fps=fps, smooth=smooth))

    def stream(
        self,
        sources: Any,
        *,
        color: Order = "rgb",
        every: int = 1,
        fps: float | None = None,
        smooth: float = SMOOTH,
    ) -> Iterator[Faces]:
        """Read one input after the other in constant memory.

        Args:
            sources: one or many of what :meth:`read` takes; a number is a camera that is read until it ends.
            color: order of the arrays' channels.
            every: of videos, each Nth frame.
            fps: of videos, at most that many frames a second.
            smooth: of videos and cameras, the smoothing's time constant in seconds; 0 for each frame's own answer.

        Yields:
            At least one answer an input, in order: one an image, one a frame of a video, one a file of a folder, with
            status and reason where there is nothing to read.

        Raises:
            UsageError: when ``sources`` can be no input, or an option cannot be used.
        """
        check_order(color)
        Sampler(every, fps)
        check("smooth", smooth, 0)
        held: list[_Look] = []
        crops = 0
        for source in resolve(sources):
            if source.kind in ("video", "camera"):
                yield from self._answer(held)
                held, crops = [], 0
                yield from self._moving(source, every, fps, smooth)
                continue
            held.append(self._try(source, color))
            crops += len(held[-1].crops)
            if len(held) >= MAX_PENDING or crops >= self._batch:
                yield from self._answer(held)
                held, crops = [], 0
        yield from self._answer(held)

    def faces(self, image: NDArray[Any], source: str = "", boxes: ArrayLike | None = None) -> Faces:
        """Read one image.

        Args:
            image: an array as :func:`moue.read_image` takes it, RGB.
            source: its name in the answer.
            boxes: ``(F, 4)`` faces to read instead of those that the detector would find.

        Raises:
            Unreadable: when the array is no image.
        """
        detector = None if boxes is None else PrecomputedDetector(boxes)
        return self._answer([self._look(read_image(image), source, detector)])[0]

    def batch(self, images: Sequence[NDArray[Any]]) -> list[Faces]:
        """Read several images, their faces classified together; the answers are those of :meth:`faces`.

        Raises:
            Unreadable: when one of the arrays is no image.
            UsageError: when it is one image that came, and no list.
        """
        if is_input(images):
            raise UsageError(f"batch takes a list of images. Got one {type(images).__name__} instead.")
        return self._answer([self._look(read_image(image), "") for image in images])

    def for_video(self) -> Recognizer:
        """This recognizer as videos and cameras use it; it shares the graphs.

        It searches at ``video_side``, with two views at most unless more were asked for.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _made=self._made | {"videos": True})
        other.spec = self._video_spec
        if isinstance(self.detector, CenterFace):
            other.detector = self.detector.at(self._video_side)
        return other

    def classify(self, crops: NDArray[np.uint8]) -> Predictions:
        """Expressions of faces that are cut out and scaled already.

        Args:
            crops: uint8 ``(N, C, size, size)``, 0..255, as the model's spec says.

        Raises:
            UsageError: for another dtype or shape.
        """
        logits = self._engine.averaged(np.asarray(crops), self.spec.views, self._batch)
        return self._predictions(softmax(logits, self.spec.temperature))

    def failed(self, source: str, status: Status, reason: str) -> Faces:
        """The answer for an input in which nothing could be looked for; it has the model's labels like any other."""
        return Faces(source, status, reason=reason, predictions=Predictions.empty(self.spec.labels))

    def _predictions(self, probabilities: NDArray[np.float32]) -> Predictions:
        return Predictions(probabilities, self.spec.labels, self.spec.uncertain_below)

    def _open_and_look(self, source: Source, color: Order, detector: Detector | None = None) -> _Look:
        try:
            return self._look(self.open(source.data, color), source.name, detector)
        except Unreadable as error:
            return _Look(self.failed(source.name, error.status, str(error)))

    def _try(self, source: Source, color: Order) -> _Look:
        if source.reason is not None:
            status: Status = "skipped" if source.kind == "skipped" else "unreadable"
            return _Look(self.failed(source.name, status, source.reason))
        try:
            return self._open_and_look(source, color)
        except UsageError as error:
            # Of many inputs one of a wrong type is as little reason to lose the rest as a damaged file.
            return _Look(self.failed(source.name, "unreadable", str(error)))

    def open(self, x: Any, color: Order = "rgb") -> ImageArray:
        """:func:`moue.read_image` under this recognizer's limit on pixels."""
        return read_image(x, color=color, max_pixels=self._max_pixels)

    def _look(self, image: ImageArray, source: str, detector: Detector | None = None) -> _Look:
        """Find the faces of one image and cut them out."""
        detector = detector or self.detector
        found = detector.detect(image, min_score=self.min_score)
        row = Faces(
            source,
            "ok" if len(found) else "no_face",
            image.shape[1],
            image.shape[0],
            found.boxes,
            found.scores,
            found.landmarks,
            self._predictions(np.full((len(found), len(self.spec.labels)), 1 / len(self.spec.labels), np.float32)),
        )
        return _Look(row, face_inputs(image, found, self.spec, whole=isinstance(detector, WholeImage)))

    def _answer(self, held: Sequence[_Look]) -> list[Faces]:
        """Classify the crops of several images together."""
        crops = [crop for look in held for crop in look.crops]
        if not crops:
            return [look.row for look in held]
        said = self.classify(np.stack(crops)).probabilities
        rows, start = [], 0
        for look in held:
            end = start + len(look.crops)
            rows.append(look.row.replace(predictions=self._predictions(said[start:end])))
            start = end
        return rows

    def _moving(self, source: Source, every: int, fps: float | None, smooth: float) -> Iterator[Faces]:
        if source.kind == "camera":
            return self._camera(source, smooth)
        from moue.runtime.video.stream import stream_video

        options: dict[str, Any] = {"every": every, "fps": fps, "smooth": smooth, "max_pixels": self._max_pixels}
        return stream_video(self.for_video(), source.data, **options)

    def _camera(self, source: Source, smooth: float = SMOOTH) -> Generator[Faces, None, None]:
        from moue.runtime.video.camera import stream_camera

        yield from stream_camera(self.for_video(), int(source.name), smooth=smooth)


class _Look(NamedTuple):
    """An image's row without its answers, and the crops that wait for them."""

    row: Faces
    crops: Sequence[ImageArray] = ()


def _remade(options: dict[str, Any]) -> Recognizer:
    options = dict(options)
    videos = options.pop("videos", False)
    made = Recognizer(**options)
    return made.for_video() if videos else made


def read(x: Any, *, color: Order = "rgb", boxes: ArrayLike | None = None, **options: Any) -> Faces | list[Faces]:
    """Read the faces in a photo, a video, a folder or a list of them.

    ::

        faces = moue.read("photo.jpg")
        print(faces.boxes, faces.predictions.class_names, faces.predictions.confidence)
        for frame in moue.read("clip.mp4", fps=5, model="ferplus"):
            print(frame.timestamp, frame.predictions.class_names)

    The recognizer behind it is made once for each set of options and kept.

    Args:
        x: an image as :func:`moue.read_image` takes it (path, bytes, open file, Pillow image, array); a video's
            path, bytes or open file; a folder, a glob, or a list of all these; uint8 ``(N, H, W, 3)``; a camera's
            number, for one image from it.
        color: order of an array's channels, "rgb" or "bgr" (OpenCV's).
        boxes: ``(F, 4)`` faces of the one image ``x``, as x, y, width, height in pixels; nothing is searched then.
        options: ``every``, ``fps`` and ``smooth`` of :meth:`Recognizer.read`, and what :class:`Recognizer` takes:
            ``model``, ``detector``, ``views`` and so on.

    Returns:
        One :class:`Faces` for one image, else a list, in order, with one an image or frame. What cannot be read has
        one whose ``status`` and ``reason`` say so.

    Raises:
        UsageError: for an unknown option, one that cannot be used, or an ``x`` of no type that could hold an image.
        ModelError: when the model or the detector is missing or damaged.
        MissingExtra: when the model or the engine is in an extra that is not installed.
    """
    moving = {name: options.pop(name) for name in _MOVING if name in options}
    for name in options.keys() - _options():
        raise UnknownName("option of read", name, {*_options(), *_MOVING, "boxes", "color"})
    try:
        hash(tuple(options.values()))
    except TypeError:
        # It can be no key of a cache; most likely it is a wrong value, and the recognizer says so.
        return Recognizer(**options).read(x, color=color, boxes=boxes, **moving)
    return _shared(**options).read(x, color=color, boxes=boxes, **moving)


@functools.lru_cache(maxsize=4)
def _shared(**options: Any) -> Recognizer:
    return Recognizer(**options)


def _options() -> frozenset[str]:
    return frozenset(inspect.signature(Recognizer).parameters)
