"""Annotated videos: H.264 in MP4, with the source's clock, colors, shape of pixels and sound.

The file is written in fragments, each whole by itself, and turned into a plain MP4 when it is closed. So what was
written plays, whether the writing ended well, by Ctrl-C, by a full disk or by a kill.
"""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moue.errors import MoueError, UsageError
from moue.runtime.video.container import local_path
from moue.runtime.video.decode import Video
from moue.runtime.video.sound import Sound

#: Encoders, best first; a build of FFmpeg without x264 has one of the others.
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"crf": "20", "preset": "veryfast"}),
    ("libopenh264", {"b": "4000000"}),
    ("h264_videotoolbox", {"b": "4000000"}),
    ("mpeg4", {"q": "4"}),
)
#: Seconds between images that stand alone; a fragment begins at each.
_FRAGMENT = 1


class VideoWriter:
    """Writes images with their times into an MP4 file; a context manager.

    Args:
        path: where to write; ends in .mp4, or a writable, seekable binary file object.
        like: the video whose clock, rate, colors, shape of pixels and sound to take over; None for images from
            elsewhere.
        rate: frames/s to expect where ``like`` does not tell; only a hint to the encoder.

    Raises:
        UsageError: when the name does not end in .mp4, or is that of ``like`` itself.
        OSError: when the file cannot be written; what was written so far still plays.
    """

    def __init__(
        self, path: str | os.PathLike[str] | BinaryIO, *, like: Video | None = None, rate: Fraction = Fraction(30)
    ) -> None:
        import av

        self.name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else getattr(path, "name", "<video>")
        if isinstance(path, (str, os.PathLike)) and Path(path).suffix.lower() != ".mp4":
            raise UsageError(f"videos are written as .mp4. Got {self.name!r} instead.")
        if like is not None and _same(path, like.source):
            raise UsageError(f"{self.name!r} is the video that is read. Give the one to be written another name.")
        self._like = like
        self._rate = (like.frame_rate if like else None) or rate
        self._clock = _clock(like.time_base if like else Fraction(1, 90_000))
        self._matrix, *self._colors = like.color_codes if like else (2, 2, 2)
        self._last = -1
        self._size: tuple[int, int] | None = None
        self._stream: Any = None
        self._sound: Sound | None = None
        self._broken = False
        options = {
            "movflags": _movflags(),
            "flush_packets": "1",
            "video_track_timescale": str(self._clock.denominator),
        }
        file: Any = path
        if isinstance(path, (str, os.PathLike)):
            file = local_path(path)
            # FFmpeg opens it with the first packet only: a folder that is missing should be told before any work.
            open(path, "wb").close()
        self._container = av.open(file, "w", format="mp4", options=options)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(sound_to_the_end=kind is None)
        except (MoueError, OSError):
            # The first error tells more than the one of tidying up after it.
            if kind is None:
                raise

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        """Append one image.

        Args:
            image: uint8 ``(H, W, 3)`` RGB. The first one sets the video's size; others are fitted into it.
            timestamp: seconds from the video's start, more than that of the image before.

        Raises:
            OSError: when the disk is full or the file cannot be written; what was written so far still plays.
        """
        import av

        try:
            if self._stream is None:
                self._begin(image)
            frame = av.VideoFrame.from_ndarray(_fitted(image, self._size), format="rgb24")
            # Two images in one tick of the clock would be refused by the container.
            self._last = max(round(timestamp / self._clock), self._last + 1)
            frame.pts, frame.time_base = self._last, self._clock
            frame.colorspace = self._matrix
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.until(timestamp)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failed(error) from error

    def close(self, *, sound_to_the_end: bool = True) -> None:
        """Finish the file.

        Args:
            sound_to_the_end: whether sound that lasts longer than the images is kept.

        Raises:
            OSError: when the rest cannot be written.
        """
        import av

        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream is not None and not self._broken:
                container.mux(self._stream.encode(None))
                if self._sound is not None and sound_to_the_end:
                    self._sound.until(None)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failed(error) from error
        finally:
            if self._sound is not None:
                self._sound.close()
            try:
                container.close()
            except (OSError, av.error.FFmpegError) as error:
                if not self._broken:
                    raise self._failed(error) from error

    def _begin(self, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        # 4:2:0 halves the color planes.
        self._size = (width + width % 2, height + height % 2)
        codec, options = _encoder()
        stream = self._container.add_stream(codec, rate=self._rate, options=options)
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = self._clock
        # What the source says: players would show a copy that says nothing in other colors.
        stream.codec_context.colorspace = self._matrix
        stream.codec_context.color_primaries, stream.codec_context.color_trc = self._colors
        stream.codec_context.gop_size = max(1, round(self._rate * _FRAGMENT))
        # Without B-frames the order of writing is the order of showing: a fragment that is written is complete.
        stream.codec_context.max_b_frames = 0
        self._stream = stream
        if self._like is not None and self._like.has_sound:
            self._sound = Sound(self._like, self._container)

    def _failed(self, error: BaseException) -> OSError:
        """The error with the video's name in it; a file object's own error arrives wrapped by FFmpeg's."""
        self._broken = True
        causes = [e for e in (error, error.__cause__, error.__context__) if isinstance(e, OSError)]
        number, words = (causes[0].errno, causes[0].strerror) if causes else (errno.EIO, str(error))
        return OSError(number, f"{words or error}; the video so far is kept", self.name)


def _same(path: object, source: object) -> bool:
    """Whether both are paths of one file that is there."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(source, (str, os.PathLike)):
        return False
    return Path(path).exists() and Path(path).samefile(source)


def _movflags() -> str:
    import av

    # FFmpeg 8 makes a plain file of the fragments at the end; before, they stay.
    recent = av.library_versions["libavformat"] >= (62,)
    return "hybrid_fragmented+frag_keyframe" if recent else "frag_keyframe+empty_moov+default_base_moof"


def _encoder() -> tuple[str, dict[str, str]]:
    import av

    for name, options in _ENCODERS:
        try:
            av.codec.Codec(name, "w")
        except (av.error.FFmpegError, ValueError):
            continue
        return name, options
    raise MoueError("this build of PyAV has no encoder for videos. Type: pip install --force-reinstall av")


def _clock(time_base: Fraction) -> Fraction:
    """A unit of time that holds the source's times exactly, where MP4 and the encoders can take it."""
    return Fraction(1, time_base.denominator) if 1000 <= time_base.denominator <= 1_000_000 else Fraction(1, 90_000)


def _fitted(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The image at the video's size: a lacking row or column repeated, another size fitted between black bars."""
    height, width = image.shape[:2]
    assert size is not None
    if (width, height) == size:
        return np.ascontiguousarray(image)
    if (width + width % 2, height + height % 2) == size:
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    scale = min(size[0] / width, size[1] / height)
    small = Image.fromarray(image).resize((max(1, round(width * scale)), max(1, round(height * scale))))
    canvas = Image.new("RGB", size)
    canvas.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
    return np.asarray(canvas)
