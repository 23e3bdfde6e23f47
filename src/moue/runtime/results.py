"""The one result type, from the recognizer to the command line, the server, videos and metrics.

Everything is a numpy array inside and validated on creation; plain Python types appear in :meth:`Faces.to_dict` alone.
Coordinates are pixels of the upright image, times are seconds, probabilities fractions of 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from moue.errors import Status, UsageError, quoted
from moue.runtime.array_equality import ArrayEquality
from moue.runtime.face import Face
from moue.runtime.quality import Quality
from moue.runtime.validation import to_array
from moue.spec import ModelSpec

if TYPE_CHECKING:
    from moue.image import ImageLike


#: By how much the label of a turned face must lead. Leveling a face from one angle or another moves the difference of
#: two probabilities by nearly as much; see ``benchmarks/rotation.py``.
TILTED_MARGIN = 0.4
#: An index of several rows: a slice, numbers, or a mask.
Rows: TypeAlias = slice | Sequence[int] | NDArray[np.bool_] | NDArray[np.integer]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities from logits ``(N, K)``, after division by ``temperature``."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
    e = np.exp(scaled)
    shares: NDArray[np.float32] = (e / e.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def class_probabilities(logits: NDArray[np.floating], spec: ModelSpec) -> NDArray[np.float32]:
    """A model's probabilities ``(N, K)`` from its logits ``(N, K)``, averaged over views: at its temperature, and with
    its logit adjustment.
    """
    if not spec.logit_adjustment:
        return softmax(logits, spec.temperature)
    log_frequencies = np.log(np.array(spec.class_frequencies))
    return softmax(np.asarray(logits, np.float64) / spec.temperature - spec.logit_adjustment * log_frequencies)


@dataclass(frozen=True, eq=False)
class Predictions(ArrayEquality):
    """Class probabilities of N images.

    Raises:
        UsageError: when shapes disagree or a row is no distribution.
    """

    probabilities: NDArray[np.float32]
    """float32 ``(N, K)``; rows add up to 1."""
    labels: tuple[str, ...]
    """The K class names, in column order."""
    uncertain_below: float = 0.0
    """A prediction whose top probability is below this is uncertain."""

    def __post_init__(self) -> None:
        p = to_array("probabilities", self.probabilities, np.float32)
        object.__setattr__(self, "probabilities", p)
        if p.ndim != 2 or p.shape[1] != len(self.labels):
            raise UsageError(f"probabilities must be (N, {len(self.labels)}). Got {p.shape} instead.")
        if len(p) and not (np.isfinite(p).all() and p.min() >= 0 and np.abs(p.sum(axis=1) - 1).max() < 1e-3):
            raise UsageError("every row of probabilities must be a distribution: finite, not negative, adding up to 1.")

    @classmethod
    def empty(cls, labels: tuple[str, ...] = ()) -> Predictions:
        """Predictions without rows."""
        return cls(np.zeros((0, len(labels)), np.float32), labels)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: int | Rows) -> Predictions:
        """Some of the rows, by number, slice, mask or list."""
        return replace(self, probabilities=self.probabilities[_indices(rows, len(self))])

    def __iter__(self) -> Iterator[Predictions]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<Predictions: {self.summary or 'none'}>"

    @property
    def summary(self) -> str:
        """The most probable class of each row as text: "happy 89%, neutral 54%"."""
        # A network is never certain: only 1 itself is shown as 100 %.
        shares = [min(p, 0.99) if p < 1 else p for p in self.confidence.tolist()]
        return ", ".join(f"{name} {p:.0%}" for name, p in zip(self.class_names, shares, strict=True))

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """int64 ``(N,)``: the most probable class of each row."""
        # Without rows there may be no columns either, and argmax needs one.
        best: NDArray[np.int64] = np.asarray(self.probabilities.argmax(axis=1) if len(self) else [], np.int64)
        return best

    @property
    def confidence(self) -> NDArray[np.float32]:
        """float32 ``(N,)``: the probability of the most probable class."""
        return self.probabilities.max(axis=1) if len(self) else np.zeros(0, np.float32)

    @property
    def margin(self) -> NDArray[np.float32]:
        """float32 ``(N,)``: by how much the most probable class leads the second, 0 to 1."""
        if not len(self) or len(self.labels) < 2:
            return self.confidence
        second, first = np.sort(self.probabilities, axis=1)[:, -2:].T
        return np.asarray(first - second)

    @property
    def class_names(self) -> list[str]:
        """The most probable class of each row, by name."""
        return [self.labels[i] for i in self.class_ids]

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """bool ``(N,)``: whether the top probability is below the threshold."""
        return np.asarray(self.confidence < self.uncertain_below)


@dataclass(frozen=True, eq=False)
class Faces(ArrayEquality):
    """The result for one input: a photo, a frame of a video, or something that could not be read.

    It is a sequence of :class:`Face`: ``for face in faces: print(face.label)``.

    Raises:
        UsageError: when the arrays disagree in length or shape.
    """

    source: str
    """The input's path or name; its type, as "<ndarray>", where it has none."""
    status: Status
    """"ok"; "no_face"; or why it was not searched for faces: "unreadable", "too_large", "skipped" (a file that is
    neither image nor video), "camera_lost" (unplugged), "busy" (a frame that a server left out)."""
    width: int = 0
    height: int = 0
    """The upright image's, in pixels; 0 where it could not be read."""
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    """float32 ``(F, 4)``: x, y, width, height. A face at the image's border may reach over it: x and y below 0."""
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """float32 ``(F,)``: the detector's scores, 0 to 1."""
    landmarks: NDArray[np.float32] | None = None
    """float32 ``(F, 5, 2)``: x, y of the eyes, nose and mouth corners, of each pair first the one that is to the left
    when the face is upright; or None."""
    predictions: Predictions = field(default_factory=Predictions.empty)
    """One row a face."""
    tracks: NDArray[np.int64] | None = None
    """int64 ``(F,)``: a number that stays with a person over a video; None for photos."""
    reason: str | None = None
    """Why it could not be read, or what of it was not: of a file that breaks off, or that holds several images; else
    None."""
    frame: int | None = None
    """Number of the frame in its video, from 0; None for photos."""
    timestamp: float | None = None
    """Seconds from the video's start; None for photos."""
    quality: Quality | None = None
    """How good the images of the faces are, one row a face; None where it was not measured."""
    model: str | None = None
    """The name of the model that read it, as in its spec; None where none did."""

    def __post_init__(self) -> None:
        for name in ("boxes", "scores", "landmarks", "tracks"):
            if (value := getattr(self, name)) is not None:
                dtype = np.int64 if name == "tracks" else np.float32
                object.__setattr__(self, name, to_array(name, value, dtype))
        n = len(self.boxes)
        if self.boxes.shape != (n, 4):
            raise UsageError(f"boxes must be (F, 4). Got {self.boxes.shape} instead.")
        if self.landmarks is not None and self.landmarks.shape != (n, 5, 2):
            raise UsageError(f"landmarks must be ({n}, 5, 2). Got {self.landmarks.shape} instead.")
        for name in ("scores", "predictions", "tracks", "quality"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise UsageError(f"{name} must have a row for each of the {n} faces. Got {len(value)} instead.")

    def __len__(self) -> int:
        return len(self.boxes)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: Rows) -> Faces: ...

    def __getitem__(self, index: int | Rows) -> Face | Faces:
        """One face, by number; or the same result with some of its faces: ``faces[faces.scores > 0.8]``, whose status
        is "no_face" where none is left."""
        rows = _indices(index, len(self))
        if isinstance(index, (int, np.integer)):
            return next(self._faces(rows.tolist()))
        per_face = ("boxes", "scores", "landmarks", "predictions", "tracks", "quality")
        status: Status = "no_face" if self.status == "ok" and not len(rows) else self.status
        return self.replace(status=status, **{n: v[rows] for n in per_face if (v := getattr(self, n)) is not None})

    def __iter__(self) -> Iterator[Face]:
        return self._faces(range(len(self)))

    def __repr__(self) -> str:
        frame = "" if self.frame is None else f", frame {self.frame}"
        reason = "" if self.reason is None else f", {quoted(self.reason)}"
        summary = f", {self.predictions.summary}" if len(self) else ""
        return f"<Faces {quoted(self.source)}{frame}: {self.status}{reason}{summary}>"

    @property
    def readable(self) -> bool:
        """Whether it was searched for faces, found or not."""
        return self.status in ("ok", "no_face")

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """bool ``(F,)``: whether a label is little better than a guess.

        It is where the top probability is below the model's threshold (``predictions.uncertain``), where the image of
        the face is too poor (``quality.poor``), and where the face is turned and two classes are nearly as probable:
        which of them leads then depends on how exactly the face is leveled.
        """
        if self.quality is None:
            return self.predictions.uncertain
        close = self.quality.tilted & (self.predictions.margin < TILTED_MARGIN)
        return self.predictions.uncertain | self.quality.poor | close

    def replace(self, **changes: Any) -> Faces:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The row of ``moue predict --format json``: plain types; ``frame`` and ``timestamp`` for videos alone."""
        row: dict[str, Any] = {
            "source": self.source,
            "model": self.model,
            "status": self.status,
            "reason": self.reason,
            "width": self.width,
            "height": self.height,
        }
        if self.frame is not None:
            row["frame"] = self.frame
        if self.timestamp is not None:
            row["timestamp"] = round(self.timestamp, 6)
        row["faces"] = [face.to_dict() for face in self]
        return row

    def to_frame(self) -> Any:
        """The result as a pandas ``DataFrame``, one row per face; see :func:`moue.runtime.outputs.dataframe.to_frame`.

        Raises:
            MissingExtra: without pandas.
        """
        from moue.runtime.outputs.dataframe import to_frame

        return to_frame(self)

    def draw(self, image: ImageLike, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
        """A copy of the image, uint8 ``(H, W, 3)`` RGB, with the faces marked; see :func:`moue.runtime.draw.draw`.

        Args:
            image: the one that was read, as :func:`moue.read_image` takes it.
            max_pixels: the largest image that is decoded, width times height; 50 million where None.

        Raises:
            Unreadable: when there is no image to be had from ``image``.
        """
        from moue.image import MAX_PIXELS
        from moue.runtime.draw import draw

        return draw(image, self, width=self.width, max_pixels=MAX_PIXELS if max_pixels is None else max_pixels)

    def crops(self, image: ImageLike, *, max_pixels: int | None = None) -> list[NDArray[np.uint8]]:
        """Each face cut out of the image, upright and in color, uint8 ``(S, S, 3)`` RGB; see
        :func:`moue.runtime.upright.upright_crop`.

        Args:
            image: the one that was read, as :func:`moue.read_image` takes it.
            max_pixels: the largest image that is decoded, width times height; 50 million where None.

        Raises:
            Unreadable: when there is no image to be had from ``image``.
        """
        from moue.image import MAX_PIXELS, read_photo
        from moue.runtime.upright import upright_crop

        pixels = read_photo(image, max_pixels=MAX_PIXELS if max_pixels is None else max_pixels).pixels
        return [upright_crop(pixels, face, scale=pixels.shape[1] / (self.width or pixels.shape[1])) for face in self]

    def _faces(self, rows: Iterable[int]) -> Iterator[Face]:
        """Some of the faces; what they have in common is computed once."""
        predictions, uncertain = self.predictions, self.uncertain
        names, confidence = predictions.class_names, predictions.confidence
        for i in rows:
            yield Face(
                box=self.boxes[i],
                score=float(self.scores[i]),
                label=names[i],
                confidence=float(confidence[i]),
                uncertain=bool(uncertain[i]),
                probabilities=dict(zip(predictions.labels, predictions.probabilities[i].tolist(), strict=True)),
                landmarks=None if self.landmarks is None else self.landmarks[i],
                track=None if self.tracks is None else int(self.tracks[i]),
                quality=None if self.quality is None else self.quality.to_dict(i),
            )


def _indices(rows: int | Rows, n: int) -> NDArray[np.int64]:
    """The numbers of the rows that an index of any kind stands for."""
    # Of a number too large, numpy raises the IndexError that is expected of a sequence.
    return np.atleast_1d(np.arange(n)[rows])
