"""``/v1/videos``: a video in, a job out: its progress, its rows, its annotated video, and its end."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from moue.errors import Unreadable
from moue.server.faces import problems
from moue.server.jobs import Job, Jobs, opened, sampler
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import Video
from moue.server.settings import Settings
from moue.server.upload import UNSAID, limited, media_type, shown

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY, "video/*": _BINARY}}}
#: Rows that are held in memory at once.
_HELD = 500


def routes(settings: Settings, shelf: ModelPool, jobs: Jobs, metrics: Metrics) -> APIRouter:
    """The routes."""
    router = APIRouter()
    metrics.gauge("jobs", lambda: len(jobs))

    def held(identity: str) -> Job:
        job = jobs.get(identity)
        if job is None:
            raise HTTPException(404, "there is no such video here: it was removed, or its time was up.")
        return job

    @router.post(
        "/v1/videos", status_code=202, openapi_extra=_BODY, response_model=None, summary="Start to read a video",
        responses={202: {"model": Video}, **problems(400, 408, 413, 415, 422, 429, 507)},
    )  # fmt: skip
    async def start(
        request: Request,
        name: str = "video",
        model: str | None = None,
        detector: str | None = None,
        every: int | None = None,
        fps: float | None = None,
        annotate: bool = True,
    ) -> JSONResponse:
        """The video is the body. The answer names the job; ask for it until its status is done, failed or cancelled."""
        kind = media_type(request)
        if not kind.startswith("video/") and kind not in UNSAID:
            raise HTTPException(415, f"send the video itself as the body of a video/* request. Got {kind} instead.")
        wanted = sampler(every, fps)
        recognizer = await asyncio.to_thread(shelf.get, model, detector, videos=True)
        job = jobs.new(shown(name, "video"))
        job.annotate = annotate
        try:
            await _store(request, job, settings)
            video = await asyncio.to_thread(opened, job.upload, settings.max_pixels)
            jobs.start(job, recognizer, video, wanted)
        except Unreadable as error:
            jobs.remove(job)
            status = 413 if error.status == "too_large" else 422
            raise HTTPException(status, f"{job.name}: {error}") from None
        except BaseException:
            jobs.remove(job)
            raise
        return JSONResponse(job.to_dict(), 202, {"location": f"/v1/videos/{job.identity}"})

    @router.get(
        "/v1/videos/{identity}", summary="How far a video is", response_model=None,
        responses={200: {"model": Video}, **problems(404)},
    )  # fmt: skip
    def progress(identity: str) -> dict[str, Any]:
        """Its ``status``: uploading, waiting, reading, done, failed (with a ``reason``) or cancelled."""
        return held(identity).to_dict()

    @router.get(
        "/v1/videos/{identity}/rows", response_class=StreamingResponse, summary="A video's rows as JSON lines",
        responses={200: {"content": {"application/x-ndjson": {}}}, **problems(404)},
    )  # fmt: skip
    def rows(identity: str, start: int = Query(0, ge=0, le=1 << 31)) -> StreamingResponse:
        """From number ``start`` on, all that are there by now."""
        return StreamingResponse(_lines(held(identity).answer, start), media_type="application/x-ndjson")

    @router.get(
        "/v1/videos/{identity}/annotated", response_class=FileResponse, summary="The annotated video",
        responses={200: {"content": {"video/mp4": {}}}, **problems(404, 409)},
    )  # fmt: skip
    def annotated(identity: str) -> FileResponse:
        """MP4 with boxes, names and the video's sound."""
        job = held(identity)
        if not job.to_dict()["annotated"]:
            why = f"the job is {job.status}" if job.annotate else "the job was started with annotate=false"
            raise HTTPException(409, f"there is no annotated video: {why}.")
        return FileResponse(job.annotated, media_type="video/mp4", filename="annotated.mp4")

    @router.delete("/v1/videos/{identity}", status_code=204, summary="Cancel and remove", responses=problems(404))
    def remove(identity: str) -> None:
        """A video that is being read is stopped; video, rows and annotated video are removed."""
        jobs.remove(held(identity))

    return router


def _lines(path: Path, start: int) -> Iterator[str]:
    """The whole lines of a file that may be being written, some at a time; none where there is no file yet."""
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        return
    with file:
        # Behind a line that is not whole yet there is nothing but the rest of it.
        lines = islice(takewhile(lambda line: line.endswith("\n"), file), start, None)
        while held := list(islice(lines, _HELD)):
            yield "".join(held)


async def _store(request: Request, job: Job, settings: Settings) -> None:
    try:
        with open(job.upload, "wb") as file:
            async for piece in limited(request, settings.max_video_bytes, piece=settings.upload_seconds):
                await asyncio.to_thread(file.write, piece)
            size = file.tell()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HTTPException(507, "there is no space left on the server for this video.") from None
        raise
    if not size:
        raise HTTPException(400, "the body is empty: send the bytes of a video.")
