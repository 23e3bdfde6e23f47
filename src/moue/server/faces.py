"""``POST /v1/faces``: images in, a row for each out."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from moue.server.batcher import Batcher, Overloaded
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import BINARY, Row, UnreadableResponse, error_responses
from moue.server.settings import Settings
from moue.server.upload import media_type, read_images
from moue.signatures import HEAD, kind_of

_FORM = {"type": "object", "properties": {"file": {"type": "array", "items": BINARY["schema"]}}, "required": ["file"]}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": _FORM}, "application/octet-stream": BINARY, "image/*": BINARY},
    }
}


def create_router(settings: Settings, models: ModelPool, batcher: Batcher, metrics: Metrics) -> APIRouter:
    """The route."""
    router = APIRouter()
    slots = asyncio.Semaphore(settings.max_requests)

    @router.post(
        "/v1/faces", openapi_extra=_BODY, response_model=None, summary="Read the faces in images",
        responses={
            200: {"model": list[Row]},
            **error_responses(408, 415, 429, 503),
            **error_responses(413, 422, model=UnreadableResponse),
        },
    )  # fmt: skip
    async def faces(request: Request, model: str | None = None, detector: str | None = None) -> JSONResponse:
        """Images as the files of a form, or one as the body; a row for each, in order, as `moue predict` gives them.

        Where one of several cannot be read, its row says why. Where none can, the status is 422 (413 for too many
        pixels) and the response holds a message and the rows.
        """
        if slots.locked():
            raise Overloaded(1, "the server is busy with other requests")
        async with slots:
            recognizer = await asyncio.to_thread(models.get, model, detector)
            images = await read_images(request, settings)
            results = await batcher.read(recognizer, images, settings.response_timeout_seconds)
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
        if media_type(request) == "application/x-www-form-urlencoded":
            more += ". curl's -d drops line ends: send an image with --data-binary"
        return JSONResponse({"detail": f"{first.source}: {first.reason}{more}", "rows": rows}, status)

    return router
