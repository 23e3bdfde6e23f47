"""Videos as streams of upright RGB images with exact timestamps, in constant memory.

Times are the stream's own presentation timestamps, never a count of frames, so 29.97 frames/s stays 30000/1001 and
variable frame rates keep their gaps. Every coded frame is read, those that an edit list hides too.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import Unreadable, UsageError
from moue.image import MAX_PIXELS, check_pixels
from moue.runtime.validation import check_number
from moue.runtime.video.container import (
    Packets,
    VideoLike,
    check_complete,
    declared_end,
    decoding_video,
    name_of,
    open_container,
    sound_stream,
    video_stream,
)
from moue.runtime.video.rgb import color_matrix, display_size, orientation, pixel_aspect, to_rgb
from moue.runtime.video.seek import Keyframe, find_keyframe


@dataclass(frozen=True)
class Frame:
    """One frame of a video or camera."""

    index: int
    """Its number in the stream, from 0; skipped frames count."""
    timestamp: float
    """Seconds from the first frame of the stream."""
    image: NDArray[np.uint8]
    """uint8 ``(H, W, 3)``, RGB, upright."""
    sampled: bool = True
    """Whether a :class:`Sampler` takes it."""


@dataclass(frozen=True)
class Video:
    """An opened video (:func:`open_video`), which can be read any number of times."""

    name: str
    """Its path, or "<video>" for bytes and file objects."""
    width: int
    """Of the upright image, in square pixels."""
    height: int
    """Of the upright image, in square pixels."""
    frame_rate: Fraction | None
    """Mean frames/s, exact: 30000/1001 for "29.97"; None where the file declares none."""
    duration: float | None
    """Declared seconds; None where the file declares none."""
    frame_count: int | None
    """Number of frames, declared or estimated from rate and duration; None where neither is possible."""
    rotation: int
    """Counter-clockwise degrees by which coded images are rotated to be upright: 0, 90, 180 or 270."""
    mirrored: bool
    """Whether left and right are exchanged after the rotation."""
    pixel_aspect: Fraction
    """Width of a coded pixel over its height: other than 1 in DVDs and some cameras' videos. Images are scaled up to
    square pixels, as players show them, so that faces keep their proportions."""
    color_codes: tuple[int, int, int]
    """Color matrix, primaries and transfer function, by their codes in ITU-T H.273; 2: unspecified."""
    has_sound: bool
    """Whether there is an audio stream that can be decoded."""
    codec: str
    """The video codec's name ("h264")."""
    time_base: Fraction
    """The unit of the stream's timestamps, in seconds."""
    start_time: Fraction
    """The first frame's presentation timestamp, in seconds; :attr:`Frame.timestamp` counts from it."""
    source: VideoLike = field(repr=False)
    """What it was opened from."""

    def frames(
        self, every: int = 1, fps: float | None = None, *, start: float = 0, end: float | None = None
    ) -> Iterator[Frame]:
        """Stream the images in presentation order.

        Args:
            every: take every Nth frame.
            fps: take at most this many frames per second of video, by their timestamps; instead of ``every``.
            start: seconds of the first frame to take. An MP4 or Matroska file is decoded from a keyframe shortly before
                it, another one from its beginning.
            end: seconds before which frames are taken; None for all.

        Raises:
            UsageError: when an option cannot be used, or ``every`` and ``fps`` are both given.
            Unreadable: after the last frame that can be decoded, when the video is cut off or damaged; when it ends
                before ``start``.
        """
        sampler = Sampler(every, fps, start, end)
        return (frame for frame in self.iter_frames(sampler) if frame.sampled)

    def count(self, sampler: Sampler) -> int | None:
        """How many frames :meth:`iter_frames` gives, declared or estimated; None where that is unknown."""
        if (not sampler.start and sampler.end is None) or self.frame_count is None:
            return self.frame_count
        if not self.frame_rate:
            return None
        end = self.frame_count / float(self.frame_rate)
        seconds = (end if sampler.end is None else min(end, sampler.end)) - sampler.start
        return max(0, round(seconds * float(self.frame_rate)))

    def iter_frames(self, sampler: Sampler, *, convert_all: bool = False) -> Generator[Frame, None, None]:
        """Stream every frame of the sampler's range, those that are not sampled too.

        Args:
            sampler: sets the range and the frames' ``sampled``.
            convert_all: whether to convert the images of frames that are not sampled; they are empty otherwise,
                ``(0, 0, 3)``.

        Raises:
            Unreadable: after the last frame that can be decoded, when the video is cut off or damaged.
        """
        # Imported late: reading photos does not need FFmpeg's libraries.
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()
        no_image = np.zeros((0, 0, 3), np.uint8)
        with decoding_video(), open_container(self.source) as container:
            stream = video_stream(container)
            stream.thread_type = "AUTO"
            keyframe = find_keyframe(self.source, self.start_time + Fraction(sampler.start)) if sampler.start else None
            if keyframe is not None:
                container.seek(keyframe.dts, stream=stream)
            decoder = Decoder(container, stream)
            # Fractions: rounded, the time of a frame shown at once with the one before could seem to lie before it.
            interval = 1 / self.frame_rate if self.frame_rate else Fraction(0)
            start, time, index = self.start_time, -interval, -1
            for index, coded in enumerate(_shown(decoder, keyframe), start=keyframe.index if keyframe else 0):
                if coded.pts is None:
                    time += interval
                else:
                    pts = coded.pts * Fraction(coded.time_base or stream.time_base)
                    if index and pts - start < time:
                        # Concatenated recordings, each with timestamps from zero: continue one interval later.
                        start = pts - time - interval
                    time = pts - start
                timestamp = float(time)
                if timestamp < sampler.start:
                    continue
                if timestamp >= sampler.end:
                    break
                sampled = sampler(index, timestamp)
                image = to_rgb(reformatter, coded, self.pixel_aspect) if sampled or convert_all else no_image
                yield Frame(index, timestamp, image, sampled)
        check_complete(self.source)
        if index < 0:
            raise Unreadable("not one image of this video can be decoded")
        sampler.check_any(float(time))
        if time >= sampler.end:
            return
        if self.duration and self.duration - time > max(0.5, 3 * float(interval), 2 * decoder.max_duration):
            raise Unreadable(f"the video is cut off: it ends after {float(time):.2f} of {self.duration:.2f} seconds")
        if decoder.errors:
            raise Unreadable(f"the video is damaged: {decoder.errors} of its packets could not be decoded")


def check_sampling(every: int, fps: float | None, start: float = 0, end: float | None = None) -> None:
    """Refuse values that :class:`Sampler` cannot use.

    Raises:
        UsageError: for a value out of its range, or for ``every`` and ``fps`` together.
    """
    check_number("every", every, 1, integer=True)
    if fps is not None:
        check_number("fps", fps, 0, exclusive=True)
        if every != 1:
            raise UsageError("every and fps both choose the frames to read: give one of them.")
    check_number("start", start, 0)
    if end is not None:
        check_number("end", end, 0, exclusive=True)
        if start >= end:
            raise UsageError(f"start must come before end. Got a start of {start:g} and an end of {end:g} seconds.")


class Sampler:
    """Chooses frames: of a range of time, every Nth, or at most so many a second of video.

    Args:
        every: take every Nth frame, from the first one of the range.
        fps: take at most this many frames per second, by their timestamps.
        start: seconds of the first frame to take.
        end: seconds before which frames are taken; None for no limit.

    Raises:
        UsageError: when a value cannot be used, or ``every`` and ``fps`` are both given.
    """

    def __init__(self, every: int = 1, fps: float | None = None, start: float = 0, end: float | None = None) -> None:
        check_sampling(every, fps, start, end)
        self.every, self.fps = every, fps
        self.start, self.end = start, math.inf if end is None else end
        self._next_slot = 0
        self._first: int | None = None

    def __call__(self, index: int, timestamp: float) -> bool:
        """Whether to take this frame of the range (its number, and seconds); call it once a frame, in order."""
        if self._first is None:
            self._first = index
        if self.fps is None:
            return (index - self._first) % self.every == 0
        # A tolerance of 1 ms: timestamps that are rounded to milliseconds must not lose frames of a 30 frames/s video.
        slot = math.floor((timestamp + 1e-3) * self.fps)
        if slot < self._next_slot:
            return False
        self._next_slot = slot + 1
        return True

    def check_any(self, last: float) -> None:
        """Refuse a range in which there was no frame, when the last frame that was decoded is at so many seconds.

        Raises:
            Unreadable: where it was so.
        """
        if self._first is None:
            what = (
                f"it ends at {last:.2f} s, before"
                if last < self.start
                else f"no frame is before {self.end:g} s and after"
            )
            raise Unreadable(f"there is nothing to read: {what} the start at {self.start:g} s")


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
    with open_container(source) as container, decoding_video():
        stream = video_stream(container)
        context = stream.codec_context
        aspect = pixel_aspect(stream)
        check_pixels(*display_size(context.width, context.height, aspect), max_pixels)
        rate = stream.average_rate or stream.guessed_rate
        end = declared_end(container, stream)
        # Only a decoded frame tells size and rotation reliably.
        first = next(iter(Decoder(container, stream)), None)
        if first is None:
            check_complete(source)
            raise Unreadable("not one image of this video can be decoded")
        rotation, mirrored = orientation(first)
        width, height = display_size(first.width, first.height, aspect)
        if rotation % 180:
            width, height = height, width
        start = (first.pts or 0) * Fraction(first.time_base or stream.time_base)
        duration = float(end - start) if end is not None and end > start else None
        return Video(
            name=name_of(source),
            width=width,
            height=height,
            frame_rate=Fraction(rate) if rate else None,
            duration=duration,
            frame_count=stream.frames or (round(duration * rate) if duration and rate else None),
            rotation=rotation,
            mirrored=mirrored,
            pixel_aspect=aspect,
            color_codes=(color_matrix(context), context.color_primaries, context.color_trc),
            has_sound=sound_stream(container) is not None,
            codec=context.name,
            time_base=Fraction(stream.time_base),
            start_time=start,
            source=source,
        )


class Decoder:
    """All frames of a video stream (PyAV's), in presentation order.

    A packet that cannot be decoded is counted in ``errors``, and the next one tried.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.errors = 0
        self.max_duration = 0.0
        """The longest duration of a packet, in seconds."""
        self._packets = Packets(container, stream)
        self._codec_context = stream.codec_context

    @property
    def truncated(self) -> bool:
        """Whether the file or stream broke off; known once all frames were taken."""
        return self._packets.truncated

    def __iter__(self) -> Iterator[Any]:
        import av

        corrector = _PtsCorrector()
        for packet in self._packets:
            if packet.duration and packet.time_base:
                self.max_duration = max(self.max_duration, float(packet.duration * packet.time_base))
            corrector.observe(packet)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.errors += 1
                continue
            yield from map(corrector.correct, frames)
        self.errors += self._packets.truncated
        # Flush: a file that broke off had no packet to do so. A decoder that was flushed says so by an error.
        with suppress(av.error.FFmpegError):
            yield from map(corrector.correct, self._codec_context.decode(None))


class _PtsCorrector:
    """Gives frames presentation timestamps where the file has only decoding timestamps.

    AVI numbers its packets in decoding order, and so does a file whose packets were copied out of one. A B-frame is
    shown before a frame that was decoded before it, so its packet must have an earlier timestamp than one before; where
    no packet has, the timestamps are those of decoding, and frames are shown at that pace in the order in which the
    decoder returns them.
    """

    def __init__(self) -> None:
        self._max_pts = -math.inf
        self._reordered = self._has_b_frames = False
        self._delay: int | None = None

    def observe(self, packet: Any) -> None:
        """Note a packet's timestamp before it is decoded."""
        if packet.pts is not None:
            self._reordered |= packet.pts < self._max_pts
            self._max_pts = max(self._max_pts, packet.pts)

    def correct(self, frame: Any) -> Any:
        """The frame with its ``pts`` corrected; None where nothing tells its time."""
        from av.video.frame import PictureType

        if self._delay is None and frame.pts is not None and frame.dts is not None:
            self._delay = frame.dts - frame.pts
        self._has_b_frames |= frame.pts is not None and frame.pict_type == PictureType.B
        if self._has_b_frames and not self._reordered:
            frame.pts = None if frame.dts is None or self._delay is None else frame.dts - self._delay
        return frame


def _shown(decoder: Decoder, keyframe: Keyframe | None) -> Iterator[Any]:
    """The frames, without those before the keyframe that decoding began at."""
    if keyframe is None:
        return iter(decoder)
    return (frame for frame in decoder if frame.pts is None or frame.pts >= keyframe.pts)
