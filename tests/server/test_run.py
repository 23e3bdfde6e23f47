"""`moue serve` as a process: start, messages, usage errors, end."""

from __future__ import annotations

import http.client
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import websockets.sync.client as websockets
from uploads import BatchGate, running

from moue.cli.main import main
from moue.server.addresses import is_local
from moue.server.settings import Settings

pytestmark = pytest.mark.xdist_group("server")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


class ClosingHandler(logging.Handler):
    """One that closes what it writes to, as absl's does, which TensorBoard brings."""

    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


@contextmanager
def serving(
    model: Path, *arguments: str, environment: dict[str, str] = ENVIRONMENT
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A running server, and its messages."""
    words = [sys.executable, "-m", "moue", "serve", "--model", str(model), "--detector", "none", "--port", "0"]
    process = subprocess.Popen([*words, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    messages = []
    try:
        for line in process.stderr:
            messages.append(line.strip())
            if "serving on" in line:
                break
        yield process, messages
    finally:
        process.kill()
        process.wait(20)
        process.stderr.close()


def connect(messages: list[str]) -> http.client.HTTPConnection:
    address = next(word for line in messages for word in line.split() if "://" in word)
    return http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=60)


def post_to(port: int, content: bytes) -> tuple[int, object]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        return post(connection, content)


def post(connection: http.client.HTTPConnection, content: bytes, **headers: str) -> tuple[int, object]:
    connection.request("POST", "/v1/faces", content, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_it_responds_survives_bad_clients_and_ends_with_ctrl_c(tiny_onnx: Path, face: bytes) -> None:
    with serving(tiny_onnx) as (process, messages):
        assert messages[-1].startswith("moue: serving on http://127.0.0.1:")
        connection = connect(messages)
        assert post(connection, face)[0] == 200
        # A second server on the same port.
        words = ["serve", "--model", str(tiny_onnx), "--detector", "none", "--port", str(connection.port)]
        assert main(words) == 2
        # Disconnected during the upload of an image and of a video.
        for path in ("/v1/faces", "/v1/videos"):
            with socket.create_connection(("127.0.0.1", connection.port), timeout=20) as cut:
                head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"
                cut.sendall(head.encode() + b"x" * 1000)
        # A body of 2 GB is rejected before it is sent.
        with socket.create_connection(("127.0.0.1", connection.port), timeout=20) as large:
            large.sendall(b"POST /v1/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000000\r\n\r\n")
            assert b" 413 " in large.recv(100)
        # Forms that the parser has a remark about.
        for malformed in (b"nonsense", b"--b\r\nno header\r\n\r\nx", b"--b\r\na: b\r\n\r\nx\r\n--b--\r\nmore"):
            assert post(connection, malformed, **{"Content-Type": "multipart/form-data; boundary=b"})[0] == 400
        assert post(connection, face)[0] == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read().strip() == "moue: stopped"


@pytest.mark.usefixtures("hangups_heard")
def test_a_terminal_that_is_closed_ends_it_in_order(tiny_onnx: Path) -> None:
    with serving(tiny_onnx) as (process, _):
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read().strip() == "moue: stopped"


FAKE_BROWSER = """
import sys, urllib.request
page = urllib.request.urlopen(sys.argv[1], timeout=60).read().decode()
with open(sys.argv[2], "w") as fifo:
    fifo.write(sys.argv[1] + " " + page)
"""


def fake_browser(folder: Path) -> tuple[Path, dict[str, str]]:
    """A named pipe, and an environment whose browser writes to it what it shows."""
    fifo, script = folder / "fifo", folder / "browser.py"
    os.mkfifo(fifo)
    script.write_text(FAKE_BROWSER)
    return fifo, {**ENVIRONMENT, "BROWSER": f"{sys.executable} {script} %s {fifo}"}


def test_the_browser_is_opened_when_the_server_is_ready(tiny_onnx: Path, tmp_path: Path) -> None:
    fifo, environment = fake_browser(tmp_path)
    arguments = ["--open", "--host", "0.0.0.0", "--root-path", "/moue"]
    with serving(tiny_onnx, *arguments, environment=environment) as (_, messages):
        url, _, page = fifo.read_text().partition(" ")
        port = connect(messages).port
        # The token is not on the command line of the browser: the page asks for it.
        assert url == f"http://127.0.0.1:{port}/moue/"
        assert "<title>moue" in page


def test_no_browser_is_opened_when_the_server_does_not_start(tiny_onnx: Path, tmp_path: Path) -> None:
    marker, script = tmp_path / "opened", tmp_path / "browser.py"
    script.write_text("import pathlib, sys; pathlib.Path(sys.argv[2]).touch()")
    environment = {**ENVIRONMENT, "BROWSER": f"{sys.executable} {script} %s {marker}"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (["--port", port], ["--model", "no-such-model"], ["--certfile", __file__]):
            words = [sys.executable, "-m", "moue", "serve", "--port", "0", "--open", *arguments]
            done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
            assert (done.returncode, marker.exists()) == (2, False), done.stderr


def test_without_a_browser_the_address_is_repeated(tiny_onnx: Path) -> None:
    environment = {**ENVIRONMENT, "BROWSER": f"{sys.executable} -c exit(1) %s", "PATH": ""}
    environment.pop("DISPLAY", None)
    with serving(tiny_onnx, "--open", environment=environment) as (process, messages):
        assert process.stderr is not None
        line = process.stderr.readline()
        assert f"open http://127.0.0.1:{connect(messages).port}/ yourself" in line


def test_another_host_generates_a_token_and_prints_it(tiny_onnx: Path, face: bytes) -> None:
    with serving(tiny_onnx, "--host", "0.0.0.0") as (_, messages):
        token = messages[-1].partition("#token=")[2]
        assert len(token) > 20
        connection = connect(messages)
        assert post(connection, face)[0] == 401
        connection.close()
        assert post(connection, face, Authorization=f"Bearer {token}")[0] == 200
        connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine for itself, and its key."""
    cert, key = (tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem"))
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True, timeout=60)
    return cert, key


def test_https_and_wss_with_a_certificate(tiny_onnx: Path, face: bytes, certificate: tuple[Path, Path]) -> None:
    cert, key = map(str, certificate)
    with serving(tiny_onnx, "--certfile", cert, "--keyfile", key) as (_, messages):
        address = urlsplit(messages[-1].split()[-1])
        assert address.scheme == "https"
        trusting = ssl.create_default_context(cafile=cert)
        connection = http.client.HTTPSConnection("127.0.0.1", address.port, timeout=60, context=trusting)
        assert post(connection, face)[0] == 200
        connection.close()
        with websockets.connect(f"wss://127.0.0.1:{address.port}/v1/frames", ssl=trusting) as socket_:
            socket_.send(face)
            assert json.loads(socket_.recv(60))["status"] == "ok"
        # Clients that do not trust the certificate, or speak plain HTTP, get no response; the server goes on.
        untrusting = http.client.HTTPSConnection("127.0.0.1", address.port, timeout=60)
        with pytest.raises(ssl.SSLCertVerificationError):
            post(untrusting, face)
        plain = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            post(plain, face)
        assert post(connection, face)[0] == 200
        for client in (connection, untrusting, plain):
            client.close()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--port", "70000"], "--port must be a whole number from 0 to 65535"),
        (["--threads", "-1"], "--threads must be"),
        (["--max-pixels", "0"], "--max-pixels must be"),
        (["--host", "not a host"], "--host must be an address of this machine"),
        (["--keyfile", "key.pem"], "needs --certfile"),
        (["--certfile", "no-such.pem"], "no such file"),
        (["--certfile", __file__], "must be PEM files"),
        (["--token", " "], "must not be empty"),
        (["--token", "sécret"], "must hold printable ASCII characters only"),
        (["--token", "a\x07b"], "must hold printable ASCII characters only"),
        (["--model", "no-such-model"], "no model named"),
        (["--host", "203.0.113.1"], "cannot listen"),
        (["--queue", "0"], "--queue must be a whole number from 1"),
        (["--allow-host", "https://moue.example/"], "as in: moue.example"),
        (["--allow-host", "moue.example:443"], "without port"),
        (["--allow-origin", "app.example"], "as in: https://app.example"),
        (["--allow-origin", "https://app.example/page"], "as in: https://app.example"),
        (["--allow-origin", "*", "--token", "secret"], "name the sites"),
        (["--root-path", "moue"], "such as /moue"),
        (["--root-path", "/v1"], "is a path of the server itself"),
        (["--root-path", "/a b"], "such as /moue"),
        (["--trust-proxy", "proxy"], "an address or a network"),
    ],
)
def test_usage_errors_are_one_sentence(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert word in error
    assert len(error.splitlines()) == 1


def test_an_empty_token_in_the_environment_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOUE_TOKEN", "")
    assert main(["serve", "--port", "0"]) == 2
    assert "MOUE_TOKEN" in capsys.readouterr().err


def test_which_hosts_are_local() -> None:
    for host, local in (
        *(("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True)),
        *(("0.0.0.0", False), ("192.168.0.3", False), ("::", False), ("localhost.evil.example", False)),
    ):
        assert is_local(host) is local


def test_requests_that_the_end_cannot_wait_for_are_told_so(
    tiny_onnx: Path, face: bytes, gate: BatchGate, tmp_path: Path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("moue.server.run.GRACE_SECONDS", 1)
    settings = Settings(models=(str(tiny_onnx),), detector="none", temp_folder=tmp_path)
    head = b"POST /v1/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
    with ThreadPoolExecutor() as pool:
        slow = socket.socket()
        slow.settimeout(60)
        with running(settings) as port:
            slow.connect(("127.0.0.1", port))
            slow.sendall(head)
            waiting = pool.submit(post_to, port, face)
            gate.wait_reached()
            waiting.add_done_callback(lambda _: gate.open())
        answer = {"detail": "the server is shutting down."}
        assert waiting.result() == (503, answer)
        with slow:
            response = slow.recv(10_000).lower()
        assert response.startswith(b"http/1.1 503 ")
        assert b"retry-after: 5" in response
    assert "Exception in ASGI application" not in caplog.text


def test_a_request_that_is_read_when_the_server_ends_is_answered(
    tiny_onnx: Path, face: bytes, gate: BatchGate, tmp_path: Path
) -> None:
    settings = Settings(models=(str(tiny_onnx),), detector="none", temp_folder=tmp_path)
    with ThreadPoolExecutor() as pool:
        with running(settings) as port:
            reading = pool.submit(post_to, port, face)
            gate.wait_reached()
            # No connection is accepted any more once the server ends.
            pool.submit(refused, port).add_done_callback(lambda _: gate.open())
        assert reading.result()[0] == 200


def refused(port: int) -> None:
    """Returns when no server listens on a port any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except OSError:
            return


def test_ctrl_c_again_ends_the_waiting(tiny_onnx: Path) -> None:
    with serving(tiny_onnx) as (process, messages), socket.socket() as slow:
        slow.settimeout(60)
        slow.connect(("127.0.0.1", connect(messages).port))
        slow.sendall(b"POST /v1/faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        # The server waits for the body.
        assert b" 100 " in slow.recv(100)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == "moue: stopping: waits up to 8 s for 1 request. Ctrl-C again ends that\n"
        process.send_signal(signal.SIGINT)
        assert b" 503 " in slow.recv(1000)
        assert process.wait(30) == 0
        assert process.stderr.read().strip() == "moue: stopped"


def test_a_server_in_a_process_leaves_its_log_handlers_open(tiny_onnx: Path) -> None:
    handler = ClosingHandler()
    with running(Settings((str(tiny_onnx),), detector="none")):
        pass
    assert not handler.closed
