"""What may wait for how long: photos in their order, before any is rejected, on a machine of any speed."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from uploads import BatchGate, QueueEvents, Start, encoded, running
from videos import make_video, scene

from moue.runtime.detect import CenterFace, WholeImage
from moue.runtime.recognizer import Recognizer
from moue.server import batcher
from moue.server.fair_queue import FairQueue, QueuedImage
from moue.server.settings import Settings
from moue.server.work import WorkMeter

pytestmark = pytest.mark.xdist_group("server")

#: No machine is this fast: only the number of images that may wait counts.
SLOW = {"max_queue_seconds": 1e-9}


class Sender:
    """Sends photos over connections of their own, all at once."""

    def __init__(self, port: int, pool: ThreadPoolExecutor) -> None:
        self.port, self._pool = port, pool

    def send(self, *photos: bytes, client: str = "127.0.0.1") -> Future[tuple[int, Any, int | None]]:
        """Status code, content and Retry-After of the response to a request with these photos."""
        return self._pool.submit(self._send, photos, client)

    def _send(self, photos: tuple[bytes, ...], client: str) -> tuple[int, Any, int | None]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120, source_address=(client, 0))
        head = '--b\r\nContent-Disposition: form-data; name="f"; filename="{}.png"\r\n\r\n'
        parts = [head.format(i).encode() + photo + b"\r\n" for i, photo in enumerate(photos)]
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        connection.request("POST", "/v1/faces", b"".join([*parts, b"--b--\r\n"]), kind)
        response = connection.getresponse()
        content, after = json.loads(response.read()), response.getheader("retry-after")
        connection.close()
        return response.status, content, None if after is None else int(after)


@contextmanager
def sending(model: Path, folder: Path, **settings: Any) -> Iterator[Sender]:
    served = Settings(models=(str(model),), detector="none", temp_folder=folder, **settings)
    with running(served) as port, ThreadPoolExecutor(64) as pool:
        yield Sender(port, pool)


def test_sixteen_photos_at_once_wait_and_the_next_is_told_when_to_come_back(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents, monkeypatch
) -> None:
    monkeypatch.setattr(WorkMeter, "seconds", lambda self, recognizer, pixels: 3.0)
    with sending(tiny_onnx, tmp_path, **SLOW) as sender:
        first = sender.send(face)
        gate.wait_reached()
        waiting = [sender.send(face) for _ in range(16)]
        queue_events.wait(queue_events.added, 17)
        code, error, retry_after = sender.send(face).result()
        assert (code, "16 images wait" in error["detail"]) == (429, True)
        # 16 images of three seconds, and what is left of the first.
        assert retry_after is not None
        assert 48 <= retry_after <= 51
        assert f"Try again in {retry_after} s." in error["detail"]
        gate.open()
        assert [response.result()[0] for response in (first, *waiting)] == [200] * 17
        assert sender.send(face).result()[0] == 200


def test_sixteen_photos_at_once_are_answered_in_their_order(
    tiny_onnx: Path, tmp_path: Path, face: bytes, queue_events: QueueEvents, monkeypatch
) -> None:
    order: list[str] = []
    stream = Recognizer.stream

    def recorded(self: Recognizer, sources: Any) -> Any:
        order.extend(source.name for source in sources)
        return stream(self, sources)

    monkeypatch.setattr(Recognizer, "stream", recorded)
    names = iter([f"photo {i}" for i in range(16)])
    monkeypatch.setattr("moue.server.upload.safe_name", lambda name, default: next(names))
    with sending(tiny_onnx, tmp_path, **SLOW) as sender:
        responses = [sender.send(face) for _ in range(16)]
        assert [response.result()[0] for response in responses] == [200] * 16
    assert order == queue_events.order


def test_more_may_wait_on_a_fast_machine(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents, monkeypatch
) -> None:
    monkeypatch.setattr(WorkMeter, "seconds", lambda self, recognizer, pixels: 0.01)
    with sending(tiny_onnx, tmp_path, max_queue=1, max_queue_seconds=60) as sender:
        responses = [sender.send(face) for _ in range(20)]
        queue_events.wait(queue_events.added, 20)
        gate.open()
        assert [response.result()[0] for response in responses] == [200] * 20


def test_the_photos_of_a_form_count_each_and_a_request_alone_is_never_rejected(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents
) -> None:
    with sending(tiny_onnx, tmp_path, max_queue=4, **SLOW) as sender:
        responses = [sender.send(*[face] * 10)]
        gate.wait_reached()
        responses += [sender.send(face, face, face)]
        queue_events.wait(queue_events.added, 13)
        assert sender.send(face, face).result()[0] == 429
        responses += [sender.send(face)]
        queue_events.wait(queue_events.added)
        gate.open()
        assert [response.result()[0] for response in responses] == [200] * 3


def test_nobody_is_kept_out_by_others(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents
) -> None:
    with sending(tiny_onnx, tmp_path, max_queue=2, **SLOW) as sender:
        responses = [sender.send(face)]
        gate.wait_reached()
        responses += [sender.send(face, face)]
        queue_events.wait(queue_events.added, 3)
        assert sender.send(face).result()[0] == 429
        responses += [sender.send(face, client="127.0.0.2")]
        queue_events.wait(queue_events.added)
        assert sender.send(face, client="127.0.0.2").result()[0] == 429
        gate.open()
        assert [response.result()[0] for response in responses] == [200] * 3


def test_a_large_photo_and_sixteen_small_ones_are_answered(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents
) -> None:
    large = encoded(Image.new("L", (8000, 6000), 90))
    with sending(tiny_onnx, tmp_path, **SLOW) as sender:
        responses = [sender.send(large)]
        gate.wait_reached()
        responses += [sender.send(face) for _ in range(15)] + [sender.send(large)]
        queue_events.wait(queue_events.added, 17)
        gate.open()
        rows = [response.result()[1] for response in responses]
    assert [row[0]["width"] for row in rows] == [8000] + [50] * 15 + [8000]


def test_photos_are_answered_while_a_video_is_read(tiny_onnx: Path, tmp_path: Path, face: bytes) -> None:
    video = make_video(tmp_path / "video.mp4", [scene(i) for i in range(60)]).read_bytes()
    (tmp_path / "server").mkdir()
    with sending(tiny_onnx, tmp_path / "server", **SLOW) as sender:
        connection = http.client.HTTPConnection("127.0.0.1", sender.port, timeout=120)
        connection.request("POST", "/v1/videos", video)
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (202, True)
        connection.close()
        assert [r.result()[0] for r in [sender.send(face) for _ in range(16)]] == [200] * 16


def test_a_client_that_disconnects_leaves_the_queue(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents
) -> None:
    with sending(tiny_onnx, tmp_path, max_queue=1, **SLOW) as sender:
        first = sender.send(face)
        gate.wait_reached()
        with socket.create_connection(("127.0.0.1", sender.port), timeout=60) as gone:
            gone.sendall(b"POST /v1/faces HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(face) + face)
            queue_events.wait(queue_events.added, 2)
            assert sender.send(face).result()[0] == 429
        queue_events.wait(queue_events.removed)
        next_one = sender.send(face)
        queue_events.wait(queue_events.added)
        gate.open()
        assert [first.result()[0], next_one.result()[0]] == [200, 200]
    assert gate.sizes == [1, 1], "the image of the client that left was read"


def test_the_bytes_in_memory_are_limited(start: Start, face: bytes, gate: BatchGate) -> None:
    client = start(max_bytes=len(face), max_queue=1, max_queue_seconds=60)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/faces", content=face)
        gate.wait_reached()
        assert f"moue_image_bytes {float(len(face))}" in client.get("/metrics").text
        for content in (face, iter([face])):  # The second does not say how many bytes it has.
            response = client.post("/v1/faces", content=content)
            assert (response.status_code, "memory" in response.json()["detail"]) == (429, True)
            assert int(response.headers["retry-after"]) >= 1
        gate.open()
        assert first.result().status_code == 200
    assert client.post("/v1/faces", content=face).status_code == 200
    assert "moue_image_bytes 0.0" in client.get("/metrics").text


def test_a_full_queue_rejects_a_request_before_its_upload(
    tiny_onnx: Path, tmp_path: Path, face: bytes, gate: BatchGate, queue_events: QueueEvents
) -> None:
    with sending(tiny_onnx, tmp_path, max_queue=1, **SLOW) as sender:
        responses = [sender.send(face)]
        gate.wait_reached()
        responses += [sender.send(face)]
        queue_events.wait(queue_events.added, 2)
        with socket.create_connection(("127.0.0.1", sender.port), timeout=60) as late:
            late.sendall(b"POST /v1/faces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n")
            assert late.recv(20).startswith(b"HTTP/1.1 429")
        gate.open()
        assert [response.result()[0] for response in responses] == [200] * 2


def test_waiting_for_others_has_no_time_limit(start: Start, face: bytes, monkeypatch) -> None:
    client = start(stall_timeout_seconds=2, max_files=30)
    monkeypatch.setattr(batcher, "MAX_BATCH_CROPS", 1)
    stream, pause = Recognizer.stream, threading.Event()

    def slow(self: Recognizer, sources: Any) -> Any:
        pause.wait(0.1)
        return stream(self, sources)

    monkeypatch.setattr(Recognizer, "stream", slow)
    # In sum the batches take longer than one may.
    response = client.post("/v1/faces", files=[("f", (str(i), face)) for i in range(25)])
    assert (response.status_code, len(response.json())) == (200, 25)


def test_a_server_that_is_stuck_says_so(start: Start, face: bytes, gate: BatchGate, queue_events: QueueEvents) -> None:
    client = start(stall_timeout_seconds=0.5)
    with ThreadPoolExecutor(2) as pool:
        responses = [pool.submit(client.post, "/v1/faces", content=face)]
        gate.wait_reached()
        responses += [pool.submit(client.post, "/v1/faces", content=face)]
        for response in (*(r.result() for r in responses), client.get("/healthz"), client.post("/v1/faces")):
            assert (response.status_code, "stuck" in response.json()["detail"]) == (503, True)
            assert int(response.headers["retry-after"]) >= 1
    # The image that waited has left the queue.
    assert "moue_queued_images 0.0" in client.get("/metrics").text
    gate.open()
    while client.get("/healthz").status_code != 200:
        pass
    assert client.post("/v1/faces", content=face).status_code == 200


def queued(client: str, seconds: float = 1.0) -> QueuedImage:
    recognizer: Any = None
    return QueuedImage(recognizer, client, b"", 0, client, seconds)


def turns(queue: FairQueue) -> str:
    return "".join(queue.take().name for _ in range(len(queue)))


def test_the_images_of_one_client_come_in_their_order() -> None:
    queue = FairQueue()
    images = [queued("a", 1.0 + i % 3) for i in range(20)]
    for image in images:
        queue.add(image)
    assert [queue.take() for _ in images] == images


def test_clients_take_turns_by_work() -> None:
    queue = FairQueue()
    for client in "aaaaaabbb":
        queue.add(queued(client))
    assert turns(queue) == "ababab" + "aaa"
    # One image of b takes as long as three of a.
    for client in "aaaaaabb":
        queue.add(queued(client, 3.0 if client == "b" else 1.0))
    assert turns(queue) in ("abaaabaa", "baaabaaa")
    # Who comes late waits for one image of each, and who comes again right away has no advantage.
    for client in "aaaa":
        queue.add(queued(client))
    assert queue.take().client == "a"
    queue.add(queued("b"))
    order = ""
    for _ in range(4):
        taken = queue.take()
        order += taken.client
        if taken.client == "b":
            queue.add(queued("b"))
    assert order.count("a") == order.count("b") == 2


def test_images_can_be_removed() -> None:
    queue = FairQueue()
    images = [queued(client) for client in "abab"]
    for image in images:
        queue.add(image)
    queue.remove(images[1::2])
    assert (len(queue), queue.waits("a"), queue.waits("b")) == (2, True, False)
    assert turns(queue) == "aa"
    assert not queue.waits("a")


def test_work_is_measured_for_each_recognizer_and_grows_with_the_image() -> None:
    meter = WorkMeter()
    search: Any = type("Searching", (), {"detector": object.__new__(CenterFace)})()
    search.detector.long_side = 1000
    crops: Any = type("Crops", (), {"detector": WholeImage()})()
    for _ in range(5):
        meter.observe(search, [10**6] * 4, 4.0)
        meter.observe(crops, [3000] * 64, 0.64)
    assert meter.seconds(search, 10**6) == pytest.approx(1.0)
    assert meter.seconds(crops, 3000) == pytest.approx(0.01)
    # Pixels above the size at which faces are searched are decoded only.
    small, large, huge = (meter.seconds(search, n * 10**6) for n in (1, 2, 40))
    assert small < large < 2 * small < huge < 10 * small
    # A machine that becomes slower is noticed within a few batches.
    for _ in range(5):
        meter.observe(search, [10**6] * 4, 20.0)
    assert meter.seconds(search, 10**6) > 3.0
