"""How well a model reads the faces of several groups of people, and faces of several qualities.

Groups are the user's: none is inferred from an image. Classes are compared within their true class, so that a group of
many happy faces is no better off for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from moue.evaluation.intervals import Share, share_of
from moue.evaluation.metrics import confusion_matrix
from moue.evaluation.permutation import Rows, gap_test
from moue.evaluation.significance import ALPHA, holm

#: A share of fewer images, or of fewer persons, is marked: its interval is wide, and no gap is tested with it.
FEW_IMAGES, FEW_PERSONS = 10, 5

#: Parts of as many images that a measure of quality divides the faces into.
PARTS = 4

#: What of a face's quality divides the faces: its words, unit, and the number of digits.
CONDITIONS = {
    "size": ("size of the face", "pixels", 0),
    "sharpness": ("sharpness", "", 2),
    "brightness": ("brightness", "", 2),
    "yaw": ("turned aside, either way", "degrees", 0),
    "roll": ("tilted, either way", "degrees", 0),
}

#: "accuracy" is tested so that another mix of classes is no gap; "unread" is the share without a face.
Measure = Literal["accuracy", "mean_recall", "recall", "unread"]


@dataclass(frozen=True)
class AuditedImages:
    """What a model made of N labeled images."""

    labels: tuple[str, ...]
    """The K classes."""
    truth: NDArray[np.int64]
    """``(N,)``: positions in ``labels``."""
    predicted: NDArray[np.int64]
    """``(N,)``: positions in ``labels``; -1 where no face was found."""
    uncertain: NDArray[np.bool_]
    """``(N,)``: whether the prediction is uncertain; False where there is none."""
    quality: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    """By measure of :data:`CONDITIONS`, ``(N,)``; NaN where it is unknown."""

    @property
    def read(self) -> NDArray[np.bool_]:
        """``(N,)``: where a face was found."""
        return np.asarray(self.predicted >= 0)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """``(N,)``: where the prediction is right."""
        return np.asarray(self.predicted == self.truth)


@dataclass(frozen=True)
class CellScore:
    """A share of one group: the recall of a class, say."""

    n: int
    share: float | None
    low: float | None
    """Ends of the 95 % interval."""
    high: float | None
    few: bool
    """Whether it is of too few images or persons to say much."""


@dataclass(frozen=True)
class GroupScores:
    """The scores of one group of images."""

    group: str
    n: int
    """Images."""
    persons: int | None
    """None where persons are not known."""
    unread: CellScore
    """Images in which no face was found."""
    uncertain: CellScore
    """Uncertain predictions among the faces that were found, as all that follows."""
    accuracy: CellScore
    mean_recall: float | None
    """Over the classes that have images here: each counts the same."""
    recall: dict[str, CellScore]
    """By class."""
    confusion: NDArray[np.int64]
    """``(K, K)``: rows are the truth."""
    medians: dict[str, float]
    """Medians of the measures of quality, where they are known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {**asdict(self), "confusion": self.confusion.tolist()}


@dataclass(frozen=True)
class Gap:
    """The largest difference between the groups of a column, tested."""

    column: str
    measure: Measure
    label: str | None
    """The class of a recall; None for the other measures."""
    highest: str
    """The groups with the highest and the lowest share."""
    high: float
    lowest: str
    low: float
    groups: tuple[str, ...]
    """Those that are compared: those with enough images."""
    classes: tuple[str, ...]
    """Those that are averaged or compared: those of which all these groups have enough images; all for "accuracy" and
    "unread"."""
    p: float
    p_holm: float

    @property
    def gap(self) -> float:
        """Difference of the two shares, 0 to 1."""
        return self.high - self.low

    @property
    def significant(self) -> bool:
        """Whether the corrected p value is below :data:`~moue.evaluation.significance.ALPHA`."""
        return self.p_holm < ALPHA

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {**asdict(self), "gap": self.gap, "significant": self.significant}


@dataclass(frozen=True)
class Column:
    """One way to divide the images."""

    name: str
    kind: Literal["groups", "quality"]
    groups: tuple[GroupScores, ...]
    n: int
    """Images that are in one of its groups."""
    without: int
    """Images that are in none: their group is not given, or the measure is unknown."""


@dataclass(frozen=True)
class Audit:
    """All of it."""

    labels: tuple[str, ...]
    overall: GroupScores
    columns: tuple[Column, ...]
    gaps: tuple[Gap, ...]
    """Of the columns of groups: those of quality are described, not tested."""
    resamples: int

    @property
    def in_use(self) -> tuple[str, ...]:
        """The classes that some faces have or are predicted as, in label order."""
        confusion = self.overall.confusion
        return tuple(n for n, k in zip(self.labels, confusion.sum(0) + confusion.sum(1), strict=True) if k)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "labels": list(self.labels),
            "overall": self.overall.to_dict(),
            "columns": [{**vars(c), "groups": [g.to_dict() for g in c.groups]} for c in self.columns],
            "gaps": [gap.to_dict() for gap in self.gaps],
            "resamples": self.resamples,
        }


def audit(
    images: AuditedImages,
    groups: Mapping[str, Sequence[str]],
    persons: NDArray[np.int64] | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Audit:
    """Compare groups.

    Every gap is tested by :func:`moue.evaluation.permutation.gap_test`, and Holm's procedure corrects for the number of
    gaps of all columns.

    Args:
        images: of which N.
        groups: by column, the group of each image; "" where it is not given.
        persons: int ``(N,)``: a number for each person, -1 where unknown: that image then counts as a person of its
            own. None where images are independent.
        resamples: permutations of each test.
        seed: of the permutations.
    """
    if persons is not None:
        unknown = persons < 0
        persons = np.where(unknown, persons.max(initial=-1) + 1 + np.cumsum(unknown), persons)
    columns = [_column(images, name, "groups", values, persons) for name, values in groups.items()]
    gaps = [gap for column in columns for gap in _gaps(images, column, groups[column.name], persons, resamples, seed)]
    corrected = holm([gap.p for gap in gaps])
    conditions = [
        _column(images, name, "quality", parts, persons)
        for name in CONDITIONS
        if name in images.quality and (parts := quality_parts(images.quality[name], name)) is not None
    ]
    return Audit(
        images.labels,
        _scores(images, "all", np.ones(len(images.truth), bool), persons),
        (*columns, *conditions),
        tuple(replace(gap, p_holm=p) for gap, p in zip(gaps, corrected, strict=True)),
        resamples,
    )


def quality_parts(values: NDArray[np.floating], name: str) -> list[str] | None:
    """Name the quarter of the faces in which each value lies, by its limits: "20 to 48 pixels".

    Args:
        values: ``(N,)``; NaN where unknown, which is "".
        name: of the measure, see :data:`CONDITIONS`.

    Returns:
        None where the values do not differ, or are all unknown.
    """
    known = np.isfinite(values)
    _, unit, digits = CONDITIONS[name]
    if not known.any() or len(np.unique(np.round(values[known], digits))) < 2:
        return None
    limits = np.quantile(values[known], np.linspace(0, 1, PARTS + 1))
    part = np.clip(np.searchsorted(limits, values, side="right") - 1, 0, PARTS - 1)
    names = [f"{low:.{digits}f} to {high:.{digits}f} {unit}".strip() for low, high in pairwise(limits)]
    return [names[i] if there else "" for i, there in zip(part, known, strict=True)]


def _column(
    images: AuditedImages,
    name: str,
    kind: Literal["groups", "quality"],
    values: Sequence[str],
    persons: NDArray[np.int64] | None,
) -> Column:
    of_image = np.array(values, dtype=object)
    names = list(dict.fromkeys(value for value in values if value))
    names.sort(key=_natural)
    scores = tuple(_scores(images, group, of_image == group, persons) for group in names)
    without = int((of_image == "").sum())
    return Column(name, kind, scores, len(of_image) - without, without)


def _natural(name: str) -> tuple[float, str]:
    """Groups that begin with a number are in its order: "5 to 9" before "10 to 14"."""
    head = name.split(" ")[0].split("-")[0].split("–")[0].strip("<>≤≥+")
    try:
        number = float(head)
    except ValueError:
        number = np.inf
    # A group may be called "nan", which no order has a place for.
    return np.inf if np.isnan(number) else number, name


def _scores(
    images: AuditedImages, group: str, rows: NDArray[np.bool_], persons: NDArray[np.int64] | None
) -> GroupScores:
    def cell(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> CellScore:
        own = None if persons is None else persons[among]
        share: Share = share_of(hits[among], own)
        return CellScore(*share, few=_few(among, persons))

    read = rows & images.read
    recall = {name: cell(images.correct, read & (images.truth == k)) for k, name in enumerate(images.labels)}
    known = [score.share for score in recall.values() if score.share is not None]
    medians = {name: values[rows] for name, values in images.quality.items()}
    return GroupScores(
        group,
        int(rows.sum()),
        None if persons is None else len(np.unique(persons[rows])),
        cell(~images.read, rows),
        cell(images.uncertain, read),
        cell(images.correct, read),
        float(np.mean(known)) if known else None,
        recall,
        confusion_matrix(images.truth[read], images.predicted[read], len(images.labels)),
        {n: round(float(np.nanmedian(np.abs(v))), 4) for n, v in medians.items() if np.isfinite(v).any()},
    )


def _few(rows: NDArray[np.bool_], persons: NDArray[np.int64] | None) -> bool:
    n = int(rows.sum())
    return n < FEW_IMAGES or (persons is not None and len(np.unique(persons[rows])) < FEW_PERSONS)


def _gaps(
    images: AuditedImages,
    column: Column,
    values: Sequence[str],
    persons: NDArray[np.int64] | None,
    resamples: int,
    seed: int,
) -> list[Gap]:
    """The gaps of one column; those that too few groups have enough images for are left out."""
    of_image = np.array(values, dtype=object)
    scores = {group.group: group for group in column.groups}

    def tested(
        measure: Measure, names: Sequence[str], hits: NDArray[np.bool_], among: NDArray[np.bool_], known: Sequence[str]
    ) -> Gap:
        rows = np.flatnonzero(among & np.isin(of_image, names))
        groups = np.array([names.index(name) for name in of_image[rows]], np.int64)
        strata = np.zeros(len(rows), np.int64) if measure == "unread" else images.truth[rows]
        _, classes = np.unique(strata, return_inverse=True)
        own = None if persons is None else persons[rows]
        test = Rows(hits[rows], classes.astype(np.int64), groups, own)
        pooled = measure == "accuracy"
        _, p = gap_test(test, pooled=pooled, resamples=resamples, seed=seed)
        shares = {name: _share(hits[rows[groups == i]], classes[groups == i], pooled) for i, name in enumerate(names)}
        highest, lowest = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
        label = known[0] if measure == "recall" else None
        extremes = (highest, shares[highest], lowest, shares[lowest])
        return Gap(column.name, measure, label, *extremes, tuple(names), tuple(known), p, p)

    gaps = []
    enough = [name for name, score in scores.items() if not score.accuracy.few]
    common = [k for k, label in enumerate(images.labels) if all(not scores[name].recall[label].few for name in enough)]
    if len(enough) > 1:
        gaps.append(tested("accuracy", enough, images.correct, images.read, images.labels))
    if len(enough) > 1 and len(common) > 1:
        among = images.read & np.isin(images.truth, common)
        gaps.append(tested("mean_recall", enough, images.correct, among, [images.labels[k] for k in common]))
    for k, label in enumerate(images.labels):
        names = [name for name, score in scores.items() if not score.recall[label].few]
        if len(names) > 1:
            gaps.append(tested("recall", names, images.correct, images.read & (images.truth == k), [label]))
    names = [name for name, score in scores.items() if not score.unread.few]
    if len(names) > 1 and not images.read.all():
        gaps.append(tested("unread", names, ~images.read, np.ones(len(of_image), bool), images.labels))
    return gaps


def _share(hits: NDArray[np.bool_], classes: NDArray[np.integer], pooled: bool) -> float:
    """The share of hits among all rows, or the mean of the classes' shares."""
    return float(hits.mean() if pooled else np.mean([hits[classes == k].mean() for k in np.unique(classes)]))
