"""Drains the rest of a request body when the response is sent early, so that the client receives the response."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

#: A rejected body of up to this many bytes is read to its end and the connection is kept; after a larger one it is
#: closed.
KEEP_ALIVE_BYTES = 1 << 20
#: How long, in seconds, and how many bytes to read before the connection is closed. A client whose connection is reset
#: while it sends never reads the response.
DRAIN_SECONDS, DRAIN_BYTES = 2.0, 64 << 20


class Drain:
    """Wraps ``receive`` and ``send`` of one HTTP request.

    Args:
        scope: of the request.
        receive: gives its body.
        send: takes its response.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        length, chunked = headers.get("content-length", "0"), "transfer-encoding" in headers
        self._small = length.isdecimal() and int(length) <= KEEP_ALIVE_BYTES and not chunked
        self._complete = length == "0" and not chunked
        self._closing = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """The next part of the body."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._complete = True
        return message

    def give_up(self) -> None:
        """Drain nothing any more, as there is no time left."""
        self._complete = True

    async def send(self, message: Message) -> None:
        """Pass a part of the response on; drain the body before its end."""
        if message["type"] == "http.response.start":
            if not self._complete and self._small and message["status"] != 408:
                await self._drain(KEEP_ALIVE_BYTES)
            if not self._complete:
                self._closing = True
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif self._closing and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drain(DRAIN_BYTES)
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drain(self, max_bytes: int) -> None:
        async def read() -> None:
            size = 0
            while not self._complete and size < max_bytes:
                size += len((await self.receive()).get("body", b""))

        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(read(), DRAIN_SECONDS)
