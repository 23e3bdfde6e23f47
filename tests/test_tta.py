"""Views of a face: which there are, what they hold, and that all ways of asking a model average the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.errors import ModelError, UsageError
from moue.evaluation.scoring import predict
from moue.runtime.engine import open_model
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import softmax
from moue.spec import VIEWS, ModelSpec
from moue.tta import make_views, mean_over_views, tta_logits

COUNTS = tuple(VIEWS)


def faces(n: int = 5, channels: int = 1, side: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, channels, side, side), dtype=np.uint8)


def test_there_are_1_2_6_and_10_views() -> None:
    assert COUNTS == (1, 2, 6, 10)


@pytest.mark.parametrize("views", COUNTS)
@pytest.mark.parametrize(("channels", "side"), [(1, 48), (3, 31), (1, 1)])
def test_views_are_images_of_the_same_kind_half_of_them_mirrored(views: int, channels: int, side: int) -> None:
    images = faces(3, channels, side)
    seen = make_views(images, views)
    assert seen.dtype == np.uint8
    assert seen.shape == (3 * views, channels, side, side)
    each = seen.reshape(3, views, channels, side, side)
    if views != 10:
        np.testing.assert_array_equal(each[:, 0], images)
    if views > 1:
        np.testing.assert_array_equal(each[:, views // 2 :], each[:, : views // 2, ..., ::-1])
    np.testing.assert_array_equal(make_views(images[1:2], views), each[1])


def test_shifts_are_of_one_pixel_and_repeat_the_edge() -> None:
    images = faces(1, side=5)
    _, down, up = make_views(images, 6)[:3, 0]
    np.testing.assert_array_equal(down[1:, 1:], images[0, 0, :-1, :-1])
    np.testing.assert_array_equal(down[0, 1:], images[0, 0, 0, :-1])
    np.testing.assert_array_equal(up[:-1, :-1], images[0, 0, 1:, 1:])
    np.testing.assert_array_equal(up[:-1, -1], images[0, 0, 1:, -1])


@pytest.mark.parametrize("side", [48, 112])
def test_crops_are_those_of_44_in_48_pixels_scaled_back(side: int) -> None:
    images = faces(2, side=side)
    small = {48: 44, 112: 102}[side]
    end, middle = side - small, (side - small) // 2
    for i, (top, left) in enumerate([(middle, middle), (0, 0), (0, end), (end, 0), (end, end)]):
        cut = Image.fromarray(images[0, 0, top : top + small, left : left + small])
        expected = np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR)).astype(int)
        # Pillow rounds after each of the two directions, so that it may be off by one gray level.
        assert np.abs(make_views(images, 10)[i, 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("views", [2, 10])
@pytest.mark.parametrize("side", [48, 47, 224])
def test_a_mirrored_face_has_the_same_views(views: int, side: int) -> None:
    images = faces(1, side=side)
    there, mirrored = ({v.tobytes() for v in make_views(x, views)} for x in (images, images[..., ::-1]))
    assert there == mirrored


def test_a_flat_face_stays_flat() -> None:
    for gray in (0, 7, 255):
        assert (make_views(np.full((1, 1, 48, 48), gray, np.uint8), 10) == gray).all()


@pytest.mark.parametrize("views", COUNTS)
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_call_holds_whole_faces_and_no_more_rows_than_asked_for(views: int, batch: int) -> None:
    calls = []

    def logits(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        return rows[:, 0, :2, 0].astype(np.float32)

    images = faces(9)
    got = tta_logits(logits, images, views, batch)
    expected = make_views(images, views)[:, 0, :2, 0].astype(np.float64).reshape(9, views, 2).mean(1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert sum(calls) == 9 * views
    assert max(calls) <= max(batch, views)
    assert all(n % views == 0 for n in calls)
    assert tta_logits(logits, images[:0], views, batch).shape == (0, 2)


@pytest.mark.parametrize("views", COUNTS)
def test_recognizer_evaluation_and_engines_agree(views: int, tiny_onnx: Path) -> None:
    images = faces(23)
    model = open_model(tiny_onnx, engine="onnxruntime")
    expected = softmax(mean_over_views(model.logits(make_views(images, views)), views))
    other = open_model(tiny_onnx, engine="openvino")
    for batch in (1, 16, 64):
        reader = Recognizer(model, "none", views=views, batch_size=batch)
        np.testing.assert_allclose(reader.classify(images).probabilities, expected, atol=1e-6)
        np.testing.assert_allclose(predict(model, images, views=views, batch=batch).probabilities, expected, atol=1e-6)
        np.testing.assert_allclose(predict(other, images, views=views, batch=batch).probabilities, expected, atol=1e-5)
    model.spec = model.spec.replace(views=views)
    np.testing.assert_allclose(model.predict(images).probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [0, 3, 12, None, [2]])
def test_another_number_of_views_is_refused_with_those_there_are(wrong: int, tiny_onnx: Path) -> None:
    sentence = r"views must be 1, 2, 6 or 10\. Got"
    with pytest.raises(UsageError, match=sentence):
        make_views(faces(), wrong)
    with pytest.raises(ModelError, match=sentence):
        ModelSpec("a", "b", ("c", "d"), views=wrong)
    if wrong is not None:
        with pytest.raises(UsageError, match=sentence):
            Recognizer(open_model(tiny_onnx), "none", views=wrong)


def test_ten_views_of_a_network_that_was_trained_on_crops_are_such_crops() -> None:
    images = faces()
    shapes = set()

    def logits(seen: np.ndarray) -> np.ndarray:
        shapes.add(seen.shape[1:])
        return seen.reshape(len(seen), -1)[:, :2].astype(np.float32)

    whole = [tta_logits(logits, images, views, 8, crop_size=40) for views in (1, 2, 6)]
    assert shapes == {images.shape[1:]}
    assert whole[0].tolist() == images[:, 0, 0, :2].astype(np.float32).tolist()
    shapes.clear()
    tta_logits(logits, images, 10, 8, crop_size=40)
    assert shapes == {(1, 40, 40)}
    views = make_views(images, 10, 40).reshape(len(images), 10, 1, 40, 40)
    corners = [(4, 4), (0, 0), (0, 8), (8, 0), (8, 8)]
    for i, (top, left) in enumerate(corners):
        np.testing.assert_array_equal(views[:, i], images[..., top : top + 40, left : left + 40])
        np.testing.assert_array_equal(views[:, i + 5], views[:, i, ..., ::-1])
