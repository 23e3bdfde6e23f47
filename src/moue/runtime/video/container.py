"""Video files from outside: what kind of file it is, how it is open_container, how its packets become frames (PyAV)."""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from moue.errors import Unreadable
from moue.signatures import HEAD, VIDEO_SUFFIXES, kind_of

VideoLike = str | os.PathLike[str] | bytes | BinaryIO

#: FFmpeg demuxers that read single images, or anything at all, as if it were a video.
_NO_VIDEOS = ("image2", "_pipe", "gif", "apng", "webp", "tty", "lrc", "bin", "adf", "idf", "xbin", "rawvideo", "data")


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds a video (or sound) rather than an image or anything else.

    The first bytes decide for the common kinds; FFmpeg is asked for the rest, and the name for what is empty or so
    damaged that nobody can tell, so that opening it gets to say what is wrong.
    """
    path = Path(path)
    try:
        # Only files: what is taken from a pipe here is gone, and to open one may wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return path.suffix.lower() in VIDEO_SUFFIXES
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError):
        return path.suffix.lower() in VIDEO_SUFFIXES
    kind = kind_of(head)
    if kind is not None:
        return kind == "video"
    known = _by_probe(path) if head else None
    return path.suffix.lower() in VIDEO_SUFFIXES if known is None else known


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a file that :func:`is_video` takes holds sound and no moving images, a cover at most."""
    try:
        with open_container(path) as container:
            return bool(container.streams.audio) and not _image_streams(container)
    except (Unreadable, OSError):
        return False


def name_of(source: VideoLike) -> str:
    """The path, or "<video>" for bytes and nameless file objects."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<video>"


def plain_path(path: str | os.PathLike[str]) -> str:
    """The path as FFmpeg takes it for one: ``12:30.mp4`` by itself would be an address, of a protocol named 12."""
    return os.path.join(os.curdir, path)  # noqa: PTH118 - a Path drops the leading dot


@contextmanager
def open_container(source: VideoLike, *, edits: bool = False) -> Iterator[Any]:
    """The source as a PyAV input container, from its start.

    Args:
        source: a path, bytes, or a seekable binary file object.
        edits: whether to obey the file's edit list, which hides frames and shifts the clock.

    Raises:
        Unreadable: when it is empty, damaged or no video.
        FileNotFoundError, PermissionError, IsADirectoryError: when there is no file to open.
    """
    import av

    file: Any
    if isinstance(source, (str, os.PathLike)):
        file = plain_path(source)
        try:
            found = Path(source).stat()
        except ValueError as error:
            raise Unreadable(str(error)) from None
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise Unreadable("a video must be a file: save what comes through the pipe first")
        if found.st_size == 0:
            raise Unreadable("the file is empty")
    else:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        if not file.seekable():
            raise Unreadable("a video needs a file that can be rewound: read it into memory first")
        file = _View(file)
    try:
        container = av.open(file, metadata_errors="ignore", options={} if edits else {"ignore_editlist": "1"})
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise Unreadable("it cannot be opened as a video: damaged, incomplete or of another kind") from error
    with container:
        if _no_video(container):
            raise Unreadable(f"not a video: its content is {container.format.name!r}")
        yield container


class _View:
    """A file object with a place of its own, so that images and sound can be read from one file side by side."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.place = file, 0

    def read(self, size: int = -1) -> bytes:
        self.file.seek(self.place)
        data = self.file.read(size)
        self.place += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 1:
            offset, whence = offset + self.place, 0
        self.place = self.file.seek(offset, whence)
        return self.place

    def tell(self) -> int:
        return self.place


def image_stream(container: Any) -> Any:
    """The first stream of moving images; the cover of a sound file is none.

    Raises:
        Unreadable: when there is none.
    """
    streams = _image_streams(container)
    if not streams:
        holds = "sound alone" if container.streams.audio else "neither images nor sound"
        raise Unreadable(f"a video without images: it holds {holds}")
    return streams[0]


def sound_stream(container: Any) -> Any | None:
    """The first sound track that can be read; None where there is none, or of codecs alone that nobody here knows."""
    known = (stream for stream in container.streams.audio if stream.codec_context is not None)
    # Without a rate the track is announced, and not one sample of it was found.
    return next((stream for stream in known if stream.codec_context.sample_rate), None)


def _image_streams(container: Any) -> list[Any]:
    from av.stream import Disposition

    streams = (stream for stream in container.streams.video if stream.codec_context is not None)
    return [stream for stream in streams if not stream.disposition & Disposition.attached_pic]


def declared_end(container: Any, stream: Any) -> Fraction | None:
    """When its images end, in seconds on the stream's own clock, as the file declares it; None where it does not."""
    duration = _declared_duration(container, stream)
    # Matroska counts from its clock's zero, whenever the first image comes.
    begun = 0 if "matroska" in container.format.name else (stream.start_time or 0) * Fraction(stream.time_base)
    return duration + begun if duration else None


def _declared_duration(container: Any, stream: Any) -> Fraction | None:
    if stream.duration:
        return Fraction(stream.time_base) * int(stream.duration)
    tag = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    parts = tag.split(":")
    if len(parts) == 3 and all(part.replace(".", "", 1).isdigit() for part in parts):
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + Fraction(parts[2])
    # The whole file's length is the images' only where there is nothing else in it.
    return Fraction(container.duration, 1_000_000) if container.duration and len(container.streams) == 1 else None


class Decoder:
    """All frames of a stream, in the order in which they are shown.

    A packet that cannot be decoded is counted in ``failed``, and the next one tried.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.container, self.stream = container, stream
        self.failed = 0
        self.longest = 0.0
        """The longest time, in seconds, that an image of the stream is shown."""
        self._timed = _Timed()

    def __iter__(self) -> Iterator[Any]:
        import av

        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError):
                # The file breaks off here; what the decoder still holds is drawn out of it all the same.
                self.failed += 1
                yield from self._rest()
                return
            except IndexError:
                # PyAV trips at the end over streams that came up on the way, as in broadcasts.
                yield from self._rest()
                return
            if packet is None:
                return
            if packet.duration and packet.time_base:
                self.longest = max(self.longest, float(packet.duration * packet.time_base))
            self._timed.coming(packet)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.failed += 1
                continue
            yield from map(self._timed, frames)

    def _rest(self) -> Iterator[Any]:
        import av

        try:
            yield from map(self._timed, self.stream.codec_context.decode(None))
        except av.error.FFmpegError:
            return


class _Timed:
    """Gives frames the time at which they are shown, where the file tells only when they are decoded.

    AVI numbers its packets as they come, and so does what was copied out of one. A B-image is shown before an image
    that was decoded before it, so its packet has to bear an earlier time than one before; where none does, the times
    are those of decoding, and frames are shown at that pace, in the order in which they come out.
    """

    def __init__(self) -> None:
        self._latest = -math.inf
        self._shown_early = self._numbered = False
        self._delay: int | None = None

    def coming(self, packet: Any) -> None:
        """Take note of a packet before it is decoded."""
        if packet.pts is not None:
            self._shown_early |= packet.pts < self._latest
            self._latest = max(self._latest, packet.pts)

    def __call__(self, frame: Any) -> Any:
        """The frame, its ``pts`` mended; None where nothing tells its time."""
        from av.video.frame import PictureType

        if self._delay is None and frame.pts is not None and frame.dts is not None:
            self._delay = frame.dts - frame.pts
        self._numbered |= frame.pts is not None and frame.pict_type == PictureType.B
        if self._numbered and not self._shown_early:
            frame.pts = None if frame.dts is None or self._delay is None else frame.dts - self._delay
        return frame


def _by_probe(path: Path) -> bool | None:
    import av

    try:
        with av.open(
            plain_path(path), metadata_errors="ignore", options={"analyzeduration": "0", "probesize": "65536"}
        ) as file:
            if _no_video(file):
                return False
            return any(s.type == "video" and s.codec_context and s.codec_context.width for s in file.streams) or None
    except (av.error.FFmpegError, OSError, ValueError):
        return None


def _no_video(container: Any) -> bool:
    # "bin" must not match "h264"-like names, and "mov,mp4,…" is a list: compare word by word.
    words = container.format.name.split(",")
    return any(word in _NO_VIDEOS or word.endswith("_pipe") for word in words)
