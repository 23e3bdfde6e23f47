"""Who is who from frame to frame: overlap, motion and a best assignment.

After SORT (Bewley et al., "Simple online and realtime tracking", 2016): a Kalman filter with constant velocity for each
face, and the assignment with the greatest total overlap; certain detections choose first and doubtful ones take what is
left, after ByteTrack (Zhang et al., 2022). Overlap is measured with the distance of the centers taken off (Zheng et
al., "Distance-IoU loss", 2020), so that faces that moved by less than about their own size are still told. All
spans are in seconds, so frame rates, gaps and variable rates make no difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError

Boxes = NDArray[np.floating]

#: A velocity that no detection confirms fades with this time constant (seconds): heads stop, and must not fly off.
VELOCITY_DECAY = 0.5
#: Standard deviation of a detected edge, and of the acceleration (per s²), as fractions of the face's size.
MEASUREMENT_NOISE, PROCESS_NOISE = 0.05, 2.0


@dataclass
class _Track:
    """The Kalman filter of one face; center x, center y, width and height move independently."""

    identity: int
    seen: float
    """When it was last detected, seconds."""
    misses: int
    place: NDArray[np.float64]
    """(4,): center x, center y, width, height in pixels."""
    speed: NDArray[np.float64]
    """(4,): their change a second."""
    spread: NDArray[np.float64]
    """(2, 2): covariance of place and speed, in units of the face's size squared; the same for all four."""

    def predict(self, dt: float) -> None:
        """Move on by ``dt`` seconds."""
        kept = math.exp(-dt / VELOCITY_DECAY)
        step = np.array([[1.0, VELOCITY_DECAY * (1 - kept)], [0.0, kept]])
        self.place = self.place + step[0, 1] * self.speed
        self.place[2:] = np.maximum(self.place[2:], 1.0)
        self.speed = self.speed * kept
        push = PROCESS_NOISE**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        self.spread = step @ self.spread @ step.T + push

    def correct(self, place: NDArray[np.float64], timestamp: float) -> None:
        """Take in a detection."""
        gain = self.spread[:, 0] / (self.spread[0, 0] + MEASUREMENT_NOISE**2)
        missed = place - self.place
        self.place = self.place + gain[0] * missed
        self.speed = self.speed + gain[1] * missed
        self.spread = self.spread - np.outer(gain, self.spread[0])
        self.seen, self.misses = timestamp, 0


class Tracker:
    """Gives each face of a video an identity, a number from 1, that stays through short losses.

    Args:
        max_lost_seconds: seconds for which a lost face keeps its identity; one missed frame never loses it.
        high_score: detections from this score on choose their track first (0 to 1).
        min_diou: the least overlap, less the distance of centers, for two boxes to be one face (-1 to 1).

    Raises:
        UsageError: when ``max_lost_seconds`` is negative.
    """

    def __init__(self, max_lost_seconds: float = 1.0, high_score: float = 0.5, min_diou: float = 0.0) -> None:
        if not max_lost_seconds >= 0:
            raise UsageError(f"max_lost_seconds must be 0 or more seconds. Got {max_lost_seconds!r} instead.")
        self.max_lost_seconds, self.high_score, self.min_diou = max_lost_seconds, high_score, min_diou
        self._tracks: list[_Track] = []
        self._clock: float | None = None
        self._last = 0

    def update(self, boxes: Boxes, scores: NDArray[np.floating], timestamp: float) -> NDArray[np.int64]:
        """The identities of one frame's faces.

        Args:
            boxes: ``(F, 4)``: x, y, width, height in pixels.
            scores: ``(F,)``: the detector's certainty, 0 to 1.
            timestamp: seconds; must not go back.

        Returns:
            int64 ``(F,)``.
        """
        dt = max(0.0, timestamp - self._clock) if self._clock is not None else 0.0
        self._clock = timestamp
        for track in self._tracks:
            track.predict(dt)
        identities = np.zeros(len(boxes), np.int64)
        free = list(self._tracks)
        sure = scores >= self.high_score
        for group in (np.flatnonzero(sure), np.flatnonzero(~sure)):
            for row, track in self._pairs(boxes, group, free):
                track.correct(_centerd(boxes[row]), timestamp)
                identities[row] = track.identity
                free.remove(track)
        for track in free:
            track.misses += 1
        lost = [t for t in free if t.misses > 1 and timestamp - t.seen > self.max_lost_seconds]
        self._tracks = [t for t in self._tracks if t not in lost]
        for row in np.flatnonzero(identities == 0).tolist():
            identities[row] = self._start(boxes[row], timestamp)
        return identities

    def _pairs(self, boxes: Boxes, rows: NDArray[np.int64], tracks: list[_Track]) -> list[tuple[int, _Track]]:
        if not len(rows) or not tracks:
            return []
        places = np.array([[*(t.place[:2] - t.place[2:] / 2), *t.place[2:]] for t in tracks])
        likeness = diou(np.asarray(boxes, np.float64)[rows], places)
        sizes = np.asarray(boxes, np.float64)[rows, 2:].prod(-1)[:, None] / places[:, 2:].prod(-1)
        # The same spot is not enough: nobody's face doubles or halves its side between two looks.
        allowed = (likeness >= self.min_diou) & (sizes < 4) & (sizes > 1 / 4)
        # A pair that is not allowed costs as much as leaving both alone.
        gain = np.where(allowed, likeness - self.min_diou + 1e-6, 0.0)
        return [(int(rows[i]), tracks[j]) for i, j in linear_assignment(-gain) if allowed[i, j]]

    def _start(self, box: Boxes, timestamp: float) -> int:
        self._last += 1
        spread = np.diag([MEASUREMENT_NOISE**2, 1.0])
        self._tracks.append(_Track(self._last, timestamp, 0, _centerd(box), np.zeros(4), spread))
        return self._last


def _centerd(box: Boxes) -> NDArray[np.float64]:
    x, y, width, height = (float(v) for v in box)
    return np.array([x + width / 2, y + height / 2, width, height])


def diou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """How much boxes are alike: intersection over union, less the squared distance of the centers.

    The distance is measured in diagonals of the smallest box around both (Zheng et al., 2020).

    Args:
        a: ``(N, 4)``: x, y, width, height.
        b: ``(M, 4)``.

    Returns:
        float64 ``(N, M)``, above -1; 1 for equal boxes.
    """
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    a_end, b_end = a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]
    inner = np.maximum(np.minimum(a_end, b_end) - np.maximum(a[..., :2], b[..., :2]), 0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - inner
    around = ((np.maximum(a_end, b_end) - np.minimum(a[..., :2], b[..., :2])) ** 2).sum(-1)
    apart = ((a[..., :2] + a[..., 2:] / 2 - b[..., :2] - b[..., 2:] / 2) ** 2).sum(-1)
    return np.asarray(inner / np.maximum(union, 1e-9) - apart / np.maximum(around, 1e-9))


def linear_assignment(cost: NDArray[np.floating]) -> list[tuple[int, int]]:
    """The pairing of rows and columns with the least total cost.

    Each row of the shorter side gets a partner, by shortest augmenting paths with potentials (Kuhn, "The Hungarian
    method for the assignment problem", 1955; Jonker and Volgenant, 1987): O(n² m).

    Args:
        cost: ``(N, M)``, finite.

    Returns:
        min(N, M) pairs (row, column).
    """
    cost = np.asarray(cost, np.float64)
    rows, columns = cost.shape
    if rows > columns:
        return sorted((row, column) for column, row in linear_assignment(cost.T))
    # Column `columns` is a stand-in that holds the row which is looking for a partner.
    holder = np.full(columns + 1, -1)
    row_price, column_price = np.zeros(rows), np.zeros(columns + 1)
    for row in range(rows):
        holder[columns], column = row, columns
        reach = np.full(columns, np.inf)
        origin = np.full(columns, columns)
        visited = np.zeros(columns + 1, bool)
        while holder[column] >= 0:
            visited[column] = True
            here = holder[column]
            open_ = ~visited[:columns]
            reduced = cost[here] - row_price[here] - column_price[:columns]
            closer = open_ & (reduced < reach)
            reach[closer], origin[closer] = reduced[closer], column
            nearest = int(np.where(open_, reach, np.inf).argmin())
            delta = reach[nearest]
            row_price[holder[visited]] += delta
            column_price[visited] -= delta
            reach[open_] -= delta
            column = nearest
        while column != columns:
            holder[column] = holder[origin[column]]
            column = int(origin[column])
    return sorted((int(holder[column]), column) for column in range(columns) if holder[column] >= 0)
