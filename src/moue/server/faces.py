"""``POST /v1/faces``: images in, a row for each out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse

from moue.runtime.results import Faces
from moue.server.batcher import Batcher
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import Problem, Row, Unread
from moue.server.settings import Settings
from moue.server.upload import images, media_type
from moue.signatures import HEAD, kind_of

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["file"],
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def routes(settings: Settings, shelf: ModelPool, batcher: Batcher, metrics: Metrics) -> APIRouter:
    """The route."""
    router = APIRouter()
    open_requests = _ConcurrencyLimit(settings.requests)

    @router.post(
        "/v1/faces", openapi_extra=_BODY, response_model=None, summary="Read the faces in images",
        responses={200: {"model": list[Row]}, **problems(408, 415, 429, 503), **unread()},
    )  # fmt: skip
    async def faces(request: Request, model: str | None = None, detector: str | None = None) -> JSONResponse:
        """Images as the files of a form, or one as the body; a row for each, in order, as `moue predict` gives them.

        Where one of several cannot be read, its row says why. Where none can, the answer is 422 (413 for too many
        pixels) and holds a sentence beside the rows.
        """
        with open_requests.entered():
            recognizer = await asyncio.to_thread(shelf.get, model, detector)
            found = await images(request, settings)
            rows = await wait(batcher.submit(recognizer, found), settings.answer_seconds)
        rows = [
            row
            if row.readable or kind_of(content[:HEAD]) != "video"
            else row.replace(reason="a video: send it to /v1/videos")
            for row, (_, content) in zip(rows, found, strict=True)
        ]
        for row in rows:
            metrics.image(row.status, len(row))
        answer = [row.to_dict() for row in rows]
        if any(row.readable for row in rows):
            return JSONResponse(answer)
        first = rows[0]
        status = 413 if all(row.status == "too_large" for row in rows) else 422
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        if media_type(request) == "application/x-www-form-urlencoded":
            more += ". curl's -d drops line ends: send an image with --data-binary"
        return JSONResponse({"detail": f"{first.source}: {first.reason}{more}", "rows": answer}, status)

    return router


async def wait(answers: list[Future[Faces]], seconds: float) -> list[Faces]:
    """The answers, in order.

    Raises:
        HTTPException: 503 when they are not there in time, or the server is being stopped; the rest is cancelled.
    """
    try:
        return await asyncio.wait_for(asyncio.gather(*map(asyncio.wrap_future, answers)), seconds)
    except (TimeoutError, asyncio.TimeoutError):
        raise HTTPException(
            503, f"this took longer than {seconds:g} s. Send fewer or smaller images.", {"retry-after": "5"}
        ) from None
    except asyncio.CancelledError:
        if any(answer.cancelled() for answer in answers):
            raise HTTPException(503, "the server is being stopped.", {"retry-after": "5"}) from None
        raise


class _ConcurrencyLimit:
    """Lets so many in at once."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in.

        Raises:
            HTTPException: 429 when it is full.
        """
        if not self._free:
            raise HTTPException(429, "the server is busy with other requests. Try again in 1 s.", {"retry-after": "1"})
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The part of the OpenAPI description that tells of errors: what answers can be beside the regular one."""
    words = {
        400: "The request cannot be read",
        401: "The token is missing or wrong",
        403: "Asked by a page of another site",
        404: "No such thing here",
        408: "The upload took too long",
        409: "Not now",
        413: "Too large",
        415: "Of a kind that is not read here",
        422: "Nothing in it can be read",
        429: "Overloaded",
        503: "Not answered in time",
        507: "No space left",
    }
    said: dict[int | str, dict[str, Any]] = {code: {"description": words[code], "model": Problem} for code in codes}
    for code in {429, 503} & said.keys():
        schema = {"type": "integer", "minimum": 1}
        said[code]["headers"] = {"Retry-After": {"description": "seconds to wait", "required": True, "schema": schema}}
    return said


def unread() -> dict[int | str, dict[str, Any]]:
    """Where none of the images can be read, their rows say why."""
    return {code: {**said, "model": Unread} for code, said in problems(413, 422).items()}
