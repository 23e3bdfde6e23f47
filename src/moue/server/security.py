"""The outermost middleware: checks host, origin and token, sets response headers, counts requests."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import logging
import time
import traceback
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
        "base-uri 'none'",
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
_SERVER_ERROR = "internal server error. The server's log says more."
_log = logging.getLogger(__name__)


def is_local(host: str) -> bool:
    """Whether a host can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class SecurityMiddleware:
    """ASGI middleware.

    Args:
        app: the application that it wraps.
        settings: with the token, and whether only this machine may ask.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        rejection = self._rejection(scope)
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
                if scope["path"].startswith("/v1/"):
                    headers["cache-control"] = "no-store"
                else:
                    headers.setdefault("cache-control", "no-cache")
            await drain.send(message)

        rejection = self._rejection(scope)
        try:
            if rejection is None:
                await self._app(scope, drain.receive, send_with_headers)
            else:
                await _send_error(send_with_headers, *rejection)
        except Exception as error:
            _log_error(scope, error)
            if status:
                raise RuntimeError("a response was not completed") from None
            await _send_error(send_with_headers, 500, _SERVER_ERROR)
        # The route's pattern and not the path: ids of jobs must not become labels.
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.count_request(route, status, time.perf_counter() - start)

    def _rejection(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message for a request that is not allowed; None for one that is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._settings.local_only and not is_local(_hostname(host)):
            return (
                400,
                "this server accepts requests from this machine only, as localhost. Start it with --host to open it.",
            )
        origin = headers.get("origin")
        if origin is not None and _origin_host(origin) != host:
            return 403, "pages of other sites must not use this server."
        protected = scope["path"].startswith("/v1/") or scope["path"] == "/metrics"
        token = self._settings.token
        if token is not None and protected and not hmac.compare_digest(_token(headers).encode(), token.encode()):
            return 401, "this needs the server's token, as in the header: Authorization: Bearer TOKEN"
        return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin_host(origin: str) -> str | None:
    """Host and port of an origin; None where it is invalid, as "http://["."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


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
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
