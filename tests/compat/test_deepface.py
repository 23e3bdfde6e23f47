from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from videos import SquareReader, scene

from moue.compat import DeepFace
from moue.errors import UsageError
from moue.runtime.results import Faces

EMOTIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("stream", r"moue\.Recognizer\(\)\.stream\(0\)"),
        ("extract_faces", r"moue\.read\(image\)"),
        ("build_model", r"moue\.Recognizer\(model=NAME\)"),
        *((name, "compares no identities") for name in ("verify", "find", "represent")),
    ],
)
def test_other_functions_name_what_to_use_instead(name: str, instead: str) -> None:
    with pytest.raises(AttributeError, match=rf"no {name}\. Instead: .*{instead}"):
        getattr(DeepFace, name)
    assert not hasattr(DeepFace, "anything_else")


class Eyes(SquareReader):
    """Finds the square, with eyes in it."""

    def faces(self, image: np.ndarray, source: str = "") -> Faces:
        faces = super().faces(image, source)
        if not len(faces):
            return faces
        x, y, w, h = faces.boxes[0]
        points = [[x + w / 4, y + h / 4], [x + 3 * w / 4, y + h / 4], *[[x + w / 2, y + h / 2]] * 3]
        return faces.replace(landmarks=np.array([points], np.float32), scores=np.array([0.917], np.float32))


class Whole(SquareReader):
    """Takes the whole image for a face."""

    def faces(self, image: np.ndarray, source: str = "") -> Faces:
        faces = super().faces(scene(0), source)
        height, width = image.shape[:2]
        return faces.replace(boxes=np.array([[0, 0, width, height]], np.float32), width=width, height=height)


@pytest.fixture(autouse=True)
def _readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeepFace, "shared_recognizer", lambda name="centerface": Whole() if name == "none" else Eyes())


def test_the_result_has_deepface_s_shape() -> None:
    (face,) = DeepFace.analyze(scene(0), actions=["emotion"])
    assert set(face) == {"emotion", "dominant_emotion", "region", "face_confidence"}
    assert list(face["emotion"]) == EMOTIONS
    assert face["emotion"]["happy"] == pytest.approx(88)
    assert sum(face["emotion"].values()) == pytest.approx(100, abs=0.01)
    assert face["dominant_emotion"] == "happy"
    # The person's left eye is the one to the right of the image.
    assert face["region"] == {"x": 10, "y": 30, "w": 24, "h": 24, "left_eye": (28, 36), "right_eye": (16, 36)}
    assert face["face_confidence"] == 0.92


def test_paths_bytes_and_data_addresses_are_read_and_lists_give_lists(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(scene(0)).save(path)
    text = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    one = DeepFace.analyze(str(path))
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), text):
        assert DeepFace.analyze(source, "emotion") == one
    assert DeepFace.analyze([str(path), scene(0)], ("emotion",)) == [one, one]
    assert DeepFace.analyze(np.stack([scene(0)[..., ::-1]] * 2)) == DeepFace.analyze([scene(0)[..., ::-1]] * 2)


def test_no_face_is_a_value_error_unless_told_otherwise(tmp_path: Path) -> None:
    empty = scene(0, square=False)
    with pytest.raises(ValueError, match="enforce_detection"):
        DeepFace.analyze(empty)
    (face,) = DeepFace.analyze(empty, enforce_detection=False)
    assert face["region"] == {"x": 0, "y": 0, "w": 160, "h": 96, "left_eye": None, "right_eye": None}
    assert face["face_confidence"] == 0
    (face,) = DeepFace.analyze(scene(0), detector_backend="skip")
    assert face["region"]["w"] == 160
    with pytest.raises(ValueError, match=r"missing\.jpg"):
        DeepFace.analyze(str(tmp_path / "missing.jpg"))


@pytest.mark.parametrize(
    "wrong", [{"actions": ["age"]}, {"actions": ["emotion", "race"]}, {"actions": []}, {"anti_spoofing": True}]
)
def test_what_is_not_told_here_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        DeepFace.analyze(scene(0), **wrong)


def test_nothing_is_downloaded() -> None:
    with pytest.raises(UsageError, match="not downloaded"):
        DeepFace.analyze("https://example.org/a.jpg")
