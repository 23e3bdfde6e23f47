"""Video files from outside: which files are videos, how one is opened, its streams and packets (PyAV)."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from moue.damage import reason
from moue.errors import MoueError, Unreadable
from moue.image_format import is_animation
from moue.runtime.network.url import TIMEOUT, Url
from moue.signatures import HEAD, QUICKTIME_BOXES, VIDEO_SUFFIXES, kind_of

VideoLike = str | os.PathLike[str] | bytes | BinaryIO

#: FFmpeg demuxers that may read a file: containers of video and of sound that hold everything themselves. FFmpeg goes
#: by the content, whatever a file is called, and has demuxers that open what a file names: playlists (HLS, DASH,
#: concat) other files and addresses, session descriptions (SDP) network ports. Raw H.261 and H.263 are not among them:
#: four bytes of any text pass for their start.
DEMUXERS = (
    *("mov", "matroska", "avi", "mpeg", "mpegts", "asf", "flv", "ogg", "mxf", "dv", "gxf", "nut", "rm", "wtv", "ivf"),
    *("h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "obu", "av1", "dirac"),
    *("wav", "w64", "mp3", "aac", "ac3", "eac3", "flac", "aiff", "caf", "amr", "ape", "wv"),
)


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds a video, sound or an animation rather than an image or anything else.

    The first bytes decide for the common kinds; FFmpeg is asked for the rest. The suffix decides for an empty file, a
    damaged one and one that cannot be read, so that opening it tells what is wrong.
    """
    path = Path(path)
    named = path.suffix.lower() in VIDEO_SUFFIXES
    try:
        # Only files: reading from a pipe takes its content, and opening one may block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return named
        with open(path, "rb") as file:
            head = file.read(HEAD)
            kind = kind_of(head)
            if kind == "image":
                file.seek(0)
                return is_animation(file)
    except (OSError, ValueError):
        return named
    if kind is not None:
        return kind == "video"
    probed = _by_probe(path, head) if head else None
    return named if probed is None else probed


def is_sound(path: str | os.PathLike[str]) -> bool:
    """Whether a file that :func:`is_video` takes holds sound and no video stream, cover art at most."""
    try:
        with open_container(path) as container:
            return bool(container.streams.audio) and not _video_streams(container)
    except Exception:
        # Reading it as a video tells what is wrong.
        return False


def name_of(source: VideoLike) -> str:
    """The path, or "<video>" for bytes and nameless file objects."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<video>"


def local_path(path: str | os.PathLike[str]) -> str:
    """The path in a form that FFmpeg never takes for a URL: in ``12:30.mp4`` it would see a protocol named 12."""
    return os.path.join(os.curdir, path)  # noqa: PTH118 - a Path drops the leading dot


@contextmanager
def decoding_video() -> Iterator[None]:
    """Run FFmpeg on a video, and raise Unreadable for whatever it or PyAV raises: any byte of a file may be wrong.

    Raises:
        Unreadable: with the reason; one that is raised inside passes as it is.
    """
    try:
        yield
    except MoueError:
        raise
    except MemoryError as error:
        raise Unreadable("there is not enough memory to decode this video") from error
    except Exception as error:
        raise Unreadable(f"the video is damaged: {reason(error)}") from error


@contextmanager
def open_container(source: VideoLike, *, edit_list: bool = False) -> Iterator[Any]:
    """The source as a PyAV input container, from its start.

    Args:
        source: a path, bytes, or a seekable binary file object.
        edit_list: whether to apply the file's edit list, which hides frames and shifts timestamps.

    Raises:
        Unreadable: when it is empty, damaged or no video.
        FileNotFoundError, PermissionError, IsADirectoryError: when there is no file to open.
    """
    file: Any
    if isinstance(source, (str, os.PathLike)):
        file = local_path(source)
        try:
            status = Path(source).stat()
        except ValueError as error:
            raise Unreadable(str(error)) from None
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise Unreadable("a video must be a file: save what comes through the pipe first")
        if status.st_size == 0:
            raise Unreadable("the file is empty")
    else:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        if not file.seekable():
            raise Unreadable("a video needs a file that can be rewound: read it into memory first")
        file = _FileView(file)
    try:
        options = {} if edit_list else {"ignore_editlist": "1"}
        container = _open(file, options, protocols="file" if isinstance(file, str) else "none")
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        check_complete(source)
        raise _refusal(error) from error
    with container:
        yield container


def check_complete(source: object) -> None:
    """Refuse a source that itself knows why no more of it came: :class:`moue.runtime.network.download.Download`.

    Raises:
        Unreadable: with that reason.
        KeyboardInterrupt: when one came while it was waited for.
    """
    failure = getattr(source, "failure", None)
    if failure is not None:
        raise Unreadable(f"the video is cut off: {failure}")


def _refusal(error: Exception) -> Unreadable:
    """What FFmpeg's refusal of a file means."""
    import av

    if isinstance(error, av.error.ArgumentError):
        return Unreadable("not a video that can be opened: a playlist, an image or another kind of file")
    if isinstance(error, MemoryError):
        return Unreadable("there is not enough memory to open this video")
    return Unreadable("it cannot be opened as a video: damaged, incomplete or of another kind")


def open_live(source: Url | Any) -> Any:
    """A live stream as a PyAV input container, which is to be closed.

    Args:
        source: an RTSP address, the only kind that FFmpeg itself connects to; or an open file that cannot be rewound,
            such as the body of an HTTP response.

    Raises:
        Exception: of any kind that FFmpeg and PyAV have. Its text may hold the address with its password.
    """
    # The rate is of no use, and measuring it takes images of up to two seconds.
    options = {"fpsprobesize": "0"}
    if not isinstance(source, Url):
        return _open(source, options, demuxers=(*DEMUXERS, "mpjpeg"))
    if source.scheme == "rtsps":
        import ssl

        protocols, trusted = "tls,tcp", ssl.get_default_verify_paths().cafile
        # Without the first, FFmpeg takes any certificate.
        options |= {"tls_verify": "1"} | ({"ca_file": trusted} if trusted else {})
    else:
        # UDP is for the servers that send their images by nothing else.
        protocols, options["rtsp_flags"] = "tcp,udp,rtp", "prefer_tcp"
    address = source.scheme + source.text[len(source.scheme) :]
    return _open(address, options, demuxers=("rtsp",), protocols=protocols, timeout=TIMEOUT)


def _open(
    file: Any,
    options: dict[str, str],
    demuxers: Sequence[str] = DEMUXERS,
    protocols: str = "none",
    timeout: float | None = None,
) -> Any:
    """A PyAV input container of one of the demuxers' formats, which opens nothing but the file or address itself.

    No protocol is called "none": an open file needs none.
    """
    import av

    only = {"protocol_whitelist": protocols, "format_whitelist": ",".join(demuxers)}
    return av.open(file, metadata_errors="ignore", options=options | only, timeout=timeout)


class _FileView:
    """A file object with a position of its own, so that video and sound can be read from one file side by side."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._position = file, 0

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = offset + self._position, os.SEEK_SET
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position


def video_stream(container: Any) -> Any:
    """The first video stream; cover art is none.

    Raises:
        Unreadable: when there is none.
    """
    streams = _video_streams(container)
    if not streams:
        content = "sound alone" if container.streams.audio else "neither images nor sound"
        raise Unreadable(f"a video without images: it holds {content}")
    return streams[0]


def sound_stream(container: Any) -> Any | None:
    """The first audio stream that can be decoded; None where there is none."""
    known = (stream for stream in container.streams.audio if stream.codec_context is not None)
    # Without a sample rate the stream is declared, but FFmpeg found no packet of it.
    return next((stream for stream in known if stream.codec_context.sample_rate), None)


def _video_streams(container: Any) -> list[Any]:
    from av.stream import Disposition

    streams = (stream for stream in container.streams.video if stream.codec_context is not None)
    return [stream for stream in streams if not stream.disposition & Disposition.attached_pic]


def declared_end(container: Any, stream: Any) -> Fraction | None:
    """When a video stream ends, in seconds on its own clock, as the file declares it; None where it does not."""
    duration = _declared_duration(container, stream)
    # Matroska counts from its clock's zero, whenever the first image comes.
    start = 0 if "matroska" in container.format.name else (stream.start_time or 0) * Fraction(stream.time_base)
    return duration + start if duration else None


def _declared_duration(container: Any, stream: Any) -> Fraction | None:
    if stream.duration:
        return Fraction(stream.time_base) * int(stream.duration)
    tag = next((value for key, value in stream.metadata.items() if key.upper().startswith("DURATION")), "")
    parts = tag.split(":")
    if len(parts) == 3 and all(part.replace(".", "", 1).isdigit() for part in parts):
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + Fraction(parts[2])
    # The file's duration is the stream's only where there is no other stream.
    return Fraction(container.duration, 1_000_000) if container.duration and len(container.streams) == 1 else None


class Packets:
    """The packets of a stream in file order, up to where the file breaks off."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.truncated = False
        """Whether the file broke off; known once all packets were taken."""
        self._packets = container.demux(stream)

    def __iter__(self) -> Iterator[Any]:
        import av

        try:
            yield from self._packets
        except (av.error.FFmpegError, OSError):
            self.truncated = True
        except IndexError:
            # PyAV trips at the end over streams that appeared midway, as in broadcasts: nothing is missing.
            return


def _by_probe(path: Path, head: bytes) -> bool | None:
    """Whether FFmpeg finds a video in a file whose first bytes say nothing; None where it finds none."""
    options = {"analyzeduration": "0", "probesize": "65536"}
    try:
        with _open(local_path(path), options, protocols="file") as file:
            # The demuxer of MP4 takes HEIF images, too: without a brand only what QuickTime wrote is a video.
            if "mp4" in file.format.name and head[4:8] not in QUICKTIME_BOXES:
                return None
            return any(s.type == "video" and s.codec_context and s.codec_context.width for s in file.streams) or None
    except Exception:
        return None
