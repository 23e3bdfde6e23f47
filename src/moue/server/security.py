"""Stands before every request: who may ask, from where, and what every answer carries."""

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

#: The page asks nobody but this server, and nothing in it is inline.
POLICY = "; ".join(
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
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: Where browsers' scripts put what other programs put into ``Authorization``, which they cannot set for a WebSocket.
PROTOCOL, BEARER = "moue.v1", "bearer."
_log = logging.getLogger(__name__)


def is_local(host: str) -> bool:
    """Whether a host can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """ASGI middleware: host, origin and token are checked, headers are set, requests are counted."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                try:
                    await self._app(scope, receive, send)
                except Exception as error:
                    _tell(scope, error)
                    await send({"type": "websocket.close", "code": 1011, "reason": "the server failed at this."})
            else:
                # Before it is accepted, closing a WebSocket answers 403.
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
            return
        start, status = time.perf_counter(), 0
        rest = Drain(scope, receive, send)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/v1/"):
                    headers["cache-control"] = "no-store"
                else:
                    headers.setdefault("cache-control", "no-cache")
            await rest.send(message)

        try:
            if refusal is None:
                await self._app(scope, rest.receive, sending)
            else:
                await _answer(sending, *refusal)
        except Exception as error:
            _tell(scope, error)
            if status:
                raise RuntimeError("an answer broke off") from None
            await _answer(sending, 500, "the server failed at this. Its log says more.")
        # The route's pattern, not the path: identities of jobs are no label.
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.request(route, status, time.perf_counter() - start)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence, or None for who may pass."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._settings.local and not is_local(_name(host)):
            return 400, "this server answers on this machine only, as localhost. Start it with --host to open it."
        origin = headers.get("origin")
        if origin is not None and _site(origin) != host:
            return 403, "pages of other sites may not use this server."
        guarded = scope["path"].startswith("/v1/") or scope["path"] == "/metrics"
        token = self._settings.token
        if token is not None and guarded and not hmac.compare_digest(_token(headers).encode(), token.encode()):
            return 401, "this needs the server's token, as in the header: Authorization: Bearer TOKEN"
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _site(origin: str) -> str | None:
    """The host and port of an origin; None of what is none, as "http://["."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _token(headers: Headers) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        # Headers are Latin-1 to the server, whatever their sender wrote.
        return value.strip().encode("latin-1").decode(errors="replace")
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(BEARER):
            coded = offered.strip().removeprefix(BEARER)
            try:
                return base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)).decode().strip()
            except (binascii.Error, ValueError):
                return ""
    return ""


def _tell(scope: Scope, error: Exception) -> None:
    """Log where something failed, without the error's words: these may hold what was sent."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s failed: %s\n%s", getattr(scope.get("route"), "path", "a request"), type(error).__name__, where)


async def _answer(send: Send, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": sentence}).encode()})
