from __future__ import annotations

import threading
from pathlib import Path

from fastapi.testclient import TestClient
from uploads import Start

from moue.runtime.detect import CenterFace
from moue.runtime.recognizer import Recognizer
from moue.server.model_pool import ModelPool
from moue.server.settings import Settings

FRAMES = "ws://127.0.0.1:8000/v1/frames"


def test_frames_are_answered_with_rows_of_a_video(client: TestClient, face: bytes) -> None:
    with client.websocket_connect(f"{FRAMES}") as socket:
        rows = []
        for _ in range(3):
            socket.send_bytes(face)
            rows.append(socket.receive_json())
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert rows[0]["timestamp"] < rows[2]["timestamp"]
    assert {row["faces"][0]["track"] for row in rows} == {1}


def test_the_latest_frame_wins(client: TestClient, face: bytes, monkeypatch) -> None:
    gate, real, seen = threading.Event(), Recognizer.batch, []

    def slow(self, images):
        seen.append(len(images))
        gate.wait(20)
        return real(self, images)

    monkeypatch.setattr(Recognizer, "batch", slow)
    with client.websocket_connect(f"{FRAMES}") as socket:
        socket.send_bytes(face)
        while not seen:
            threading.Event().wait(0.01)
        for _ in range(50):
            socket.send_bytes(face)
        threading.Event().wait(0.3)
        gate.set()
        rows = [socket.receive_json(), socket.receive_json()]
    assert [row["frame"] for row in rows] == [0, 50]
    assert seen == [1, 1]


def test_a_bad_frame_has_its_row_and_the_next_one_is_read(client: TestClient, face: bytes) -> None:
    with client.websocket_connect(f"{FRAMES}") as socket:
        socket.send_bytes(b"no image")
        bad = socket.receive_json()
        assert (bad["status"], bad["faces"]) == ("unreadable", [])
        socket.send_bytes(face)
        assert socket.receive_json()["status"] == "ok"


def test_what_is_no_frame_ends_with_a_sentence(start: Start, face: bytes) -> None:
    client = start(max_bytes=len(face), cameras=1)
    with client.websocket_connect(f"{FRAMES}") as socket:
        socket.send_text("hello")
        assert "binary message" in socket.receive_json()["detail"]
    with client.websocket_connect(f"{FRAMES}") as socket:
        socket.send_bytes(face + b"x")
        assert "at most" in socket.receive_json()["detail"]
    with client.websocket_connect(f"{FRAMES}?model=nobody") as socket:
        assert "no model named" in socket.receive_json()["detail"]
    with client.websocket_connect(f"{FRAMES}?detecter=none") as socket:
        assert "Did you mean detector?" in socket.receive_json()["detail"]
    with client.websocket_connect(f"{FRAMES}") as first:
        first.send_bytes(face)
        first.receive_json()
        with client.websocket_connect(f"{FRAMES}") as second:
            assert "too many cameras" in second.receive_json()["detail"]
    assert "moue_cameras 0.0" in client.get("/metrics").text


def test_cameras_search_as_videos_do_with_one_recognizer_for_all(tiny_onnx: Path) -> None:
    shelf = ModelPool(Settings(models=(str(tiny_onnx),)))
    camera, photo = shelf.get(videos=True), shelf.get()
    assert camera is shelf.get(videos=True), "images of several cameras are read together"
    assert isinstance(camera.detector, CenterFace)
    assert isinstance(photo.detector, CenterFace)
    assert (camera.detector.long_side or 0) < (photo.detector.long_side or 0)
