"""Sources of `moue score` that hold nothing, or are on servers that are down."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import content, refusal, web_server
from shards import image, parquet_of, rows_of, score_command, tar_of

from moue.cli.main import main
from moue.scale import filesystem

#: Without worker processes, which `test_kills` has.
pytestmark = pytest.mark.usefixtures("here")


def nothing(folder: Path) -> None:
    """Sources that hold nothing to score."""
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "a.csv").write_text("x")
    (folder / "empty.txt").write_text("# no line\n\n")
    (folder / "wrong.txt").write_text("no/such.png\n")
    tar_of(folder / "labels.tar", {"a.json": b"{}"})
    parquet_of(folder / "numbers.parquet", {"a": [1]})
    parquet_of(folder / "two.parquet", {"a": [b"x"], "b": [b"y"]})
    (folder / "damaged.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "s-{007..009}.tar",
            "nothing to score in s-{007..009}.tar. s-007.tar: no such file; s-008.tar: no such file; ",
        ),
        ("no-*.tar", "nothing to score in no-*.tar. no-*.tar: nothing matches this pattern."),
        ("empty", "empty: an empty folder."),
        ("texts", "nothing to score in texts. texts/a.csv: neither an image nor a video."),
        ("empty.txt", "nothing to score in empty.txt. It lists nothing."),
        ("wrong.txt", "nothing to score in wrong.txt. no/such.png: no such file."),
        ("labels.tar", "labels.tar: an archive without images and videos."),
        ("numbers.parquet", "numbers.parquet: a Parquet file without a column of bytes."),
        ("damaged.parquet", "damaged.parquet: it cannot be read as Parquet: "),
        ("two.parquet", "Choose one with --image-column."),
        ("memory://nothing/", "memory://nothing/: no such file."),
        ("memory://nothing/s-{0..1}.tar", "memory://nothing/s-0.tar: no such file; memory://nothing/s-1.tar: no"),
        ("http://127.0.0.1:1/a.png", "http://127.0.0.1:1/a.png: it cannot be reached: "),
        ("http://", "moue: http:// is no address: http://PLACE/PATH is needed."),
        ("https:///a.png", "moue: https:///a.png is no address: https://PLACE/PATH is needed."),
        ("s3://", "moue: s3:// is no address: s3://PLACE/PATH is needed."),
        ("nosuch://host/x", "is no address that fsspec reads"),
    ],
)
def test_sources_that_hold_nothing_are_refused_and_leave_no_data_set(
    tmp_path: Path,
    tiny_onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(filesystem, "PAUSE", 0)
    nothing(tmp_path)
    (tmp_path / "mine").mkdir()
    for out in ("out", "mine"):
        assert main(["score", source, "--out", out, "--model", str(tiny_onnx), "--detector", "none"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # A folder that was there stays.
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_server_that_is_down_is_asked_for_one_input_and_other_servers_as_always(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filesystem, "PAUSE", 0)
    options = ["--out", str(tmp_path / "out"), "--model", str(tiny_onnx), "--detector", "none"]
    with web_server() as down, web_server() as up:
        paths = [f"/{number}.png" for number in range(40)]
        down.answers = dict.fromkeys(paths, refusal(503))
        up.answers["/up.png"] = content(image(), "image/png")
        (tmp_path / "down.txt").write_text("\n".join(map(down.url, paths)))
        (tmp_path / "both.txt").write_text("\n".join([*map(down.url, paths[:2]), up.url("/up.png")]))
        assert main(["score", str(tmp_path / "down.txt"), *options]) == 2
        assert {path for path, _ in down.requests} == {"/0.png"}
        error = capsys.readouterr().err
        assert f"{down.url('/0.png')}: the server answers 503" in error
        assert "39 more of the same server were not asked for. Check the address and your network, and" in error
        assert not (tmp_path / "out").exists()
        assert main(["score", str(tmp_path / "both.txt"), *options]) == 3
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["unreadable", "unreadable", "ok"]


@pytest.mark.parametrize("name", ["folder/", "a.parquet"])
def test_what_a_plan_needs_from_a_server_that_is_down_is_no_input_of_its_own(
    archive: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(filesystem, "PAUSE", 0)
    with web_server() as down:
        down.answers[f"/{name}"] = refusal(503)
        (archive / "in" / "list.txt").write_text(down.url(f"/{name}"))
        options = ["--out", str(archive / "out"), "--model", str(tiny_onnx), "--detector", "none"]
        assert main(["score", str(archive / "in"), str(archive / "in" / "list.txt"), *options]) == 2
    assert f"{down.url(f'/{name}')}: the server answers 503" in capsys.readouterr().err
    assert not (archive / "out").exists()


def test_what_is_missing_beside_other_inputs_has_its_row(archive: Path, tiny_onnx: Path) -> None:
    assert score_command(archive, tiny_onnx, str(archive / "missing.png")) == 3
    rows = rows_of(archive / "out")
    assert [row["reason"] for row in rows if row["source"].endswith("missing.png")] == ["no such file"]
