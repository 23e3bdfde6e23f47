"""Where does a face hold too little to be read? Validation faces are degraded step by step, measured and classified.

    python benchmarks/quality.py --data fer2013.csv.zip --rows 300 --json results.json

The models of moue-models, each on the Training rows that it held out. A degradation has a table of its own: for each
step the mean of the quality figure that it changes, the accuracy, and the share that the quality limits mark. For the
pose, the faces are searched for landmarks and sorted by yaw and by pitch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from moue import data
from moue.cli.output import to_table
from moue.evaluation.scoring import predict, truth_of
from moue.runtime.detect import CenterFace, Detections
from moue.runtime.quality import Quality, content_of, poses
from moue.trained.open import open_any
from moue.trained.split_of import split_of

Degrade = Callable[[np.ndarray], np.ndarray]


def blurred(sigma: float) -> Degrade:
    return lambda face: np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(sigma))) if sigma else face


def small(side: int) -> Degrade:
    def shrink(face: np.ndarray) -> np.ndarray:
        tiny = Image.fromarray(face).resize((side, side), Image.Resampling.BOX)
        return np.asarray(tiny.resize(face.shape[::-1], Image.Resampling.BILINEAR))

    return shrink


def dark(factor: float) -> Degrade:
    return lambda face: np.asarray(np.round(face * factor), np.uint8)


def flat(factor: float) -> Degrade:
    return lambda face: np.asarray(np.round(128 + (face - face.mean()) * factor).clip(0, 255), np.uint8)


def cut_off(share: float) -> Degrade:
    """The right part is outside of the image; its last column is repeated."""

    def cut(face: np.ndarray) -> np.ndarray:
        kept = round(face.shape[1] * (1 - share))
        return np.pad(face[:, :kept], ((0, 0), (0, face.shape[1] - kept)), "edge")

    return cut


#: What is done to a face, the figure that it changes, and the steps of it.
STEPS: tuple[tuple[str, str, Callable[[Any], Degrade], tuple[float, ...]], ...] = (
    ("none", "sharpness", blurred, (0,)),
    ("blur, sigma in pixels of 48", "sharpness", blurred, (1, 1.5, 2, 2.5, 3, 4, 6)),
    ("side in pixels", "size", small, (32, 24, 20, 16, 14, 12, 10, 8)),
    ("brightness, factor", "brightness", dark, (0.25, 0.1, 0.06, 0.04, 0.03, 0.02, 0.01, 0)),
    ("contrast, factor", "contrast", flat, (0.25, 0.1, 0.06, 0.04, 0.03, 0.02, 0.01, 0)),
    ("part outside of the image", "visible", cut_off, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
)


def quality_of_faces(faces: np.ndarray, name: str, step: float) -> Quality:
    """The figures of degraded 48-pixel faces; those of the size and of the border are what the step says."""
    sharpness, contrast, brightness = content_of(faces[:, None])
    n = len(faces)
    return Quality(
        size=np.full(n, step if name == "size" else 48, np.float32),
        sharpness=sharpness,
        contrast=contrast,
        brightness=brightness,
        visible=np.full(n, 1 - step if name == "visible" else 1, np.float32),
        pose=np.zeros((n, 3), np.float32),
    )


def degradations(model: Any, faces: np.ndarray, truth: np.ndarray) -> Iterator[dict[str, Any]]:
    for kind, figure, degrade, steps in STEPS:
        for step in steps:
            worse = np.stack([degrade(step)(face) for face in faces])
            quality = quality_of_faces(worse, figure, step)
            predictions = predict(model, worse[:, None])
            right = predictions.class_ids == truth
            yield {
                "kind": kind,
                "step": step,
                "figure": figure,
                "mean": float(getattr(quality, figure).mean()),
                "sharpness": float(quality.sharpness.mean()),
                "accuracy": float(right.mean()),
                "flaws": float(quality.poor.mean()),
                "certain and wrong": float((~right & ~predictions.uncertain & ~quality.poor).mean()),
                "without the limits": float((~right & ~predictions.uncertain).mean()),
            }


def by_pose(model: Any, faces: np.ndarray, truth: np.ndarray, found: list[Detections]) -> Iterator[dict[str, Any]]:
    right = predict(model, faces[:, None]).class_ids == truth
    first = [d.reliable_landmarks(0) if len(d) else None for d in found]
    seen = np.array([landmarks is not None for landmarks in first])
    angles = np.abs(poses(np.array([landmarks for landmarks in first if landmarks is not None])))
    for column, name in ((0, "yaw"), (1, "pitch")):
        for low, high in ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 90)):
            within = (angles[:, column] >= low) & (angles[:, column] < high)
            if within.any():
                accuracy = float(right[seen][within].mean())
                yield {"kind": name, "step": low, "n": int(within.sum()), "accuracy": accuracy}
    unknown = np.array([len(d) > 0 and landmarks is None for d, landmarks in zip(found, first, strict=True)])
    if unknown.any():
        yield {"kind": "landmarks form no face", "n": int(unknown.sum()), "accuracy": float(right[unknown].mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["googlenet", "resnet50v2", "vit"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table, detector = data.load(args.data), CenterFace(threads=1)
    rows: list[dict[str, Any]] = []
    for name in args.models:
        split = split_of(name, table)
        if split is None:
            parser.error(f"{name} does not say which rows it held out")
        part = table.take(np.random.default_rng(args.seed).permutation(split.validation)[: args.rows])
        model, faces = open_any(name), part.images[:, 0]
        truth = truth_of(part, model.spec)
        found = [detector.detect(np.repeat(face[:, :, None], 3, 2)) for face in faces]
        for row in (*degradations(model, faces, truth), *by_pose(model, faces, truth, found)):
            rows.append({"model": name, **row})
            print(json.dumps(rows[-1]), flush=True)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        print(to_table([{k: v for k, v in row.items() if k != "kind"} for row in rows if row["kind"] == kind]))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
