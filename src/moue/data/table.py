"""`ImageTable`: the one shape in which every data set reaches the rest of moue."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moue.errors import DataError, quoted
from moue.labels import LabelSet

#: The values of ``ImageTable.split``. "train" is FER-2013's Training; a run cuts its own validation part from it.
SPLITS = ("train", "validation", "public_test", "private_test", "test")

#: What data sets call their splits, as folders or in a column, in lower case. "eval" is a validation part in some sets
#: and a test part in others; as a test part no weights are chosen on it.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "publictest": "public_test",
    "public_test": "public_test",
    "privatetest": "private_test",
    "private_test": "private_test",
}


@dataclass(frozen=True)
class LeftOut:
    """One row that a reader left out, and why."""

    source: str
    """File, and row where there is one: "fer2013.csv row 17"."""
    reason: str
    by_rule: bool = False
    """Whether the label set's own rule left it out (no FER+ majority), rather than an error."""
    earlier: bool = field(default=False, compare=False)
    """Whether it was left out, and reported, when the set file was written; all rows of that file can be read."""


@dataclass(frozen=True)
class ImageTable:
    """Labeled face images of one size, in the order of their source.

    Rows stay aligned over all arrays; :meth:`take` and :meth:`part` select some of them.
    """

    images: NDArray[np.uint8]
    """uint8 ``(N, C, size, size)``, C = 1 gray or 3 RGB, 0..255."""
    labels: NDArray[np.int64]
    """int64 ``(N,)``: positions in ``label_set.labels``."""
    split: NDArray[np.str_]
    """``(N,)``: one of :data:`SPLITS`."""
    source: Sequence[str]
    """``(N,)``: where each row comes from ("row 17", "train/happy/a.jpg"); valid text."""
    label_set: LabelSet
    targets: NDArray[np.float32] | None = None
    """Soft targets, float32 ``(N, K)`` with rows that add up to 1 (FER+ votes); None for labels alone."""
    votes: NDArray[np.float32] | None = None
    """FER+'s vote shares beside labels of another set, float32 ``(N, 8)``, for a second head; a row of zeros where no
    expression has votes. None where no votes were read, or where they are the targets."""
    left_out: tuple[LeftOut, ...] = ()
    """What the reader left out on request."""
    name: str = ""
    """The data set's name for reports: the file or folder name."""
    _digests: list[bytes] = field(default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(f"images must be uint8 (N, C, H, W). Got {self.images.dtype} {self.images.shape} instead.")
        for name in ("labels", "split", "source", "targets", "votes"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise DataError(f"{name} must have a row for each of the {n} images. Got {len(value)} instead.")
        if n and not (self.labels.min() >= 0 and self.labels.max() < len(self.label_set)):
            raise DataError(f"labels must be between 0 and {len(self.label_set) - 1}. Got {self.labels.max()} instead.")
        if self.targets is not None and self.targets.shape[1] != len(self.label_set):
            raise DataError(f"targets must have {len(self.label_set)} columns. Got {self.targets.shape[1]} instead.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.images.shape[-1])

    @property
    def digests(self) -> list[bytes]:
        """A 16-byte fingerprint of each image's pixels; equal for exact duplicates alone."""
        if not self._digests and len(self):
            self._digests.extend(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.images)
        return self._digests

    @property
    def fingerprint(self) -> str:
        """A hex fingerprint of all pixels, labels and splits: equal tables have equal ones."""
        digest = hashlib.blake2b(b"".join(self.digests), digest_size=16)
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        digest.update("\n".join(self.split.tolist()).encode())
        digest.update("\n".join(self.label_set.labels).encode())
        return digest.hexdigest()

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> ImageTable:
        """The table of some rows, by index or mask."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
        return ImageTable(
            images=self.images[index],
            labels=self.labels[index],
            split=self.split[index],
            source=[self.source[i] for i in index],
            label_set=self.label_set,
            targets=None if self.targets is None else self.targets[index],
            votes=None if self.votes is None else self.votes[index],
            left_out=self.left_out,
            name=self.name,
            _digests=[self._digests[i] for i in index] if self._digests else [],
        )

    def part(self, split: str) -> ImageTable:
        """The rows of one split; "test" is every row that is neither train nor validation.

        Raises:
            DataError: when there are none; says which splits the table has.
        """
        rows = ~np.isin(self.split, ("train", "validation")) if split == "test" else self.split == split
        if not rows.any():
            splits = set(self.split.tolist())
            has = ", ".join(sorted(splits)) or "no rows at all"
            training = {"train", "validation"}
            lacks_test = split not in training and "train" in splits and splits <= training
            remedy = " `moue data import SRC -o SET --test 0.2` cuts a test part." if lacks_test else ""
            raise DataError(
                f"{self.name or 'the data set'} has no rows in the split {quoted(split)}; it has {has}.{remedy}"
            )
        return self.take(rows)
