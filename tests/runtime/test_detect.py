"""Finding faces: the astronaut's, wherever and however she is placed."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from moue.errors import ModelError, UnknownName, UsageError
from moue.runtime import detect
from moue.runtime.border import trim_border
from moue.runtime.crop import detect_faces
from moue.runtime.detect import CenterFace, Detections, PrecomputedDetector, WholeImage, open_detector
from moue.spec import ModelSpec


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    # Half the size: the search takes a quarter of the time.
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((256, 256), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def finder() -> CenterFace:
    return CenterFace(threads=1)


@pytest.fixture(scope="module")
def face(finder: CenterFace, astronaut: NDArray[np.uint8]) -> Detections:
    return finder.detect(astronaut)


def test_one_face_with_its_landmarks(face: Detections) -> None:
    assert len(face) == 1
    assert face.scores[0] > 0.85
    x, y, w, h = face.boxes[0]
    np.testing.assert_allclose([x, y, w, h], [91, 30, 44, 60], atol=6)
    assert face.landmarks is not None
    left, right, nose, mouth_left, mouth_right = face.landmarks[0]
    assert left[0] < nose[0] < right[0]
    assert mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]


@pytest.mark.parametrize("color", [0, 255, 90])
def test_border_around_the_photo_changes_nothing(
    finder: CenterFace, astronaut: NDArray[np.uint8], face: Detections, color: int
) -> None:
    padded = np.pad(astronaut, ((33, 70), (51, 12), (0, 0)), constant_values=color)
    found = finder.detect(padded)
    np.testing.assert_allclose(found.boxes, face.boxes + np.array([51, 33, 0, 0]), atol=0.01)
    np.testing.assert_allclose(found.scores, face.scores, atol=1e-5)
    assert face.landmarks is not None
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks, face.landmarks + np.array([51, 33]), atol=0.01)


def test_border_that_jpeg_rippled_comes_off_and_a_plain_image_stays() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    assert trim_border(image) == (0, 0, 60, 40)
    image[::2, 5] += 8
    image[10:20, 20:30] = np.random.default_rng(0).integers(0, 256, (10, 10, 3))
    assert trim_border(image) == (20, 10, 10, 10)


def test_face_that_fills_its_image(finder: CenterFace, astronaut: NDArray[np.uint8]) -> None:
    tight = astronaut[26:94, 88:140]
    for size in (48, 600):
        [score] = finder.detect(np.asarray(Image.fromarray(tight).resize((size, size)))).scores
        assert score > 0.5


def test_large_image_is_searched_small_and_found_in_its_own_pixels(
    astronaut: NDArray[np.uint8], face: Detections
) -> None:
    large = np.asarray(Image.fromarray(astronaut).resize((1024, 1024)))
    found = CenterFace(256, threads=1).detect(large)
    np.testing.assert_allclose(found.boxes, face.boxes * 4, atol=12)


def test_nothing_in_plain_and_tiny_images(finder: CenterFace) -> None:
    for shape in ((1, 1, 3), (1, 300, 3), (64, 64, 3)):
        assert len(finder.detect(np.full(shape, 128, np.uint8))) == 0


def test_each_face_once_best_first_above_the_score(finder: CenterFace, astronaut: NDArray[np.uint8]) -> None:
    two = np.hstack([astronaut, astronaut[:, ::-1]])
    found = finder.detect(two, min_score=0.3)
    assert len(found) == 2
    assert found.scores[0] >= found.scores[1]
    assert len(finder.detect(two, min_score=0.999)) == 0


def test_shared_between_threads(finder: CenterFace, astronaut: NDArray[np.uint8], face: Detections) -> None:
    results: list[Detections] = []
    threads = [threading.Thread(target=lambda: results.append(finder.detect(astronaut))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result.boxes, face.boxes)


def test_whole_image_and_given_boxes(astronaut: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(WholeImage().detect(astronaut).boxes, [[0, 0, 256, 256]])
    assert len(PrecomputedDetector([1, 2, 30, 40]).detect(astronaut)) == 1
    assert len(PrecomputedDetector([]).detect(astronaut)) == 0
    for boxes in ([[1, 2, 0, 4]], [[1, 2, 3]], [[1, 2, 3, float("nan")]], np.ones((2, 6)), np.ones((4, 5))):
        with pytest.raises(UsageError):
            PrecomputedDetector(boxes)


def test_names_objects_and_damage(tmp_path: Path) -> None:
    own = WholeImage()
    assert open_detector(own) is own
    with pytest.raises(UnknownName, match="centerface"):
        open_detector("centreface")
    with pytest.raises(UsageError, match="detect"):
        open_detector(object())  # type: ignore[arg-type]
    (tmp_path / "d.onnx").write_bytes(b"damaged")
    (tmp_path / "d.json").write_text('{"sha256": "0123"}')
    with pytest.raises(ModelError, match="damaged"):
        CenterFace(path=tmp_path / "d.onnx")


def test_a_search_beside_a_large_image_gives_its_memory_back(
    finder: CenterFace, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, released = finder._graph, []

    def spy(feed: dict[str, NDArray[np.float32]], release: bool = False) -> list[NDArray[np.float32]]:
        released.append(release)
        return run(feed, release=release)

    monkeypatch.setattr(finder, "_graph", spy)
    assert len(finder.detect(astronaut)) == 1
    assert released == [False], "memory that stays makes the next search faster"
    found = finder.detect(astronaut.repeat(17, axis=0).repeat(17, axis=1))
    assert len(found) == 1
    assert released[1] is True


def test_a_large_image_is_scaled_in_strips_to_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (403, 277, 3), np.uint8)
    whole = np.asarray(Image.fromarray(image).resize((100, 145), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(detect._resized(image, 100, 145), whole)
    monkeypatch.setattr(detect, "STRIP_PIXELS", 5_000)
    difference = np.abs(detect._resized(image, 100, 145).astype(int) - whole)
    # Rounding alone.
    assert difference.max() <= 1
    assert difference.mean() < 0.001


class Returning:
    """A detector of one's own that returns always the same."""

    def __init__(self, found: object) -> None:
        self.found = found

    def detect(self, image: NDArray[np.uint8], *, min_score: float = 0.5) -> Any:
        return self.found


def test_detections_of_lists_are_those_of_arrays(astronaut: NDArray[np.uint8]) -> None:
    spec = ModelSpec("m", "tiny", ("a", "b"), 48, "gray")
    lists = detect_faces(astronaut, Returning(Detections([[10, 20, 60, 80]], [0.9])), spec)  # type: ignore[arg-type]
    arrays = Detections(np.array([[10, 20, 60, 80]], np.float64), np.array([0.9]))
    assert lists.detections == detect_faces(astronaut, Returning(arrays), spec).detections
    assert lists.detections.boxes.dtype == lists.detections.scores.dtype == np.float32
    nothing = Detections([], [], [])  # type: ignore[arg-type]
    assert (len(nothing), nothing.boxes.shape) == (0, (0, 4))


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks", "message"),
    [
        ([[math.nan, 10, 50, 50]], [0.9], None, "boxes must be finite"),
        ([[10, 10, math.inf, 50]], [0.9], None, "boxes must be finite"),
        ([[10, 10, 0, 50]], [0.9], None, "a height above 0"),
        ([[10, 10, 50]], [0.9], None, r"boxes must be \(F, 4\).*Got \(1, 3\)"),
        ([[10, 10, 50, 50]], [math.nan], None, "scores must be finite"),
        ([[10, 10, 50, 50]], [90], None, r"scores must be from 0 to 1. Got \[90.0\]"),
        ([[10, 10, 50, 50]], [0.9, 0.8], None, r"scores must be \(1,\)"),
        ([[10, 10, 50, 50]], [0.9], [[[math.nan] * 2] * 5], "landmarks must be finite"),
        (["face"], [0.9], None, "boxes must be an array of numbers. Got"),
    ],
)
def test_detections_that_no_result_can_hold_are_refused(boxes: Any, scores: Any, landmarks: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Detections(boxes, scores, landmarks)
    with pytest.raises(UsageError, match=message):
        PrecomputedDetector(boxes, scores, landmarks)


@pytest.mark.parametrize("found", [None, (np.zeros((0, 4)), np.zeros(0))])
def test_what_a_detector_must_return_is_said(found: object, astronaut: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=rf"must return moue.Detections. Got {type(found).__name__} instead"):
        detect_faces(astronaut, Returning(found), ModelSpec("m", "tiny", ("a", "b"), 48, "gray"))


def test_a_given_box_far_larger_than_its_image_is_refused(astronaut: NDArray[np.uint8]) -> None:
    assert len(PrecomputedDetector([-300, -300, 1000, 1000]).detect(astronaut)) == 1
    with pytest.raises(UsageError, match=r"10, 10, 1e\+30, 50 is more than 4 times as large as the image's 256×256"):
        PrecomputedDetector([10, 10, 1e30, 50]).detect(astronaut)
