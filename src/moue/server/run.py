"""Runs the server: binds, starts, stops."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import ssl
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from moue.errors import UsageError, quoted
from moue.runtime.validation import check_number
from moue.server.addresses import is_local
from moue.server.app import create_app
from moue.server.connection import TimeoutProtocol
from moue.server.settings import Settings

#: Connections at a time, where the queue is not longer.
MAX_CONNECTIONS = 256
#: Seconds for which requests are answered after the server is told to stop. Docker kills it after ten.
GRACE_SECONDS = 8


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    certfile: str | None = None,
    keyfile: str | None = None,
    open_browser: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve until interrupted.

    Args:
        settings: what to serve. Where ``host`` can be reached from other machines and there is no token, one is
            generated.
        host: name or address to listen on.
        port: 0 for any free port.
        certfile: PEM file of the certificate, for HTTPS.
        keyfile: PEM file of its key, where it is not in ``certfile``.
        open_browser: whether to show the page in a browser once the server is ready.
        log: called with the address and a generated token.

    Raises:
        UsageError: when address or certificate cannot be used.
        UnknownName, ModelError, MissingExtra: when models or detector cannot be opened.
    """
    check_number("port", port, 0, 65535, integer=True)
    if keyfile and not certfile:
        raise UsageError("--keyfile needs --certfile.")
    local = is_local(host)
    generated = None if local or settings.token else secrets.token_urlsafe(24)
    settings = replace(settings, token=settings.token or generated, local_only=local)
    if certfile:
        _check_certificate(certfile, keyfile)
    with listen(host, port) as listener:
        config = uvicorn_config(create_app(settings), settings, certfile, keyfile)
        port = listener.getsockname()[1]
        address = _address(host, port, bool(certfile), settings.root_path)
        log(f"serving on {address}" + (f"#token={quote(generated)}" if generated else ""))
        if generated:
            log(f"token: {generated}")
        elif settings.token:
            log("the page asks for the token")
        for remark in _remarks(settings, bool(certfile)):
            log(remark)
        own = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host
        # Without the token: the command lines of browsers are visible to all users of this machine.
        page = _address(own, port, bool(certfile), settings.root_path) if open_browser else None
        # A signal before the event loop runs ends the server in order, and leaves it no chance to begin.
        warnings.filterwarnings("ignore", r"coroutine '.*serve' was never awaited", RuntimeWarning)
        _Server(config, page, log).run([listener])


def _remarks(settings: Settings, tls: bool) -> Iterator[str]:
    """What an operator should know."""
    if not settings.local_only and not tls:
        yield "without --certfile the traffic is not encrypted, and browsers refuse the camera"
    if settings.allowed_hosts and not settings.token:
        names = ", ".join(settings.allowed_hosts)
        yield f"without --token everybody who reaches {names} can use this server"
    if "*" in settings.allowed_origins:
        yield "pages of all sites can use this server, as --allow-origin '*' says"


class _Server(uvicorn.Server):
    """Shows the page in a browser once requests are answered, and says what it waits for at the end.

    Args:
        config: of the server.
        page: the URL to show; None for none.
        log: called where there is no browser, and where requests are still to be answered.
    """

    def __init__(self, config: uvicorn.Config, page: str | None, log: Callable[[str], None]) -> None:
        super().__init__(config)
        self._page, self._log = page, log

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._page is not None and self.started and not self.should_exit:
            # Some browsers return when they are closed.
            threading.Thread(target=self._open, args=(self._page,), name="moue-browser", daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if n := len(self.server_state.tasks):
            requests = "1 request" if n == 1 else f"{n} requests"
            self._log(f"stopping: waits up to {GRACE_SECONDS} s for {requests}. Ctrl-C again ends that")
        await super().shutdown(sockets)
        if self.force_exit:
            # uvicorn would leave requests and application to the end of the event loop, which logs tracebacks.
            for task in self.server_state.tasks:
                task.cancel()
            await self.lifespan.shutdown()

    def _open(self, page: str) -> None:
        if not webbrowser.open(page):
            self._log(f"no browser could be opened: open {page} yourself")


def uvicorn_config(
    app: ASGIApp, settings: Settings, certfile: str | None = None, keyfile: str | None = None
) -> uvicorn.Config:
    """How uvicorn runs the application."""

    async def stoppable(scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn cancels what it cannot wait for when it stops. The application has told the client, and a traceback
        # in the log would look like a fault.
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return uvicorn.Config(
        stoppable,
        http=TimeoutProtocol,
        # uvicorn's own set-up of logging closes the handlers that the process has.
        log_config=None,
        log_level="warning",
        # An access log would record who sent what.
        access_log=False,
        server_header=False,
        # The application believes the headers of the proxies that its settings name.
        proxy_headers=False,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ws_max_size=settings.max_bytes + 1,
        ws_max_queue=2,
        # Twice the queue, so that it is full before connections run out.
        limit_concurrency=max(MAX_CONNECTIONS, 2 * settings.max_queue),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: when host or port cannot be used.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise UsageError(f"--host must be an address of this machine. Got {quoted(host)}, which is unknown.") from None
    listener = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":
            # Allows a restart right after a stop; two servers on one port stay impossible.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listening before the models are loaded makes a second server fail here, at once.
        listener.listen(256)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use already. Choose another one, as in: --port {port + 1}") from None
        raise UsageError(
            f"cannot listen on --host {host} --port {port}: {(error.strerror or str(error)).lower()}."
        ) from None
    return listener


def _address(host: str, port: int, tls: bool, root_path: str) -> str:
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{name}:{port}{root_path}/"


def _check_certificate(certfile: str, keyfile: str | None) -> None:
    for path in filter(None, (certfile, keyfile)):
        if not Path(path).is_file():
            raise UsageError(f"{path} is missing: no such file.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except (ssl.SSLError, OSError):
        raise UsageError(f"{certfile} and its key must be PEM files that match.") from None
