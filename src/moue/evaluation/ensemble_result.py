"""An ensemble of a comparison: its members, how often they differ, and the images that it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.data.table import ImageTable
from moue.evaluation.gain import Gain, gain
from moue.runtime.results import Predictions
from moue.spec import ModelSpec

#: Images of each kind that keep their pixels, for a page.
SHOWN = 18


@dataclass(frozen=True)
class Member:
    """One member, as the ensemble's spec has it."""

    name: str
    network: str
    weight: float | None
    """Its share of a vote; None where the members are combined in another way."""


@dataclass(frozen=True)
class ChangedImage:
    """An image that just one of an ensemble and its best member gets right."""

    source: str
    truth: str
    ensemble: str
    """What the ensemble predicts."""
    member: str
    """What its best member predicts."""
    image: NDArray[np.uint8] | None
    """uint8 ``(C, S, S)``; None beyond the first :data:`SHOWN`."""


@dataclass(frozen=True)
class EnsembleResult:
    """What a comparison knows of an ensemble beside its scores."""

    kind: str
    """How its members are combined: "vote", "stack" …"""
    members: tuple[Member, ...]
    gain: Gain | None = None
    """On the rows of the comparison; None where the members' own predictions cannot be read from its graph."""
    gained: tuple[ChangedImage, ...] = ()
    """Images that the ensemble gets right and its best member wrong, the ensemble's most certain ones first."""
    lost: tuple[ChangedImage, ...] = ()
    """The reverse."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON; without pixels."""
        return {
            "kind": self.kind,
            "members": [vars(member) for member in self.members],
            "gain": None if self.gain is None else self.gain.to_dict(),
            **{
                key: [{k: v for k, v in vars(image).items() if k != "image"} for image in getattr(self, key)]
                for key in ("gained", "lost")
            },
        }


def ensemble_result(
    spec: ModelSpec,
    predictions: Predictions,
    members: Sequence[NDArray[np.floating]] | None,
    truth: NDArray[np.int64],
    part: ImageTable,
) -> EnsembleResult:
    """Set an ensemble beside its members on the rows of a comparison.

    Args:
        spec: the ensemble's, with ``trained["ensemble"]`` and ``trained["members"]``.
        predictions: of the ensemble.
        members: logits ``(N, K)`` of each member; None where they are not known.
        truth: int64 ``(N,)``: positions in ``predictions.labels``.
        part: the rows.
    """
    kind = str(spec.trained["ensemble"])
    # A matrix says how much each member of a stack counts.
    weighted = "vote" in kind or kind == "boost"
    described = tuple(
        Member(str(member["name"]), str(member.get("network", "")), float(member["weight"]) if weighted else None)
        for member in spec.trained["members"]
    )
    if members is None:
        return EnsembleResult(kind, described)
    classes = [logits.argmax(axis=1) for logits in members]
    named = [(member.name, predicted) for member, predicted in zip(described, classes, strict=True)]
    found = gain(spec.name, predictions.class_ids, named, truth)
    theirs = classes[found.best]
    ours_right, theirs_right = predictions.class_ids == truth, theirs == truth

    def changed(which: NDArray[np.bool_]) -> tuple[ChangedImage, ...]:
        rows = np.flatnonzero(which)
        rows = rows[np.argsort(-predictions.confidence[rows], kind="stable")]
        labels = predictions.labels
        return tuple(
            ChangedImage(
                part.source[row],
                labels[truth[row]],
                labels[predictions.class_ids[row]],
                labels[theirs[row]],
                part.images[row] if i < SHOWN else None,
            )
            for i, row in enumerate(rows.tolist())
        )

    return EnsembleResult(
        kind, described, found, changed(ours_right & ~theirs_right), changed(theirs_right & ~ours_right)
    )
