"""The images of a request: the files of a form, base64 in JSON, or the body itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser

from moue.server.json_images import decode_json, max_json_bytes
from moue.server.settings import Settings
from moue.server.upload import UNSPECIFIED, Pace, image_name, media_type, read_body


async def read_images(request: Request, settings: Settings, take: Callable[[int], None]) -> list[tuple[str, bytes]]:
    """Name and content of each image in a request.

    Args:
        request: with the images.
        settings: its limits.
        take: called with the number of bytes of each part that arrives; it may raise an exception.

    Raises:
        HTTPException: 400, 408, 413 or 415, with a message.
    """
    content_type = media_type(request)
    encoded = content_type == "application/json"
    max_bytes = max_json_bytes(settings.max_bytes) if encoded else settings.max_bytes
    body = _counted(read_body(request, max_bytes, Pace(settings.upload_timeout_seconds)), take)
    if encoded:
        return await asyncio.to_thread(decode_json, b"".join([part async for part in body]), settings)
    if content_type == "multipart/form-data":
        return await _read_form(request, body, settings)
    if content_type.startswith("video/"):
        raise HTTPException(415, f"this reads images. Got {content_type} instead: send videos to /v1/videos.")
    if not content_type.startswith("image/") and content_type not in UNSPECIFIED:
        raise HTTPException(
            415,
            "send images as multipart/form-data, as the body of an image/* request, or as application/json. "
            f"Got {content_type} instead.",
        )
    content = b"".join([part async for part in body])
    if not content:
        raise HTTPException(400, "the body is empty: send the bytes of an image.")
    return [(image_name(None, 1), content)]


async def _counted(parts: AsyncIterator[bytes], take: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    async for part in parts:
        take(len(part))
        yield part


async def _read_form(
    request: Request, body: AsyncGenerator[bytes, None], settings: Settings
) -> list[tuple[str, bytes]]:
    parser = _FormParser(request.headers, body, max_files=settings.max_files, max_fields=8)
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
        if not parser.complete:
            raise HTTPException(
                400, "the form is cut off: the boundary that ends it is missing. Send all of it, with that boundary."
            )
        for _, value in form.multi_items():
            if isinstance(value, str):
                raise HTTPException(400, "a form must hold files only: paths, URLs and other fields are never read.")
            images.append((image_name(value.filename, len(images) + 1), await value.read()))
    finally:
        parser.close()
    if not images:
        raise HTTPException(400, "the form holds no file: attach at least one image.")
    return images


class _FormParser(MultiPartParser):
    """Remembers whether the form came to its end: what is left of one that is cut off must not pass for all of it."""

    complete = False

    def on_end(self) -> None:
        self.complete = True

    def close(self) -> None:
        # Those of incomplete parts are not in the form.
        for file in self._files_to_close_on_error:
            file.close()
