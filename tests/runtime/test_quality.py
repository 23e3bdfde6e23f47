"""Faces that hold too little to be read are uncertain, however probable their label is, and the result says why."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter

from moue import Faces, Recognizer
from moue.cli.result_table import TableSink
from moue.errors import UsageError
from moue.preprocess import ImageArray
from moue.runtime.detect import Detections
from moue.runtime.quality import Quality, measure, poses
from moue.runtime.results import Predictions


@pytest.fixture(scope="module")
def reader() -> Recognizer:
    """One that takes each image as a face, and holds every prediction for certain."""
    return Recognizer("tiny", "none", threads=1, uncertain_below=0)


@pytest.fixture(scope="module")
def head() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()[52:188, 176:280])


def flaws(reader: Recognizer, image: ArrayLike | Image.Image) -> list[str]:
    faces = reader.faces(np.asarray(image))
    [face] = faces
    # Of one mind everywhere, and JSON that every parser reads.
    assert face.uncertain == bool(face.flaws) == faces.uncertain[0] == faces[:1][0].uncertain
    [row] = json.loads(json.dumps(faces.to_dict(), allow_nan=False))["faces"]
    assert row["uncertain"] == face.uncertain
    assert row["quality"] == face.quality
    return face.flaws


@pytest.mark.parametrize("value", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (48, 48, 3), (200, 60, 3), (64, 64)])
def test_one_color_is_no_face(reader: Recognizer, shape: tuple[int, ...], value: int) -> None:
    found = flaws(reader, np.full(shape, value, np.uint8))
    assert {"low_contrast", "blurred"} <= set(found)


def test_nearly_one_color_is_no_face(reader: Recognizer) -> None:
    noise = np.random.default_rng(0).integers(126, 130, (96, 96, 3)).astype(np.uint8)
    assert "low_contrast" in flaws(reader, noise)


def test_a_sharp_face_has_no_flaws(reader: Recognizer, head: Image.Image) -> None:
    assert flaws(reader, head) == []
    # Neither its size in the photo nor a plain change of the light makes it one.
    assert flaws(reader, head.resize((52, 68))) == []
    assert flaws(reader, np.asarray(head) // 2) == []


def test_a_blurred_tiny_or_dark_face_is_uncertain(reader: Recognizer, head: Image.Image) -> None:
    assert "blurred" in flaws(reader, head.filter(ImageFilter.GaussianBlur(14)))
    assert "small" in flaws(reader, head.resize((6, 8), Image.Resampling.BOX))
    assert "dark" in flaws(reader, np.asarray(head) // 60)


def test_a_face_that_is_mostly_outside_of_the_image_is_uncertain(head: Image.Image) -> None:
    image = np.asarray(head)
    reader = Recognizer("tiny", threads=1, uncertain_below=0)
    width, height = head.size
    inside = reader.faces(image, boxes=[0, 0, width, height])
    assert inside[0].quality is not None
    assert inside[0].quality["visible"] == 1
    outside = reader.faces(image, boxes=[width * 0.7, 0, width, height])
    assert outside[0].quality is not None
    assert outside[0].quality["visible"] == pytest.approx(0.3, abs=0.01)
    assert "cut_off" in outside[0].flaws
    assert outside[0].uncertain


def _rotation(yaw: float, pitch: float) -> NDArray[np.float64]:
    y, p = math.radians(yaw), math.radians(pitch)
    about_vertical = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    about_across = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    return about_across @ about_vertical


def test_the_pose_of_a_head_from_its_landmarks() -> None:
    """A head in three dimensions is turned and projected; its proportions are not those that the fit assumes."""
    head = np.array([[-31, -30, 2], [31, -30, 2], [0, 4, -26], [-25, 30, -2], [25, 30, -2]])
    for yaw in (-40, -15, 0, 25, 45):
        for pitch in (-20, 0, 20):
            projected = (head @ _rotation(yaw, pitch).T)[:, :2] * 1.5 + 200
            found = poses(projected[None])[0]
            assert found[0] == pytest.approx(yaw, abs=8)
            assert found[1] == pytest.approx(pitch, abs=8)
    upside_down = 400 - (head[:, :2] * 1.5 + 200)
    assert abs(poses(upside_down[None])[0, 2]) == pytest.approx(180, abs=0.1)


def test_a_head_in_profile_is_uncertain() -> None:
    head = np.array([[-31, -30, 2], [31, -30, 2], [0, 4, -26], [-25, 30, -2], [25, 30, -2]])
    landmarks = np.stack([(head @ _rotation(yaw, 0).T)[:, :2] + 50 for yaw in (0, 20, 75)]).astype(np.float32)
    crops = [np.random.default_rng(0).integers(0, 255, (1, 48, 48)).astype(np.uint8)] * 3
    found = Detections(np.array([[0, 0, 100, 100]] * 3, np.float32), np.ones(3, np.float32), landmarks)
    quality = measure(crops, found.boxes, found.landmarks, found.reliable, width=100, height=100)
    assert quality.poor.tolist() == [False, False, True]


def _faces(probabilities: list[list[float]], pose: list[list[float]]) -> Faces:
    n = len(pose)
    good = np.ones(n, np.float32)
    quality = Quality(good * 100, good, good * 0.2, good * 0.5, good, np.array(pose, np.float32))
    predictions = Predictions(np.array(probabilities), ("happy", "sad", "neutral"), uncertain_below=0.4)
    return Faces("x", "ok", 9, 9, np.ones((n, 4), np.float32), good, predictions=predictions, quality=quality)


def test_the_label_of_a_turned_face_must_lead_clearly() -> None:
    close, clear = [0.5, 0.4, 0.1], [0.8, 0.1, 0.1]
    faces = _faces([close, close, close, clear], [[0, 0, 0], [0, 0, 90], [0, 0, -170], [0, 0, 90]])
    assert faces.uncertain.tolist() == [False, True, True, False]
    assert [face.uncertain for face in faces] == faces.uncertain.tolist()
    assert not faces.predictions.uncertain.any()
    np.testing.assert_allclose(faces.predictions.margin, [0.1, 0.1, 0.1, 0.7], atol=1e-6)


def test_quality_stays_with_its_face() -> None:
    faces = _faces([[0.8, 0.1, 0.1]] * 3, [[0, 0, 0], [float("nan")] * 3, [10, 0, 0]])
    assert faces.uncertain.tolist() == [False, True, False]
    assert faces[[2, 1]].uncertain.tolist() == [False, True]
    assert faces[faces.uncertain][0].flaws == ["orientation_unknown"]
    # What is unknown equals itself.
    assert faces == faces.replace()
    with pytest.raises(UsageError, match="quality"):
        faces.replace(quality=faces.quality[:2])  # type: ignore[index]


def test_the_table_says_why(reader: Recognizer, capsys: pytest.CaptureFixture[str]) -> None:
    table = TableSink()
    table.write(reader.faces(np.full((50, 50, 3), 128, np.uint8)))
    table.close()
    assert "uncertain: blurred, low contrast" in capsys.readouterr().out


def test_each_face_of_a_crowd_is_measured(head: Image.Image) -> None:
    class Two:
        def detect(self, image: ImageArray, *, min_score: float = 0.5) -> Detections:
            return Detections(np.array([[0, 0, 104, 136], [104, 0, 104, 136]], np.float32), np.ones(2, np.float32))

    image = np.hstack([np.asarray(head), np.zeros((136, 104, 3), np.uint8)])
    faces = Recognizer("tiny", Two(), threads=1, uncertain_below=0).faces(image)
    assert faces.uncertain.tolist() == [False, True]


def test_what_the_faces_of_a_crowd_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, computed = _faces([[0.8, 0.1, 0.1]] * 9, [[0, 0, 0]] * 9), []
    for cls, name in ((Faces, "uncertain"), (Predictions, "class_names")):
        compute = getattr(cls, name).fget

        def counted(self: Any, compute: Any = compute, name: str = name) -> Any:
            computed.append(name)
            return compute(self)

        monkeypatch.setattr(cls, name, property(counted))
    assert len(list(faces)) == 9
    assert sorted(computed) == ["class_names", "uncertain"]
