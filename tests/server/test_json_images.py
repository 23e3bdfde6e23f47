"""Images as base64 in JSON."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient
from uploads import Start


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_the_rows_are_those_of_a_form(client: TestClient, face: bytes) -> None:
    text = base64.b64encode(face).decode()
    [expected] = client.post("/v1/faces", files={"f": ("image 1", face)}).json()
    for image in (text, data_url(face), {"data": text}, {"data": data_url(face, "image/jpeg;charset=x"), "name": None}):
        assert client.post("/v1/faces", json={"image": image}).json() == [expected]
        assert client.post("/v1/faces", json={"images": [image]}).json() == [expected]
    images = [text, {"data": text, "name": "../../b.png"}, {"data": base64.b64encode(b"x").decode(), "name": "c"}]
    rows = client.post("/v1/faces", json={"images": images}).json()
    assert [(row["source"], row["status"]) for row in rows] == [
        ("image 1", "ok"),
        ("b.png", "ok"),
        ("c", "unreadable"),
    ]
    assert rows[0]["faces"] == rows[1]["faces"] == expected["faces"]


def test_an_image_without_a_name_is_called_by_its_place_however_it_is_sent(client: TestClient, face: bytes) -> None:
    text = base64.b64encode(face).decode()
    rows = [
        client.post("/v1/faces", content=face).json(),
        client.post("/v1/faces", json={"image": text}).json(),
        client.post("/v1/faces", files=[("f", ("/", face))]).json(),
    ]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0][0]["source"] == "image 1"
    named = {"data": text, "name": "a.png"}
    rows = [client.post("/v1/faces", json={"images": [named, text]}).json()]
    rows.append(client.post("/v1/faces", files=[("f", ("a.png", face)), ("f", ("/", face))]).json())
    assert [[row["source"] for row in of] for of in rows] == [["a.png", "image 2"]] * 2


def test_both_alphabets_line_breaks_and_missing_padding_are_read(client: TestClient, face: bytes) -> None:
    # All lengths of padding: PNG files may have bytes after their end.
    for more in (b"", b"\xff", b"\xfb\xff"):
        content = face + more
        for text in (
            base64.encodebytes(content).decode(),
            base64.urlsafe_b64encode(content).decode(),
            base64.b64encode(content).decode().rstrip("="),
            f" {base64.b64encode(content).decode()}\r\n",
        ):
            response = client.post("/v1/faces", json={"image": text})
            assert (response.status_code, response.json()[0]["status"]) == (200, "ok")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "the body must be"),
        (b"7", "the body must be"),
        (b"{}", "the body must be"),
        (b'{"path": "/etc/passwd"}', "path"),
        (b'{"image": "", "images": []}', "the body must be"),
        (b'{"images": []}', "the body must be"),
        (b'{"images": "abcd"}', "the body must be"),
        (b'{"image": null}', "Image 1 is None"),
        (b'{"image": "", "model": "tiny"}', "Parameters are part of the URL"),
        (b'{"images": ["", 3]}', "Image 2 is 3"),
        (b'{"image": {"data": "", "file": "a"}}', "Image 1 is"),
        (b'{"image": {"data": "", "name": 3}}', "Image 1 is"),
        (b'{"image": "ab*d"}', "not valid base64"),
        (b'{"image": "abcde"}', "not valid base64"),
        ('{"image": "äöüß"}'.encode(), "not valid base64"),
        (b'{"image": "http://127.0.0.1:1/a.png"}', "other URLs and paths are never read"),
        (b'{"image": "file:///etc/passwd"}', "other URLs and paths are never read"),
        (b'{"image": "data:image/png,%89PNG"}', "must be base64"),
        (b'{"image": "data:image/png;base64"}', "must be base64"),
    ],
)
def test_what_is_no_image_is_an_error_with_a_message(client: TestClient, face: bytes, body: bytes, words: str) -> None:
    response = client.post("/v1/faces", content=body, headers={"content-type": "application/json; charset=utf-8"})
    assert (response.status_code, words in response.json()["detail"]) == (400, True), response.json()
    assert len(response.json()["detail"]) < 400
    assert client.post("/v1/faces", content=face).status_code == 200


def test_limits_hold_before_anything_is_decoded(start: Start, face: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(max_bytes=100_000, max_files=3)
    decoded: list[int] = []
    decode = base64.b64decode

    def recorded(text: Any, **options: Any) -> bytes:
        decoded.append(len(text))
        return decode(text, **options)

    monkeypatch.setattr("moue.server.json_images.base64.b64decode", recorded)
    # The limit is one of images, not of their base64.
    largest = face + bytes(100_000 - len(face))
    for text in (data_url(largest), base64.encodebytes(largest).decode().replace("\n", "\r\n")):
        assert client.post("/v1/faces", json={"image": text}).status_code == 200
    decoded.clear()
    many = client.post("/v1/faces", json={"images": ["AAAA"] * 4})
    assert (many.status_code, "3 files at most" in many.json()["detail"]) == (413, True)
    for size in (220_000, 5_000_000):
        large = client.post("/v1/faces", json={"images": [data_url(bytes(size // 2))] * 2})
        assert (large.status_code, "bytes at most" in large.json()["detail"]) == (413, True)
    assert not decoded
    # Above the limit of images, and not of their base64, which may hold white space.
    barely = client.post("/v1/faces", json={"image": data_url(bytes(100_001))})
    assert (barely.status_code, "Got 100,001" in barely.json()["detail"]) == (413, True)


def test_a_browser_cannot_send_json_from_another_site(client: TestClient, face: bytes) -> None:
    response = client.post("/v1/faces", json={"image": data_url(face)}, headers={"origin": "https://evil.example"})
    assert response.status_code == 403


def test_the_schema_describes_the_bodies(client: TestClient) -> None:
    content = client.get("/openapi.json").json()["paths"]["/v1/faces"]["post"]["requestBody"]["content"]
    assert content.keys() == {"multipart/form-data", "application/json", "application/octet-stream", "image/*"}
    shapes = content["application/json"]["schema"]["oneOf"]
    assert [shape["required"] for shape in shapes] == [["image"], ["images"]]
