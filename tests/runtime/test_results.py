"""Faces as values: compared, chosen, gone through, shown, and as rows of a table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from halves import image, many, one
from PIL import Image

from moue.errors import MissingExtra, Unreadable, UsageError
from moue.runtime.outputs.dataframe import COLUMNS, to_frame, to_rows
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces, Predictions


def test_tidy_rows_and_frame(halves: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    results = many(halves.read([image(0), image(0, 60, 50), b""]))
    rows = to_rows(results)
    assert [list(r) for r in rows] == [[*COLUMNS, *halves.spec.labels]] * 4
    assert {r["model"] for r in rows} == {halves.spec.name}
    assert [r["face"] for r in rows] == [1, 2, None, None]
    assert [r["status"] for r in rows] == ["ok", "ok", "no_face", "unreadable"]
    assert rows[0]["w"] == 50
    assert sum(rows[1][name] for name in halves.spec.labels) == pytest.approx(1, abs=1e-3)
    assert rows[2]["x"] is None
    assert rows[3]["reason"] == results[2].reason
    assert to_frame(results).shape == (4, len(COLUMNS) + 7)
    assert len(results[0].to_frame()) == 2
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises((MissingExtra, ImportError), match="pandas"):
        results[0].to_frame()


def test_a_frame_has_columns_of_numbers_even_where_nothing_is_in_them(halves: Recognizer) -> None:
    for results in ([one(halves.read(image(0)))], [one(halves.read(b""))], []):
        types = {name: str(dtype) for name, dtype in to_frame(results, halves.spec.labels).dtypes.items()}
        assert {types[name] for name in ("timestamp", "x", "score", *halves.spec.labels)} == {"float64"}
        assert [types[name] for name in ("frame", "face", "uncertain", "reason")] == [
            "Int64",
            "Int64",
            "boolean",
            "string",
        ]


def test_results_are_compared_by_value(halves: Recognizer) -> None:
    first, again, other = (one(halves.read(image(seed))) for seed in (0, 0, 1))
    assert first == again
    assert first.predictions == again.predictions
    assert first != other
    assert first != "a face"
    assert first.replace(tracks=np.array([1, 2])) != first
    assert len({first, again, other}) == 2


def test_faces_are_chosen_and_gone_through(halves: Recognizer) -> None:
    both = halves.faces(np.zeros((40, 80, 3), np.uint8), "wide.png")
    assert [len(both[i : i + 1]) for i in range(2)] == [1, 1]
    assert both[both.scores > 0.85] == both[:1] == both[[0]]
    np.testing.assert_array_equal(both[1:].boxes, both.boxes[1:])
    assert both[1:].predictions == both.predictions[1]
    assert both[:0].predictions.labels == both.predictions.labels
    with pytest.raises(IndexError):
        both[2]


def test_faces_are_a_sequence_of_people(halves: Recognizer) -> None:
    both = halves.faces(image(0)).replace(tracks=np.array([5, 2]), landmarks=np.arange(20).reshape(2, 5, 2))
    assert list(both) == [both[0], both[1]] == [both[np.int64(0)], both[-1]]
    assert both[0] != both[1]
    assert len({both[0], both[1]}) == 2
    face = both[1]
    np.testing.assert_array_equal(face.box, both.boxes[1])
    np.testing.assert_array_equal(face.landmarks, both.landmarks[1])  # type: ignore[index]
    assert (face.score, face.track) == (float(both.scores[1]), 2)
    assert (face.label, face.confidence) == (both.predictions.class_names[1], both.predictions.confidence[1])
    assert face.probabilities[face.label] == face.confidence == max(face.probabilities.values())
    assert tuple(face.probabilities) == halves.spec.labels
    assert [f.to_dict() for f in both] == both.to_dict()["faces"]
    assert f"{face.label} " in repr(face)
    assert "track 2" in repr(face)
    assert (both[:1].replace(landmarks=None, tracks=None)[0].landmarks, halves.faces(image(0))[0].track) == (None, None)
    assert [f.uncertain for f in both] == both.uncertain.tolist()
    assert list(one(halves.read("absent.png"))) == []


def test_the_repr_of_results_names_what_was_found(halves: Recognizer) -> None:
    shown = repr(halves.faces(np.zeros((40, 80, 3), np.uint8), "wide.png"))
    assert shown.startswith("<Faces 'wide.png': ok, ")
    assert shown.count("%") == 2
    sure = Predictions([[0.9999, 0.0001], [1, 0]], ("happy", "sad"))  # type: ignore[arg-type]
    assert sure.summary == "happy 99%, happy 100%"
    assert repr(halves.read("absent.png")) == "<Faces 'absent.png': unreadable, 'no such file'>"


def test_results_take_lists_and_refuse_what_is_no_numbers() -> None:
    result = Faces("a", "ok", boxes=[[1, 2, 3, 4]], scores=[1], predictions=Predictions([[1.0]], ("happy",)))  # type: ignore[arg-type]
    assert result.predictions.class_names == ["happy"]
    assert result.boxes.dtype == np.float32
    with pytest.raises(UsageError, match="scores must be an array of numbers"):
        Faces("a", "ok", scores=["high"])  # type: ignore[arg-type]


def test_a_photo_above_the_limit_is_drawn_and_cut_where_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(image(0)).resize((8000, 6300)).save(path, compress_level=1)
    recognizer = Recognizer("tiny", "none", threads=1, max_pixels=60_000_000)
    faces = recognizer.faces(path)  # type: ignore[arg-type]
    assert (faces.width, faces.height, len(faces)) == (8000, 6300, 1)
    with pytest.raises(Unreadable, match="max_pixels"):
        faces.draw(path)
    with pytest.raises(Unreadable, match="max_pixels"):
        faces.crops(path)
    assert len(faces.crops(path, max_pixels=60_000_000)) == 1
    assert faces.draw(path, max_pixels=60_000_000).shape == (6300, 8000, 3)


def test_without_the_faces_that_were_taken_out_there_is_no_face(halves: Recognizer) -> None:
    faces = one(halves.read(image(0)))
    assert (faces.status, len(faces)) == ("ok", 2)
    assert (faces[:1].status, faces[faces.scores > 2].status) == ("ok", "no_face")
    unreadable = one(halves.read(b""))
    assert unreadable[:0].status == "unreadable"
