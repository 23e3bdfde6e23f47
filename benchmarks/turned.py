"""How many turned faces does a photo without upright ones keep, where it is first searched at half of the size?

    python benchmarks/turned.py PHOTO... --background PHOTO --json build/bench/turned.json

Each photo is scaled until its faces have a given size, put at three places of a background without faces, and turned by
90, 180 and 270 degrees. Faces are counted in all four orientations at ``--long-side``, and as moue searches.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moue.cli.output import to_table
from moue.runtime.detect import TURNS, CenterFace
from moue.training.machine import describe

#: Sides of the faces, in hundredths of the long side of the picture.
SIZES = (1.9, 2.5, 3.1, 4, 5, 6.3, 8, 11)


class Thorough(CenterFace):
    """Searches in all orientations at full size."""

    def _turns(self, small: Any, min_score: float) -> tuple[int, ...]:
        return TURNS


def pictures(photo: Image.Image, face: float, size: float, background: Image.Image) -> list[np.ndarray]:
    """Turned pictures of the photo, scaled so that a face of so many pixels has so many hundredths of the long side."""
    scale = size / 100 * max(background.size) / face
    width, height = (round(side * scale) for side in photo.size)
    if width > background.width or height > background.height:
        return []
    small = photo.resize((width, height), Image.Resampling.LANCZOS)
    right, bottom = background.width - width, background.height - height
    made = []
    for place in ((0, 0), (right // 2, bottom // 2), (right, bottom)):
        picture = background.copy()
        picture.paste(small, place)
        made += [np.ascontiguousarray(np.rot90(np.asarray(picture), turn)) for turn in (1, 2, 3)]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="photos of upright faces of about one size")
    parser.add_argument("--background", type=Path, required=True, help="a photo without faces")
    parser.add_argument("--long-side", type=int, default=640)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    finders = {
        "found": Thorough(args.long_side, threads=1),
        "found at half first": CenterFace(args.long_side, threads=1),
    }
    background = Image.open(args.background).convert("RGB").resize((args.long_side, args.long_side * 3 // 4))
    assert not len(finders["found"].detect(np.asarray(background)))
    photos = [Image.open(path).convert("RGB") for path in args.photos]
    found = [CenterFace(threads=1).detect(np.asarray(photo)).boxes for photo in photos]
    assert all(map(len, found))
    rows = []
    for size in SIZES:
        faces, counts = 0, dict.fromkeys(finders, 0)
        for photo, boxes in zip(photos, found, strict=True):
            made = pictures(photo, float(np.sqrt(boxes[:, 2] * boxes[:, 3]).mean()), size, background)
            faces += len(made) * len(boxes)
            for name, finder in finders.items():
                counts[name] += sum(len(finder.detect(picture)) for picture in made)
        rows.append({"side, % of the long side": size, "faces": faces, **counts})
    print(to_table(rows))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": describe(), "photos": [path.name for path in args.photos], "long_side": args.long_side}
        args.json.write_text(json.dumps(report | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
