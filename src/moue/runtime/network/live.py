"""Live streams: RTSP, and what comes over HTTP without an end, over as many connections as it takes."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from moue.damage import reason
from moue.errors import Status, Unreadable
from moue.image import MAX_PIXELS, check_pixels
from moue.progress import Report
from moue.runtime.network.http import SILENCE, connection_failure, open_http, unauthorized
from moue.runtime.network.retry import RETRIES, Retry
from moue.runtime.network.url import TIMEOUT, Url
from moue.runtime.results import Faces
from moue.runtime.video.container import decoding_video, open_live, video_stream
from moue.runtime.video.decode import Decoder, Sampler
from moue.runtime.video.latest import Item, LatestFrames
from moue.runtime.video.live import stream_latest
from moue.runtime.video.rgb import pixel_aspect, to_rgb
from moue.runtime.video.smooth import SMOOTH
from moue.runtime.video.stream import FaceReader
from moue.runtime.video.window import Window

#: By how many seconds the times that a stream gives may differ from those at which its images come.
MAX_DRIFT = 5.0
#: FFmpeg's name for the parts that an MJPEG camera sends.
_MULTIPART = "mpjpeg"
_PORTS = {"rtsp": 554, "rtsps": 322}


class LiveStream:
    """The coded images (PyAV's) of a live stream, with numbers and times that go on over reconnections.

    Args:
        url: its address.
        response: for HTTP, the response of the first connection (:func:`moue.runtime.network.http.open_http`).
        retries: how often in a row a lost connection is made again; the first one is not.
        max_pixels: refuse larger images.
    """

    def __init__(self, url: Url, response: Any = None, *, retries: int = RETRIES, max_pixels: int = MAX_PIXELS) -> None:
        self.url = url
        self.failure: Unreadable | None = None
        """Why the stream ended; None where it did by itself, or did not yet."""
        self._response, self._body = response, _Body(response)
        self._retries, self._max_pixels = retries, max_pixels

    def __call__(self, closing: threading.Event) -> Generator[Item, None, None]:
        """The images, and a remark for each connection that is lost, until the stream ends or ``closing`` is set."""
        retry, clock, index = Retry(self._retries, closing), Clock(), 0
        while not closing.is_set():
            failure = Unreadable("the stream broke off")
            try:
                with self._connected() as container:
                    stream = video_stream(container)
                    # Frames in several threads at once would each wait for as many more.
                    stream.thread_type = "SLICE"
                    decoder, aspect = Decoder(container, stream), pixel_aspect(stream)
                    for coded in decoder:
                        check_pixels(coded.width, coded.height, self._max_pixels)
                        retry.succeeded()
                        yield index, clock(_time(coded, container)), (coded, aspect)
                        index += 1
                    if index == 0:
                        raise Unreadable("not one image of this stream can be decoded")
                    if not (decoder.truncated or self._body.broken) and _has_end(container):
                        return
            except Unreadable as error:
                failure = error
            if index == 0 or failure.status != "unreadable" or retry.exhausted:
                tried = f" ({retry.attempt} attempts)" if retry.attempt else ""
                self.failure = Unreadable(f"{failure}{tried}", failure.status)
                return
            yield retry.announce(f"{self.url.name}: {failure}")
            retry.wait()
            clock.restart()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection as a PyAV container."""
        with ExitStack() as stack:
            source: Any = self.url
            if self.url.is_web:
                response, self._response = self._response or open_http(self.url), None
                source = self._body = _Body(stack.enter_context(response))
            begin = time.monotonic()
            try:
                container = stack.enter_context(open_live(source))
            except Exception as error:
                # Not with its cause, whose text has the whole address.
                silent = time.monotonic() - begin >= TIMEOUT
                raise Unreadable(SILENCE if silent else self._open_failure(error)) from None
            with decoding_video():
                yield container

    def _open_failure(self, error: Exception) -> str:
        import av

        if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
            return unauthorized(401 if isinstance(error, av.error.HTTPUnauthorizedError) else 403, self.url)
        if isinstance(error, av.error.HTTPNotFoundError):
            return "the server answers 404 Not Found"
        if self.url.is_web:
            return "no film or stream of a kind that can be read as it comes"
        # FFmpeg says no more than "Input/output error" for most of what can go wrong: try for the reason.
        try:
            _reach(self.url)
        except OSError as cause:
            return connection_failure(cause)
        return f"the server does not give this stream: {(getattr(error, 'strerror', None) or 'RTSP failed').lower()}"


def stream_live(
    recognizer: FaceReader,
    stream: LiveStream,
    *,
    sampler: Sampler | None = None,
    smooth: float = SMOOTH,
    window: bool | Window = False,
    annotated: str | os.PathLike[str] | None = None,
    report: Report | None = None,
    on_remark: Callable[[str], object] | None = None,
) -> Generator[Faces, None, None]:
    """Read the faces in a live stream, one result an image that is read; the newest is read next.

    A stream that is lost for good gives one last result of status "unreadable" with the reason.

    Args:
        recognizer: a :class:`moue.Recognizer`, or another :class:`moue.runtime.video.stream.FaceReader`.
        stream: the stream.
        sampler: which of its images may be read; the stream ends with its range.
        smooth: as of :func:`moue.runtime.video.live.stream_latest`, and so are the other arguments.
        window: see there.
        annotated: see there.
        report: see there.
        on_remark: see there.

    Raises:
        MissingExtra, UsageError, OSError: see there.
    """
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    latest = LatestFrames(stream, lambda found: to_rgb(reformatter, *found), sampler)

    def lost() -> tuple[Status, str] | None:
        if latest.error is not None:
            return "unreadable", reason(latest.error)
        return None if stream.failure is None else (stream.failure.status, str(stream.failure))

    return stream_latest(
        recognizer,
        stream.url.name,
        latest,
        lost,
        smooth=smooth,
        window=window,
        annotated=annotated,
        report=report,
        on_remark=on_remark,
    )


class Clock:
    """Seconds since the first image, by the stream's own times where they can be trusted.

    Across reconnections, and where the stream gives no times or jumps, this machine's clock counts.
    """

    def __init__(self) -> None:
        self._begin: float | None = None
        self._last = 0.0
        self._offset: float | None = None

    def __call__(self, time_in_stream: float | None) -> float:
        """The time of an image that came just now, greater than that of the one before."""
        now = time.monotonic()
        if self._begin is None:
            self._begin = now
            self._offset = None if time_in_stream is None else -time_in_stream
            return 0.0
        elapsed = now - self._begin
        seconds = elapsed
        if time_in_stream is not None:
            if self._offset is not None:
                seconds = self._offset + time_in_stream
            if self._offset is None or seconds <= self._last or abs(seconds - elapsed) > MAX_DRIFT:
                seconds = max(elapsed, self._last + 0.001)
                self._offset = seconds - time_in_stream
        self._last = max(seconds, self._last + 0.001)
        return self._last

    def restart(self) -> None:
        """Go on after a reconnection, whose times may begin anywhere."""
        self._offset = None


class _Body:
    """The body of a response as a file that cannot be rewound, and that ends where its connection does."""

    def __init__(self, response: Any) -> None:
        self.broken = False
        self._response = response

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._response.read1(size)
        except (OSError, http.client.HTTPException):
            # PyAV prints some of the exceptions that it gets here.
            self.broken, data = True, b""
        return data


def _reach(url: Url) -> None:
    """Connect to the host and close the connection.

    Raises:
        OSError: with the reason why that is impossible.
    """
    assert url.host is not None
    with socket.create_connection((url.host, url.port or _PORTS[url.scheme]), TIMEOUT) as connection:
        if url.scheme == "rtsps":
            ssl.create_default_context().wrap_socket(connection, server_hostname=url.host).close()


def _time(coded: Any, container: Any) -> float | None:
    # Parts of a multipart response have no times: FFmpeg counts them.
    seconds: float | None = None if container.format.name == _MULTIPART else coded.time
    return seconds


def _has_end(container: Any) -> bool:
    """Whether an orderly end is the end of what is streamed, as of a film, and not that of a camera's connection."""
    if container.format.name == "rtsp":
        return bool(container.duration)
    return bool(container.format.name != _MULTIPART)
