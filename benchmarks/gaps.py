"""How often the tests of moue audit call a gap what is none, and find one that is there, where persons are known.

    python benchmarks/gaps.py

60 persons of about ten images in two groups; accuracy is 85 % in one class and 50 % in the other, whatever the group.
"""

from __future__ import annotations

import numpy as np

from moue.evaluation.permutation import Rows, gap_test

SEEDS, RESAMPLES = 200, 199


def draw(seed: int, mix: float, worse: float = 0.0) -> Rows:
    """A set; ``mix`` of the first group's images, and the rest of the second's, are of the hard class."""
    rng = np.random.default_rng(seed)
    groups = np.arange(60) // 30
    persons = np.repeat(np.arange(60), rng.poisson(10, 60) + 1)
    classes = (rng.random(len(persons)) < np.where(groups[persons] == 0, mix, 1 - mix)).astype(np.int64)
    right = np.where(classes == 0, 0.85, 0.5) - worse * groups[persons]
    return Rows(rng.random(len(persons)) < right, classes, groups[persons], persons)


def main() -> None:
    """Print the share of sets with p at most 0.05."""
    for name, mix, worse in (("no gap, 20 and 80 %", 0.2, 0.0), ("no gap, 50 %", 0.5, 0.0), ("15 points", 0.2, 0.15)):
        for pooled in (False, True):
            p = [gap_test(draw(s, mix, worse), pooled=pooled, resamples=RESAMPLES)[1] for s in range(SEEDS)]
            print(f"{name}, {'accuracy' if pooled else 'mean recall'}: {np.mean(np.array(p) <= 0.05):.1%}")


if __name__ == "__main__":
    main()
