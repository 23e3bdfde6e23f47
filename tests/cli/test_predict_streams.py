"""``moue predict`` on addresses: how it ends, what it leaves, and that no secret is in any of it."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Gate, content, mjpeg, rtsp_server, web_server
from videos import make_video, scene

from moue.cli.main import main
from moue.runtime.video.decode import open_video

SECRETS = ("bob", "geheim", "s3cr3t")
ADDRESS = "rtsp://bob:geheim@127.0.0.1:{port}/live?channel=1&token=s3cr3t"


@pytest.fixture(scope="module")
def camera() -> Iterator[int]:
    """The port of an RTSP camera that asks for a password."""
    with rtsp_server([scene(i) for i in range(50)]) as port, Gate(port, password="bob:geheim") as gate:
        yield gate.port


def predict(model: Path, *arguments: object) -> list[str]:
    return ["predict", *map(str, arguments), "--model", str(model), "--detector", "none", "--threads", "1"]


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def everything(folder: Path) -> str:
    """The names of all files in a folder, and their bytes as text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "".join(f"{path.relative_to(folder)}\n{path.read_bytes().decode('latin-1')}" for path in files)


@pytest.mark.parametrize("format", ["json", "csv", "table"])
def test_a_stream_is_read_until_the_end_and_its_secrets_are_nowhere(
    camera: int, format: str, tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--end", 1, "--out", out, "--format", format]
    assert main(predict(tiny_onnx, ADDRESS.format(port=camera), *words)) == 0
    shown = capsys.readouterr()
    [index] = read_csv(out / "index.csv")
    assert index["source"] == f"rtsp://127.0.0.1:{camera}/live?channel=1&token=…"
    assert index["status"] == "ok"
    # The last image is shown as long as the others, of which a busy machine reads few.
    assert 0 <= float(index["seconds"]) <= 2
    stem = f"127_0_0_1_{camera}_live"
    assert (out / f"{stem}.mp4").is_file()
    frames = list(open_video(out / f"{stem}.mp4").frames())
    assert frames
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(shown.out)))
        assert float(rows[-1]["timestamp"]) <= 1
        assert len(rows) == len(frames)
    text = f"{shown.out}{shown.err}{everything(out)}"
    assert not any(secret in text for secret in SECRETS)


def test_an_interrupt_ends_a_stream_with_whole_output(camera: int, tiny_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = predict(tiny_onnx, ADDRESS.format(port=camera), "--out", out, "--format", "jsonl")
    program = subprocess.Popen(
        [sys.executable, "-m", "moue", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    seen = [json.loads(program.stdout.readline()) for _ in range(10)]
    program.send_signal(signal.SIGINT)
    rest, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "completed output is intact" in errors
    assert "Traceback" not in errors
    rows = seen + [json.loads(line) for line in rest.splitlines()]
    stem = f"127_0_0_1_{camera}_live"
    assert [json.loads(line) for line in (out / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()] == rows
    assert len(list(open_video(out / f"{stem}.mp4").frames())) == len(rows)
    [index] = read_csv(out / "index.csv")
    assert index["status"] == "ok"
    assert read_csv(out / "people.csv")
    assert not any(secret in f"{errors}{rows}{everything(out)}" for secret in SECRETS)


def test_a_stream_that_is_lost_for_good_exits_with_3(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with web_server() as server:
        server.answers["/video"] = mjpeg([[scene(i) for i in range(10)]])
        words = ["--reconnect", 0, "--format", "json"]
        assert main(predict(tiny_onnx, server.url("/video?token=s3cr3t"), *words)) == 3
    output = capsys.readouterr()
    rows = json.loads(output.out)
    assert rows[-1]["status"] == "unreadable"
    assert "the stream broke off" in rows[-1]["reason"]
    assert rows[0]["status"] == "ok"
    assert "s3cr3t" not in output.out + output.err


def test_reconnections_are_remarks(
    tiny_onnx: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moue.runtime.network.retry.FIRST_DELAY", 0.001)
    with web_server() as server:
        server.answers["/video"] = mjpeg([[scene(i) for i in range(10)]] * 2)
        assert main(predict(tiny_onnx, server.url("/video"), "--reconnect", 1, "--format", "csv")) == 3
        assert len(server.requests) == 3
    errors = capsys.readouterr().err
    line = f"moue: {server.url('/video')}: the stream broke off; connecting again in 0.001 s (attempt 1 of 1)"
    assert errors.count(line) == 2


def test_films_and_photos_of_the_web_have_their_files(tiny_onnx: Path, tmp_path: Path) -> None:
    film = make_video(tmp_path / "clip.mp4", [scene(i) for i in range(10)]).read_bytes()
    with web_server() as server:
        server.answers["/films/clip.mp4"] = content(film, "video/mp4")
        sources = [server.url("/films/clip.mp4?sig=s3cr3t"), server.url("/films/none.mp4"), tmp_path / "clip.mp4"]
        assert main(predict(tiny_onnx, *sources, "--out", tmp_path / "out")) == 3
    stem = f"127_0_0_1_{server.server_port}_films_clip"
    rows = json.loads((tmp_path / "out" / f"{stem}.json").read_text(encoding="utf-8"))
    local = json.loads((tmp_path / "out" / "clip.json").read_text(encoding="utf-8"))
    assert [row | {"source": ""} for row in rows] == [row | {"source": ""} for row in local]
    assert len(rows) == 10
    index = read_csv(tmp_path / "out" / "index.csv")
    assert sorted(line["status"] for line in index) == ["ok", "ok", "unreadable"]
    assert "s3cr3t" not in everything(tmp_path / "out")


def test_an_address_in_a_list_opens_no_connection(
    tiny_onnx: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server() as server:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{server.url('/a.mp4', 'bob:geheim@')}\n"))
        assert main(predict(tiny_onnx, "-", "--format", "json")) == 3
        assert not server.requests
    [row] = json.loads(capsys.readouterr().out)
    assert "a list holds paths" in row["reason"]
    assert row["source"] == server.url("/a.mp4")


def test_what_reads_no_address_loads_no_code_for_connections(tiny_onnx: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from moue.cli.main import main\n"
        f"main({predict(tiny_onnx, make_video(tmp_path / 'clip.mp4', [scene(i) for i in range(3)]))!r})\n"
        "found = [m for m in sys.modules if m.startswith('moue.runtime.network') or m in ('ssl', 'urllib.request')]\n"
        "print(sorted(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert loaded == "['moue.runtime.network', 'moue.runtime.network.retry', 'moue.runtime.network.url']"
