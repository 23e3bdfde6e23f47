"""Annotated videos: H.264 in MP4, with the source's timestamps, color description and sound.

The file is written as fragmented MP4 and turned into a plain one when it is closed. So what was written plays, however
the writing ended: regularly, by Ctrl-C, by a full disk or by a kill.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.damage import reason
from moue.errors import MoueError, UsageError, quoted
from moue.runtime.video.container import local_path, name_of
from moue.runtime.video.decode import Video
from moue.runtime.video.sound import SoundTrack, movflags

#: Encoders, best first; a build of FFmpeg without x264 has one of the others.
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"crf": "20", "preset": "veryfast"}),
    ("libopenh264", {"b": "4000000"}),
    ("h264_videotoolbox", {"b": "4000000"}),
    ("mpeg4", {"q": "4"}),
)
#: Seconds between keyframes, and the most frames. A fragment begins at each, and a killed program loses the last one;
#: some files declare a thousand frames a second.
_KEYFRAME_INTERVAL, _MAX_KEYFRAME_INTERVAL = 1, 60
#: Microseconds for which images wait for sound of their time; after that, none is coming.
_MAX_INTERLEAVE = 1_000_000


class VideoWriter:
    """Writes images with their times into an MP4 file; a context manager.

    Args:
        path: where to write; ends in .mp4, or a writable, seekable binary file object.
        like: the video whose time base, frame rate, color description and sound to take over; None for images from
            elsewhere.
        frame_rate: frames/s to expect where ``like`` declares none; only a hint to the encoder.
        start: seconds of ``like`` at which the written video begins.
        end: seconds of ``like`` at which its sound ends; all of it by default.
        on_remark: called with one sentence when the sound ends early because it is damaged, or the images because they
            cannot be encoded; without it, that is a Python warning.

    Raises:
        UsageError: when the name does not end in .mp4, or is that of ``like`` itself.
        OSError: when the file cannot be written; what was written so far still plays.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        like: Video | None = None,
        frame_rate: Fraction = Fraction(30),
        start: float = 0,
        end: float = math.inf,
        on_remark: Callable[[str], object] | None = None,
    ) -> None:
        import av

        self.name = name_of(path)
        if isinstance(path, (str, os.PathLike)) and Path(path).suffix.lower() != ".mp4":
            raise UsageError(f"videos are written as .mp4. Got {quoted(self.name)} instead.")
        if like is not None and _same_file(path, like.source):
            raise UsageError(f"{quoted(self.name)} is the video that is read. Give the one to be written another name.")
        self._like, self._start, self._end = like, start, end
        self._frame_rate = (like.frame_rate if like else None) or frame_rate
        self._time_base = _mp4_time_base(like.time_base if like else Fraction(1, 90_000))
        self._color_codes = like.color_codes if like else (2, 2, 2)
        self._last_pts = -1
        self._stream: Any = None
        self._sound: SoundTrack | None = None
        self._disk_failed = self._ended = False
        self._on_remark = on_remark or partial(warnings.warn, stacklevel=3)
        options = {
            "movflags": movflags("frag_keyframe"),
            "max_interleave_delta": str(_MAX_INTERLEAVE),
            "flush_packets": "1",
            "video_track_timescale": str(self._time_base.denominator),
        }
        file: Any = path
        self._path = Path(path) if isinstance(path, (str, os.PathLike)) else None
        if isinstance(path, (str, os.PathLike)):
            file = local_path(path)
            # FFmpeg opens it with the first packet only: a missing folder should be reported before any work.
            open(path, "wb").close()
        self._container = av.open(file, "w", format="mp4", options=options)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The first error tells more than the one of closing after it.
        with nullcontext() if kind is None else suppress(MoueError, OSError):
            self.close(rest_of_sound=kind is None)

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        """Append one image; after one that cannot be encoded, none.

        Args:
            image: uint8 ``(H, W, 3)`` RGB. The first one sets the video's size; others are letterboxed.
            timestamp: seconds on the clock of ``like``, greater than the one before.

        Raises:
            OSError: when the disk is full or the file cannot be written; what was written so far still plays.
        """
        import av

        if self._ended:
            return
        timestamp -= self._start
        with self._errors_of_writing():
            if self._stream is None:
                self._add_stream(image)
            image = _letterboxed(image, self._stream.width, self._stream.height)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            # The container refuses two images with one timestamp.
            self._last_pts = max(round(timestamp / self._time_base), self._last_pts + 1)
            frame.pts, frame.time_base = self._last_pts, self._time_base
            frame.colorspace = self._color_codes[0]
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.write_until(timestamp)

    def close(self, *, rest_of_sound: bool = True) -> None:
        """Finish the file; without an image, none is left.

        Args:
            rest_of_sound: whether to write sound that lasts longer than the images.

        Raises:
            OSError: when the rest cannot be written.
        """
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream is not None and not self._disk_failed:
                with self._errors_of_writing():
                    # After an image that could not be encoded, the encoder still has earlier ones.
                    container.mux(self._stream.encode(None))
                    if self._sound is not None and rest_of_sound and not self._ended:
                        self._sound.write_until(self._end - self._start)
        finally:
            if self._sound is not None:
                self._sound.close()
            with suppress(Exception) if self._disk_failed else self._errors_of_writing():
                container.close()
            if self._path is not None and self._path.stat().st_size == 0:
                self._path.unlink()

    def _add_stream(self, image: NDArray[np.uint8]) -> None:
        """Add the video stream, of the size of its first image, and the sound."""
        height, width = image.shape[:2]
        codec, options = _encoder()
        stream = self._container.add_stream(codec, rate=self._frame_rate, options=options)
        # Even: 4:2:0 halves the color planes.
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        # As the source declares them: without a declaration players would show other colors.
        context.colorspace, context.color_primaries, context.color_trc = self._color_codes
        context.gop_size = min(_MAX_KEYFRAME_INTERVAL, max(1, round(self._frame_rate * _KEYFRAME_INTERVAL)))
        # Without B-frames decoding order is presentation order: a fragment that is written is complete.
        context.max_b_frames = 0
        self._stream = stream
        if self._like is not None and self._like.has_sound:
            self._sound = SoundTrack(self._like, self._container, self._on_remark, self._start)

    @contextmanager
    def _errors_of_writing(self) -> Iterator[None]:
        """What FFmpeg cannot encode or write ends the video with a remark; an error of the disk is raised, named."""
        try:
            yield
        except MoueError:
            raise
        except Exception as error:
            ended, self._ended = self._ended, True
            # FFmpeg's errors wrap those of a file object.
            causes = [e for e in (error, error.__cause__, error.__context__) if isinstance(e, OSError)]
            if causes:
                self._disk_failed = True
                message = f"{causes[0].strerror or error}; the video so far is kept"
                raise OSError(causes[0].errno, message, self.name) from error
            if not ended:
                seconds = float(max(self._last_pts, 0) * self._time_base)
                self._on_remark(f"{self.name}: the annotated video ends at {seconds:.1f} s: {reason(error)}")


def _same_file(path: object, source: object) -> bool:
    """Whether both are paths of one existing file."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(source, (str, os.PathLike)):
        return False
    return Path(path).exists() and Path(path).samefile(source)


def _encoder() -> tuple[str, dict[str, str]]:
    import av

    for name, options in _ENCODERS:
        try:
            av.codec.Codec(name, "w")
        except (av.error.FFmpegError, ValueError):
            continue
        return name, options
    raise MoueError("this build of PyAV has no encoder for videos. Type: pip install --force-reinstall av")


def _mp4_time_base(time_base: Fraction) -> Fraction:
    """A time base that keeps the source's timestamps exact, where MP4 and the encoders can take it."""
    return Fraction(1, time_base.denominator) if 1000 <= time_base.denominator <= 1_000_000 else Fraction(1, 90_000)


def _letterboxed(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The image at a size of even numbers: an odd edge repeated, another size scaled between black bars."""
    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return np.ascontiguousarray(image)
    if (w + w % 2, h + h % 2) == (width, height):
        return np.pad(image, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    scale = min(width / w, height / h)
    scaled = Image.fromarray(image).resize((max(1, round(w * scale)), max(1, round(h * scale))))
    canvas = Image.new("RGB", (width, height))
    canvas.paste(scaled, ((width - scaled.width) // 2, (height - scaled.height) // 2))
    return np.asarray(canvas)
