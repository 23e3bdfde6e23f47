"""Servers on loopback: a web server of films and cameras, and what stands before an RTSP server."""

from __future__ import annotations

import base64
import io
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import rtsp
from PIL import Image

BOUNDARY = "frame"

#: What answers a request; its path tells it nothing.
Answer = Callable[[BaseHTTPRequestHandler], object]


class WebServer(ThreadingHTTPServer):
    """Answers each path with what ``answers`` has for it, and keeps the requests."""

    daemon_threads = True

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, Message]] = []
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            self.socket = tls_context(certificate).wrap_socket(self.socket, server_side=True)

    def url(self, path: str, credentials: str = "") -> str:
        return f"{self.scheme}://{credentials}127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are none."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, WebServer)
        self.server.requests.append((self.path, self.headers))
        answer = self.server.answers.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(404)
        else:
            with suppress(OSError):
                answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web_server(certificate: tuple[Path, Path] | None = None) -> Iterator[WebServer]:
    with WebServer(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def content(data: bytes, kind: str, *, ranges: bool = True, drops: Iterable[int] = ()) -> Answer:
    """A file; each connection but the last breaks off after so many bytes of what it was to send."""
    left = list(drops)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked and ranges else 0
        handler.send_response(206 if asked and ranges else 200)
        if asked and ranges:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:][: left.pop(0)] if left else data[start:])
        handler.close_connection = True

    return answer


def unmeasured(data: bytes, kind: str | None = None) -> Answer:
    """Data whose length is not told."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if kind is not None:
            handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def chunked(data: bytes, kind: str, size: int | None = None) -> Answer:
    """Data in two chunks; broken off after ``size`` bytes where that is given."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        parts = [data[: len(data) // 2], data[len(data) // 2 :], b""]
        handler.wfile.write(b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)[:size])

    return answer


def refusal(code: int, location: str | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if location is not None:
            handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def at_last(answer: Answer, *codes: int) -> Answer:
    """An answer after as many refusals, with these codes."""
    left = list(codes)

    def turn(handler: BaseHTTPRequestHandler) -> None:
        (refusal(left.pop(0)) if left else answer)(handler)

    return turn


def guarded(answer: Answer, user: str, password: str, scheme: str = "Basic") -> Answer:
    """An answer for those who know user and password."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def guard(handler: BaseHTTPRequestHandler) -> None:
        given = handler.headers.get("Authorization", "")
        if given == expected or (scheme == "Digest" and f'username="{user}"' in given and "response=" in given):
            answer(handler)
            return
        handler.send_response(401)
        challenge = 'Basic realm="camera"' if scheme == "Basic" else 'Digest realm="camera", nonce="1", qop="auth"'
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return guard


def mjpeg(connections: Iterable[Iterable[np.ndarray]], *, lengths: bool = True) -> Answer:
    """An MJPEG camera: the images of each connection in turn, which is then closed; after the last, 503."""
    turns = iter(connections)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        images = next(turns, None)
        if images is None:
            handler.send_error(503)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        handler.end_headers()
        for image in images:
            data = jpeg(image)
            length = f"Content-Length: {len(data)}\r\n" if lengths else ""
            handler.wfile.write(f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n")
        handler.close_connection = True

    return answer


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*words, *names, *files, "-days", "1"], check=True, capture_output=True)
    return certificate, key


def tls_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@contextmanager
def rtsp_server(images: Iterable[np.ndarray], fps: float = 25) -> Iterator[int]:
    """An RTSP server that shows some images over and over; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with rtsp.Source(f"rtsp://127.0.0.1:{port}/live", fps=fps, frame_buffer=map(Image.fromarray, images)) as source:
        assert source.wait_ready()
        yield port


class Gate:
    """Stands before an RTSP server: asks for a password, speaks TLS, has no TCP transport, or breaks connections.

    Args:
        port: that of the server.
        password: "user:password" that clients must give.
        certificate: what to speak TLS with.
        transports: whether clients may have images over the connection itself, or by UDP alone.
    """

    def __init__(
        self,
        port: int,
        *,
        password: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        udp_only: bool = False,
    ) -> None:
        self.requests: list[str] = []
        """The first lines and headers of what clients asked for."""
        self._server_port, self._udp_only = port, udp_only
        self._expected = None if password is None else "Basic " + base64.b64encode(password.encode()).decode()
        self._context = None if certificate is None else tls_context(certificate)
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would leave accept() waiting.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()

    def break_connections(self) -> None:
        """End all connections as a cable does that is pulled."""
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._server_port)))
            stack.callback(client.close)
            if self._context is not None:
                client = stack.enter_context(self._context.wrap_socket(client, server_side=True))
            self._open += [client, server]
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()
            buffer = b""
            while data := client.recv(65536):
                buffer += data
                while b"\r\n\r\n" in buffer and not buffer.startswith(b"$"):
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    self._request(head.decode(), client, server)
                if buffer.startswith(b"$"):
                    # RTCP of the client, which nobody needs.
                    buffer = b""

    def _request(self, head: str, client: socket.socket, server: socket.socket) -> None:
        self.requests.append(head)
        number = re.search(r"CSeq: *(\d+)", head)
        assert number is not None
        refused = None
        if self._expected is not None and self._expected not in head:
            refused = '401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"'
        elif self._udp_only and head.startswith("SETUP") and "TCP" in head:
            refused = "461 Unsupported Transport"
        if refused is None:
            server.sendall(head.encode() + b"\r\n\r\n")
        else:
            client.sendall(f"RTSP/1.0 {refused}\r\nCSeq: {number[1]}\r\n\r\n".encode())


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
