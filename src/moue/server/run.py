"""Runs the server: binds, starts, stops."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI

from moue.errors import UsageError
from moue.server.app import create_app
from moue.server.connection import Connection
from moue.server.security import is_local
from moue.server.settings import Settings


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    certfile: str | None = None,
    keyfile: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve until interrupted.

    Args:
        settings: what to serve. Where ``host`` is not this machine alone, and there is no token, one is made.
        host: name or address to listen on.
        port: 0 for any that is free.
        certfile: PEM file of the certificate, for HTTPS.
        keyfile: PEM file of its key, where it is not in ``certfile``.
        say: told the address, and the token that was made.

    Raises:
        UsageError: when address or certificate cannot be used.
        UnknownName, ModelError, MissingExtra: when models or detector cannot be opened.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port must be from 0 to 65535. Got {port} instead.")
    if keyfile and not certfile:
        raise UsageError("--keyfile needs --certfile.")
    local = is_local(host)
    made = not local and settings.token is None
    if made:
        settings = replace(settings, token=secrets.token_urlsafe(24))
    settings = replace(settings, local=local)
    if certfile:
        _check(certfile, keyfile)
    with _bound(host, port) as door:
        app = create_app(settings)
        config = configured(app, settings, certfile, keyfile)
        for line in _greeting(host, door.getsockname()[1], bool(certfile), settings.token if made else None, local):
            say(line)
        if settings.token and not made:
            say("the page asks for the token")
        uvicorn.Server(config).run([door])


def configured(
    app: FastAPI, settings: Settings, certfile: str | None = None, keyfile: str | None = None
) -> uvicorn.Config:
    """How uvicorn is to run the application."""
    return uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        # A line a request would tell who sent what.
        access_log=False,
        server_header=False,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ws_max_size=settings.max_bytes + 1,
        ws_max_queue=2,
        limit_concurrency=256,
        timeout_graceful_shutdown=3,
    )


def _greeting(host: str, port: int, tls: bool, token: str | None, local: bool) -> list[str]:
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    address = f"{'https' if tls else 'http'}://{name}:{port}/"
    lines = [f"serving on {address}" + ("" if token is None else f"#token={quote(token)}")]
    if token is not None:
        lines.append(f"token: {token}")
    if not local and not tls:
        lines.append("without --certfile what is sent can be read on the way, and browsers refuse the camera")
    return lines


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise UsageError(f"{host!r} is no host that is known here. Give an address of this machine.") from None
    door = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":
            # A server that was just stopped must not keep the next one waiting; two at once stay impossible.
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        # Listening at once makes a second server fail here and not after loading its models.
        door.listen(256)
    except OSError as error:
        door.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use already. Choose another one, as in: --port {port + 1}") from None
        raise UsageError(f"cannot listen on {host}, port {port}: {(error.strerror or str(error)).lower()}.") from None
    return door


def _check(certfile: str, keyfile: str | None) -> None:
    for path in filter(None, (certfile, keyfile)):
        if not Path(path).is_file():
            raise UsageError(f"{path} is missing: no such file.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile)
    except (ssl.SSLError, OSError):
        raise UsageError(f"{certfile} and its key must be PEM files that belong together; these are not.") from None
