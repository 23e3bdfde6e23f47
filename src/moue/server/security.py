"""The outermost middleware: checks host, origin and token, sets response headers, counts requests."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time
import traceback

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moue.errors import shortened
from moue.server.addresses import hostname, is_local, origin_host
from moue.server.drain import Drain
from moue.server.metrics import Metrics
from moue.server.settings import Settings

#: The page loads from this server only, and has no inline scripts or styles.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: Browsers cannot set ``Authorization`` for a WebSocket: the page offers the token as a subprotocol instead.
SUBPROTOCOL, BEARER_PREFIX = "moue.v1", "bearer."
SHUTTING_DOWN = "the server is shutting down."
_SERVER_ERROR = "internal server error. The server's log says more."
_log = logging.getLogger(__name__)


class SecurityMiddleware:
    """ASGI middleware.

    Args:
        app: the application that it wraps.
        settings: with the token, and whether only this machine may ask.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._cors = CORSMiddleware(
            self._authorized,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type"),
            # Cookies are those of a proxy in front; the server itself has none. A named site may send them.
            allow_credentials="*" not in settings.allowed_origins,
            allow_private_network=True,
            expose_headers=("Retry-After", "Location"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] != "lifespan":
            root = scope["root_path"] = self._settings.root_path or scope.get("root_path", "")
            if root and scope["path"] == root:
                scope["path"] = f"{root}/"
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = self._rejection(scope) or self._unauthorized(scope)
        if rejection is not None:
            # Closing a WebSocket before it is accepted sends 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": rejection[1]})
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            _log_error(scope, error)
            await send({"type": "websocket.close", "code": 1011, "reason": _SERVER_ERROR})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, status = time.perf_counter(), 0
        drain = Drain(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if route_path(scope).startswith("/v1/"):
                    headers["cache-control"] = "no-store"
                else:
                    headers.setdefault("cache-control", "no-cache")
            await drain.send(message)

        rejection = self._rejection(scope)
        try:
            if rejection is not None:
                await _send_error(send_with_headers, *rejection)
            elif self._is_allowed(Headers(scope=scope).get("origin")):
                await self._cors(scope, drain.receive, send_with_headers)
            else:
                await self._authorized(scope, drain.receive, send_with_headers)
        except Exception as error:
            _log_error(scope, error)
            if status:
                raise RuntimeError("a response was not completed") from None
            await _send_error(send_with_headers, 500, _SERVER_ERROR)
        except asyncio.CancelledError:
            # The ASGI server stops and waits no longer.
            drain.give_up()
            if not status:
                await _send_error(send_with_headers, 503, SHUTTING_DOWN)
            raise
        # The route's pattern and not the path: ids of jobs must not become labels.
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.count_request(route, status, time.perf_counter() - start)

    async def _authorized(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = self._unauthorized(scope)
        if rejection is None:
            await self._app(scope, receive, send)
        else:
            await _send_error(send, *rejection)

    def _rejection(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message for a request to another host or from a page of another site; None for any other."""
        headers = Headers(scope=scope)
        # Probes of orchestrators name an address, and learn that the server is up.
        host, allowed = headers.get("host", ""), self._settings.allowed_hosts
        name = hostname(host)
        checked = (self._settings.local_only or allowed) and route_path(scope) != "/healthz"
        if checked and not is_local(name) and name not in allowed:
            served = "localhost, from this machine only" if not allowed else ", ".join(("localhost", *allowed))
            name = shortened(name)
            return 400, (
                f"this server accepts requests to {served}. This one is to {name!r}. To serve that name behind a "
                f"proxy, start it with --allow-host {name}; to open it to other machines, with --host."
            )
        origin = headers.get("origin")
        if origin is not None and origin_host(origin) != host and not self._is_allowed(origin):
            return 403, (
                "pages of other sites must not use this server. Start it with --allow-origin "
                f"{shortened(origin)} to allow it. Behind a proxy, let that pass the Host header on unchanged."
            )
        return None

    def _is_allowed(self, origin: str | None) -> bool:
        """Whether an origin is one of those that are allowed, and hence may need CORS headers."""
        allowed = self._settings.allowed_origins
        return origin is not None and (origin in allowed or "*" in allowed)

    def _unauthorized(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message for a request without the token that it needs; None for any other."""
        path, token = route_path(scope), self._settings.token
        protected = path.startswith("/v1/") or path == "/metrics"
        sent = _token(Headers(scope=scope))
        if token is not None and protected and not hmac.compare_digest(sent.encode(), token.encode()):
            return 401, "this needs the server's token, as in the header: Authorization: Bearer TOKEN"
        return None


def route_path(scope: Scope) -> str:
    """The path below the root path, whether or not a proxy has removed that; FastAPI finds routes in the same way."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _token(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        # The server decodes headers as Latin-1, whatever the client encoded.
        return value.strip().encode("latin-1").decode(errors="replace")
    for subprotocol in headers.get("sec-websocket-protocol", "").split(","):
        if subprotocol.strip().startswith(BEARER_PREFIX):
            encoded = subprotocol.strip().removeprefix(BEARER_PREFIX)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode().strip()
            except (binascii.Error, ValueError):
                return ""
    return ""


def _log_error(scope: Scope, error: Exception) -> None:
    """Log where something failed, without the error's message, which may contain what a client sent."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed: %s\n%s", getattr(scope.get("route"), "path", "a request"), type(error).__name__, where)


async def _send_error(send: Send, status: int, detail: str) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    elif status == 503:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
