"""Videos as streams of upright RGB images with exact times, in constant memory.

Times come from the stream's own clock (presentation timestamps), never from counting frames, so 29.97 frames/s stays
30000/1001 and variable rates keep their gaps. Every coded image is read, those that an edit list hides too: nothing
in a file goes unseen.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import Unreadable, UsageError
from moue.image import MAX_PIXELS, check_pixels
from moue.runtime.validation import check
from moue.runtime.video.container import (
    Decoder,
    VideoLike,
    declared_end,
    image_stream,
    is_video,
    name_of,
    open_container,
    sound_stream,
)

__all__ = ["Frame", "Sampler", "Video", "is_video", "open_video"]

#: Pixels that are told to be wider or taller than this come from a damaged file, and are taken for squares.
_ASPECT = 4

#: Matrices from RGB that FFmpeg's scaler knows, by their numbers in ITU-T H.273; 2 is "not told".
_MATRICES = (1, 2, 4, 5, 6, 7, 9)


@dataclass(frozen=True)
class Frame:
    """One image of a video or camera."""

    index: int
    """Its number in the stream, from 0; frames that were stepped over count."""
    timestamp: float
    """Seconds from the first image of the stream."""
    image: NDArray[np.uint8]
    """uint8 ``(H, W, 3)``, RGB, upright."""


@dataclass(frozen=True)
class Video:
    """A video that can be read as often as wanted; :func:`open_video` makes it."""

    name: str
    """Its path, or "<video>" for bytes and file objects."""
    width: int
    """Of the upright image, in pixels that are squares."""
    height: int
    """Of the upright image, in pixels that are squares."""
    frame_rate: Fraction | None
    """Mean frames/s, exact: 30000/1001 for "29.97"; None where the file does not tell."""
    duration: float | None
    """Declared seconds; None where the file does not tell."""
    frame_count: int | None
    """Declared (or, from rate and duration, expected) number of frames; None where it cannot be told."""
    rotation: int
    """Counter-clockwise degrees by which the coded images are turned to be upright: 0, 90, 180 or 270."""
    mirrored: bool
    """Whether left and right are exchanged after that."""
    pixel_aspect: Fraction
    """Width of a coded pixel over its height: other than 1 in DVDs and some cameras' videos. Images come widened, or
    made taller, to what players show, as a face would be squeezed else."""
    color_codes: tuple[int, int, int]
    """Matrix from RGB, primaries and transfer of its coded colors, by their numbers in ITU-T H.273; 2: not told."""
    has_sound: bool
    """Whether there is a sound track that can be read."""
    codec: str
    """The image codec's name ("h264")."""
    time_base: Fraction
    """The unit of the stream's clock, in seconds."""
    start_time: Fraction
    """The first image's time on the stream's own clock, in seconds; timestamps count from it."""
    source: VideoLike = field(repr=False)
    """What it was opened from."""

    def frames(self, every: int = 1, fps: float | None = None) -> Iterator[Frame]:
        """Stream the images, from the start, in the order in which they are shown.

        Args:
            every: take each Nth frame.
            fps: take at most that many frames a second of video, by their timestamps; instead of ``every``.

        Raises:
            UsageError: when ``every`` or ``fps`` cannot be used, or both are given.
            Unreadable: after all that could be decoded was given, when the video is cut off or damaged.
        """
        wanted = Sampler(every, fps)
        return (frame for frame, taken in self.iter_frames(wanted) if taken)

    def iter_frames(self, wanted: Sampler, *, all_images: bool = False) -> Generator[tuple[Frame, bool], None, None]:
        """Stream every frame, together with whether the sampler wants it.

        Args:
            wanted: decides by index and timestamp.
            all_images: convert the images of unwanted frames too; they are empty, ``(0, 0, 3)``, otherwise.

        Raises:
            Unreadable: after all that could be decoded was given, when the video is cut off or damaged.
        """
        # Imported late: reading photos does not need FFmpeg's libraries.
        from av.video.reformatter import VideoReformatter

        convert = VideoReformatter()
        nothing = np.zeros((0, 0, 3), np.uint8)
        with open_container(self.source) as container:
            stream = image_stream(container)
            stream.thread_type = "AUTO"
            decoder = Decoder(container, stream)
            # Exact: rounded, the time of an image shown at once with the one before could seem to lie before it.
            step = 1 / self.frame_rate if self.frame_rate else Fraction(0)
            start, clock, index = self.start_time, -step, -1
            for index, coded in enumerate(decoder):
                if coded.pts is None:
                    clock += step
                else:
                    time = coded.pts * Fraction(coded.time_base)
                    if index and time - start < clock:
                        # Recordings put one behind the other, each with a clock from zero: go on from where we are.
                        start = time - clock - step
                    clock = time - start
                timestamp = float(clock)
                taken = wanted(index, timestamp)
                image = _upright(convert, coded, self.pixel_aspect) if taken or all_images else nothing
                yield Frame(index, timestamp, image), taken
        if index < 0:
            raise Unreadable("not one image of this video can be decoded")
        if self.duration and self.duration - clock > max(0.5, 3 * float(step), 2 * decoder.longest):
            raise Unreadable(f"the video is cut off: it ends after {float(clock):.2f} of {self.duration:.2f} seconds")
        if decoder.failed:
            raise Unreadable(f"the video is damaged: {decoder.failed} of its packets could not be decoded")


class Sampler:
    """Which frames to take: each Nth, or so many a second of video.

    Args:
        every: take each Nth frame.
        fps: take at most that many frames a second, by their timestamps.

    Raises:
        UsageError: when a value cannot be used, or both are given.
    """

    def __init__(self, every: int = 1, fps: float | None = None) -> None:
        check("every", every, 1, whole=True)
        if fps is not None:
            check("fps", fps, 0, above=True)
            if every != 1:
                raise UsageError("every and fps both choose the frames to read: give one of them.")
        self.every, self.fps = every, fps
        self._due = 0

    def __call__(self, index: int, timestamp: float) -> bool:
        """Whether to take this frame; to be asked once a frame, in order."""
        if self.fps is None:
            return index % self.every == 0
        # A millisecond of grace: a clock that counts in milliseconds must not lose frames of a 30 frames/s video.
        slot = math.floor((timestamp + 1e-3) * self.fps)
        if slot < self._due:
            return False
        self._due = slot + 1
        return True


def open_video(source: VideoLike, *, max_pixels: int = MAX_PIXELS) -> Video:
    """Open a video.

    Args:
        source: a path, the video's bytes, or a seekable binary file object.
        max_pixels: the largest width × height of its images to accept.

    Raises:
        Unreadable: when it is empty, no video, or has no images in it; says which. When its images are larger than
            ``max_pixels``, of status "too_large".
        FileNotFoundError, PermissionError: when the file cannot be opened at all.
    """
    name = name_of(source)
    with open_container(source) as container:
        stream = image_stream(container)
        context = stream.codec_context
        aspect = _aspect(stream)
        check_pixels(*_shown(context.width, context.height, aspect), max_pixels)
        rate = stream.average_rate or stream.guessed_rate
        end = declared_end(container, stream)
        # Only a decoded image tells its size and rotation for certain.
        first = next(iter(Decoder(container, stream)), None)
        if first is None:
            raise Unreadable("not one image of this video can be decoded")
        rotation, mirrored = _orientation(first)
        size = _shown(first.width, first.height, aspect)
        start = (first.pts or 0) * Fraction(first.time_base or stream.time_base)
        duration = float(end - start) if end is not None and end > start else None
        return Video(
            name=name,
            width=size[rotation % 180 // 90],
            height=size[1 - rotation % 180 // 90],
            frame_rate=Fraction(rate) if rate else None,
            duration=duration,
            frame_count=stream.frames or (round(duration * rate) if duration and rate else None),
            rotation=rotation,
            mirrored=mirrored,
            pixel_aspect=aspect,
            color_codes=(_matrix(context), context.color_primaries, context.color_trc),
            has_sound=sound_stream(container) is not None,
            codec=context.name,
            time_base=Fraction(stream.time_base),
            start_time=start,
            source=source,
        )


def _aspect(stream: Any) -> Fraction:
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return aspect if Fraction(1, _ASPECT) <= aspect <= _ASPECT else Fraction(1)


def _shown(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Size of a coded image whose pixels are made squares; none is lost."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def _orientation(coded: Any) -> tuple[int, bool]:
    """Counter-clockwise degrees, to the nearest quarter turn, and whether the turned image is to be mirrored."""
    matrix = coded.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    # Of a coded pixel's place it makes x = a p + c q and y = b p + d q.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    mirrored = bool(a * d < b * c)
    return round(-math.degrees(math.atan2(b, -a if mirrored else a)) / 90) % 4 * 90, mirrored


def _matrix(coded: Any) -> int:
    # The scaler refuses others, also the reserved ones that some cameras write; to players they are as good as none.
    return coded.colorspace if coded.colorspace in _MATRICES else 2


def _upright(convert: Any, coded: Any, aspect: Fraction) -> NDArray[np.uint8]:
    coded.colorspace = _matrix(coded)
    width, height = _shown(coded.width, coded.height, aspect)
    image: NDArray[np.uint8] = convert.reformat(coded, width, height, format="rgb24").to_ndarray()
    rotation, mirrored = _orientation(coded)
    image = np.rot90(image, rotation // 90)
    return np.ascontiguousarray(image[:, ::-1] if mirrored else image)
