"""`moue score` and `moue predict` have the same rows for the same inputs, one for each, whatever it is and comes in."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import saved
from PIL import Image
from shards import parquet_of, rows_of, score_here, tar_of
from videos import make_video, walking_face

from moue.cli.main import main
from moue.scale import score as module


def contents(folder: Path) -> dict[str, bytes]:
    """Inputs of all kinds, by name."""
    photo = Image.fromarray(walking_face(0))
    turned = Image.Exif()
    turned[0x0112] = 6
    animation = io.BytesIO()
    photo.save(animation, "GIF", save_all=True, append_images=[Image.fromarray(walking_face(4))], duration=80)
    make_video(folder / "film.mp4", [walking_face(i) for i in range(3)])
    film = (folder / "film.mp4").read_bytes()
    return {
        "animated.gif": animation.getvalue(),
        "broken.jpg": b"\xff\xd8\xffbroken",
        "cut.jpg": saved(photo, "JPEG")[:600],
        "cut.mp4": film[: len(film) // 2],
        "empty.png": b"",
        "face.jpg": saved(photo, "JPEG"),
        "film.mp4": film,
        "flat.png": saved(Image.new("L", (90, 60), 128)),
        "gray ü.png": saved(photo.convert("L")),
        "no_face.png": saved(Image.fromarray(np.zeros((64, 64, 3), np.uint8))),
        "text.jpg": b"not an image",
        "turned.jpg": saved(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turned),
    }


def values(row: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What a row holds, each with its place in it; a missing value is left out."""
    if isinstance(row, (dict, list)):
        for name, value in row.items() if isinstance(row, dict) else enumerate(row):
            yield from values(value, f"{path}/{name}")
    elif row is not None:
        yield path, row


def by_name(rows: list[dict[str, Any]], names: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The values of each row, with the name of its input."""
    return [(names[row["source"]], dict(values({**row, "source": None, "key": None}))) for row in rows]


def check_same(scored: list[tuple[str, dict[str, Any]]], predicted: list[tuple[str, dict[str, Any]]]) -> None:
    assert [name for name, _ in scored] == [name for name, _ in predicted]
    for (name, got), (_, expected) in zip(scored, predicted, strict=True):
        assert list(got) == list(expected), name
        for path, value in expected.items():
            # The data set has numbers of 32 bits.
            wanted = pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
            assert got[path] == wanted, (name, path)


def test_predict_and_score_have_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "score_locally", score_here)
    files = contents(tmp_path)
    for name, content in {**files, "notes.txt": b"text"}.items():
        Path("in").mkdir(exist_ok=True)
        Path("in", name).write_bytes(content)
    # Sources of other kinds hold the same inputs, in the same order.
    tar_of(Path("a.tar"), files)
    parquet_of(Path("a.parquet"), {"id": list(files), "image": list(files.values())})
    Path("list.txt").write_text("\n".join(f"in/{name}" for name in files))
    sources = {
        "in": {f"in/{name}": name for name in (*files, "notes.txt")},
        "a.tar": {f"a.tar/{name}": name for name in files},
        "a.parquet": {f"a.parquet#{number}": name for number, name in enumerate(files)},
        "list.txt": {f"in/{name}": name for name in files},
    }
    assert main(["predict", "in", "--model", "tiny", "--format", "json"]) == 3
    predicted = by_name(json.loads(capsys.readouterr().out), sources["in"])
    found = {name for name, row in predicted if "/faces/0/box/0" in row}
    assert found >= {"animated.gif", "face.jpg", "film.mp4", "gray ü.png", "turned.jpg"}
    for source, names in sources.items():
        assert main(["score", source, "--model", "tiny", "--out", f"out-{source}"]) == 3
        scored = by_name(rows_of(tmp_path / f"out-{source}"), names)
        check_same(scored, [row for row in predicted if row[0] in names.values()])
