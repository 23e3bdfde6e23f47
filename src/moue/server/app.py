"""The application: routes, error messages, the page."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from moue._version import __version__
from moue.errors import MissingExtra, ModelError, UsageError
from moue.server import faces, frames, videos
from moue.server.batcher import Batcher
from moue.server.jobs import JobQueue
from moue.server.metrics import Metrics
from moue.server.model_pool import ModelPool
from moue.server.schemas import Limits, Model, error_responses
from moue.server.security import SecurityMiddleware
from moue.server.settings import Settings
from moue.server.upload import reject_unknown_parameters

_SILENT = logging.NullHandler()
STATIC = Path(__file__).parent / "static"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The server as an ASGI application.

    Args:
        settings: what it serves, and its limits; the default model, to this machine only, where None.

    Raises:
        UnknownName, ModelError, MissingExtra, UsageError: when models or detector cannot be opened.
    """
    settings = settings or Settings()
    # The parser of forms logs a warning for each malformed one, which Python prints where nothing has set up logging.
    logging.getLogger("python_multipart").addHandler(_SILENT)
    metrics = Metrics()
    pool = ModelPool(settings)
    batcher = Batcher(settings, metrics.count_batch)
    jobs = JobQueue(settings.max_jobs, settings.job_timeout_seconds, settings.retention_seconds, settings.temp_folder)
    metrics.set_gauge("queued_images", lambda: len(batcher))
    metrics.set_gauge("queued_seconds", batcher.seconds_of_work)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Not here: the last responses are still to be sent.
            await asyncio.to_thread(batcher.close)
            await asyncio.to_thread(jobs.close)

    # FastAPI's interactive documentation would load scripts from other sites.
    app = FastAPI(
        title="moue", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description=(
            "Reads facial expressions. Errors are {\"detail\": a message}. Cameras use the WebSocket /v1/frames: "
            "each binary message holds an image, each reply a Row."
        ),
    )  # fmt: skip
    common = error_responses(400, 401, 403)
    for router in (
        faces.create_router(settings, pool, batcher, metrics),
        videos.create_router(settings, pool, jobs, metrics),
    ):
        app.include_router(router, responses=common, dependencies=[Depends(reject_unknown_parameters)])
    app.include_router(frames.create_router(settings, pool, batcher, metrics))

    @app.get(
        "/v1/models", summary="The available models", response_model=None,
        responses={200: {"model": list[Model]}, **common},
    )  # fmt: skip
    def models() -> list[dict[str, Any]]:
        """The default model comes first."""
        return pool.rows()

    @app.get(
        "/v1/limits", summary="The limits of one request", response_model=None,
        responses={200: {"model": Limits}, **common},
    )  # fmt: skip
    def limits() -> dict[str, Any]:
        """Bytes, files and pixels, and how many images may wait."""
        names = ("max_bytes", "max_files", "max_pixels", "max_video_bytes", "max_queue", "detector")
        return {name: getattr(settings, name) for name in names}

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether the server is up", responses=error_responses(400, 503))
    def health() -> dict[str, str]:
        """ok, or 503 where one batch of images takes so long that the server must be stuck."""
        batcher.check_health()
        return {"status": "ok", "version": __version__}

    @app.get(
        "/metrics", summary="Counters for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **common},
    )  # fmt: skip
    def counters() -> Response:
        """Requests, images, faces and batches; nothing about the content of images."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    static_files = frozenset(path.name for path in STATIC.iterdir())

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    @app.api_route("/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    def file(request: Request, name: str = "index.html") -> Response:
        if name not in static_files:
            raise HTTPException(404)
        root = request.scope.get("root_path", "")
        if name == "index.html" and root:
            return HTMLResponse(_with_base((STATIC / name).read_text(encoding="utf-8"), root))
        return FileResponse(STATIC / name)

    _add_error_handlers(app)
    _correct_openapi(app)
    app.add_middleware(SecurityMiddleware, settings=settings, metrics=metrics)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    return app


def _with_base(page: str, root: str) -> str:
    """The page with the URL that its relative links are relative to, whatever slash its own URL ends in."""
    return page.replace("<head>", f'<head>\n<base href="{html.escape(root)}/">', 1)


def _add_error_handlers(app: FastAPI) -> None:
    """Every error is one message."""

    @app.exception_handler(UsageError)
    @app.exception_handler(ModelError)
    @app.exception_handler(MissingExtra)
    async def usage_error(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def invalid_parameter(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"detail": f"{name}: {first['msg']}. Got {str(first.get('input'))[:80]!r}."}, 400)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 404 and detail == "Not Found":
            detail = "there is nothing at this URL. /openapi.json lists what there is."
        elif error.status_code == 405:
            detail = f"this URL does not support {request.method}. /openapi.json lists the methods that it supports."
        return JSONResponse({"detail": detail}, error.status_code, error.headers)


def _correct_openapi(app: FastAPI) -> None:
    """Correct the generated OpenAPI description: invalid parameters are 400, and a token may be required."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            components = schema["components"]
            for name in ("HTTPValidationError", "ValidationError"):
                components["schemas"].pop(name, None)
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    responses = operation["responses"]
                    if "HTTPValidationError" in str(responses.get("422")):
                        del responses["422"]
                    if path != "/healthz":
                        operation["security"] = [{}, {"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
