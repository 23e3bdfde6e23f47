"""What results must not depend on: how an image is given, batches, order, threads, orientation tags, the engine."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import moue
from moue.runtime.engine import open_model
from moue.runtime.outputs.tabular import to_csv, to_parquet

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = st.tuples(st.integers(2, 40), st.integers(2, 40))


def noise(size: tuple[int, int], seed: int, *channels: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def recognizer(tiny_onnx: Path) -> moue.Recognizer:
    return moue.Recognizer(model=tiny_onnx, detector="none", engine="onnxruntime", threads=1)


def probabilities(faces: Any) -> NDArray[np.float64]:
    return np.array([list(face.probabilities.values()) for face in faces])


@FEW
@given(SIZES, st.integers(0, 99), st.booleans())
def test_how_an_image_is_given_changes_nothing(
    recognizer: moue.Recognizer, tmp_path: Path, size: tuple[int, int], seed: int, rgb: bool
) -> None:
    image = Image.fromarray(noise(size, seed, *([3] if rgb else [])))
    path = tmp_path / "face.png"
    image.save(path)
    with path.open("rb") as file:
        given_as = [path, str(path), path.read_bytes(), image, np.asarray(image), file]
        results = [probabilities(recognizer.read(x)) for x in given_as]
    assert all(np.array_equal(result, results[0]) for result in results[1:])


@FEW
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_batch_size_changes_nothing(tiny_onnx: Path, n: int, batch_size: int, seed: int) -> None:
    engine = open_model(tiny_onnx, engine="onnxruntime", threads=1)
    images = noise((n, 1), seed, 48, 48)
    alone = np.concatenate([engine.logits(image[None]) for image in images])
    assert np.allclose(engine.logits(images, batch_size), alone, atol=1e-4)


@FEW
@given(st.permutations(range(6)), st.integers(0, 99))
def test_order_changes_nothing(recognizer: moue.Recognizer, order: list[int], seed: int) -> None:
    images = [noise((20, 20 + i), seed + i) for i in range(6)]
    one_way = [probabilities(faces) for faces in recognizer.read(images)]
    other_way = [probabilities(faces) for faces in recognizer.read([images[i] for i in order])]
    for place, i in enumerate(order):
        assert np.allclose(other_way[place], one_way[i], atol=1e-6)


@pytest.mark.parametrize("model", ["tiny", "ferplus"])
def test_threads_and_engines_change_nothing_that_counts(model: str) -> None:
    images = noise((4, 1), 5, 48, 48)
    ways = [("onnxruntime", 1), ("onnxruntime", 2), ("openvino", 1)]
    results = [open_model(model, engine=engine, threads=n).predict(images) for engine, n in ways]  # type: ignore[arg-type]
    for result in results[1:]:
        assert np.allclose(result.probabilities, results[0].probabilities, atol=2e-2 if model == "tiny" else 1e-2)
        assert np.array_equal(result.class_ids, results[0].class_ids)


#: EXIF's orientations, and what undoes each.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_an_orientation_tag_changes_nothing(recognizer: moue.Recognizer, orientation: int) -> None:
    upright = Image.fromarray(noise((30, 44), 7))
    turn = TURNS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    read = recognizer.read(file.getvalue())
    assert isinstance(read, moue.Faces)
    assert (read.width, read.height) == (44, 30)
    assert np.array_equal(probabilities(read), probabilities(recognizer.read(upright)))


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)


def test_a_row_comes_back_from_json(recognizer: moue.Recognizer) -> None:
    for image in (noise((30, 30), 1), noise((4, 9), 2, 3)):
        faces = recognizer.read(image)
        assert isinstance(faces, moue.Faces)
        row = faces.to_dict()
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert sum(row["faces"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


@FEW
@given(st.lists(st.tuples(NAMES, NUMBERS, st.booleans()), min_size=1, max_size=5))
def test_rows_come_back_from_csv(values: list[tuple[str, float, bool]]) -> None:
    rows = [{"source": name, "x": number, "uncertain": flag} for name, number, flag in values]
    back = list(csv.DictReader(io.StringIO(to_csv(rows), newline="")))
    assert [(r["source"], float(r["x"]), r["uncertain"] == "True") for r in back] == values


@FEW
@given(st.lists(st.tuples(NAMES, NUMBERS, st.booleans()), min_size=1, max_size=5))
def test_rows_come_back_from_parquet(values: list[tuple[str, float, bool]]) -> None:
    import pyarrow.parquet

    rows = [{"source": name, "x": number, "uncertain": flag} for name, number, flag in values]
    assert pyarrow.parquet.read_table(io.BytesIO(to_parquet(rows))).to_pylist() == rows


def test_one_photo_in_all_formats_says_the_same(
    tiny_onnx: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    import pyarrow.parquet

    from moue.cli.main import main

    path = tmp_path / "face.png"
    Image.fromarray(noise((30, 30), 3)).save(path)
    said = {}
    for format in ("json", "csv", "parquet"):
        assert main(["predict", str(path), "--model", str(tiny_onnx), "--detector", "none", "--format", format]) == 0
        said[format] = capfdbinary.readouterr().out
    [face] = json.loads(said["json"])[0]["faces"]
    [by_csv] = csv.DictReader(io.StringIO(said["csv"].decode()))
    [by_parquet] = pyarrow.parquet.read_table(io.BytesIO(said["parquet"])).to_pylist()
    assert face["label"] == by_csv["label"] == by_parquet["label"]
    for name, probability in face["probabilities"].items():
        assert float(by_csv[name]) == by_parquet[name] == probability
