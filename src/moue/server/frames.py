"""``/v1/frames``: a WebSocket that takes a camera's frames and answers with rows; the latest frame wins."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from moue.errors import MoueError
from moue.runtime.video.stream import TrackSmoother
from moue.server.batcher import Batcher, Overloaded
from moue.server.faces import wait
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.security import PROTOCOL
from moue.server.settings import Settings
from moue.server.upload import known_parameters

#: Seconds without a frame after which a camera is taken for gone.
SILENCE = 60


def routes(settings: Settings, shelf: ModelPool, batcher: Batcher, metrics: Metrics) -> APIRouter:
    """The route."""
    router = APIRouter()
    cameras: set[WebSocket] = set()
    metrics.gauge("cameras", lambda: len(cameras))

    @router.websocket("/v1/frames")
    async def frames(socket: WebSocket, model: str | None = None, detector: str | None = None) -> None:
        await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
        try:
            if len(cameras) >= settings.cameras:
                await _end(socket, 1013, "too many cameras are open already. Try again later.")
                return
            known_parameters(socket)
            cameras.add(socket)
            recognizer = await asyncio.to_thread(shelf.get, model, detector, videos=True)
            async with _Inbox(socket, settings.max_bytes) as inbox:
                track_smoother, start = TrackSmoother(), time.monotonic()
                while True:
                    index, content = await asyncio.wait_for(inbox.latest(), SILENCE)
                    timestamp = time.monotonic() - start
                    try:
                        [row] = await wait(batcher.submit(recognizer, [("camera", content)]), settings.answer_seconds)
                    except (Overloaded, HTTPException) as error:
                        # A frame more or less: the next one is on its way already.
                        reason = str(error) if isinstance(error, Overloaded) else str(error.detail)
                        row = recognizer.failed("camera", "busy", reason)
                        await asyncio.sleep(0.25)
                    metrics.image(row.status, len(row))
                    row = row.replace(frame=index, timestamp=timestamp)
                    await socket.send_json((track_smoother(row) if row.readable else row).to_dict())
        except WebSocketDisconnect:
            pass
        except (TimeoutError, asyncio.TimeoutError):
            await _end(socket, 1000, f"no frame came for {SILENCE} s.")
        except (MoueError, ValueError) as error:
            await _end(socket, 1008, str(error))
        finally:
            cameras.discard(socket)

    return router


async def _end(socket: WebSocket, code: int, sentence: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        await socket.send_json({"detail": sentence})
        # A close frame holds 123 bytes of reason.
        await socket.close(code, sentence.encode()[:120].decode(errors="ignore"))


class _Inbox:
    """Holds one frame, the last that came; a context manager."""

    def __init__(self, socket: WebSocket, most: int) -> None:
        self._socket, self._most = socket, most
        self._held: tuple[int, bytes] | None = None
        self._came = asyncio.Event()
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _Inbox:
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()

    async def latest(self) -> tuple[int, bytes]:
        """Number, from 0, and content of the newest frame; waits for one that was not taken yet.

        Raises:
            WebSocketDisconnect: when there will be none.
            ValueError: when what came is no frame.
        """
        await self._came.wait()
        if self._error is not None:
            raise self._error
        held, self._held = self._held, None
        self._came.clear()
        assert held is not None
        return held

    async def _receive(self) -> None:
        index = 0
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", 1000))
                content = message.get("bytes")
                if not content:
                    raise ValueError("a frame must be a binary message with the bytes of an image.")
                if len(content) > self._most:
                    raise ValueError(f"a frame must be {self._most:,} bytes at most. Got {len(content):,} instead.")
                self._held, index = (index, content), index + 1
                self._came.set()
        except Exception as error:
            self._error = error
            self._came.set()
