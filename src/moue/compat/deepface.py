"""A replacement for ``DeepFace.analyze``, for expressions only: ``from moue.compat import DeepFace``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moue.compat.image import best_first, emotions, pixel_box, shared_recognizer, to_rgb
from moue.errors import Unreadable, UsageError, quoted
from moue.runtime.results import Faces

#: deepface's other actions, which moue does not offer.
_OTHERS = ("age", "gender", "race")

_IDENTITIES = "moue reads expressions and compares no identities: keep deepface for this one"
#: deepface's other functions, and what to use instead.
_INSTEAD = {
    "stream": "moue.Recognizer().stream(0) reads a camera or video frame by frame, and `moue predict 0` shows it",
    "extract_faces": "moue.read(image) has the boxes, landmarks and scores of all faces",
    "detectFace": "moue.read(image) has the boxes, landmarks and scores of all faces",
    "build_model": "moue.Recognizer(model=NAME) opens a model once; `moue models` lists their names",
    "verify": _IDENTITIES,
    "find": _IDENTITIES,
    "represent": _IDENTITIES,
    "register": _IDENTITIES,
    "search": _IDENTITIES,
    "build_index": _IDENTITIES,
}


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise AttributeError(f"moue.compat.DeepFace has analyze alone, and no {name}. Instead: {_INSTEAD[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {quoted(name)}")


def analyze(
    img_path: Any,
    actions: str | Sequence[str] = ("emotion",),
    enforce_detection: bool = True,
    detector_backend: str = "opencv",
    align: bool = True,
    expand_percentage: int = 0,
    silent: bool = False,
    anti_spoofing: bool = False,
) -> list[Any]:
    """The expressions of an image's faces, in deepface's shape.

    Args:
        img_path: a path, uint8 array in **BGR**, bytes, file object or "data:image/…;base64,…"; or a list of these
            or uint8 ``(N, H, W, 3)``, which give a list of results.
        actions: only "emotion".
        enforce_detection: whether an image without a face is an error; if not, the whole image counts as one.
        detector_backend: "skip" takes the whole image for a face; any other name means moue's own detector.
        align: accepted and ignored, as are ``expand_percentage`` and ``silent``: the model sets the crop.
        anti_spoofing: must be False.

    Returns:
        One dictionary per face: ``emotion`` (percentages, 0 to 100, of angry, disgust, fear, happy, sad, surprise,
        neutral), ``dominant_emotion``, ``region`` (``x``, ``y``, ``w``, ``h``, and the person's own ``left_eye`` and
        ``right_eye`` as (x, y) or None) and ``face_confidence`` (0 to 1; 0 where the whole image counts as the face).

    Raises:
        UsageError: for other actions and for ``anti_spoofing``.
        Unreadable: (a ValueError) when the image cannot be read, or has no face and ``enforce_detection`` is set.
    """
    requested = [actions] if isinstance(actions, str) else list(actions)
    other = [a for a in requested if a != "emotion"]
    if other or not requested:
        known = (
            "age, gender and race are not" if set(other) <= set(_OTHERS) and other else f"{quoted(requested)} is not"
        )
        raise UsageError(f'{known} supported, only expressions are. Type actions=["emotion"].')
    if anti_spoofing:
        raise UsageError("anti_spoofing is not supported: leave it out.")
    if isinstance(img_path, (list, tuple)) or getattr(img_path, "ndim", 0) == 4:
        return [analyze(one, requested, enforce_detection, detector_backend) for one in img_path]
    image = to_rgb(img_path)
    if detector_backend != "skip":
        faces = shared_recognizer().faces(image)
        if len(faces):
            return _rows(best_first(faces))
        if enforce_detection:
            shown = img_path if isinstance(img_path, str) and not img_path.startswith("data:") else "the image"
            raise Unreadable(
                f"there is no face in {shown}. Set enforce_detection=False to use the whole image.", "no_face"
            )
    return _rows(shared_recognizer("none").faces(image), whole=True)


def _rows(faces: Faces, whole: bool = False) -> list[dict[str, Any]]:
    rows = []
    for face in faces:
        x, y, w, h = pixel_box(face, faces)
        emotion = {name: 100 * p for name, p in emotions(face).items()}
        # moue orders the eyes from the image's left, deepface from the person's.
        eyes: list[tuple[int, int] | None] = [None, None]
        if face.landmarks is not None and not whole:
            eyes = [(round(px), round(py)) for px, py in face.landmarks[1::-1].tolist()]
        rows.append(
            {
                "emotion": emotion,
                "dominant_emotion": max(emotion, key=emotion.__getitem__),
                "region": {"x": x, "y": y, "w": w, "h": h, "left_eye": eyes[0], "right_eye": eyes[1]},
                "face_confidence": 0.0 if whole else round(face.score, 2),
            }
        )
    return rows
