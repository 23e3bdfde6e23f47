"""The application: routes, errors as sentences, the page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from moue._version import __version__
from moue.errors import MissingExtra, ModelError, UsageError
from moue.server import faces, frames, videos
from moue.server.batcher import Batcher, Overloaded
from moue.server.jobs import Jobs
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import Limits, Model
from moue.server.security import Guard
from moue.server.settings import Settings
from moue.server.upload import known_parameters

STATIC = Path(__file__).parent / "static"
#: Seconds between two looks for videos whose time is up.
_TIDY = 30


def create_app(settings: Settings | None = None) -> FastAPI:
    """The server as an ASGI application.

    Args:
        settings: what it serves, and its limits; the default model on this machine alone where None.

    Raises:
        UnknownName, ModelError, MissingExtra, UsageError: when models or detector cannot be opened.
    """
    settings = settings or Settings()
    metrics = Metrics()
    shelf = ModelPool(settings)
    batcher = Batcher(settings.queue, settings.patience, metrics.batch)
    jobs = Jobs(settings.jobs, settings.job_seconds, settings.keep_seconds, settings.folder)
    metrics.gauge("waiting", lambda: len(batcher))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(_tidy(jobs))
        try:
            yield
        finally:
            tidying.cancel()
            batcher.close()
            await asyncio.to_thread(jobs.close)

    # The interactive pages of documentation would load scripts from elsewhere.
    app = FastAPI(
        title="moue", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description=(
            "Reads facial expressions. Errors are {\"detail\": a sentence}. Cameras are read over the WebSocket "
            "/v1/frames: an image in each binary message, a Row for each answer."
        ),
    )  # fmt: skip
    common = faces.problems(400, 401, 403)
    for routes in (faces.routes(settings, shelf, batcher, metrics), videos.routes(settings, shelf, jobs, metrics)):
        app.include_router(routes, responses=common, dependencies=[Depends(known_parameters)])
    app.include_router(frames.routes(settings, shelf, batcher, metrics))

    @app.get(
        "/v1/models", summary="The models that can be asked for", response_model=None,
        responses={200: {"model": list[Model]}, **common},
    )  # fmt: skip
    def models() -> list[dict[str, Any]]:
        """The first model, which is used when a request names none."""
        return shelf.rows()

    @app.get(
        "/v1/limits", summary="What one request may hold", response_model=None,
        responses={200: {"model": Limits}, **common},
    )  # fmt: skip
    def limits() -> dict[str, Any]:
        """Bytes, files and pixels."""
        names = ("max_bytes", "max_files", "max_pixels", "max_video_bytes", "detector")
        return {name: getattr(settings, name) for name in names}

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether the server answers", responses=faces.problems(400))
    def health() -> dict[str, str]:
        """Says ok."""
        return {"status": "ok", "version": __version__}

    @app.get(
        "/metrics", summary="Counters for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **common},
    )  # fmt: skip
    def counters() -> Response:
        """Requests, images, faces, batches; nothing about what was in them."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    page = frozenset(path.name for path in STATIC.iterdir())

    @app.get("/", include_in_schema=False)
    @app.get("/{name}", include_in_schema=False)
    def file(name: str = "index.html") -> FileResponse:
        if name not in page:
            raise HTTPException(404)
        return FileResponse(STATIC / name)

    _errors(app)
    _describe(app)
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    return app


async def _tidy(jobs: Jobs) -> None:
    while True:
        await asyncio.sleep(_TIDY)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(jobs.tidy)


def _errors(app: FastAPI) -> None:
    """Every error is one sentence."""

    @app.exception_handler(Overloaded)
    async def busy(request: Request, error: Overloaded) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 429, {"retry-after": str(error.seconds)})

    @app.exception_handler(UsageError)
    @app.exception_handler(ModelError)
    @app.exception_handler(MissingExtra)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"detail": f"{name}: {first['msg']}. Got {str(first.get('input'))[:80]!r}."}, 400)

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> JSONResponse:
        sentence = error.detail
        if error.status_code == 404 and sentence == "Not Found":
            sentence = "there is nothing at this address. /openapi.json lists what there is."
        elif error.status_code == 405:
            sentence = f"this address does not take {request.method}. /openapi.json lists what it takes."
        return JSONResponse({"detail": sentence}, error.status_code, error.headers)


def _describe(app: FastAPI) -> None:
    """Make the OpenAPI description say what is true: wrong parameters are 400, and a token may be needed."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            parts = schema["components"]
            for name in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(name, None)
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for address, path in schema["paths"].items():
                for operation in path.values():
                    answers = operation["responses"]
                    if "HTTPValidationError" in str(answers.get("422")):
                        del answers["422"]
                    if address != "/healthz":
                        operation["security"] = [{}, {"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
