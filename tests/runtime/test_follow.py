"""Faces are followed between full searches; whatever is not as expected leads to a full search of the same frame."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from moue import Recognizer, WholeImage
from moue.errors import UsageError
from moue.preprocess import ImageArray
from moue.runtime.detect import CenterFace, Detections
from moue.runtime.follow import FollowingDetector
from moue.runtime.orientation import Arrays

#: Eyes, nose and corners of the mouth of an upright face, in sides of its box.
FACE = np.array([[0.25, 0.38], [0.75, 0.38], [0.5, 0.56], [0.3, 0.73], [0.7, 0.73]], np.float32)
#: The side of the scripted face, of 80 pixels, in that of its surroundings, 192.
SIDE = 80 / 192
GRAY = np.full((240, 320, 3), 90, np.uint8)


class _Scripted:
    """A detector whose findings are given, in pixels of the frame, and whose searches are counted."""

    def __init__(self) -> None:
        self.full = self.regions = 0
        self.boxes = np.array([[100, 60, 80, 80]], np.float32)
        #: Around a face: its middle and side in sides of the copy, and how its landmarks lie.
        self.around: list[tuple[float, float, float]] = [(0.5, 0.5, SIDE)]
        self.points = FACE

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        self.full += 1
        landmarks = self.boxes[:, None, :2] + FACE * self.boxes[:, None, 2:]
        return Detections(self.boxes, np.full(len(self.boxes), 0.9, np.float32), landmarks)

    def search_scale(self, image: ImageArray) -> float:
        return 0.5

    def search_region(self, image: ImageArray, min_score: float) -> Arrays:
        self.regions += 1
        # Twice the face's 80 pixels at half the size, in a multiple of the graph's stride.
        assert image.shape == (96, 96, 3)
        rows = np.array(self.around, np.float32).reshape(-1, 3) * 96
        boxes = np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, 2:], rows[:, 2:]], 1)
        landmarks = boxes[:, None, :2] + self.points * boxes[:, None, 2:]
        return boxes, np.full(len(boxes), 0.8, np.float32), landmarks


def test_a_face_is_followed_and_every_nth_frame_is_searched_as_a_whole() -> None:
    scripted = _Scripted()
    following = FollowingDetector(scripted, 4)
    # A twentieth of 192 pixels to the right.
    scripted.around = [(0.55, 0.5, SIDE)]
    lefts = [float(following.detect(GRAY).boxes[0, 0]) for _ in range(9)]
    np.testing.assert_allclose(lefts, [*np.arange(100, 130, 9.6), *np.arange(100, 130, 9.6), 100], atol=1e-3)
    assert (scripted.full, scripted.regions) == (3, 6)


@pytest.mark.parametrize(
    ("around", "points"),
    [
        ([], FACE),
        ([(0.5, 0.5, 0.6)], FACE),
        ([(0.5, 0.5, 0.25)], FACE),
        ([(0.8, 0.5, SIDE)], FACE),
        ([(0.5, 0.5, SIDE)], FACE[[3, 4, 2, 0, 1]]),
        ([(0.45, 0.5, SIDE), (0.55, 0.5, SIDE)], FACE),
    ],
    ids=["lost", "much larger", "much smaller", "elsewhere", "upside down", "two"],
)
def test_what_is_not_as_expected_leads_to_a_full_search(
    around: list[tuple[float, float, float]], points: np.ndarray
) -> None:
    scripted = _Scripted()
    following = FollowingDetector(scripted, 100)
    following.detect(GRAY)
    scripted.around, scripted.points = around, points
    assert following.detect(GRAY).boxes.tolist() == [[100, 60, 80, 80]]
    assert scripted.full == 2


def test_another_scene_and_frames_without_a_face_or_with_many_are_searched_as_a_whole() -> None:
    scripted = _Scripted()
    following = FollowingDetector(scripted, 100)
    for image in (GRAY, GRAY + 60, GRAY[:200]):
        following.detect(image)
    assert (scripted.full, scripted.regions) == (3, 0)
    for boxes in (np.zeros((0, 4), np.float32), np.array([[60 * i, 9, 40, 40] for i in range(5)], np.float32)):
        scripted.boxes, scripted.full = boxes, 0
        following = FollowingDetector(scripted, 100)
        for _ in range(2):
            following.detect(GRAY)
        assert (scripted.full, scripted.regions) == (2, 0)


def test_two_that_become_one_lead_to_a_full_search() -> None:
    scripted = _Scripted()
    scripted.boxes = np.array([[100, 60, 80, 80], [150, 60, 80, 80]], np.float32)
    following = FollowingDetector(scripted, 100)
    following.detect(GRAY)
    found = following.detect(GRAY)
    assert (len(found), scripted.full) == (2, 1)
    # The first moves to the right by 20 pixels, the second to the left.
    moves = iter([[(0.6, 0.5, SIDE)], [(0.4, 0.5, SIDE)]])
    search = scripted.search_region

    def moving(image: ImageArray, min_score: float) -> Arrays:
        scripted.around = next(moves)
        return search(image, min_score)

    scripted.search_region = moving  # type: ignore[method-assign]
    assert following.detect(GRAY).boxes[:, 0].tolist() == [100, 150]
    assert scripted.full == 2


def test_a_real_face_that_moves_is_found_where_a_full_search_finds_it() -> None:
    head = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((240, 240), Image.Resampling.BOX))
    detector = CenterFace(threads=1).for_video(384)
    following = FollowingDetector(detector, 100)
    for step in range(4):
        frame = np.full((260, 400, 3), 90, np.uint8)
        frame[10:250, 40 + 8 * step : 280 + 8 * step] = head
        [box], [exact] = following.detect(frame).boxes, detector.detect(frame).boxes
        assert np.abs(box - exact).max() < 0.08 * exact[2:].max()
    assert following._since == 3, "it was followed"


def test_only_what_can_search_around_a_face_follows() -> None:
    with pytest.raises(UsageError, match="detect_every needs the detector centerface"):
        Recognizer("tiny", WholeImage(), detect_every=2, threads=1)
    reader = Recognizer("tiny", detect_every=3, threads=1)
    assert isinstance(reader.for_video().detector, FollowingDetector)
    # A photo is always searched as a whole, and each video has a follower of its own.
    assert isinstance(reader.detector, CenterFace)
    assert reader.for_video().detector is not reader.for_video().detector


@pytest.mark.parametrize("border", [0, 437])
def test_a_border_changes_nothing(border: int) -> None:
    # A film that a phone took upright stands between black bars in a wide frame, and is searched without them.
    photo = Image.fromarray(skimage.data.astronaut()).resize((200, 200))
    frame = np.full((720, 405, 3), 120, np.uint8)
    frame[300:500, 100:300] = np.asarray(photo)
    frame = np.pad(frame, ((0, 0), (border, border), (0, 0)))
    counted = _Counted()
    following = FollowingDetector(counted, 100)
    first, second = following.detect(frame), following.detect(frame)
    assert (counted.full, counted.regions, len(first)) == (1, 1, 1)
    np.testing.assert_allclose(second.boxes, first.boxes, atol=4)
    assert second.landmarks is not None
    assert first.landmarks is not None
    np.testing.assert_allclose(second.landmarks, first.landmarks, atol=4)
    assert 100 < second.boxes[0, 0] - border < 300


class _Counted(CenterFace):
    full = regions = 0

    def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
        self.full += 1
        return super().detect(image, min_score=min_score)

    def search_region(self, image: ImageArray, min_score: float) -> Arrays:
        self.regions += 1
        return super().search_region(image, min_score)
