from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from uploads import FINISHED, BatchGate, JobEvents, Start
from videos import damaged_opus, make_sound, make_video, scene

from moue.runtime.recognizer import Recognizer
from moue.runtime.video.decode import open_video
from moue.server.app import create_app
from moue.server.settings import Settings
from moue.server.videos import _lines
from moue.server.workspace import PREFIX


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("videos")
    return make_video(folder / "video.mp4", [scene(i) for i in range(30)]).read_bytes()


Finish = Callable[[TestClient, str], dict]


@pytest.fixture
def finish(job_events: JobEvents) -> Finish:
    """Waits for the end of a job; its final state."""

    def finish(client: TestClient, id: str) -> dict:
        def state() -> dict:
            return client.get(f"/v1/videos/{id}").json()

        job_events.wait_for(lambda: state()["status"] in FINISHED)
        return state()

    return finish


class Clock:
    """Stands for the module ``time`` in the queue of jobs: its time passes where a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("moue.server.jobs.time", clock)
    return clock


def job_folders(folder: Path) -> list[Path]:
    """The folders of the videos on a server."""
    return [p for server in folder.glob(f"{PREFIX}*") for p in server.iterdir() if p.is_dir()]


def test_a_video_becomes_rows_and_an_annotated_video_and_can_be_deleted(
    client: TestClient, video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: Finish
) -> None:
    # In several chunks.
    monkeypatch.setattr("moue.server.videos._ROWS_PER_CHUNK", 7)
    response = client.post("/v1/videos", params={"name": "../my clip.mp4"}, content=video)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/videos/{job['id']}"
    done = finish(client, job["id"])
    assert (done["status"], done["rows"], done["source"], done["annotated"]) == ("done", 30, "my clip.mp4", True)
    text = client.get(f"/v1/videos/{job['id']}/rows").text
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["frame"] for row in rows] == list(range(30))
    assert {row["source"] for row in rows} == {"my clip.mp4"}
    rest = client.get(f"/v1/videos/{job['id']}/rows", params={"start": 28}).text
    assert rest.splitlines() == text.splitlines()[28:]
    annotated = open_video(client.get(f"/v1/videos/{job['id']}/annotated").content)
    assert (annotated.width, annotated.height, len(list(annotated.frames()))) == (160, 96, 30)
    assert not list(tmp_path.rglob("upload"))
    assert client.delete(f"/v1/videos/{job['id']}").status_code == 204
    assert client.get(f"/v1/videos/{job['id']}").status_code == 404
    assert not job_folders(tmp_path)


def test_a_video_that_is_being_read_can_be_cancelled(
    client: TestClient, video: bytes, tmp_path: Path, gate: BatchGate, job_events: JobEvents
) -> None:
    first = client.post("/v1/videos", content=video).json()["id"]
    second = client.post("/v1/videos", content=video).json()["id"]
    gate.wait_reached()
    assert client.get(f"/v1/videos/{second}").json()["status"] == "waiting"
    early = client.get(f"/v1/videos/{first}/annotated")
    assert (early.status_code, "reading" in early.json()["detail"]) == (409, True)
    for id in (first, second):
        assert client.delete(f"/v1/videos/{id}").status_code == 204
    gate.open()
    job_events.wait_for(lambda: not job_folders(tmp_path))


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Forty times as many frames as go into a batch."""
    folder = tmp_path_factory.mktemp("videos")
    return make_video(folder / "long.mp4", [scene(i, 64, 64) for i in range(320)]).read_bytes()


def test_skipped_frames_count_towards_the_timeout(
    start: Start, long_video: bytes, monkeypatch, clock: Clock, finish: Finish
) -> None:
    real = Recognizer.batch

    def slow(self, images):
        clock.now += 0.1
        return real(self, images)

    monkeypatch.setattr(Recognizer, "batch", slow)
    client = start(job_timeout_seconds=0.3)
    options = {"every": 10**9, "annotate": False}
    done = finish(client, client.post("/v1/videos", params=options, content=long_video).json()["id"])
    assert (done["status"], done["rows"], "longer than 0.3 s" in done["reason"]) == ("failed", 1, True)
    assert done["frames"] < 320


def test_a_video_whose_frames_are_skipped_can_be_cancelled(
    client: TestClient, long_video: bytes, tmp_path: Path, gate: BatchGate, job_events: JobEvents
) -> None:
    gate.first = 2
    id = client.post("/v1/videos", params={"fps": 0.01, "annotate": False}, content=long_video).json()["id"]
    gate.wait_reached()
    assert client.delete(f"/v1/videos/{id}").status_code == 204
    gate.open()
    job_events.wait_for(lambda: not job_folders(tmp_path))
    assert gate.sizes == [1, 0]


def test_incomplete_rows_are_left_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("moue.server.videos._ROWS_PER_CHUNK", 2)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"frame": 0}\n{"fra')
    rows = _lines(path, 0)
    assert next(rows) == '{"frame": 0}\n'
    with open(path, "a") as file:
        file.write('me": 1}\n')
    assert list(rows) == []
    assert list(_lines(path, 1)) == ['{"frame": 1}\n']


def test_a_folder_that_was_deleted_is_made_again(
    client: TestClient, video: bytes, tmp_path: Path, finish: Finish
) -> None:
    [folder] = tmp_path.glob(f"{PREFIX}*")
    shutil.rmtree(folder)
    response = client.post("/v1/videos", content=video)
    assert response.status_code == 202
    assert finish(client, response.json()["id"])["rows"] == 30
    [folder] = tmp_path.glob(f"{PREFIX}*")
    assert folder.stat().st_mode & 0o077 == 0


def test_files_that_are_not_videos_are_rejected_with_a_message(
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
        response = client.post("/v1/videos", content=content)
        assert (response.status_code, word in response.json()["detail"]) == (code, True), response.text
        assert str(tmp_path) not in response.text
    for kind in ("multipart/form-data; boundary=x", "application/json"):
        assert client.post("/v1/videos", content=video, headers={"content-type": kind}).status_code == 415
    assert client.post("/v1/videos", params={"every": 0}, content=video).status_code == 400
    assert client.post("/v1/videos", params={"every": "x"}, content=video).status_code == 400
    assert not job_folders(tmp_path)


def test_a_truncated_video_keeps_its_rows(client: TestClient, tmp_path: Path, finish: Finish) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    whole = make_video(tmp_path / "cut.mp4", [scene(i) for i in range(60)], options=options).read_bytes()
    job = client.post("/v1/videos", params={"annotate": False}, content=whole[: len(whole) * 2 // 3]).json()
    done = finish(client, job["id"])
    assert done["status"] == "done"
    assert 5 < done["rows"] < 61
    assert done["annotated"] is False


def test_limits_of_videos(start: Start, video: bytes, tmp_path: Path, finish: Finish) -> None:
    small = start(max_video_bytes=1000)
    assert small.post("/v1/videos", content=video).status_code == 413
    assert small.post("/v1/videos", content=iter([video])).status_code == 413
    few = start(max_pixels=1000)
    response = few.post("/v1/videos", content=video)
    assert (response.status_code, "160×96" in response.json()["detail"]) == (413, True)
    assert not job_folders(tmp_path)
    hasty = start(job_timeout_seconds=1e-6)
    done = finish(hasty, hasty.post("/v1/videos", content=video).json()["id"])
    assert (done["status"], "longer than" in done["reason"]) == ("failed", True)


def test_a_rejected_video_is_told_when_the_current_one_is_likely_finished(
    start: Start, video: bytes, gate: BatchGate, clock: Clock
) -> None:
    gate.first = 2
    client = start(max_jobs=1)
    first = client.post("/v1/videos", content=video).json()["id"]
    gate.wait_reached()
    clock.now += 2
    busy = client.post("/v1/videos", content=video)
    job = client.get(f"/v1/videos/{first}").json()
    gate.open()
    assert (busy.status_code, job["frames"], job["total"]) == (429, 8, 30)
    # Two seconds for 8 of 30 frames: 5.5 s for the rest.
    assert (job["seconds"], busy.headers["retry-after"]) == (2, "6")
    assert "in 6 s" in busy.json()["detail"]


def test_finished_videos_do_not_count_towards_the_limit(
    start: Start, video: bytes, tmp_path: Path, finish: Finish
) -> None:
    client = start(max_jobs=2)
    ids = []
    for _ in range(4):
        response = client.post("/v1/videos", params={"annotate": False}, content=video)
        assert response.status_code == 202
        ids.append(response.json()["id"])
        assert finish(client, ids[-1])["status"] == "done"
    assert [client.get(f"/v1/videos/{id}/rows").status_code for id in ids] == [404, 404, 200, 200]
    assert len(job_folders(tmp_path)) == 2


def test_finished_videos_expire(start: Start, video: bytes, tmp_path: Path, clock: Clock, finish: Finish) -> None:
    client = start(retention_seconds=60)
    id = client.post("/v1/videos", content=video).json()["id"]
    finish(client, id)
    clock.now += 59
    assert client.get(f"/v1/videos/{id}").status_code == 200
    clock.now += 2
    assert client.get(f"/v1/videos/{id}").status_code == 404
    assert not job_folders(tmp_path)


def test_a_full_disk_is_the_reason_of_the_failure(client: TestClient, video: bytes, monkeypatch, finish) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("moue.server.jobs.stream_video", full)
    done = finish(client, client.post("/v1/videos", content=video).json()["id"])
    assert (done["status"], done["reason"]) == ("failed", "No space left on device")


CRASH = """
import os, sys
from pathlib import Path
from moue.server.jobs import JobQueue
jobs = JobQueue(2, 9, 9, Path(sys.argv[1]))
jobs.create("video").upload.write_bytes(b"video")
os._exit(1)
"""


def test_a_server_removes_the_files_of_crashed_ones_at_its_start_and_its_own_at_its_end(
    video: bytes, tiny_onnx: Path, tmp_path: Path
) -> None:
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], env={**os.environ, "PYTHONPATH": source}, timeout=60)
    [abandoned] = job_folders(tmp_path)
    settings = Settings(models=(str(tiny_onnx),), detector="none", temp_folder=tmp_path, local_only=False)
    with TestClient(create_app(settings)) as running:
        running.post("/v1/videos", content=video)
        with TestClient(create_app(settings)):
            assert abandoned not in job_folders(tmp_path)
            assert job_folders(tmp_path), "the videos of a running server must stay"
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_without_a_folder_for_temporary_files_images_are_read_and_videos_are_not(
    start: Start, face: bytes, video: bytes, tmp_path: Path, finish: Finish
) -> None:
    folder = tmp_path / "not mounted"
    client = start(temp_folder=folder)
    assert client.post("/v1/faces", content=face).status_code == 200
    response = client.post("/v1/videos", content=video)
    assert (response.status_code, "--tmpfs /tmp" in response.json()["detail"]) == (507, True)
    folder.mkdir()
    id = client.post("/v1/videos", content=video).json()["id"]
    assert finish(client, id)["status"] == "done"


def test_damaged_sound_is_told_to_the_client_and_not_to_the_log(
    client: TestClient, finish: Finish, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    damaged = damaged_opus(tmp_path / "damaged.mkv").read_bytes()
    job = finish(client, client.post("/v1/videos?name=private.mkv&every=5", content=damaged).json()["id"])
    assert (job["status"], job["annotated"], job["reason"]) == ("done", True, None)
    assert job["remark"].startswith("private.mkv: the sound is damaged and left out")
    assert not recwarn.list


def test_a_file_that_cannot_be_deleted_ends_no_other_job(
    client: TestClient, video: bytes, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "in use", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", busy)
        first = finish(client, client.post("/v1/videos", content=video).json()["id"])
    second = finish(client, client.post("/v1/videos", content=video).json()["id"])
    assert [first["status"], second["status"]] == ["done", "done"]


MOUNTED = """
import sys, time
from pathlib import Path
from fastapi import FastAPI
from fastapi.testclient import TestClient
from moue.server.app import create_app
from moue.server.settings import Settings

model, video, folder = sys.argv[1:]
settings = Settings(models=(model,), detector="none", temp_folder=Path(folder), local_only=False, retention_seconds=0.3)
outer = FastAPI()
outer.mount("/faces", create_app(settings))
with TestClient(outer) as client:
    for wait in (True, False):
        client.post("/faces/v1/videos", content=Path(video).read_bytes())
        deadline = time.monotonic() + 30
        while wait and list(Path(folder).glob("*/*/")) and time.monotonic() < deadline:
            time.sleep(0.05)
        print(len(list(Path(folder).glob("*/*/"))))
"""


def test_mounted_in_another_application_results_expire_and_go_with_the_process(
    video: bytes, tiny_onnx: Path, tmp_path: Path
) -> None:
    # Whoever mounts an application does not tell it that the server starts and stops.
    folder = tmp_path / "videos"
    folder.mkdir()
    (tmp_path / "clip.mp4").write_bytes(video)
    words = [sys.executable, "-c", MOUNTED, str(tiny_onnx), str(tmp_path / "clip.mp4"), str(folder)]
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": source}, timeout=120, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "1"]
    assert not list(folder.iterdir())
