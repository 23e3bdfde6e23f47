"""``/v1/videos``: upload a video, then fetch the progress, rows and annotated video of its job."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from moue.errors import Unreadable
from moue.runtime.video.decode import Sampler
from moue.server.jobs import Job, JobQueue, open_upload
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import BINARY, DetectorName, ModelName, VideoJob, error_responses
from moue.server.settings import Settings
from moue.server.upload import UNSPECIFIED, Pace, curl_advice, media_type, read_body, safe_name

_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": BINARY, "video/*": BINARY}}}
#: Rows in memory at a time.
_ROWS_PER_CHUNK = 500


def create_router(settings: Settings, models: ModelPool, jobs: JobQueue, metrics: Metrics) -> APIRouter:
    """The routes."""
    router = APIRouter()
    metrics.set_gauge("video_jobs", lambda: len(jobs))

    def find(id: str) -> Job:
        job = jobs.get(id)
        if job is None:
            raise HTTPException(404, "there is no such video: it was deleted or has expired.")
        return job

    @router.post(
        "/v1/videos", status_code=202, openapi_extra=_BODY, response_model=None, summary="Start to read a video",
        responses={202: {"model": VideoJob}, **error_responses(400, 408, 413, 415, 422, 429, 507)},
    )  # fmt: skip
    async def start(
        request: Request,
        name: Annotated[str, Query(description="the file's name, which is the rows' source")] = "video",
        model: ModelName = None,
        detector: DetectorName = None,
        every: Annotated[int, Query(description="read every Nth frame; not with fps")] = 1,
        fps: Annotated[float | None, Query(description="read at most so many frames a second of video")] = None,
        annotate: Annotated[bool, Query(description="write an annotated video, which takes longer")] = True,
    ) -> JSONResponse:
        """The video is the body. The response has the job's id: poll the job until it is done, failed or cancelled."""
        content_type = media_type(request)
        if not content_type.startswith("video/") and content_type not in UNSPECIFIED:
            raise HTTPException(
                415, f"send the video itself as the body of a video/* request. Got {content_type} instead."
            )
        Sampler(every, fps)  # Rejects values out of range before the upload.
        recognizer = await asyncio.to_thread(models.get, model, detector, video=True)
        job = _create(jobs, safe_name(name, "video"), every=every, fps=fps, annotate=annotate)
        try:
            await _store(request, job, settings)
            video = await asyncio.to_thread(open_upload, job.upload, settings.max_pixels)
            jobs.submit(job, recognizer, video)
        except Unreadable as error:
            status = 413 if error.status == "too_large" else 422
            advice = curl_advice(request, _beginning(job.upload))
            jobs.remove(job)
            raise HTTPException(status, f"{job.name}: {error}{advice}") from None
        except BaseException:
            jobs.remove(job)
            raise
        return JSONResponse(
            job.to_dict(), 202, {"location": f"{request.scope.get('root_path', '')}/v1/videos/{job.id}"}
        )

    @router.get(
        "/v1/videos/{id}", summary="The state of a video", response_model=None,
        responses={200: {"model": VideoJob}, **error_responses(404)},
    )  # fmt: skip
    def progress(id: str) -> dict[str, Any]:
        """Its ``status``: uploading, waiting, reading, done, failed (with a ``reason``) or cancelled."""
        return find(id).to_dict()

    @router.get(
        "/v1/videos/{id}/rows", response_class=StreamingResponse, summary="A video's rows as JSON lines",
        responses={200: {"content": {"application/x-ndjson": {}}}, **error_responses(404)},
    )  # fmt: skip
    def rows(
        id: str, start: int = Query(0, ge=0, le=1 << 31, description="number of the first row")
    ) -> StreamingResponse:
        """The rows that are written so far, from number ``start`` on."""
        return StreamingResponse(_lines(find(id).rows_file, start), media_type="application/x-ndjson")

    @router.get(
        "/v1/videos/{id}/annotated", response_class=FileResponse, summary="The annotated video",
        responses={200: {"content": {"video/mp4": {}}}, **error_responses(404, 409)},
    )  # fmt: skip
    def annotated(id: str) -> FileResponse:
        """MP4 with boxes, labels and the video's sound."""
        job = find(id)
        if not job.to_dict()["annotated"]:
            why = f"the job is {job.status}" if job.annotate else "the job was started with annotate=false"
            raise HTTPException(409, f"there is no annotated video: {why}.")
        return FileResponse(job.annotated, media_type="video/mp4", filename="annotated.mp4")

    @router.delete("/v1/videos/{id}", status_code=204, summary="Cancel and delete", responses=error_responses(404))
    def remove(id: str) -> None:
        """Stops reading, and deletes video, rows and annotated video."""
        jobs.remove(find(id))

    return router


def _create(jobs: JobQueue, name: str, **options: Any) -> Job:
    try:
        return jobs.create(name, **options)
    except OSError:
        detail = "videos need a folder for temporary files: mount one in the container, as with --tmpfs /tmp"
        raise HTTPException(507, detail) from None


def _lines(path: Path, start: int) -> Iterator[str]:
    """The complete lines of a file that may still be written, in chunks; none where there is no file yet."""
    try:
        file = open(path, encoding="utf-8")  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        return
    with file:
        # After an incomplete line there is only the rest of it.
        lines = islice(takewhile(lambda line: line.endswith("\n"), file), start, None)
        while chunk := list(islice(lines, _ROWS_PER_CHUNK)):
            yield "".join(chunk)


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 20)


async def _store(request: Request, job: Job, settings: Settings) -> None:
    pace = Pace(settings.video_upload_timeout_seconds, settings.upload_timeout_seconds, settings.min_upload_rate)
    try:
        with open(job.upload, "wb") as file:
            async for part in read_body(request, settings.max_video_bytes, pace):
                await asyncio.to_thread(file.write, part)
            size = file.tell()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HTTPException(507, "there is no space left on the server for this video.") from None
        raise
    if not size:
        raise HTTPException(400, "the body is empty: send the bytes of a video.")
