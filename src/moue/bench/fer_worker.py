"""A worker that reads faces with the package `fer`, in an environment of its own that has no moue.

Usage: PYTHON fer_worker.py THREADS, with tasks as :mod:`moue.bench.protocol` has them; 0 threads are TensorFlow's own
choice.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from moue.bench.protocol import Work

#: FER-2013's classes in the order of the package's network.
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def main() -> None:
    """Open the reader and serve."""
    threads = int(sys.argv[1])
    # Beside this script, whose folder is on the path; moue is not.
    protocol = import_module("protocol")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    cv2, tensorflow = import_module("cv2"), import_module("tensorflow")
    if threads:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        cv2.setNumThreads(threads)
    reader = import_module("fer.fer").FER()

    def faces(task: dict[str, Any]) -> Work:
        crops = np.random.default_rng(0).uniform(-1, 1, (task["batch"], 64, 64)).astype("float32")

        def work() -> tuple[int, int]:
            probabilities = np.asarray(reader._classify_emotions(crops))
            assert probabilities.shape == (len(crops), len(LABELS)), f"fer gave {probabilities.shape}"
            return len(crops), len(crops)

        return work

    def photos(task: dict[str, Any]) -> Work:
        def work() -> tuple[int, int]:
            found = sum(bool(reader.detect_emotions(cv2.imread(path))) for path in task["paths"])
            assert found, "fer found no face"
            return len(task["paths"]), found

        return work

    def frames(task: dict[str, Any]) -> Work:
        def work() -> tuple[int, int]:
            film, n, found = cv2.VideoCapture(task["path"]), 0, 0
            while (read := film.read())[0]:
                n, found = n + 1, found + bool(reader.detect_emotions(read[1]))
            assert n == task["frames"], f"the film has {task['frames']} frames, fer was given {n}"
            assert found, "fer found no face"
            return n, found

        return work

    def accuracy(task: dict[str, Any]) -> dict[str, Any]:
        with np.load(task["path"]) as file:
            images, labels, names = file["images"], file["labels"], file["names"].tolist()
        # As the package scales the faces that it finds.
        pixels = np.stack([cv2.resize(image, (64, 64)) for image in images]).astype("float32") / 255 * 2 - 1
        predicted = [
            LABELS[i]
            for start in range(0, len(pixels), 256)
            for i in np.argmax(np.asarray(reader._classify_emotions(pixels[start : start + 256])), axis=1)
        ]
        right = [names[label] == name for label, name in zip(labels, predicted, strict=True)]
        return {"accuracy": float(np.mean(right)), "n": len(right)}

    makers = {"faces": faces, "photos": photos, "frames": frames}
    answers = {"installed": protocol.installed, "accuracy": accuracy}
    protocol.serve(lambda task: makers[task["task"]](task), answers)


if __name__ == "__main__":
    main()
