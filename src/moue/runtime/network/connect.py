"""Connects to an address, and finds out what it holds: a photo, a film, or a live stream."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from moue.errors import Unreadable
from moue.image import MAX_PIXELS
from moue.runtime.inputs.resolve import holds_video
from moue.runtime.inputs.source import Source
from moue.runtime.network.download import Download
from moue.runtime.network.http import SILENCE, open_http
from moue.runtime.network.live import LiveStream
from moue.runtime.network.retry import RETRIES

#: The content type of an MJPEG camera, and those of playlists, which name other files and addresses.
_CAMERA, _PLAYLISTS = "multipart/x-mixed-replace", ("mpegurl", "dash+xml")

#: Of an image whose length is not told, which could have no end.
MAX_IMAGE_BYTES = 256 << 20


@contextmanager
def connected(
    source: Source,
    *,
    retries: int = RETRIES,
    max_pixels: int = MAX_PIXELS,
    on_remark: Callable[[str], object] | None = None,
) -> Iterator[Source]:
    """A source of kind "stream" as what its address holds; any other one as it is.

    What a web server gives the length of is a file, an "image" or a "video" whose content is an open file: every frame
    counts. So is what it calls an image. All else is live: it stays a "stream", and its content is a
    :class:`LiveStream`.

    Args:
        source: the source.
        retries: how often in a row a lost connection is made again.
        max_pixels: of a live stream's images; those of files are checked as they are read.
        on_remark: called with one sentence, for a file from another thread, when a connection is lost.

    Yields:
        The source; "unreadable" with the reason where there is no connection.
    """
    if source.kind != "stream":
        yield source
        return
    url = source.content
    if not url.is_web:
        yield replace(source, content=LiveStream(url, retries=retries, max_pixels=max_pixels))
        return
    try:
        response = open_http(url)
        _refuse_pages(response)
    except Unreadable as error:
        yield replace(source, kind="unreadable", reason=str(error), content=None)
        return
    if response.length is None and response.headers.get_content_maintype() == "image":
        try:
            content = _body(response)
        except Unreadable as error:
            yield replace(source, kind="unreadable", reason=str(error), content=None)
            return
        yield replace(source, kind="video" if holds_video(content) else "image", content=content)
        return
    if response.length is None or response.headers.get_content_type() == _CAMERA:
        yield replace(source, content=LiveStream(url, response, retries=retries, max_pixels=max_pixels))
        return
    with closing(Download(url, response, response.length, retries=retries, on_remark=on_remark)) as file:
        if holds_video(file):
            yield replace(source, kind="video", content=file)
            return
        content = file.read()
        if file.failure is not None:
            yield replace(source, kind="unreadable", reason=file.failure, content=None)
        else:
            yield replace(source, kind="image", content=content)


def _body(response: Any) -> bytes:
    """The bytes of an image whose length the server does not tell."""
    try:
        with response:
            content: bytes = response.read(MAX_IMAGE_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unreadable(SILENCE if isinstance(error, TimeoutError) else "the connection broke off") from None
    if len(content) > MAX_IMAGE_BYTES:
        raise Unreadable(f"an image of more than {MAX_IMAGE_BYTES:,} bytes, whose length the server does not tell")
    return content


def _refuse_pages(response: Any) -> None:
    """Refuse what surely holds no image."""
    kind = response.headers.get_content_type()
    if kind == "text/html":
        response.close()
        raise Unreadable("a web page, no film: give the address of the film or camera itself")
    if any(playlist in kind for playlist in _PLAYLISTS):
        response.close()
        raise Unreadable("a playlist (HLS or DASH), which names other addresses: give that of a film or camera itself")
