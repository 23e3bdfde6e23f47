"""What comes in: bodies read under limits of size, number and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import PurePosixPath

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, HTTPConnection

from moue.errors import UnknownName
from moue.server.settings import Settings

#: Names come from outside: longer ones are cut.
_LONGEST = 200
#: Types that say nothing of a body, which then speaks for itself: none, any bytes, what ``curl --data-binary`` says.
UNSAID = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})


async def images(request: Request, settings: Settings) -> list[tuple[str, bytes]]:
    """Name and content of each image in a request: the files of a form, or the body itself.

    Raises:
        HTTPException: 400, 408, 413 or 415, with a sentence.
    """
    kind = media_type(request)
    body = limited(request, settings.max_bytes, total=settings.upload_seconds)
    if kind == "multipart/form-data":
        return await _form(request, body, settings)
    if kind.startswith("video/"):
        raise HTTPException(415, f"this reads images. Got {kind} instead: send videos to /v1/videos.")
    if not kind.startswith("image/") and kind not in UNSAID:
        raise HTTPException(
            415, f"send images as multipart/form-data or as the body of an image/* request. Got {kind} instead."
        )
    content = b"".join([piece async for piece in body])
    if not content:
        raise HTTPException(400, "the body is empty: send the bytes of an image.")
    return [("image", content)]


async def limited(
    request: Request, most: int, *, total: float | None = None, piece: float | None = None
) -> AsyncGenerator[bytes, None]:
    """The pieces of a body.

    Args:
        request: whose body.
        most: bytes at most.
        total: seconds at most for all of it.
        piece: seconds at most between two pieces.

    Raises:
        HTTPException: 413 when there are more, 408 when they are late, 400 when the connection is cut.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most, f"{int(declared):,}")
    end = None if total is None else asyncio.get_running_loop().time() + total
    stream: AsyncIterator[bytes] = request.stream().__aiter__()
    size = 0
    while True:
        wait = piece if end is None else max(0.0, end - asyncio.get_running_loop().time())
        try:
            data = await asyncio.wait_for(anext(stream), wait)
        except StopAsyncIteration:
            return
        except (TimeoutError, asyncio.TimeoutError):
            raise HTTPException(408, f"the upload took too long: it must arrive within {total or piece:g} s.") from None
        except ClientDisconnect:
            raise HTTPException(400, "the connection was cut before the upload was whole.") from None
        size += len(data)
        if size > most:
            raise _too_large(most, "more")
        if data:
            yield data


def known_parameters(connection: HTTPConnection) -> None:
    """Refuse a parameter that would be passed over: who writes ``?modle=full`` wants another answer.

    Raises:
        UnknownName: naming it.
    """
    known = [field.alias for field in connection.scope["route"].dependant.query_params]
    for name in connection.query_params:
        if name not in known:
            raise UnknownName("parameter", name[:_LONGEST], known or ["none"])


def media_type(request: Request) -> str:
    """The request's content type, without its parameters; "" where it names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def shown(name: str | None, fallback: str) -> str:
    """A file's name as it may be repeated: without folders and control characters, not too long."""
    name = PurePosixPath((name or "").replace("\\", "/")).name
    name = "".join(c for c in name if c.isprintable())[:_LONGEST]
    return name or fallback


async def _form(request: Request, body: AsyncGenerator[bytes, None], settings: Settings) -> list[tuple[str, bytes]]:
    parser = MultiPartParser(request.headers, body, max_files=settings.max_files, max_fields=8)
    # Images stay in memory: nothing that is uploaded here shall reach a disk.
    parser.spool_max_size = settings.max_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise HTTPException(
                413, f"a request must hold {settings.max_files} files at most. Send the rest in another one."
            ) from None
        raise HTTPException(400, f"the form cannot be read: {error.message.rstrip('.')}.") from None
    found: list[tuple[str, bytes]] = []
    try:
        for _, value in form.multi_items():
            if isinstance(value, str):
                raise HTTPException(
                    400, "a form must hold files only: paths, addresses and other fields are never read."
                )
            found.append((shown(value.filename, f"image {len(found) + 1}"), await value.read()))
    finally:
        await form.close()
    if not found:
        raise HTTPException(400, "the form holds no file: attach at least one image.")
    return found


def _too_large(most: int, came: str) -> HTTPException:
    return HTTPException(413, f"the upload must be {most:,} bytes at most. Got {came} instead.")
