"""Multi-object tracking of faces: a Kalman filter per track, and matching by distance-IoU.

After SORT (Bewley et al., "Simple online and realtime tracking", 2016): constant-velocity Kalman filters, and the
assignment of detections to tracks with the greatest total similarity. Detections with high scores are matched first and
the others with the tracks that are left, after ByteTrack (Zhang et al., 2022). Similarity is IoU less the distance of
the centers (Zheng et al., "Distance-IoU loss", 2020), so that faces that moved by up to about their own size still
match. All durations are in seconds, so results do not depend on frame rates, gaps and variable rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError, quoted
from moue.runtime.video.cuts import Appearance, GrayImage

Boxes = NDArray[np.floating]

#: Time constant, in seconds, of a velocity's decay while nothing is detected: heads stop, and must not fly off.
VELOCITY_DECAY = 0.5
#: Standard deviation of a detected coordinate, as a fraction of the face's size.
MEASUREMENT_NOISE = 0.05
#: Standard deviation of the acceleration, as a fraction of the face's size per s².
PROCESS_NOISE = 2.0


@dataclass
class _Track:
    """The Kalman filter of one face, whose center x, center y, width and height are independent of each other."""

    track_id: int
    last_seen: float
    """Seconds, when it was last detected."""
    position: NDArray[np.float64]
    """(4,): center x, center y, width, height in pixels."""
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    """(4,): pixels per second."""
    covariance: NDArray[np.float64] = field(default_factory=lambda: np.diag([MEASUREMENT_NOISE**2, 1.0]))
    """(2, 2): of position and velocity, in units of the face's size squared; the same for all four coordinates."""
    misses: int = 0
    """Frames since then."""
    appearance: Appearance = field(default_factory=Appearance)

    def predict(self, dt: float) -> None:
        """Predict the state ``dt`` seconds later."""
        decay = math.exp(-dt / VELOCITY_DECAY)
        transition = np.array([[1.0, VELOCITY_DECAY * (1 - decay)], [0.0, decay]])
        self.position = self.position + transition[0, 1] * self.velocity
        self.position[2:] = np.maximum(self.position[2:], 1.0)
        self.velocity = self.velocity * decay
        process_noise = PROCESS_NOISE**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        self.covariance = transition @ self.covariance @ transition.T + process_noise

    def update(self, measured: NDArray[np.float64], timestamp: float) -> None:
        """Correct the state with a detection's position, (4,), at ``timestamp`` seconds."""
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + MEASUREMENT_NOISE**2)
        residual = measured - self.position
        self.position = self.position + gain[0] * residual
        self.velocity = self.velocity + gain[1] * residual
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        self.last_seen, self.misses = timestamp, 0

    def continues(self, measured: NDArray[np.float64], face: GrayImage | None, timestamp: float) -> bool:
        """Whether a detection at that position, (4,), looks as the track's face may look ``timestamp`` seconds in."""
        moved = np.abs(measured[:2] - self.position[:2]) / self.position[2:]
        return self.appearance.continues(face, timestamp, same_place=bool(moved.max() < 0.5))


class Tracker:
    """Gives each face of a video a track id, a number from 1, that stays through short losses.

    Args:
        max_lost_seconds: how long a lost face keeps its track; one missed frame never ends it.
        high_score: detections from this score on are matched first (0 to 1).
        min_diou: the lowest distance-IoU of two boxes that may be one face (-1 to 1).

    Raises:
        UsageError: when ``max_lost_seconds`` is negative or no number.
    """

    def __init__(self, max_lost_seconds: float = 1.0, high_score: float = 0.5, min_diou: float = 0.0) -> None:
        if not max_lost_seconds >= 0:
            raise UsageError(f"max_lost_seconds must be 0 or more. Got {quoted(max_lost_seconds)} instead.")
        self.max_lost_seconds, self.high_score, self.min_diou = max_lost_seconds, high_score, min_diou
        self._tracks: list[_Track] = []
        self._timestamp: float | None = None
        self._last_id = 0

    def restart(self) -> None:
        """End all tracks, as at a cut; their numbers do not come again."""
        self._tracks = []

    def update(
        self,
        boxes: Boxes,
        scores: NDArray[np.floating],
        timestamp: float,
        faces: Sequence[GrayImage | None] | None = None,
    ) -> NDArray[np.int64]:
        """The track ids of one frame's faces.

        Args:
            boxes: ``(F, 4)``: x, y, width, height in pixels.
            scores: ``(F,)``: the detector's scores, 0 to 1.
            timestamp: seconds; must not go back.
            faces: how each face looks, of :func:`moue.runtime.video.cuts.face_images`: one that stays at its place and
                looks wholly different ends its track and starts another one.

        Returns:
            int64 ``(F,)``.
        """
        dt = max(0.0, timestamp - self._timestamp) if self._timestamp is not None else 0.0
        self._timestamp = timestamp
        for track in self._tracks:
            track.predict(dt)
        boxes = np.asarray(boxes, np.float64)
        positions = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
        track_ids = np.zeros(len(boxes), np.int64)
        unmatched = list(self._tracks)
        high = scores >= self.high_score
        for candidates in (np.flatnonzero(high), np.flatnonzero(~high)):
            for row, track in self._match(boxes, candidates, unmatched):
                unmatched.remove(track)
                if faces is not None and not track.continues(positions[row], faces[row], timestamp):
                    self._tracks.remove(track)
                    continue
                track.update(positions[row], timestamp)
                track_ids[row] = track.track_id
        for track in unmatched:
            track.misses += 1
        lost = [t for t in unmatched if t.misses > 1 and timestamp - t.last_seen > self.max_lost_seconds]
        self._tracks = [t for t in self._tracks if t not in lost]
        for row in np.flatnonzero(track_ids == 0).tolist():
            self._last_id += 1
            track = _Track(self._last_id, timestamp, positions[row])
            if faces is not None:
                track.continues(positions[row], faces[row], timestamp)
            self._tracks.append(track)
            track_ids[row] = self._last_id
        return track_ids

    def _match(self, boxes: Boxes, candidates: NDArray[np.int64], tracks: list[_Track]) -> list[tuple[int, _Track]]:
        """Pairs of a candidate (a row of ``boxes``) and its track, with the greatest total similarity."""
        if not len(candidates) or not tracks:
            return []
        boxes = boxes[candidates]
        predicted = np.array([[*(t.position[:2] - t.position[2:] / 2), *t.position[2:]] for t in tracks])
        similarity = diou(boxes, predicted)
        area_ratio = boxes[:, 2:].prod(-1)[:, None] / predicted[:, 2:].prod(-1)
        # The same position is not enough: no face doubles or halves its side between two frames.
        allowed = (similarity >= self.min_diou) & (area_ratio < 4) & (area_ratio > 1 / 4)
        # A pair that is not allowed costs as much as matching neither.
        gain = np.where(allowed, similarity - self.min_diou + 1e-6, 0.0)
        return [(int(candidates[i]), tracks[j]) for i, j in linear_assignment(-gain) if allowed[i, j]]


def diou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Distance-IoU of boxes: intersection over union, less the squared distance of the centers.

    The distance is measured in diagonals of the smallest box around both (Zheng et al., 2020).

    Args:
        a: ``(N, 4)``: x, y, width, height.
        b: ``(M, 4)``.

    Returns:
        float64 ``(N, M)``, above -1; 1 for equal boxes.
    """
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    a_end, b_end = a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]
    intersection = np.maximum(np.minimum(a_end, b_end) - np.maximum(a[..., :2], b[..., :2]), 0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - intersection
    diagonal2 = ((np.maximum(a_end, b_end) - np.minimum(a[..., :2], b[..., :2])) ** 2).sum(-1)
    distance2 = ((a[..., :2] + a[..., 2:] / 2 - b[..., :2] - b[..., 2:] / 2) ** 2).sum(-1)
    return np.asarray(intersection / np.maximum(union, 1e-9) - distance2 / np.maximum(diagonal2, 1e-9))


def linear_assignment(cost: NDArray[np.floating]) -> list[tuple[int, int]]:
    """The pairing of rows and columns with the least total cost.

    Each row of the shorter side gets a column, by shortest augmenting paths with dual potentials (Kuhn, "The Hungarian
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
    # The column numbered `columns` is virtual: each path starts there, with the row that is to be assigned.
    row_of = np.full(columns + 1, -1)
    row_potential, column_potential = np.zeros(rows), np.zeros(columns + 1)
    for row in range(rows):
        row_of[columns], column = row, columns
        distance = np.full(columns, np.inf)
        predecessor = np.full(columns, columns)
        visited = np.zeros(columns + 1, bool)
        while row_of[column] >= 0:
            visited[column] = True
            current = row_of[column]
            unvisited = ~visited[:columns]
            reduced = cost[current] - row_potential[current] - column_potential[:columns]
            shorter = unvisited & (reduced < distance)
            distance[shorter], predecessor[shorter] = reduced[shorter], column
            nearest = int(np.where(unvisited, distance, np.inf).argmin())
            delta = distance[nearest]
            row_potential[row_of[visited]] += delta
            column_potential[visited] -= delta
            distance[unvisited] -= delta
            column = nearest
        while column != columns:
            row_of[column] = row_of[predecessor[column]]
            column = int(predecessor[column])
    return sorted((int(row_of[column]), column) for column in range(columns) if row_of[column] >= 0)
