"""Turned faces: found as the upright ones are, or said to be uncertain; and upright ones cost nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from moue import Recognizer
from moue.preprocess import ImageArray
from moue.runtime.crop import crop_faces
from moue.runtime.detect import COARSE, TURNS, CenterFace, Detections
from moue.runtime.orientation import Arrays, are_faces, look_again, rolls

#: Eyes, nose and corners of the mouth of an upright face, in a box of 80 × 100 at the origin.
FACE = np.array([[20, 38], [60, 38], [40, 56], [24, 73], [56, 73]], np.float32)


@pytest.fixture(scope="module")
def astronaut() -> ImageArray:
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((256, 256), Image.Resampling.BOX))


class _Counting:
    """A CenterFace whose runs of the graph are counted."""

    def __init__(self, finder: CenterFace) -> None:
        self.calls, self.finder, run = 0, finder, finder._graph
        self.pixels: list[int] = []

        def counted(feed: dict[str, NDArray[np.float32]], release: bool = False) -> list[NDArray[np.float32]]:
            self.calls += 1
            self.pixels += [array[0, 0].size for array in feed.values()]
            return run(feed, release=release)

        finder._graph = counted  # type: ignore[assignment]


@pytest.fixture(scope="module")
def finder() -> CenterFace:
    return CenterFace(threads=1)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("tiny", threads=1)


def turned(image: ImageArray, degrees: float, fill: int = 127) -> ImageArray:
    """The image, turned clockwise on a larger canvas."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(image, -int(degrees) // 90))
    canvas = Image.fromarray(image).rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(fill,) * 3)
    return np.asarray(canvas)


def moved(points: NDArray[np.floating], before: ImageArray, after: ImageArray, degrees: float) -> NDArray[np.floating]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centers = [np.array(image.shape[1::-1]) / 2 for image in (before, after)]
    moved: NDArray[np.floating] = (points - centers[0]) @ np.array([[cos, sin], [-sin, cos]]) + centers[1]
    return moved


@pytest.mark.parametrize("degrees", range(0, 360, 20))
def test_landmarks_turn_with_the_photo(finder: CenterFace, astronaut: ImageArray, degrees: int) -> None:
    upright, image = finder.detect(astronaut), turned(astronaut, degrees)
    found = finder.detect(image)
    assert len(found) == 1
    assert found.landmarks is not None
    assert upright.landmarks is not None
    landmarks = found.reliable_landmarks(0)
    assert landmarks is not None
    # A twentieth of the photo, a quarter of the face.
    np.testing.assert_allclose(landmarks, moved(upright.landmarks[0], astronaut, image, degrees), atol=12)
    difference = (rolls(found.landmarks)[0] - rolls(upright.landmarks)[0] - degrees + 180) % 360 - 180
    assert abs(difference) < 15
    x, y, w, h = found.boxes[0]
    center = moved(upright.boxes[0, :2] + upright.boxes[0, 2:] / 2, astronaut, image, degrees)
    np.testing.assert_allclose((x + w / 2, y + h / 2), center, atol=12)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_photo_on_its_side_is_read_as_the_upright_one(
    finder: CenterFace, astronaut: ImageArray, degrees: int
) -> None:
    image = turned(astronaut, degrees)
    upright, found = finder.detect(astronaut), finder.detect(image)
    np.testing.assert_allclose(found.scores, upright.scores, atol=1e-4)
    expected, sides = upright.boxes[0], found.boxes[0, 2:]
    np.testing.assert_allclose(sides[::-1] if degrees % 180 else sides, expected[2:], atol=0.1)
    pixels: list[ImageArray] = []
    for photo, faces in ((astronaut, upright), (image, found)):
        pixels += crop_faces(photo, faces, margin=0.1, align=True, size=48, color="gray")
    assert np.abs(pixels[0].astype(int) - pixels[1]).mean() < 2


@pytest.mark.parametrize("degrees", range(0, 360, 30))
@pytest.mark.parametrize("fill", [0, 127])
def test_no_label_is_certain_and_another_than_upright(
    recognizer: Recognizer, astronaut: ImageArray, degrees: int, fill: int
) -> None:
    [upright] = recognizer.faces(astronaut)
    assert not upright.uncertain
    for face in recognizer.faces(turned(astronaut, degrees, fill)):
        assert face.uncertain or face.label == upright.label


def test_an_upright_photo_is_searched_once(astronaut: ImageArray) -> None:
    counting = _Counting(CenterFace(threads=1))
    counting.finder.detect(astronaut)
    assert counting.calls == 1
    # A head that is tilted as heads are costs nothing more either.
    counting.finder.detect(turned(astronaut, 10))
    assert counting.calls == 2


def test_a_photo_without_faces_is_searched_in_four_orientations_and_a_frame_in_one() -> None:
    # Each search has a second pass, on a thumbnail.
    gradient = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[:, None], 64, 1)
    image = np.ascontiguousarray(np.stack([gradient, gradient.T, gradient], 2))
    counting = _Counting(CenterFace(threads=1))
    assert len(counting.finder.detect(image)) == 0
    assert counting.calls == 8
    counting.calls = 0
    frames = counting.finder.for_video(64)
    assert len(frames.detect(image)) == 0
    assert counting.calls == 2


def test_a_large_photo_is_searched_in_other_orientations_only_where_a_smaller_copy_shows_faces(
    astronaut: ImageArray,
) -> None:
    counting = _Counting(CenterFace(threads=1))
    plain = np.zeros((960, 1280, 3), np.uint8)
    plain[::2, ::3] = 60
    assert len(counting.finder.detect(plain)) == 0
    # Once at full size, three times at a quarter of its pixels, and the thumbnails.
    full = plain.shape[0] * plain.shape[1]
    assert sum(pixels == full for pixels in counting.pixels) == 1
    assert sum(pixels > 1e5 for pixels in counting.pixels) == 4
    scene = plain.copy()
    scene[300:556, 500:756] = astronaut
    found = counting.finder.detect(turned(scene, 90))
    counting.pixels.clear()
    [again] = counting.finder.detect(turned(scene, 90)).boxes
    assert found.reliable is not None
    assert found.reliable.tolist() == [True]
    # Found as in the upright photo, at full size.
    [upright] = counting.finder.detect(scene).boxes
    middle = upright[:2] + upright[2:] / 2
    np.testing.assert_allclose(again[:2] + again[2:] / 2, [960 - middle[1], middle[0]], atol=3)
    assert max(counting.pixels) > COARSE**2


def test_whether_a_photo_is_turned_is_asked_at_half_of_the_long_side() -> None:
    counting = _Counting(CenterFace(640, threads=1))
    plain = np.zeros((960, 1280, 3), np.uint8)
    plain[::2, ::3] = 60
    assert len(counting.finder.detect(plain)) == 0
    # Sides are multiples of 32; the thumbnails are smaller.
    assert sorted(pixels for pixels in counting.pixels if pixels > 5e4) == [256 * 320] * 3 + [480 * 640]


def test_the_work_is_bounded_where_everything_looks_like_a_face() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    counting = _Counting(CenterFace(threads=1))
    found = counting.finder.detect(noise, min_score=0)
    assert len(found) > 50
    # Of 50 faces, in each of two orientations, no more than two levelings of three steps and four right angles.
    assert counting.calls <= 2 + 2 * 50 * (3 * 5 + 4)
    counting.calls = 0

    def everywhere(image: ImageArray) -> Arrays:
        counting.calls += 1
        n = 500 if image.shape == noise.shape else 0
        boxes = np.stack([np.arange(n) * 10, np.zeros(n), np.full(n, 5), np.full(n, 5)], 1).astype(np.float32)
        return boxes, np.full(n, 0.9, np.float32), np.zeros((n, 5, 2), np.float32)

    (boxes, _, _), reliable = look_again(
        noise, everywhere(noise), _turns_of(noise, everywhere), everywhere, turns=lambda: TURNS
    )
    assert len(boxes) == 500
    assert not reliable.any()
    assert counting.calls == 1 + 4 * 50


def test_one_face_upside_down_beside_an_upright_one(finder: CenterFace, astronaut: ImageArray) -> None:
    head = astronaut[:140, 30:190]
    both = np.hstack([head, head[::-1, ::-1]])
    found = finder.detect(both)
    assert found.landmarks is not None
    by_place = np.argsort(found.boxes[:, 0])
    assert len(found) == 2
    assert found.reliable is not None
    assert found.reliable.all()
    upright, inverted = rolls(found.landmarks)[by_place]
    assert abs(upright) < 20
    assert abs(inverted) > 160


def test_landmarks_of_a_face_are_one_at_any_angle_and_size_and_others_are_not() -> None:
    draw = np.random.default_rng(0)
    for degrees in draw.uniform(-180, 180, 100):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        face = FACE @ np.array([[cos, sin], [-sin, cos]]) * draw.uniform(0.1, 10) + draw.uniform(-500, 500, 2)
        assert are_faces(face[None])[0]
        assert abs((rolls(face[None])[0] - degrees + 180) % 360 - 180) < 1e-3
        for wrong in (
            [1, 0, 2, 3, 4],
            [3, 4, 2, 0, 1],
            [0, 1, 2, 4, 3],
            [0, 1, 3, 2, 4],
            [2, 2, 2, 2, 2],
            [0, 3, 2, 1, 4],
        ):
            assert not are_faces(face[wrong][None])[0]


def _turns_of(image: ImageArray, search: Callable[[ImageArray], Arrays]) -> Callable[[int], Arrays]:
    """Searches an image in any orientation; what is turned clockwise is turned back counterclockwise."""
    return lambda turn: search(np.rot90(image, turn // 90))


def _search(find: Callable[[ImageArray], bool]) -> Callable[[ImageArray], Arrays]:
    """A search that finds a face in the middle of an image, or nothing."""

    def search(image: ImageArray) -> Arrays:
        n = int(find(image))
        middle = np.array(image.shape[1::-1]) / 2 - (40, 50)
        boxes = np.array([[*middle, 80, 100]], np.float32)[:n]
        return boxes, np.full(n, 0.9, np.float32), (FACE + middle).astype(np.float32)[None][:n]

    return search


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_face_that_is_found_in_another_orientation_alone(degrees: int) -> None:
    """White is above the head."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[:20] = 255
    image = turned(image, degrees)
    search = _search(lambda copy: copy[0].min() == 255)
    nothing: Arrays = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    (boxes, _, landmarks), reliable = look_again(image, nothing, _turns_of(image, search), search, turns=lambda: TURNS)
    assert reliable.tolist() == [True]
    middle = np.array(image.shape[1::-1]) / 2
    np.testing.assert_allclose(boxes[0, :2] + boxes[0, 2:] / 2, middle, atol=0.01)
    assert tuple(boxes[0, 2:]) == ((100, 80) if degrees % 180 else (80, 100))
    assert abs((rolls(landmarks)[0] - degrees + 180) % 360 - 180) < 1e-3
    (boxes, _, _), _ = look_again(image, nothing, _turns_of(image, search), search, turns=tuple)
    assert len(boxes) == 0


class _Scrambled:
    """A detector whose landmarks form no face."""

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        height, width = image.shape[:2]
        box = np.array([[0, 0, width, height]], np.float32)
        landmarks = (FACE[[0, 3, 2, 1, 4]] * (width / 80, height / 100))[None].astype(np.float32)
        return Detections(box, np.ones(1, np.float32), landmarks)


def test_a_face_whose_orientation_is_unknown_is_uncertain_and_not_rotated(astronaut: ImageArray) -> None:
    head = astronaut[26:94, 88:140]
    recognizer = Recognizer("tiny", _Scrambled(), threads=1, uncertain_below=0)
    faces = recognizer.faces(head)
    assert faces[0].flaws == ["orientation_unknown"]
    assert faces[0].uncertain
    assert faces.uncertain.tolist() == [True]
    plain = recognizer.faces(head, boxes=faces.boxes)
    np.testing.assert_array_equal(faces.predictions.probabilities, plain.predictions.probabilities)
    assert not plain[0].uncertain
