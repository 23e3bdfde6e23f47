"""Files of results: valid after each result, on a full disk too."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk import room

from moue.runtime.inputs.source import Source
from moue.runtime.outputs import sinks
from moue.runtime.outputs.dataframe import to_rows
from moue.runtime.outputs.folder import FolderOptions, FolderSink, OutputFolder
from moue.runtime.outputs.sinks import open_sink
from moue.runtime.results import Faces, Predictions
from moue.spec import ModelSpec

LABELS = ("happy", "so, so")
FORMATS = ("json", "jsonl", "csv", "parquet")


def result(i: int) -> Faces:
    predictions = Predictions(np.array([[0.25, 0.75]], np.float32), LABELS)
    boxes, scores, tracks = np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32), np.ones(1, np.int64)
    return Faces("video\u2028 ü.mp4", "ok", 9, 9, boxes, scores, None, predictions, tracks, frame=i, timestamp=i / 25)


def frames(content: bytes, format: str) -> list[int]:
    """The frame numbers in a file of results."""
    rows: list[Any]
    if format == "parquet":
        import pyarrow.parquet as parquet

        rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    elif format == "csv":
        rows = list(csv.DictReader(io.StringIO(content.decode())))
    else:
        rows = json.loads(content) if format == "json" else [json.loads(line) for line in content.split(b"\n")[:-1]]
    return [int(row["frame"]) for row in rows]


@pytest.mark.parametrize("format", FORMATS[:3])
def test_text_is_whole_after_every_result(format: str, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("an older and longer file " * 100)
    file = open_sink(path, format, LABELS)
    for i in range(4):
        file.write(result(i))
        # Whatever stops the program now.
        assert frames(path.read_bytes(), format) == list(range(i + 1))
    file.close()
    assert frames(path.read_bytes(), format) == [0, 1, 2, 3]


def test_json_is_what_it_would_be_in_one_go(tmp_path: Path) -> None:
    file = open_sink(tmp_path / "rows", "json", LABELS)
    for i in range(3):
        file.write(result(i))
    file.close()
    whole = json.dumps([result(i).to_dict() for i in range(3)], indent=2, ensure_ascii=False) + "\n"
    assert (tmp_path / "rows").read_text(encoding="utf-8") == whole


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_an_error_and_what_was_written_stays_valid(format: str, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    file, count = open_sink(path, format, LABELS), 0
    with room(10_000 if format == "parquet" else 5_000):
        try:
            for count in range(2000):
                file.write(result(count))
        except OSError as error:
            ended = (error.filename, error.strerror)
        file.close()
    assert ended == (str(path), "File too large")
    kept = frames(path.read_bytes(), format)
    assert kept == list(range(len(kept)))
    assert 0 < count < 1999
    # Of Parquet the rows since it was rewritten may be lost, and of text nothing.
    assert len(kept) > count - sinks.MIN_PENDING - 1 if format == "parquet" else len(kept) == count
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]


def test_a_parquet_file_is_valid_after_every_result_and_loses_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "MIN_PENDING", 4)
    monkeypatch.setattr(sinks, "GROWTH", 8)
    monkeypatch.setattr(sinks, "ROW_GROUP", 10)
    path = tmp_path / "rows"
    path.write_text("an older and longer file " * 100)
    file, written = open_sink(path, "parquet", LABELS), set()
    for i in range(200):
        file.write(result(i))
        # Whatever stops the program now.
        kept = frames(path.read_bytes(), "parquet")
        assert kept == list(range(len(kept)))
        assert len(kept) > i - max(4, (i + 1) // 8)
        written.add(len(kept))
    file.close()
    assert frames(path.read_bytes(), "parquet") == list(range(200))
    # It is not rewritten at each result, which would take time that grows with the square of the rows.
    assert len(written) < 40
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize("format", FORMATS)
def test_interrupted_a_file_has_what_was_written_and_an_empty_one_is_removed(format: str, tmp_path: Path) -> None:
    file = open_sink(tmp_path / "rows", format, LABELS)
    file.write(result(0))
    file.close()
    assert frames((tmp_path / "rows").read_bytes(), format) == [0]
    open_sink(tmp_path / "none", format, LABELS).close()
    assert not (tmp_path / "none").exists()


def test_parquet_has_the_columns_of_the_tidy_rows_whatever_is_empty(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    rows = [Faces("a.jpg", "no_face", 4, 4), result(3)]
    file = open_sink(tmp_path / "rows", "parquet", LABELS)
    for row in rows:
        file.write(row)
    file.close()
    assert parquet.read_table(tmp_path / "rows").to_pylist() == to_rows(rows, LABELS)


def test_a_camera_that_is_interrupted_has_its_results_and_each_session_its_own(tmp_path: Path) -> None:
    spec = ModelSpec("any", "none", LABELS)
    for resume in (False, True):
        sink = FolderSink(OutputFolder(tmp_path), spec, FolderOptions("jsonl"), resume=resume)
        [source] = sink.index.pending([Source("0", "camera")])
        sink.begin(source)
        for i in range(3):
            sink.write(result(i).replace(source="0"))
        # Ctrl-C is how reading a camera ends.
        sink.close(complete=False)
    index, people = ((tmp_path / name).read_text().splitlines() for name in ("index.csv", "people.csv"))
    assert index[1:] == ["0,ok,,1,0.12,camera0.jsonl", "0,ok,,1,0.12,camera0-2.jsonl"]
    assert [line.split(",")[:7] for line in people[1:]] == [["0", "1", "0.0", "0.08", "0.12", "3", '"so']] * 2
    assert all(
        frames((tmp_path / f"{stem}.jsonl").read_bytes(), "jsonl") == [0, 1, 2] for stem in ("camera0", "camera0-2")
    )
