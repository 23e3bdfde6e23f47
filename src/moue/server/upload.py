"""Request bodies, read under limits of size, number and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, HTTPConnection

from moue.errors import UnknownName
from moue.server.settings import Settings

_MAX_NAME_LENGTH = 200
#: Content types that do not tell what a body is: none, any bytes, and the default of ``curl --data-binary``.
UNSPECIFIED = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})


async def read_images(request: Request, settings: Settings) -> list[tuple[str, bytes]]:
    """Name and content of each image in a request: the files of a form, or the body itself.

    Raises:
        HTTPException: 400, 408, 413 or 415, with a message.
    """
    content_type = media_type(request)
    body = read_body(request, settings.max_bytes, Pace(settings.upload_timeout_seconds))
    if content_type == "multipart/form-data":
        return await _read_form(request, body, settings)
    if content_type.startswith("video/"):
        raise HTTPException(415, f"this reads images. Got {content_type} instead: send videos to /v1/videos.")
    if not content_type.startswith("image/") and content_type not in UNSPECIFIED:
        raise HTTPException(
            415, f"send images as multipart/form-data or as the body of an image/* request. Got {content_type} instead."
        )
    content = b"".join([part async for part in body])
    if not content:
        raise HTTPException(400, "the body is empty: send the bytes of an image.")
    return [("image", content)]


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
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes, f"{int(length):,}")
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
            raise _too_large(max_bytes, "more")
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


def safe_name(name: str | None, default: str) -> str:
    """A file's name as it may be repeated in results: without folders and control characters, not too long."""
    name = PurePosixPath((name or "").replace("\\", "/")).name
    return "".join(c for c in name if c.isprintable())[:_MAX_NAME_LENGTH] or default


async def _read_form(
    request: Request, body: AsyncGenerator[bytes, None], settings: Settings
) -> list[tuple[str, bytes]]:
    parser = MultiPartParser(request.headers, body, max_files=settings.max_files, max_fields=8)
    # Keeps images in memory: they are never written to disk.
    parser.spool_max_size = settings.max_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise HTTPException(
                413, f"a request must hold {settings.max_files} files at most. Send the rest in another one."
            ) from None
        raise HTTPException(400, f"the form cannot be read: {error.message.rstrip('.')}.") from None
    images: list[tuple[str, bytes]] = []
    try:
        for _, value in form.multi_items():
            if isinstance(value, str):
                raise HTTPException(400, "a form must hold files only: paths, URLs and other fields are never read.")
            images.append((safe_name(value.filename, f"image {len(images) + 1}"), await value.read()))
    finally:
        await form.close()
    if not images:
        raise HTTPException(400, "the form holds no file: attach at least one image.")
    return images


def _too_large(max_bytes: int, size: str) -> HTTPException:
    return HTTPException(413, f"the upload must be {max_bytes:,} bytes at most. Got {size} instead.")
