"""Cuts: found between scenes and between faces, and nowhere else; what they do to tracks and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from videos import SquareReader, make_video

from moue.labels import FER2013
from moue.runtime.results import Faces, Predictions
from moue.runtime.video.cuts import Appearance, CutDetector, _difference, face_images, least_difference
from moue.runtime.video.stream import stream_video
from moue.runtime.video.track import Tracker

Picture = NDArray[np.uint8]
WIDTH, HEIGHT = 160, 96


def canvas(seed: int, width: int = 2 * WIDTH, height: int = 2 * HEIGHT) -> Picture:
    """A made photo: colored areas of several sizes."""
    rng, total = np.random.default_rng(seed), np.zeros((height, width, 3))
    for cell, weight in ((48, 1.0), (16, 0.6), (6, 0.3)):
        grid = rng.normal(size=(height // cell + 2, width // cell + 2, 3))
        planes = [
            Image.fromarray(g.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
            for g in np.moveaxis(grid, 2, 0)
        ]
        total += weight * np.stack([np.asarray(p) for p in planes], -1)
    return np.clip(120 + rng.uniform(-60, 60, 3) + rng.uniform(30, 60) * total, 0, 255).astype(np.uint8)


def view(picture: Picture, x: float = WIDTH // 2, y: float = HEIGHT // 2) -> Picture:
    return picture[round(y) : round(y) + HEIGHT, round(x) : round(x) + WIDTH]


def lit(picture: Picture, gain: float, more: float = 0) -> Picture:
    return np.clip(picture.astype(float) * gain + more, 0, 255).astype(np.uint8)


def zoomed(picture: Picture, by: float) -> Picture:
    w, h = WIDTH / by, HEIGHT / by
    box = (WIDTH - w / 2, HEIGHT - h / 2, WIDTH + w / 2, HEIGHT + h / 2)
    return np.asarray(Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box))


def cuts(frames: Sequence[Picture], rate: float = 25) -> list[int]:
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector(frame, i / rate) == "cut"]


@pytest.mark.parametrize("before", ["still", "pan", "one frame"])
def test_a_cut_is_found_where_it_is(before: str) -> None:
    for seed in range(30):
        first, second = canvas(seed), canvas(seed + 100)
        length = 1 if before == "one frame" else 8
        frames = [view(first, 8 * i if before == "pan" else 80) for i in range(length)]
        frames += [view(second, 80 - (8 * i if before == "pan" else 0)) for i in range(length)]
        assert cuts(frames) == [length], seed


def test_each_of_many_cuts_is_found() -> None:
    assert cuts([view(canvas(i // 5)) for i in range(60)]) == list(range(5, 60, 5))


def shaking(c: Picture) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [view(c, 80 + rng.uniform(-20, 20), 48 + rng.uniform(-14, 14)) for _ in range(25)]


def noisy(c: Picture) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [lit(view(c), 1, rng.normal(0, 25, (HEIGHT, WIDTH, 3))) for _ in range(8)]  # type: ignore[arg-type]


def walking(c: Picture) -> list[Picture]:
    """A person of another color, half as high as the image, who crosses it in half a second."""
    frames = []
    for i in range(14):
        frame = view(c).copy()
        left, right = max(0, 12 * i - 20), min(WIDTH, 12 * i + 20)
        frame[40:, left:right] = canvas(77)[40:HEIGHT, : right - left]
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(lambda c: [view(c, 10 * i) for i in range(16)], id="pan"),
        pytest.param(lambda c: [view(c, 40 * i, 20 * i) for i in range(4)], id="fast pan"),
        pytest.param(lambda c: [zoomed(c, 1 + 0.08 * i) for i in range(14)], id="zoom"),
        pytest.param(shaking, id="shaking"),
        pytest.param(noisy, id="noise"),
        pytest.param(walking, id="fast motion"),
        pytest.param(lambda c: [view(c)] * 4 + [lit(view(c), 4, 60)] + [view(c)] * 4, id="flash"),
        pytest.param(lambda c: [view(c)] * 4 + [lit(view(c), 0, 255)] * 3 + [view(c)] * 4, id="white flash"),
        pytest.param(lambda c: [view(c)] * 4 + [lit(view(c), 0)] * 20 + [view(c)] * 4, id="black frames"),
        pytest.param(lambda c: [lit(view(c), abs(1 - i / 12)) for i in range(25)], id="fade"),
        pytest.param(lambda c: [lit(view(c), 1 + i % 2 / 2) for i in range(10)], id="flicker"),
        pytest.param(
            lambda c: [lit(view(c), 1 - i / 25) + lit(view(canvas(99)), i / 25) for i in range(26)], id="dissolve"
        ),
    ],
)
def test_what_is_no_cut_is_none(clip: Callable[[Picture], list[Picture]]) -> None:
    for seed in range(10):
        assert cuts(clip(canvas(seed))) == [], seed


def test_at_one_frame_a_second_a_moving_camera_makes_no_cuts() -> None:
    for seed in range(10):
        wide = canvas(seed, 1600)
        # In a second it pans by 0.4 of the image, and swings up and down.
        frames = [view(wide, 64 * i, 48 + 14 * (-1) ** i) for i in range(20)]
        assert cuts(frames, rate=1) == []
    # Where every frame shows something else, a cut is nothing special.
    assert len(cuts([view(canvas(i)) for i in range(20)], rate=1)) <= 1


def test_fading_to_black_and_on_to_another_scene_is_a_cut() -> None:
    a, b = view(canvas(0)), view(canvas(1))
    frames = [lit(a, 1 - i / 10) for i in range(11)] + [lit(b, i / 10) for i in range(11)]
    assert len(cuts(frames)) == 1


def crops(*pictures: Picture) -> list[NDArray[np.float32] | None]:
    """Each picture's middle as a face."""
    return [face_images(picture, np.array([[32, 0, 96, 96]]))[0] for picture in pictures]


def test_a_face_that_another_one_takes_the_place_of_is_noticed() -> None:
    for seed in range(20):
        before, after = crops(view(canvas(seed)), view(canvas(seed + 100)))
        looks = Appearance()
        assert all(looks.continues(before, i / 25) for i in range(3))
        assert not looks.continues(after, 3 / 25)
        assert looks.continues(after, 4 / 25)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c, i: view(c, 80 + 2 * i, 48 + i), id="motion"),
        pytest.param(lambda c, i: lit(view(c), 1 + i % 2), id="light"),
        pytest.param(lambda c, i: zoomed(c, 1 + i / 40), id="approach"),
        pytest.param(
            lambda c, i: np.asarray(Image.fromarray(c).rotate(4 * i))[48:144, 80:240], id="the head is tilted"
        ),
        pytest.param(lambda c, i: lit(view(c), 0.01) if i % 2 else view(c), id="dark frames"),
    ],
)
def test_a_face_that_moves_is_the_same_one(change: Callable[[Picture, int], Picture]) -> None:
    for seed in range(10):
        looks, picture = Appearance(), canvas(seed)
        assert all(looks.continues(crops(change(picture, i))[0], i / 25) for i in range(15)), seed


def test_a_face_at_another_place_is_not_compared() -> None:
    before, after = crops(view(canvas(0)), view(canvas(1)))
    looks = Appearance()
    assert looks.continues(before, 0)
    assert looks.continues(before, 1 / 25)
    assert looks.continues(after, 2 / 25, same_place=False)


def test_face_images_of_any_box_have_one_size() -> None:
    picture = view(canvas(0))
    boxes = np.array([[-20, -20, 60, 60], [150, 90, 40, 40], [300, 10, 20, 20], [5, 5, 1, 1], [10, 10, 20, 30]])
    shapes = [None if found is None else found.shape for found in face_images(picture, boxes)]
    assert shapes == [(16, 16), (16, 16), None, None, (16, 16)]
    assert face_images(np.full((50, 50, 3), 90, np.uint8), boxes[:1]) == [None]


class StillReader(SquareReader):
    """Knows some stills, and the label of each: one face, or two whose order it turns round in each other frame."""

    def __init__(self, *stills: tuple[Picture, str], two: bool = False) -> None:
        super().__init__()
        self.stills, self.two, self.read = stills, two, 0

    def faces(self, image: Picture, source: str = "") -> Faces:
        distances = [np.abs(image.astype(int) - still).mean() for still, _ in self.stills]
        label = self.stills[int(np.argmin(distances))][1]
        boxes = np.array([[50, 20, 50, 60]], np.float32)
        if self.two:
            boxes = np.array([[10, 20, 50, 60], [100, 20, 50, 60]], np.float32)[:: (-1) ** self.read]
        self.read += 1
        p = np.full((len(boxes), len(FER2013)), 0.02, np.float32)
        p[:, FER2013.index(label)] = 0.88
        h, w = image.shape[:2]
        return Faces(source, "ok", w, h, boxes, np.ones(len(boxes), np.float32), None, Predictions(p, FER2013.labels))


def tracks(rows: list[Faces]) -> list[list[int]]:
    return [[] if row.tracks is None else row.tracks.tolist() for row in rows]


@pytest.mark.parametrize("every", [1, 5, 25])
@pytest.mark.parametrize("scene", ["another", "the same"])
def test_one_persons_label_does_not_bleed_into_anothers(scene: str, every: int, tmp_path: Path) -> None:
    first, second = view(canvas(0)), view(canvas(1))
    if scene == "the same":
        # Another face in the same place, and everything around it as before.
        second, other = first.copy(), second
        second[20:80, 50:100] = other[20:80, 50:100]
    video = make_video(tmp_path / "in.mp4", [first] * 50 + [second] * 50 + [first] * 50)
    reader = StillReader((first, "happy"), (second, "sad"))
    rows = list(stream_video(reader, video, every=every, smooth=5))
    third = len(rows) // 3
    assert tracks(rows) == [[1]] * third + [[2]] * third + [[3]] * third
    assert [row.predictions.class_names for row in rows] == [["happy"]] * third + [["sad"]] * third + [
        ["happy"]
    ] * third
    np.testing.assert_allclose([row.predictions.confidence for row in rows], 0.88, atol=1e-5)


def test_a_flash_ends_no_track(tmp_path: Path) -> None:
    still = view(canvas(0))
    video = make_video(tmp_path / "in.mp4", [still] * 10 + [lit(still, 4, 60)] * 2 + [still] * 10)
    assert tracks(list(stream_video(StillReader((still, "happy")), video))) == [[1]] * 22


def test_the_faces_of_a_frame_are_in_the_order_of_their_tracks(tmp_path: Path) -> None:
    first, second = view(canvas(0)), view(canvas(1))
    video = make_video(tmp_path / "in.mp4", [first] * 6 + [second] * 6)
    rows = list(stream_video(StillReader((first, "happy"), (second, "sad"), two=True), video))
    assert tracks(rows) == [[1, 2]] * 6 + [[3, 4]] * 6
    lefts = [row.boxes[:, 0].tolist() for row in rows]
    assert lefts == [lefts[0]] * 12


def test_a_restarted_tracker_gives_no_number_twice() -> None:
    tracker, box = Tracker(), np.array([[10, 10, 40, 40]], np.float32)
    given = []
    for i in range(6):
        given += tracker.update(box, np.ones(1, np.float32), i / 25).tolist()
        if i % 2:
            tracker.restart()
    assert given == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_all_displacements_at_once_give_what_one_after_the_other_gives(seed: int) -> None:
    draw = np.random.default_rng(seed)
    face = draw.normal(128, (30, 3)[seed == 4], (16, 16)).astype(np.float32)
    other = (np.roll(face, (seed % 3 - 1, seed % 4 - 2), (0, 1)) + draw.normal(0, 9, (16, 16))).astype(np.float32)
    if seed == 3:
        other[:, :9] = 7  # Without content: displacements that leave only this are not believed.
    expected = _difference(face, other, (2, 2))
    assert least_difference(face, other, (2, 2)) == pytest.approx(expected, abs=1e-6)
