"""How often people agree about a face: FER+'s ten votes for each image of FER-2013.

Usage: python benchmarks/agreement.py fer2013new.csv

Prints, over all images that were judged to be a face: how often two of its annotators gave the same answer, and how
often one gave the answer that most of the others gave (ties count as their share). "Unknown" is an answer, too. Then
how often two agree within each of FER-2013's parts.
"""

from __future__ import annotations

import csv
import sys

import numpy as np
from numpy.typing import NDArray


def read_votes(path: str, part: str | None = None) -> NDArray[np.int64]:
    """Votes ``(N, K)`` of the rows that have an image name, which FER+ leaves out where there is no face; of all parts
    ("Training", "PublicTest", "PrivateTest"), or of one.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Image name"] and part in (None, row["Usage"])]
    return np.array([[int(v) for k, v in row.items() if k not in ("Usage", "Image name")] for row in rows])


def pair_agreement(votes: NDArray[np.int64]) -> float:
    """How often two annotators of an image, drawn at random, gave the same answer; mean over the images."""
    n = votes.sum(axis=1)
    return float(((votes * (votes - 1)).sum(axis=1) / (n * (n - 1))).mean())


def agreement_with_others(votes: NDArray[np.int64]) -> float:
    """How often an annotator gave the most frequent answer of the others; mean over the images."""
    total = np.zeros(len(votes))
    for answer in range(votes.shape[1]):
        others = votes.copy()
        others[:, answer] -= 1
        most = others == others.max(axis=1, keepdims=True)
        total += votes[:, answer] * most[:, answer] / most.sum(axis=1)
    return float((total / votes.sum(axis=1)).mean())


if __name__ == "__main__":
    answers = read_votes(sys.argv[1])
    print(f"{len(answers):,} faces")
    print(f"two annotators agree: {pair_agreement(answers):.1%}")
    print(f"an annotator agrees with most of the others: {agreement_with_others(answers):.1%}")
    for part in ("Training", "PublicTest", "PrivateTest"):
        if len(votes := read_votes(sys.argv[1], part)):
            print(f"two annotators agree in {part}: {pair_agreement(votes):.1%} of {len(votes):,} faces")
