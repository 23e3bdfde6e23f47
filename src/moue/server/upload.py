"""Request bodies, read under limits of size, number and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect, HTTPConnection

from moue.errors import UnknownName

_MAX_NAME_LENGTH = 200
_FORM_FIELDS = "application/x-www-form-urlencoded"
#: Content types that do not tell what a body is: none, any bytes, and the default of ``curl --data-binary``.
UNSPECIFIED = frozenset({"", "application/octet-stream", _FORM_FIELDS})


@dataclass(frozen=True)
class Pace:
    """How fast a body must arrive. An upload takes a place that others wait for, whether its bytes come or not."""

    seconds: float
    """For all of it."""
    part_seconds: float | None = None
    """For each part."""
    min_rate: float | None = None
    """Bytes a second on average; checked after ``part_seconds``, which a connection may take to get going."""

    def deadline(self, start: float, now: float, size: int) -> tuple[float, str]:
        """When the next part must be there, and why, for a message.

        Args:
            start: when the upload began, in seconds.
            now: when the last part arrived.
            size: bytes so far.
        """
        limits = [(start + self.seconds, f"it must arrive within {self.seconds:g} s")]
        if self.part_seconds is not None:
            limits.append((now + self.part_seconds, f"nothing arrived for {self.part_seconds:g} s"))
        if self.min_rate is not None:
            seconds = (self.part_seconds or 0) + size / self.min_rate
            limits.append((start + seconds, f"it must have at least {self.min_rate:,g} bytes a second"))
        return min(limits)


async def read_body(
    request: Request, max_bytes: int, pace: Pace, *, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[bytes, None]:
    """The parts of a body.

    Args:
        request: with the body.
        max_bytes: at most.
        pace: how fast it must arrive.
        clock: gives the time in seconds.

    Raises:
        HTTPException: 413 when it is too large, 408 when it is too slow, 400 when the client disconnects.
    """
    length = content_length(request)
    if length > max_bytes:
        raise too_large(max_bytes, f"{length:,}")
    start = clock()
    stream: AsyncIterator[bytes] = request.stream().__aiter__()
    size = 0
    while True:
        now = clock()
        deadline, reason = pace.deadline(start, now, size)
        try:
            part = await asyncio.wait_for(anext(stream), max(0.0, deadline - now))
            # What is there at once is not waited for.
            if clock() > deadline:
                raise TimeoutError
        except StopAsyncIteration:
            return
        except (TimeoutError, asyncio.TimeoutError):
            raise HTTPException(408, f"the upload took too long: {reason}.") from None
        except ClientDisconnect:
            raise HTTPException(400, "the connection was closed before the upload was complete.") from None
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes, "more")
        if part:
            yield part


def reject_unknown_parameters(connection: HTTPConnection) -> None:
    """Reject query parameters that the route does not have, such as a misspelled ``?modle=full``.

    Raises:
        UnknownName: with the name of the parameter.
    """
    known = [field.alias for field in connection.scope["route"].dependant.query_params]
    for name in connection.query_params:
        if name not in known:
            raise UnknownName("parameter", name[:_MAX_NAME_LENGTH], known or ["none"])


def media_type(request: Request) -> str:
    """The request's content type, without its parameters; "" where it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def content_length(request: Request) -> int:
    """The request's ``Content-Length``; 0 where it has none."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def curl_advice(request: Request, content: bytes) -> str:
    """What curl's ``-d`` may have done to a body that cannot be read; "" where it cannot have been that.

    Args:
        request: with the body.
        content: the body, or its beginning.
    """
    # From files, -d drops line ends and zeros: where there is one, the body is as it was.
    if media_type(request) != _FORM_FIELDS or any(byte in content for byte in (b"\n", b"\r", b"\0")):
        return ""
    if content.lstrip()[:1] == b"{" and request.url.path.endswith("/faces"):
        return ". JSON needs the header: Content-Type: application/json"
    if content.isascii():
        return ". The body is text: send the file itself, with curl's --data-binary @FILE"
    return ". curl's -d drops line ends: send the file with --data-binary"


def safe_name(name: str | None, default: str) -> str:
    """A file's name as it may be repeated in results: without folders and control characters, not too long."""
    name = PurePosixPath((name or "").replace("\\", "/")).name
    return "".join(c for c in name if c.isprintable())[:_MAX_NAME_LENGTH] or default


def image_name(name: str | None, number: int) -> str:
    """The source of an image's row: its file's name, or "image 1" for the first of a request that has none."""
    return safe_name(name, f"image {number}")


def too_large(max_bytes: int, size: str) -> HTTPException:
    """The error for an upload of more than ``max_bytes``."""
    return HTTPException(413, f"the upload must be {max_bytes:,} bytes at most. Got {size} instead.")
