"""HTTP requests: bodies, forms, headers and addresses, sent to the application in this process."""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import Rng, mutated

_PATHS = (
    "/v1/faces", "/v1/faces", "/v1/faces?detector=none", "/v1/faces?model=small", "/v1/faces?model=../../x",
    "/v1/videos",
    "/v1/videos?detector=none&every=2", "/v1/videos?every=-1", "/v1/videos?fps=nan", "/v1/videos/1", "/v1/videos/%00",
    "/v1/models", "/v1/limits", "/metrics", "/healthz", "/openapi.json", "/", "/..%2f..%2fetc", "/%ff",
    "/v1/faces?%zz=%",
    "/v1/frames",
)  # fmt: skip
_TYPES = (
    "multipart/form-data; boundary=b", "multipart/form-data; boundary=b", "multipart/form-data", "application/json",
    "multipart/form-data; boundary=" + "b" * 300, "application/octet-stream", "image/png", "video/mp4", "text/plain",
    "application/x-www-form-urlencoded", "\xff", "",
)  # fmt: skip
_HEADERS = (
    ("Content-Length", "-1"), ("Content-Length", "99999999999999999999"), ("Content-Encoding", "gzip"),
    ("Host", "evil"),
    ("Host", ""), ("Origin", "http://evil"), ("Authorization", "Bearer \xff"), ("Range", "bytes=-1"), ("Expect", "?"),
    ("Transfer-Encoding", "chunked"), ("X-Forwarded-For", "\x00"), ("Cookie", "a" * 9000), ("Accept", "*/*"),
)  # fmt: skip
_PART = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: image/png\r\n\r\n'
_METHODS = ("POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS")
#: What one response may be: read, refused, or busy. A failure of the server's own is 500.
FAILED = 500


def make(name: str, data: bytes, rng: Rng) -> tuple[str, bytes]:
    """A request as JSON; half of the bodies are forms and some are JSON, of which half are damaged."""

    def one(choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    body, kind = data, one(_TYPES)
    if rng.random() < 0.5:
        parts = [
            _PART % (one((b"file", b"image", b"", b"x" * 999)), one((b"a.png", b"../a", b"\xff", b"", b"a" * 9999)))
        ]
        body = b"\r\n".join([*(part + data for part in parts * int(rng.integers(1, 4))), b"--b--\r\n"])
        kind = "multipart/form-data; boundary=b"
        body = mutated(body, [data], rng) if rng.random() < 0.5 else body
    elif rng.random() < 0.3:
        text = one(("", "data:image/png;base64,", "http://127.0.0.1:1/")) + base64.b64encode(data).decode()
        body = json.dumps(one(({"image": text}, {"images": [text, {"data": text, "name": "../a"}]}, [text]))).encode()
        kind = "application/json"
        body = mutated(body, [data], rng) if rng.random() < 0.5 else body
    request = {
        "method": one(_METHODS),
        "path": one(_PATHS),
        "headers": [["Content-Type", kind], *([list(one(_HEADERS))] if rng.random() < 0.4 else [])],
        "body": base64.b64encode(body).decode(),
    }
    return f"{name}.json", json.dumps(request).encode()


@functools.cache
def _client(model: Path) -> Any:
    from fastapi.testclient import TestClient

    from moue.server.app import create_app
    from moue.server.settings import Settings

    settings = Settings(models=(str(model),), detector="none", engine="onnxruntime", threads=1, max_bytes=1 << 21)
    client = TestClient(create_app(settings), base_url="http://127.0.0.1:8000")
    client.__enter__()  # Starts the application; it ends with the process.
    return client


def send(name: str, data: bytes, model: Path) -> int:
    """The response's status; errors of the application come through as they are."""
    request = json.loads(data)
    headers = [(key, value.encode("latin-1")) for key, value in request["headers"]]
    body = base64.b64decode(request["body"])
    response = _client(model).request(request["method"], request["path"], headers=headers, content=body)
    if response.status_code >= FAILED and response.status_code != 503:
        raise AssertionError(f"HTTP {response.status_code}: {response.text[:300]}")
    if response.status_code >= 400 and request["method"] != "HEAD" and not isinstance(response.json()["detail"], str):
        raise AssertionError(f"HTTP {response.status_code} without a message: {response.text[:300]}")
    status: int = response.status_code
    return status
