"""Do faces keep their label when the photo is turned? Each photo is turned through 0 to 350 degrees, and read.

    python benchmarks/rotation.py PHOTO... --models default ferplus tiny --json results.json

Without PHOTO, scikit-image's astronaut, whole and cut to her head. The canvas grows with the rotation; what is new is
gray, black, or the photo's edge repeated. Each face found upright is matched with the nearest one found in the turned
photo. It has the same label, is uncertain, is missing, or has another label with certainty, which must not be. Faces
that are uncertain upright do not count. Other faces found in the turned photo are listed as extra: certain ones, where
the photo has nobody.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from moue import Faces, Recognizer, read_image
from moue.cli.output import to_table
from moue.runtime.detect import Detections, Detector, open_detector

FILLS = ("gray", "black", "edge")


def turned(photo: np.ndarray, degrees: int, fill: str) -> np.ndarray:
    """The photo, rotated counterclockwise on a larger canvas."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(photo, degrees // 90))
    if fill != "edge":
        around = Image.fromarray(photo).rotate(
            degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(127 if fill == "gray" else 0,) * 3
        )
        return np.asarray(around)
    height, width = photo.shape[:2]
    (w, h), pad = canvas(width, height, degrees), math.ceil(math.hypot(height, width) / 2)
    padded = np.pad(photo, ((pad, pad), (pad, pad), (0, 0)), "edge")
    around = Image.fromarray(padded).rotate(degrees, Image.Resampling.BICUBIC)
    left, top = (around.width - w) // 2, (around.height - h) // 2
    return np.asarray(around.crop((left, top, left + w, top + h)))


def canvas(width: int, height: int, degrees: int) -> tuple[int, int]:
    """Width and height of the rotated photo's canvas."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    return math.ceil(width * cos + height * sin), math.ceil(width * sin + height * cos)


def moved(points: np.ndarray, before: tuple[int, ...], after: tuple[int, ...], degrees: int) -> np.ndarray:
    """Where points ``(P, 2)`` of the photo lie in the turned one; the arguments before and after are their shapes."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centered = points - np.array([before[1], before[0]]) / 2
    return centered @ np.array([[cos, -sin], [sin, cos]]) + np.array([after[1], after[0]]) / 2


def compare(
    upright: Faces, found: Faces, before: tuple[int, ...], after: tuple[int, ...], degrees: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The outcome for each face of the upright photo, and for each that is in the turned one alone; with details."""
    centers = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    free = set(range(len(found)))
    for face in upright:
        target = moved((face.box[:2] + face.box[2:] / 2)[None], before, after, degrees)[0]
        distances = {i: float(np.linalg.norm(centers[i] - target)) for i in free}
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is None or distances[nearest] > max(face.box[2:]) / 2:
            yield "missing" if not face.uncertain else "uncertain upright", {}
            continue
        free.remove(nearest)
        other = found[nearest]
        details = {"upright": {face.label: face.confidence}, "turned": other.to_dict()}
        if face.uncertain:
            yield "uncertain upright", details
        elif other.uncertain:
            yield "uncertain", details
        else:
            yield "same" if other.label == face.label else "wrong", details
    yield from (("extra", {"turned": found[i].to_dict()}) for i in free if not found[i].uncertain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", help="default: scikit-image's astronaut, whole and her head")
    parser.add_argument("--models", nargs="+", default=["default", "ferplus", "tiny"])
    parser.add_argument("--step", type=int, default=10, help="degrees")
    parser.add_argument("--fills", nargs="+", choices=FILLS, default=list(FILLS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    photos = {path: read_image(path) for path in args.photos}
    if not photos:
        photos = {"astronaut": skimage.data.astronaut(), "astronaut's head": skimage.data.astronaut()[:260, 90:350]}
    detector = _Remembering(open_detector("centerface"))
    recognizers = {model: Recognizer(model, detector) for model in args.models}
    rows: dict[tuple[str, str], Counter] = {}
    wrong: list[dict[str, Any]] = []
    for name, photo in photos.items():
        references = {model: recognizer.faces(photo) for model, recognizer in recognizers.items()}
        for degrees in range(0, 360, args.step):
            for fill in args.fills if degrees % 90 else args.fills[:1]:
                image = turned(photo, degrees, fill)
                for model, recognizer in recognizers.items():
                    upright, found = references[model], recognizer.faces(image)
                    case = {"model": model, "photo": Path(name).name, "degrees": degrees, "fill": fill}
                    for outcome, details in compare(upright, found, photo.shape, image.shape, degrees):
                        rows.setdefault((model, Path(name).name), Counter())[outcome] += 1
                        if outcome in ("wrong", "extra"):
                            wrong.append({"outcome": outcome, **case, **details})
                            print(json.dumps(wrong[-1]), flush=True)
    columns = ("same", "uncertain", "missing", "wrong", "extra", "uncertain upright")
    table = [{"model": m, "photo": p, **{c: counts[c] for c in columns}} for (m, p), counts in rows.items()]
    print(to_table(table), end="")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"rows": table, "wrong": wrong, "step": args.step, "fills": args.fills}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class _Remembering:
    """A detector that searches an image once for all models: it keeps what it found in the last one."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.image, self.found = np.zeros(0), None

    def detect(self, image: np.ndarray, *, min_score: float = 0.5) -> Detections:
        if self.found is None or not np.array_equal(image, self.image):
            self.image, self.found = image, self.detector.detect(image, min_score=min_score)
        return self.found


if __name__ == "__main__":
    main()
