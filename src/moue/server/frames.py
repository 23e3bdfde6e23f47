"""``/v1/frames``: a WebSocket that takes a camera's frames and sends rows; the latest frame wins."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from moue.errors import MoueError
from moue.runtime.video.stream import TrackSmoother
from moue.server.batcher import Batcher
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.security import SUBPROTOCOL
from moue.server.settings import Settings
from moue.server.upload import reject_unknown_parameters

#: Seconds without a frame after which a camera is disconnected.
IDLE_TIMEOUT = 60
#: Seconds to wait before the next frame of a camera is read where the server is busy.
_BUSY_PAUSE = 0.25


def create_router(settings: Settings, models: ModelPool, batcher: Batcher, metrics: Metrics) -> APIRouter:
    """The route."""
    router = APIRouter()
    cameras: set[WebSocket] = set()
    metrics.set_gauge("active_cameras", lambda: len(cameras))

    @router.websocket("/v1/frames")
    async def frames(socket: WebSocket, model: str | None = None, detector: str | None = None) -> None:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope.get("subprotocols", ()) else None)
        try:
            if len(cameras) >= settings.max_cameras:
                await _close(socket, 1013, "too many cameras are open already. Try again later.")
                return
            reject_unknown_parameters(socket)
            cameras.add(socket)
            recognizer = await asyncio.to_thread(models.get, model, detector, video=True)
            async with _LatestFrame(socket, settings.max_bytes) as latest:
                smoother, start = TrackSmoother(), time.monotonic()
                # Each camera is a client of its own: frames of several take turns with each other and with photos.
                client = f"camera {id(socket)}"
                while True:
                    index, content = await asyncio.wait_for(latest.get(), IDLE_TIMEOUT)
                    timestamp, image = time.monotonic() - start, ("camera", content)
                    try:
                        [faces] = await batcher.read(recognizer, [image], client)
                    except HTTPException as error:
                        # Overloaded or stuck. The camera stays connected: its next frame is on its way.
                        faces = recognizer.failed("camera", "busy", error.detail)
                        await asyncio.sleep(_BUSY_PAUSE)
                    metrics.count_image(faces.status, len(faces))
                    faces = faces.replace(frame=index, timestamp=timestamp)
                    await socket.send_json((smoother(faces) if faces.readable else faces).to_dict())
        except WebSocketDisconnect:
            pass
        except (TimeoutError, asyncio.TimeoutError):
            await _close(socket, 1000, f"no frame was received for {IDLE_TIMEOUT} s.")
        except (MoueError, ValueError) as error:
            await _close(socket, 1008, str(error))
        finally:
            cameras.discard(socket)

    return router


async def _close(socket: WebSocket, code: int, detail: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        # Who sent the wrong message may have gone before the reply.
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_json({"detail": detail})
            # A close frame holds 123 bytes of reason.
            await socket.close(code, detail.encode()[:120].decode(errors="ignore"))


class _LatestFrame:
    """Receives frames in the background and keeps the newest; a context manager.

    Args:
        socket: sends the frames.
        max_bytes: of one frame.
    """

    def __init__(self, socket: WebSocket, max_bytes: int) -> None:
        self._socket, self._max_bytes = socket, max_bytes
        self._newest: tuple[int, bytes] | Exception | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> _LatestFrame:
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()

    async def get(self) -> tuple[int, bytes]:
        """Number, from 0, and content of the newest frame; waits for one that was not returned before.

        Raises:
            WebSocketDisconnect: when the camera disconnected.
            ValueError: when a message was not a frame.
        """
        await self._changed.wait()
        self._changed.clear()
        newest = self._newest
        assert newest is not None
        if isinstance(newest, Exception):
            raise newest
        return newest

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
                if len(content) > self._max_bytes:
                    raise ValueError(
                        f"a frame must be {self._max_bytes:,} bytes at most. Got {len(content):,} instead."
                    )
                self._newest, index = (index, content), index + 1
                self._changed.set()
        except Exception as error:
            self._newest = error
            self._changed.set()
