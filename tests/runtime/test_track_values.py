"""Numbers of the tracker: its motion model in closed form, distance-IoU against its definition, borders of a match."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moue.runtime.video import track as module
from moue.runtime.video.track import MEASUREMENT_NOISE, PROCESS_NOISE, VELOCITY_DECAY, Tracker, diou

FEW = settings(max_examples=25, deadline=None)
BOXES = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 40), st.floats(1, 40))


def test_the_state_is_predicted_as_the_model_says() -> None:
    track = module._Track(1, 0.0, np.array([10.0, 20.0, 30.0, 40.0]))
    assert track.covariance.tolist() == [[MEASUREMENT_NOISE**2, 0], [0, 1.0]]
    track.velocity = np.array([4.0, -2.0, 1.0, 0.0])
    track.predict(0.3)
    decay = math.exp(-0.3 / VELOCITY_DECAY)
    reach = VELOCITY_DECAY * (1 - decay)
    assert track.position == pytest.approx([10 + 4 * reach, 20 - 2 * reach, 30 + reach, 40])
    assert track.velocity == pytest.approx(np.array([4.0, -2.0, 1.0, 0.0]) * decay)
    q = PROCESS_NOISE**2
    assert track.covariance == pytest.approx(
        np.array(
            [
                [MEASUREMENT_NOISE**2 + reach**2 + q * 0.009, reach * decay + q * 0.045],
                [reach * decay + q * 0.045, decay**2 + q * 0.3],
            ]
        )
    )


def test_a_face_never_gets_smaller_than_a_pixel() -> None:
    track = module._Track(1, 0.0, np.array([-9.0, -9.0, 3.0, 2.0]))
    track.velocity = np.array([0.0, 0.0, -1e4, 0.0])
    track.predict(1.0)
    assert track.position.tolist() == [-9.0, -9.0, 1.0, 2.0]


def test_a_measurement_is_weighed_against_the_prediction() -> None:
    track = module._Track(1, 0.0, np.zeros(4))
    track.covariance = np.array([[3.0, 1.0], [1.0, 2.0]])
    track.misses = 4
    noise = MEASUREMENT_NOISE**2
    track.update(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    gain = np.array([3.0, 1.0]) / (3 + noise)
    assert track.position == pytest.approx(gain[0] * np.array([1, 2, 3, 4]))
    assert track.velocity == pytest.approx(gain[1] * np.array([1, 2, 3, 4]))
    assert track.covariance == pytest.approx(np.array([[3, 1], [1, 2]]) - np.outer(gain, [3, 1]))
    assert (track.last_seen, track.misses) == (0.5, 0)


def definition(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Distance-IoU as Zheng et al. (2020), equation 7, write it."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    width = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    height = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    inside = width * height
    across = (max(ax + aw, bx + bw) - min(ax, bx)) ** 2 + (max(ay + ah, by + bh) - min(ay, by)) ** 2
    apart = (ax + aw / 2 - bx - bw / 2) ** 2 + (ay + ah / 2 - by - bh / 2) ** 2
    return inside / (aw * ah + bw * bh - inside) - apart / across


@FEW
@given(st.lists(BOXES, min_size=1, max_size=3), st.lists(BOXES, min_size=1, max_size=3))
def test_distance_iou_is_its_definition(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    assert diou(np.array(a), np.array(b)) == pytest.approx(
        np.array([[definition(x, y) for y in b] for x in a]), abs=1e-6
    )


def ids(tracker: Tracker, boxes: list[list[float]], timestamp: float) -> list[int]:
    return tracker.update(np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes)), timestamp).tolist()


@pytest.mark.parametrize(("side", "same"), [(1.9, True), (2.1, False), (0.55, True), (0.45, False)])
def test_no_face_doubles_or_halves_its_side(side: float, same: bool) -> None:
    tracker = Tracker(min_diou=-1)
    [first] = ids(tracker, [[0, 0, 20, 20]], 0.0)
    middle = 10 - 10 * side
    [second] = ids(tracker, [[middle, middle, 20 * side, 20 * side]], 0.04)
    assert (first == second) is same


def test_one_missed_frame_ends_no_track_and_a_long_absence_does() -> None:
    tracker = Tracker(max_lost_seconds=0.5)
    box = [[0.0, 0, 20, 20]]
    assert ids(tracker, box, 0.0) == [1]
    assert ids(tracker, [], 5.0) == []
    # Missed once, however long ago.
    assert ids(tracker, box, 5.1) == [1]
    assert ids(tracker, [], 5.2) == []
    assert ids(tracker, [], 5.5) == []
    assert ids(tracker, box, 5.6) == [1]
    assert ids(tracker, [], 5.9) == []
    assert ids(tracker, [], 6.2) == []
    assert ids(tracker, box, 6.3) == [2]


@pytest.mark.parametrize(("x", "y", "same_place"), [(9, 0, True), (11, 0, False), (0, 19, True), (0, 21, False)])
def test_what_counts_as_the_same_place(monkeypatch: pytest.MonkeyPatch, x: float, y: float, same_place: bool) -> None:
    """Half a face's width and height from where the track was predicted."""
    seen: list[bool] = []
    track = module._Track(1, 0.0, np.array([100.0, 50.0, 20.0, 40.0]))

    def continues(self: object, face: object, timestamp: float, same_place: bool) -> bool:
        seen.append(same_place)
        return True

    monkeypatch.setattr(type(track.appearance), "continues", continues)
    for sign in (1, -1):
        assert track.continues(np.array([100 + sign * x, 50 + sign * y, 20, 40]), None, 0.0)
    assert seen == [same_place, same_place]


def test_a_head_that_is_not_seen_stops_within_half_of_its_speed_s_second() -> None:
    track = module._Track(1, 0.0, np.array([0.0, 0.0, 20.0, 20.0]))
    track.velocity = np.array([100.0, 0.0, 0.0, 0.0])
    for _ in range(100):
        track.predict(0.1)
    assert track.position[0] == pytest.approx(50, abs=0.5)


def test_a_track_begins_at_the_center_of_its_box() -> None:
    tracker = Tracker()
    ids(tracker, [[10, 20, 30, 50]], 0.0)
    assert tracker._tracks[0].position.tolist() == [25, 45, 30, 50]


def test_one_close_pair_is_worth_more_than_two_distant_ones() -> None:
    tracker = Tracker()
    assert ids(tracker, [[0, 0, 20, 20], [11, 0, 20, 20]], 0.0) == [1, 2]
    # The first detection is nearly where track 1 was; the other could be 1 as well, which would leave the first to 2.
    assert ids(tracker, [[2, 0, 20, 20], [-9, 0, 20, 20]], 0.0) == [1, 3]


def test_boxes_below_a_pixel_overlap_as_others_do() -> None:
    small = np.array([[0.0, 0.0, 0.1, 0.1]])
    assert diou(small, small)[0, 0] == pytest.approx(1, abs=1e-5)


def test_distant_boxes_below_a_pixel_are_as_far_as_others() -> None:
    small, next_to_it = np.array([[0.0, 0.0, 0.1, 0.1]]), np.array([[0.3, 0.0, 0.1, 0.1]])
    assert diou(small, next_to_it) == pytest.approx(diou(small * 100, next_to_it * 100), abs=1e-5)


@pytest.mark.parametrize("times", [(0.0, 0.1), (3.0, 3.1)])
def test_a_track_is_predicted_for_the_time_that_passed(times: tuple[float, float]) -> None:
    tracker = Tracker()
    ids(tracker, [[0, 0, 20, 20]], times[0])
    tracker._tracks[0].velocity = np.array([100.0, 0.0, 0.0, 0.0])
    ids(tracker, [], times[1])
    expected = module._Track(1, 0.0, np.array([10.0, 10.0, 20.0, 20.0]))
    expected.velocity = np.array([100.0, 0.0, 0.0, 0.0])
    expected.predict(times[1] - times[0])
    assert tracker._tracks[0].position == pytest.approx(expected.position)
    assert tracker._tracks[0].covariance == pytest.approx(expected.covariance)
