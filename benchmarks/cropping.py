"""Which crop of a face suits a model best? Validation faces are pasted into larger images, detected and cropped.

    python benchmarks/cropping.py MODEL --data fer2013.csv.zip --rows 500 --json results.json

Each 48×48 face is enlarged, turned by up to ±15° as heads are in photos, and pasted with a soft edge onto a blurred
image. CenterFace detects it; it is cropped with every margin, with and without alignment of the eyes, and classified.
The score to compare with is that on the original faces. All margins use the same detections, so differences are paired.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from moue import data
from moue.cli.output import to_table
from moue.data.splits import Split
from moue.evaluation.scoring import predict, truth_of
from moue.runtime.crop import crop_faces
from moue.runtime.detect import CenterFace
from moue.trained.open import open_any

MARGINS = (-0.05, 0.0, 0.05, 0.1, 0.15, 0.2)


def scene(face: np.ndarray, background: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A 384×320 RGB image with the face somewhere in it, 144 to 216 pixels large."""
    side = int(draw.integers(144, 217))
    back = Image.fromarray(background).resize((384, 320)).filter(ImageFilter.GaussianBlur(12))
    head = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", (side, side), 0)
    mask.paste(255, (4, 4, side - 4, side - 4))
    angle = float(draw.uniform(-15, 15))
    head = head.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=int(np.mean(face)))
    mask = mask.filter(ImageFilter.GaussianBlur(3)).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    left, top = (int(draw.integers(0, space + 1)) for space in (384 - head.width, 320 - head.height))
    back.paste(head, (left, top), mask)
    return np.asarray(back.convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model or run folder")
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--split", type=Path, help="a run's split.json: its validation rows (default: the last Training rows)"
    )
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    draw = np.random.default_rng(args.seed)
    table = data.load(args.data)
    rows = Split.load(args.split).validation if args.split else np.flatnonzero(table.split == "train")[-3000:]
    part = table.take(draw.permutation(rows)[: args.rows])
    model, detector = open_any(args.model), CenterFace(1280)
    truth = truth_of(part, model.spec)
    found = []
    for i, face in enumerate(part.images[:, 0]):
        image = scene(face, part.images[(i + 1) % len(part), 0], draw)
        detections = detector.detect(image)
        if len(detections):
            found.append((i, image, detections))
    index = np.array([i for i, _, _ in found])
    untouched = predict(model, part.images[index], views=2).class_ids == truth[index]
    table_rows = [{"margin": None, "level": None, "accuracy": float(untouched.mean()), "n": len(index)}]
    for level in (True, False):
        for margin in MARGINS:
            cut = np.stack(
                [
                    crop_faces(p, d, margin=margin, align=level, size=model.spec.size, color=model.spec.color)[0]
                    for _, p, d in found
                ]
            )
            right = predict(model, cut, views=2).class_ids == truth[index]
            table_rows.append({"margin": margin, "level": level, "accuracy": float(right.mean()), "n": len(index)})
    print(f"{len(found)} of {len(part)} faces found; the first row is the untouched faces")
    print(to_table(table_rows), end="")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"model": args.model, "rows": table_rows, "placed": len(part), "found": len(found), "seed": args.seed}
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
