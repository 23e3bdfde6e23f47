"""How much work inputs are, told by their headers, and how long a run over them has still to go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moue.errors import Unreadable
from moue.image_format import identify
from moue.runtime.inputs.source import Source
from moue.runtime.options import VideoOptions
from moue.runtime.video.container import declared_end, open_container, video_stream

Unit = Literal["photo", "frame"]

#: Seconds that the model `default` took on one core of an AMD EPYC: for a photo, and each million of its pixels that is
#: searched or decoded; for a video, each frame that is decoded, read or annotated, and each million of its pixels. Only
#: their ratios matter, and only until some inputs of a kind were read.
_PHOTO, _SEARCHED, _PHOTO_PIXELS = 0.035, 0.145, 0.034
_VIDEO, _DECODED, _DECODED_PIXELS, _READ, _READ_PIXELS = 0.1, 0.0005, 0.0035, 0.024, 0.008
_ANNOTATED, _ANNOTATED_PIXELS = 0.004, 0.016
#: The side to which photos are scaled to be searched.
_SIDE = 1280
#: What a header does not tell: pixels of a photo and of a frame in millions, and a video's frames.
_USUAL_PHOTO, _USUAL_FRAME, _USUAL_FRAMES = 2.0, 1.0, 1000


@dataclass(frozen=True)
class Workload:
    """What one input is to read."""

    unit: Unit
    """What is counted."""
    amount: int | None
    """How many of them there are; None where the header does not tell."""
    cost: float
    """Seconds that it takes on some machine."""


def workload_of(source: Source, options: VideoOptions, annotated: bool) -> Workload:
    """How much work an input is, as far as its header tells.

    A pipe, which has none, is taken for a usual photo; a file that is damaged from its beginning is hardly any work.

    Args:
        source: the input.
        options: how videos are read.
        annotated: whether annotated images and videos are written.
    """
    if source.kind == "video":
        return _video(source, options, annotated)
    if source.kind != "image":
        return Workload("photo" if source.kind in ("skipped", "unreadable") else "frame", None, 0)
    pixels, searched = _USUAL_PHOTO, _SIDE * _SIDE * 0.75 / 1e6
    try:
        # Not of a pipe, whose content would be gone.
        if source.content is None and Path(source.name).is_file():
            with open(source.name, "rb") as file:
                width, height = identify(file).size
            pixels = width * height / 1e6
            searched = pixels * min(1.0, _SIDE / max(width, height, 1)) ** 2
    except (OSError, ValueError, Unreadable):
        return Workload("photo", 1, _PHOTO)
    return Workload("photo", 1, _PHOTO + _SEARCHED * searched + (1 + annotated) * _PHOTO_PIXELS * pixels)


def _video(source: Source, options: VideoOptions, annotated: bool) -> Workload:
    pixels, rate, frames = _USUAL_FRAME, 25.0, None
    try:
        with open_container(source.data) as container:
            stream = video_stream(container)
            pixels = stream.codec_context.width * stream.codec_context.height / 1e6
            rate = float(stream.average_rate or stream.guessed_rate or rate)
            end = declared_end(container, stream)
            length = stream.frames / rate if stream.frames else None if end is None else float(end)
            if length is not None:
                length = min(length, length if options.end is None else options.end) - options.start
                frames = max(1, round(length * rate))
    except (OSError, ValueError, Unreadable):
        return Workload("frame", None, _VIDEO)
    read = 1 / options.every if options.fps is None else min(1.0, options.fps / rate)
    a_frame = _DECODED + _DECODED_PIXELS * pixels + read * (_READ + _READ_PIXELS * pixels)
    a_frame += annotated * (_ANNOTATED + _ANNOTATED_PIXELS * pixels)
    return Workload("frame", frames, _VIDEO + a_frame * (_USUAL_FRAMES if frames is None else frames))


class TimeLeft:
    """How long a run has still to go, from what its inputs took so far.

    Photos and videos have a rate each: the seconds that those read so far took, over their cost. It is drawn to the
    rate of all inputs together by as much as one usual input of the kind counts, and that of the present input to the
    one of its kind, as the first of many films may be a slow one.

    Args:
        loads: of all inputs, in order.
    """

    #: Cost up to which the present input's own rate is believed less than that of its kind.
    _PRIOR = 1.0

    def __init__(self, loads: Iterable[Workload]) -> None:
        costs: dict[Unit, list[float]] = {"photo": [], "frame": []}
        for load in loads:
            costs[load.unit].append(load.cost)
        self._waiting = {unit: sum(values) for unit, values in costs.items()}
        self._usual = {unit: sum(values) / max(1, len(values)) for unit, values in costs.items()}
        # By kind: seconds, and the cost of what was read in them.
        self._read: dict[Unit, tuple[float, float]] = {"photo": (0.0, 0.0), "frame": (0.0, 0.0)}
        # Cost of all that was read, with what turned out to be more.
        self._effort = 0.0
        self._load: Workload | None = None
        self._seconds = self._share = 0.0

    def begin(self, load: Workload) -> None:
        """Begin an input."""
        self._load, self._seconds, self._share = load, 0.0, 0.0
        self._waiting[load.unit] -= load.cost

    def advance(self, share: float, seconds: float) -> None:
        """Of the present input, this share (0 to 1) was read, in so many seconds."""
        self._share, self._seconds = min(1.0, share), seconds

    def end(self, effort: float = 1.0) -> None:
        """End the present input. What was not read of it is forgotten.

        Args:
            effort: how many times its cost it turned out to be: its seconds tell less about other kinds then.
        """
        if self._load is not None:
            seconds, cost = self._read[self._load.unit]
            self._effort += effort * self._share * self._load.cost
            self._read[self._load.unit] = (
                seconds + self._seconds * (self._share > 0),
                cost + self._share * self._load.cost,
            )
        self._load = None

    @property
    def share(self) -> float:
        """The share of the work that is done, 0 to 1."""
        done = sum(cost for _, cost in self._read.values())
        left = sum(self._waiting.values())
        if self._load is not None:
            done, left = done + self._share * self._load.cost, left + (1 - self._share) * self._load.cost
        return done / (done + left) if done else 0.0

    @property
    def present(self) -> float | None:
        """Seconds that the present input has still to go; None where nothing tells."""
        rate = None if self._load is None else self._rate(self._load.unit)
        if self._load is None or rate is None:
            return None
        done = self._share * self._load.cost
        own = (self._seconds * (self._share > 0) + self._PRIOR * rate) / (done + self._PRIOR)
        return own * (self._load.cost - done)

    @property
    def seconds(self) -> float | None:
        """Seconds that the run has still to go; None where nothing tells."""
        left = self.present or 0.0
        for unit, cost in self._waiting.items():
            rate = self._rate(unit)
            if rate is None:
                return None
            left += rate * cost
        return left

    def _rate(self, unit: Unit) -> float | None:
        read, effort = dict(self._read), self._effort
        if self._load is not None and self._share > 0:
            seconds, cost = read[self._load.unit]
            read[self._load.unit] = seconds + self._seconds, cost + self._share * self._load.cost
            effort += self._share * self._load.cost
        if not effort:
            return None
        general = sum(seconds for seconds, _ in read.values()) / effort
        seconds, cost = read[unit]
        usual = max(self._PRIOR, self._usual[unit])
        return (seconds + usual * general) / (cost + usual)
