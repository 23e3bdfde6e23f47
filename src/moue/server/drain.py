"""The rest of an upload that is answered before it is whole: read on for a moment, so that its sender hears why."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

#: A refused body up to so many bytes is read to its end, which keeps the connection; after a larger one it is closed.
SMALL = 1 << 20
#: Before it is closed, the sender has so long, and so many bytes, to notice the answer: senders that are cut off while
#: they send never read it.
SECONDS, MOST = 2.0, 64 << 20


class Drain:
    """Follows the body of one request, and ends the answer.

    Args:
        scope: of the request.
        receive: gives its body.
        send: takes its answer.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        self._small = announced.isdecimal() and int(announced) <= SMALL and "transfer-encoding" not in headers
        self._whole = announced == "0" and "transfer-encoding" not in headers
        self._closing = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """The next piece of the body."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            self._whole = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a piece of the answer on."""
        if message["type"] == "http.response.start":
            if not self._whole and self._small and message["status"] != 408:
                await self._forget(SMALL)
            if not self._whole:
                self._closing = True
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif self._closing and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._forget(MOST)
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _forget(self, most: int) -> None:
        async def reading() -> None:
            size = 0
            while not self._whole and size < most:
                size += len((await self.receive()).get("body", b""))

        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(reading(), SECONDS)
