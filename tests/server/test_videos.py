from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from uploads import Start
from videos import make_sound, make_video, scene

from moue.runtime.recognizer import Recognizer
from moue.runtime.video.decode import open_video
from moue.server.app import create_app
from moue.server.jobs import PREFIX
from moue.server.settings import Settings
from moue.server.videos import _lines


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("videos")
    return make_video(folder / "video.mp4", [scene(i) for i in range(30)]).read_bytes()


def ended(client: TestClient, identity: str) -> dict:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"/v1/videos/{identity}").json()
        if job["status"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.02)
    raise AssertionError(job)


def held(folder: Path) -> list[Path]:
    """The videos that lie in a server's folder."""
    return [p for server in folder.glob(f"{PREFIX}*") for p in server.iterdir() if p.is_dir()]


def test_a_video_becomes_rows_and_an_annotated_video_and_nothing_stays(
    client: TestClient, video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All rows come, however few are held at once.
    monkeypatch.setattr("moue.server.videos._HELD", 7)
    answer = client.post("/v1/videos", params={"name": "../my clip.mp4"}, content=video)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/videos/{job['id']}"
    done = ended(client, job["id"])
    assert (done["status"], done["rows"], done["source"], done["annotated"]) == ("done", 30, "my clip.mp4", True)
    text = client.get(f"/v1/videos/{job['id']}/rows").text
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["frame"] for row in rows] == list(range(30))
    assert {row["source"] for row in rows} == {"my clip.mp4"}
    rest = client.get(f"/v1/videos/{job['id']}/rows", params={"start": 28}).text
    assert rest.splitlines() == text.splitlines()[28:]
    made = open_video(client.get(f"/v1/videos/{job['id']}/annotated").content)
    assert (made.width, made.height, len(list(made.frames()))) == (160, 96, 30)
    assert not list(tmp_path.rglob("upload"))
    assert client.delete(f"/v1/videos/{job['id']}").status_code == 204
    assert client.get(f"/v1/videos/{job['id']}").status_code == 404
    assert not held(tmp_path)


def test_a_video_that_is_being_read_can_be_cancelled(
    client: TestClient, video: bytes, tmp_path: Path, monkeypatch
) -> None:
    reading, gate, real = threading.Event(), threading.Event(), Recognizer.batch

    def slow(self, images):
        reading.set()
        gate.wait(20)
        return real(self, images)

    monkeypatch.setattr(Recognizer, "batch", slow)
    first = client.post("/v1/videos", content=video).json()["id"]
    second = client.post("/v1/videos", content=video).json()["id"]
    assert reading.wait(20)
    assert client.get(f"/v1/videos/{second}").json()["status"] == "waiting"
    early = client.get(f"/v1/videos/{first}/annotated")
    assert (early.status_code, "reading" in early.json()["detail"]) == (409, True)
    for identity in (first, second):
        assert client.delete(f"/v1/videos/{identity}").status_code == 204
    gate.set()
    deadline = time.monotonic() + 20
    while held(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Twenty times as many frames as are gone through at once."""
    folder = tmp_path_factory.mktemp("videos")
    return make_video(folder / "long.mp4", [scene(i, 64, 64) for i in range(320)]).read_bytes()


def test_frames_that_are_stepped_over_count_for_the_time(start: Start, long_video: bytes, monkeypatch) -> None:
    real = Recognizer.batch

    def slow(self, images):
        time.sleep(0.1)
        return real(self, images)

    monkeypatch.setattr(Recognizer, "batch", slow)
    client = start(job_seconds=0.3)
    wanted = {"every": 10**9, "annotate": False}
    done = ended(client, client.post("/v1/videos", params=wanted, content=long_video).json()["id"])
    assert (done["status"], done["rows"], "longer than 0.3 s" in done["reason"]) == ("failed", 1, True)
    assert done["frames"] < 320


def test_a_video_that_is_stepped_through_can_be_cancelled(
    client: TestClient, long_video: bytes, tmp_path: Path, monkeypatch
) -> None:
    calls, second, gate, real = [], threading.Event(), threading.Event(), Recognizer.batch

    def counting(self, images):
        calls.append(len(images))
        if len(calls) == 2:
            second.set()
            gate.wait(20)
        return real(self, images)

    monkeypatch.setattr(Recognizer, "batch", counting)
    identity = client.post("/v1/videos", params={"fps": 0.01, "annotate": False}, content=long_video).json()["id"]
    assert second.wait(20)
    assert client.delete(f"/v1/videos/{identity}").status_code == 204
    gate.set()
    deadline = time.monotonic() + 20
    while held(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert calls == [1, 0]


def test_a_row_that_is_being_written_is_given_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("moue.server.videos._HELD", 2)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"frame": 0}\n{"fra')
    rows = _lines(path, 0)
    assert next(rows) == '{"frame": 0}\n'
    with open(path, "a") as file:
        file.write('me": 1}\n')
    assert list(rows) == []
    assert list(_lines(path, 1)) == ['{"frame": 1}\n']


def test_a_folder_that_was_cleared_away_is_made_anew(client: TestClient, video: bytes, tmp_path: Path) -> None:
    [folder] = tmp_path.glob(f"{PREFIX}*")
    shutil.rmtree(folder)
    answer = client.post("/v1/videos", content=video)
    assert answer.status_code == 202
    assert ended(client, answer.json()["id"])["rows"] == 30
    [folder] = tmp_path.glob(f"{PREFIX}*")
    assert folder.stat().st_mode & 0o077 == 0


def test_what_is_no_video_is_refused_with_a_sentence(
    client: TestClient, video: bytes, face: bytes, tmp_path: Path
) -> None:
    sound = make_sound(tmp_path / "sound.mp4").read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n"
    for content, code, word in (
        (b"", 400, "empty"),
        (face, 422, "not a video"),
        (playlist, 422, "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 422, "not a video"),
        (video[:300], 422, "cannot be opened"),
        (sound, 422, "sound alone"),
    ):
        answer = client.post("/v1/videos", content=content)
        assert (answer.status_code, word in answer.json()["detail"]) == (code, True), answer.text
        assert str(tmp_path) not in answer.text
    for kind in ("multipart/form-data; boundary=x", "application/json"):
        assert client.post("/v1/videos", content=video, headers={"content-type": kind}).status_code == 415
    assert client.post("/v1/videos", params={"every": 0}, content=video).status_code == 400
    assert client.post("/v1/videos", params={"every": "x"}, content=video).status_code == 400
    assert not held(tmp_path)


def test_a_video_cut_off_keeps_the_rows_it_has(client: TestClient, tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    whole = make_video(tmp_path / "cut.mp4", [scene(i) for i in range(60)], options=options).read_bytes()
    job = client.post("/v1/videos", params={"annotate": False}, content=whole[: len(whole) * 2 // 3]).json()
    done = ended(client, job["id"])
    assert done["status"] == "done"
    assert 5 < done["rows"] < 61
    assert done["annotated"] is False


def test_limits_of_videos(start: Start, video: bytes, tmp_path: Path) -> None:
    small = start(max_video_bytes=1000)
    assert small.post("/v1/videos", content=video).status_code == 413
    assert small.post("/v1/videos", content=iter([video])).status_code == 413
    few = start(max_pixels=1000)
    answer = few.post("/v1/videos", content=video)
    assert (answer.status_code, "160×96" in answer.json()["detail"]) == (413, True)
    assert not held(tmp_path)
    hasty = start(job_seconds=1e-6)
    done = ended(hasty, hasty.post("/v1/videos", content=video).json()["id"])
    assert (done["status"], "longer than" in done["reason"]) == ("failed", True)


def test_videos_above_the_limit_are_told_when_the_one_being_read_is_likely_done(
    start: Start, video: bytes, monkeypatch
) -> None:
    calls, second, gate, real = [], threading.Event(), threading.Event(), Recognizer.batch

    def slow(self, images):
        calls.append(len(images))
        if len(calls) == 1:
            time.sleep(2)
        else:
            second.set()
            gate.wait(20)
        return real(self, images)

    monkeypatch.setattr(Recognizer, "batch", slow)
    client = start(jobs=1)
    first = client.post("/v1/videos", content=video).json()["id"]
    assert second.wait(20)
    busy = client.post("/v1/videos", content=video)
    job = client.get(f"/v1/videos/{first}").json()
    gate.set()
    assert (busy.status_code, job["frames"], job["total"]) == (429, 8, 30)
    wait = int(busy.headers["retry-after"])
    assert wait >= 2 * 22 / 8
    assert wait <= job["seconds"] * 22 / 8 + 1
    assert f"in {wait} s" in busy.json()["detail"]


def test_finished_videos_keep_nobody_waiting(start: Start, video: bytes, tmp_path: Path) -> None:
    client = start(jobs=2)
    made = []
    for _ in range(4):
        answer = client.post("/v1/videos", params={"annotate": False}, content=video)
        assert answer.status_code == 202
        made.append(answer.json()["id"])
        assert ended(client, made[-1])["status"] == "done"
    assert [client.get(f"/v1/videos/{identity}/rows").status_code for identity in made] == [404, 404, 200, 200]
    assert len(held(tmp_path)) == 2


def test_finished_videos_go_when_their_time_is_up(start: Start, video: bytes, tmp_path: Path) -> None:
    client = start(keep_seconds=0.01)
    identity = client.post("/v1/videos", content=video).json()["id"]
    deadline = time.monotonic() + 30
    while client.get(f"/v1/videos/{identity}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not held(tmp_path)


def test_a_full_disk_is_told(client: TestClient, video: bytes, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("moue.server.jobs.stream_video", full)
    done = ended(client, client.post("/v1/videos", content=video).json()["id"])
    assert (done["status"], done["reason"]) == ("failed", "No space left on device")


CRASH = """
import os, sys
from pathlib import Path
from moue.server.jobs import Jobs
jobs = Jobs(2, 9, 9, Path(sys.argv[1]))
jobs.new("video").upload.write_bytes(b"video")
os._exit(1)
"""


def test_a_start_sweeps_what_a_crash_left_and_an_end_all_of_its_own(
    video: bytes, tiny_onnx: Path, tmp_path: Path
) -> None:
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], env={**os.environ, "PYTHONPATH": source}, timeout=60)
    [left] = held(tmp_path)
    settings = Settings(models=(str(tiny_onnx),), detector="none", folder=tmp_path, local=False)
    with TestClient(create_app(settings)) as running:
        running.post("/v1/videos", content=video)
        with TestClient(create_app(settings)):
            assert left not in held(tmp_path)
            assert held(tmp_path), "a running server's videos are not another one's to remove"
    assert not list(tmp_path.glob(f"{PREFIX}*"))
