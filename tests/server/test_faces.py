from __future__ import annotations

import asyncio
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from skimage import data
from uploads import BatchGate, Start, encoded

from moue.runtime.recognizer import Recognizer
from moue.server import batcher


def png_bomb(side: int = 30_000) -> bytes:
    """A PNG of side × side pixels in some kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x" * 100) + chunk(b"IEND", b"")


def test_raw_bytes_give_a_row_as_predict_does(client: TestClient, face: bytes) -> None:
    response = client.post("/v1/faces", content=face, headers={"content-type": "image/png"})
    assert response.status_code == 200
    [row] = response.json()
    assert (row["status"], row["width"], row["height"]) == ("ok", 50, 60)
    assert row["faces"][0]["box"] == [0, 0, 50, 60]
    assert sum(row["faces"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_several_files_give_a_row_each_in_order_with_their_names(client: TestClient, face: bytes) -> None:
    files = [("file", (name, face)) for name in ("b.png", "a.png", "../../etc/päss.png", "x\n\r\0y.png")]
    rows = client.post("/v1/faces", files=files).json()
    assert [row["source"] for row in rows][:3] == ["b.png", "a.png", "päss.png"]
    assert rows[3]["source"].isprintable()
    assert rows[0]["faces"] == rows[1]["faces"]


def test_the_result_is_that_of_the_library(start: Start, tiny_onnx) -> None:
    image = data.astronaut()
    row = start(detector="centerface").post("/v1/faces", content=encoded(Image.fromarray(image))).json()[0]
    own = Recognizer(tiny_onnx, optimize_for="throughput").faces(image).to_dict()
    assert row["faces"][0]["box"] == pytest.approx(own["faces"][0]["box"], abs=0.5)
    assert row["faces"][0]["label"] == own["faces"][0]["label"]


def test_one_bad_file_has_its_row_and_the_others_theirs(client: TestClient, face: bytes) -> None:
    files = [("f", ("a.png", face)), ("f", ("b.txt", b"hello there")), ("f", ("c", b""))]
    response = client.post("/v1/faces", files=files)
    assert response.status_code == 200
    assert [row["status"] for row in response.json()] == ["ok", "unreadable", "unreadable"]
    assert "empty" in response.json()[2]["reason"]


def _truncated() -> bytes:
    whole = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99, 3), dtype=np.uint8)), "JPEG")
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (b"this is no image", 422, "not an image"),
        (b"", 400, "empty"),
        (_truncated(), 422, "damaged"),
        (png_bomb(), 413, "more than the limit"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", 422, "not an image"),
        (b"#EXTM3U\n/etc/passwd\n", 422, "not an image"),
    ],
)
def test_files_that_are_not_images_are_rejected_with_a_message(
    client: TestClient, face: bytes, content: bytes, code: int, word: str
) -> None:
    response = client.post("/v1/faces", content=content)
    assert (response.status_code, word in response.json()["detail"]) == (code, True)
    assert client.post("/v1/faces", content=face).status_code == 200


@pytest.mark.parametrize("format", ["GIF", "WEBP", "BMP", "TIFF"])
def test_the_content_decides_not_the_name_or_type(client: TestClient, format: str) -> None:
    content = encoded(Image.new("L", (20, 20), 90), format)
    response = client.post("/v1/faces", files={"f": ("evil.exe", content, "text/html")})
    assert response.status_code == 200


@pytest.mark.parametrize("kind", ["application/xml", "text/plain", "text/html"])
def test_another_content_type_is_rejected(client: TestClient, kind: str) -> None:
    response = client.post("/v1/faces", content=b"path=/etc/passwd", headers={"content-type": kind})
    assert response.status_code == 415
    assert kind in response.json()["detail"]


def test_paths_and_urls_are_never_read(client: TestClient, face: bytes, tmp_path) -> None:
    (tmp_path / "face.png").write_bytes(face)
    for value in (str(tmp_path / "face.png"), "http://127.0.0.1:1/face.png"):
        assert client.post("/v1/faces", data={"file": value}, files={"x": ("a", face)}).status_code == 400
    response = client.post("/v1/faces", params={"model": str(tmp_path / "model.onnx")}, content=face)
    assert response.status_code == 400
    assert "no model named" in response.json()["detail"]


def test_the_error_of_an_unknown_model_names_each_model_once(start: Start, face: bytes) -> None:
    detail = start(models=("tiny",)).post("/v1/faces", params={"model": "xyzzy"}, content=face).json()["detail"]
    known = detail.removesuffix(".").split("Known: ")[1].split(", ")
    assert known.count("tiny") == 1


def test_too_many_and_too_large(start: Start, face: bytes) -> None:
    client = start(max_files=3, max_bytes=len(face) + 400)
    many = client.post("/v1/faces", files=[("f", (str(i), b"x")) for i in range(4)])
    assert (many.status_code, "3 files at most" in many.json()["detail"]) == (413, True)
    assert client.post("/v1/faces", content=face + bytes(500)).status_code == 413
    assert client.post("/v1/faces", content=iter([face, bytes(500)])).status_code == 413
    assert client.post("/v1/faces", headers={"content-length": "2000000000"}, content=face).status_code == 413
    assert client.post("/v1/faces", content=face).status_code == 200


def test_a_slow_upload_times_out(start: Start, face: bytes) -> None:
    app = start(upload_timeout_seconds=0.05).app

    async def stalled() -> AsyncIterator[bytes]:
        yield face[:10]
        await asyncio.Event().wait()

    async def send() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.post("/v1/faces", content=stalled())

    response = asyncio.run(send())
    assert (response.status_code, "took too long" in response.json()["detail"]) == (408, True)


def test_a_damaged_form_is_rejected(client: TestClient) -> None:
    for kind, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
    ):
        response = client.post("/v1/faces", content=body, headers={"content-type": kind})
        assert response.status_code == 400, body
        assert response.json()["detail"].endswith((".", "image"))


def test_a_form_that_is_cut_off_is_an_error_and_never_read_in_part(client: TestClient, face: bytes) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
    whole = head + face + b"\r\n" + head + face + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert len(client.post("/v1/faces", content=whole, headers=kind).json()) == 2
    for size in (len(head) + 50, len(head + face) + 10, len(whole) - 10):
        response = client.post("/v1/faces", content=whole[:size], headers=kind)
        assert (response.status_code, "cut off" in response.json()["detail"]) == (400, True)
    # A whole form without files is another matter.
    detail = client.post("/v1/faces", content=b"--b\r\n--b--\r\n", headers=kind).json()["detail"]
    assert "cut off" not in detail


CURL = {"content-type": "application/x-www-form-urlencoded"}


def test_the_content_type_of_curl_is_accepted(client: TestClient, face: bytes) -> None:
    assert client.post("/v1/faces", content=face, headers=CURL).json()[0]["status"] == "ok"


@pytest.mark.parametrize("path", ["/v1/faces", "/v1/videos"])
def test_advice_on_curl_is_given_only_where_it_can_be_true(client: TestClient, face: bytes, path: str) -> None:
    jpeg = _truncated()

    def detail(content: bytes, headers: dict[str, str] = CURL) -> str:
        response = client.post(path, content=content, headers=headers)
        assert response.status_code == 422
        return str(response.json()["detail"])

    # What -d makes of a file, and a field of a form.
    assert detail(jpeg.translate(None, b"\r\n\0")).endswith("-d drops line ends: send the file with --data-binary")
    assert detail(b"path=/etc/passwd").endswith("send the file itself, with curl's --data-binary @FILE")
    assert ("application/json" in detail(b' {"image": "AAAA"}')) == (path == "/v1/faces")
    # A file with line ends was not sent with -d, nor was one of another type.
    for content, headers in ((jpeg, CURL), (b"some\ntext", CURL), (b"path=/etc/passwd", {"content-type": ""})):
        assert "curl" not in detail(content, headers)
        assert "--data-binary" not in detail(content, headers)


def test_wrong_parameters_are_an_error_with_a_message(client: TestClient, face: bytes) -> None:
    response = client.post("/v1/faces", params={"modle": "tiny"}, content=face)
    assert (response.status_code, "Did you mean model?" in response.json()["detail"]) == (400, True)
    response = client.post("/v1/faces", params={"detector": "centreface"}, content=face)
    assert response.status_code == 400
    assert "Did you mean centerface?" in response.json()["detail"]


def test_two_models_give_different_results(client: TestClient, face: bytes) -> None:
    names = [row["name"] for row in client.get("/v1/models").json()][:2]
    assert names == ["tiny_random", "tiny_doubtful"]
    top = []
    for name in names:
        [row] = client.post("/v1/faces", params={"model": name}, content=face).json()
        top.append(max(row["faces"][0]["probabilities"].values()))
    assert top[0] > top[1]


def test_queued_faces_are_classified_together(client: TestClient, face: bytes, gate: BatchGate) -> None:
    gate.open()
    client.post("/v1/faces", files=[("f", (str(i), face)) for i in range(20)])
    assert max(gate.sizes) >= 19


def test_the_pixels_of_one_image_at_a_time_are_in_memory(client: TestClient) -> None:
    side, n = 1000, 12
    images = [("f", (str(i), encoded(Image.new("RGB", (side, side), (i, i, i))))) for i in range(n)]
    client.post("/v1/faces", files=images[:1])  # What is made once does not count.
    tracemalloc.start()
    try:
        rows = client.post("/v1/faces", files=images).json()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row["width"] for row in rows] == [side] * n
    assert peak < 5 * side * side * 3


def test_batches_are_limited_by_pixels(client: TestClient, face: bytes, gate: BatchGate, monkeypatch) -> None:
    gate.open()
    monkeypatch.setattr(batcher, "MAX_BATCH_PIXELS", 3 * 60 * 50)
    large = encoded(Image.new("RGB", (100, 100)))
    contents = [face] * 7 + [large] + [b"no image"] * 2 + [face]
    rows = client.post("/v1/faces", files=[("f", (str(i), c)) for i, c in enumerate(contents)]).json()
    assert gate.sizes == [3, 3, 1, 1, 3]
    assert [row["source"] for row in rows] == [str(i) for i in range(len(contents))]
    assert [row["status"] for row in rows] == ["ok"] * 8 + ["unreadable"] * 2 + ["ok"]


def test_an_unexpected_error_fails_one_image_only(client: TestClient, face: bytes, monkeypatch, caplog) -> None:
    real, cursed = Recognizer.stream, encoded(Image.new("RGB", (13, 13)))

    def fragile(self, sources):
        if any(source.content == cursed for source in sources):
            raise RuntimeError(" ".join(["se" + "cret", "words"]))
        return real(self, sources)

    monkeypatch.setattr(Recognizer, "stream", fragile)
    bad = client.post("/v1/faces", content=cursed)
    assert bad.status_code == 500
    assert "secret" not in bad.text
    assert "failed: RuntimeError" in caplog.text
    assert "secret" not in caplog.text
    assert bad.headers["x-content-type-options"] == "nosniff"
    assert 'code="500",route="/v1/faces"' in client.get("/metrics").text
    # Nothing is raised to the ASGI server, which would log the message.
    assert TestClient(client.app, base_url="http://localhost").post("/v1/faces", content=cursed).status_code == 500
    assert client.post("/v1/faces", content=face).status_code == 200
