from __future__ import annotations

import threading
from pathlib import Path

from fastapi import WebSocket
from fastapi.testclient import TestClient
from starlette.types import Message
from uploads import BatchGate, Start

from moue.runtime.detect import CenterFace
from moue.server.model_pool import ModelPool
from moue.server.settings import Settings

FRAMES = "ws://127.0.0.1:8000/v1/frames"


def test_each_frame_gets_a_row(client: TestClient, face: bytes) -> None:
    with client.websocket_connect(f"{FRAMES}") as socket:
        rows = []
        for _ in range(3):
            socket.send_bytes(face)
            rows.append(socket.receive_json())
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert rows[0]["timestamp"] < rows[2]["timestamp"]
    assert {row["faces"][0]["track"] for row in rows} == {1}


def test_the_latest_frame_wins(client: TestClient, face: bytes, monkeypatch, gate: BatchGate) -> None:
    received, receive = threading.Event(), WebSocket.receive
    messages: list[Message] = []

    async def counting(self):
        # Called again after a frame, the server has taken it in.
        if len(messages) == 51:
            received.set()
        message = await receive(self)
        messages.extend([message] * ("bytes" in message))
        return message

    monkeypatch.setattr(WebSocket, "receive", counting)
    with client.websocket_connect(f"{FRAMES}") as socket:
        socket.send_bytes(face)
        gate.wait_reached()
        for _ in range(50):
            socket.send_bytes(face)
        assert received.wait(20)
        gate.open()
        rows = [socket.receive_json(), socket.receive_json()]
    assert [row["frame"] for row in rows] == [0, 50]
    assert gate.sizes == [1, 1]


def test_a_bad_frame_has_its_row_and_the_next_one_is_read(client: TestClient, face: bytes) -> None:
    with client.websocket_connect(f"{FRAMES}") as socket:
        socket.send_bytes(b"no image")
        bad = socket.receive_json()
        assert (bad["status"], bad["faces"]) == ("unreadable", [])
        socket.send_bytes(face)
        assert socket.receive_json()["status"] == "ok"


def test_an_invalid_message_closes_the_connection_with_a_message(start: Start, face: bytes) -> None:
    client = start(max_bytes=len(face), max_cameras=1)
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
    assert "moue_active_cameras 0.0" in client.get("/metrics").text


def test_cameras_share_the_recognizer_of_videos(tiny_onnx: Path) -> None:
    pool = ModelPool(Settings(models=(str(tiny_onnx),)))
    camera, photo = pool.get(video=True), pool.get()
    assert camera is pool.get(video=True), "images of several cameras are read together"
    assert isinstance(camera.detector, CenterFace)
    assert isinstance(photo.detector, CenterFace)
    assert (camera.detector.long_side or 0) < (photo.detector.long_side or 0)
