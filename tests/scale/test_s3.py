"""`moue score` from S3 and into S3, against moto's server: worker processes, another run that goes on, and mistakes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from shards import image, parquet_of, samples, score_here, tar_of

from moue.cli.main import main
from moue.scale import score as module


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """s3fs' file system of a server of this test, whose address and key are in the environment; has a bucket."""
    logging.getLogger("werkzeug").setLevel("WARNING")
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    # As people set them, and as worker processes find them; no file of the machine's owner is read.
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir("archive")
    try:
        yield filesystem
    finally:
        filesystem.rm("archive", recursive=True)
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def score(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(source: str, out: str) -> tuple[int, dict[str, Any], str]:
        """The exit code, what is on stdout, and what is on stderr."""
        options = ["--model", str(tiny_onnx), "--detector", "none", "--workers", "1", "--format", "json"]
        code = main(["score", source, "--out", out, *options])
        written = capsys.readouterr()
        return code, json.loads(written.out or "{}"), written.err

    return run


def test_an_archive_in_s3_is_scored_into_s3_and_goes_on_there(
    s3: Any, score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.pipe_file("archive/in/a.tar", tar_of(tmp_path / "a.tar", samples(5)).read_bytes())
    table = parquet_of(tmp_path / "b.parquet", {"key": ["x", "y"], "jpg": [image(1), image(2)]})
    s3.pipe_file("archive/in/b.parquet", table.read_bytes())
    # Characters that mean something in an address of the web.
    s3.pipe_file("archive/in/user=ann/c d?e#1+%20.png", image(3))
    s3.pipe_file("archive/list.txt", b"s3://archive/in\ns3://archive/missing.png\n")

    code, summary, _ = score("s3://archive/list.txt", "s3://archive/scores")
    assert (code, summary["statuses"]) == (3, {"ok": 8, "unreadable": 1})
    rows = pd.read_parquet("s3://archive/scores").set_index("source")
    assert sorted(rows.index) == [
        *(f"s3://archive/in/a.tar/{number:03d}.png" for number in range(5)),
        "s3://archive/in/b.parquet#0",
        "s3://archive/in/b.parquet#1",
        "s3://archive/in/user=ann/c d?e#1+%20.png",
        "s3://archive/missing.png",
    ]
    assert rows.loc["s3://archive/missing.png", "reason"] == "no such file"
    assert s3.exists("archive/scores/_SUCCESS")

    # What follows needs no processes.
    monkeypatch.setattr(module, "score_locally", score_here)
    assert score("s3://archive/list.txt", "s3://archive/scores")[1]["already_scored"] == 9
    s3.rm(s3.glob("archive/scores/part-0000000-*"))
    _, summary, _ = score("s3://archive/list.txt", "s3://archive/scores")
    assert (summary["already_scored"], summary["inputs"]) == (4, 9)
    assert sorted(pd.read_parquet("s3://archive/scores")["source"]) == sorted(rows.index)


@pytest.mark.usefixtures("here")
def test_a_data_set_in_its_own_sources_is_no_source(s3: Any, score: Any) -> None:
    s3.pipe_file("archive/a.png", image())
    assert score("s3://archive/", "s3://archive/scores")[1]["statuses"] == {"ok": 1}
    assert score("s3://archive/", "s3://archive/more")[1]["statuses"]["ok"] == 1


@pytest.mark.usefixtures("here")
def test_a_bucket_is_not_made(s3: Any, score: Any) -> None:
    s3.pipe_file("archive/a.png", image())
    code, summary, error = score("s3://archive/a.png", "s3://typo/scores")
    assert (code, summary) == (2, {})
    assert "the data set cannot be written" in error
    assert "bucket does not exist" in error
    assert not s3.exists("typo")
    code, _, error = score("s3://typo/in/", "s3://archive/scores")
    assert code == 2
    assert "there is nothing to score in s3://typo/in/" in error
    assert not s3.exists("archive/scores")
