"""``POST /v1/faces``: images in, a row for each out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from moue.runtime.results import Faces
from moue.server.batcher import Batcher
from moue.server.image_memory import ImageMemory
from moue.server.image_upload import read_images
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import BASE64_IMAGES, BINARY, DetectorName, ModelName, Row, UnreadableResponse, error_responses
from moue.server.settings import Settings
from moue.server.upload import content_length, curl_advice
from moue.signatures import HEAD, kind_of

#: As nginx logs it. Nobody receives it; it is for the metrics.
_CLIENT_CLOSED_REQUEST = 499
_FORM = {"type": "object", "properties": {"file": {"type": "array", "items": BINARY["schema"]}}, "required": ["file"]}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {"schema": BASE64_IMAGES},
            "application/octet-stream": BINARY,
            "image/*": BINARY,
        },
    }
}


def create_router(settings: Settings, models: ModelPool, batcher: Batcher, metrics: Metrics) -> APIRouter:
    """The route."""
    router = APIRouter()
    memory = ImageMemory(settings.max_image_bytes, batcher.retry_after)
    metrics.set_gauge("image_bytes", lambda: memory.used)

    @router.post(
        "/v1/faces", openapi_extra=_BODY, response_model=None, summary="Read the faces in images",
        responses={
            200: {"model": list[Row]},
            **error_responses(408, 415, 429, 503),
            **error_responses(413, 422, model=UnreadableResponse),
        },
    )  # fmt: skip
    async def faces(request: Request, model: ModelName = None, detector: DetectorName = None) -> Response:
        """A row for each image, in order, as `moue predict` gives them.

        Images come as the files of a form, as base64 in JSON, or one as the body itself.

        Where one of several cannot be read, its row says why. Where none can, the status is 422 (413 for too many
        pixels) and the response holds a message and the rows.
        """
        client = request.client.host if request.client else ""
        # A request that would be rejected is rejected before its upload.
        batcher.admit(client)
        with memory.request(content_length(request)) as take:
            recognizer = await asyncio.to_thread(models.get, model, detector)
            images = await read_images(request, settings, take)
            results = await _unless_disconnected(request, batcher.read(recognizer, images, client))
        if results is None:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        results = [
            result.replace(reason="a video: send it to /v1/videos")
            if not result.readable and kind_of(content[:HEAD]) == "video"
            else result
            for result, (_, content) in zip(results, images, strict=True)
        ]
        for result in results:
            metrics.count_image(result.status, len(result))
        rows = [result.to_dict() for result in results]
        if any(result.readable for result in results):
            return JSONResponse(rows)
        first = results[0]
        status = 413 if all(result.status == "too_large" for result in results) else 422
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        more += curl_advice(request, images[0][1])
        return JSONResponse({"detail": f"{first.source}: {first.reason}{more}", "rows": rows}, status)

    return router


async def _unless_disconnected(request: Request, reading: Coroutine[Any, Any, list[Faces]]) -> list[Faces] | None:
    """What ``reading`` returns; None, and ``reading`` is cancelled, when the client disconnects before."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.create_task(reading), asyncio.create_task(disconnected())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
