from __future__ import annotations

import itertools

import numpy as np
import pytest

from moue.errors import UsageError
from moue.runtime.video.smooth import Smoother
from moue.runtime.video.track import Tracker, diou, linear_assignment

HIGH = np.ones(1, np.float32)


def boxes(*corners: tuple[float, float], side: float = 40) -> np.ndarray:
    return np.array([[x, y, side, side] for x, y in corners], np.float32).reshape(-1, 4)


def test_a_moving_face_keeps_its_track_at_any_frame_rate() -> None:
    for rate in (60, 30, 10, 5):
        tracker = Tracker()
        # 80 pixels/s: two face widths a second.
        seen = {int(tracker.update(boxes((80 * i / rate, 50)), HIGH, i / rate)[0]) for i in range(3 * rate)}
        assert seen == {1}, rate


def test_two_people_who_cross_keep_their_tracks() -> None:
    tracker = Tracker()
    for i in range(90):
        t = i / 30
        # One walks right, the other left, a little lower; they pass each other at 1.5 s.
        ids = tracker.update(boxes((100 * t, 50), (300 - 100 * t, 75)), np.ones(2, np.float32), t)
        assert ids.tolist() == [1, 2], t


def test_the_order_of_detections_does_not_matter() -> None:
    tracker = Tracker()
    tracker.update(boxes((0, 0), (200, 0)), np.ones(2, np.float32), 0.0)
    assert tracker.update(boxes((202, 0), (1, 0)), np.ones(2, np.float32), 0.1).tolist() == [2, 1]


@pytest.mark.parametrize("rate", [50, 25, 5])
def test_short_losses_are_bridged_and_long_ones_are_not_counted_in_seconds(rate: int) -> None:
    for away, same in ((0.8, True), (2.0, False)):
        tracker = Tracker(max_lost_seconds=1.0)
        for i in range(rate):
            tracker.update(boxes((10, 10)), HIGH, i / rate)
        for i in range(rate, rate + round(away * rate)):
            assert tracker.update(boxes(), np.zeros(0, np.float32), i / rate).shape == (0,)
        back = tracker.update(boxes((12, 11)), HIGH, 1 + away)
        assert (back[0] == 1) is np.bool_(same)


def test_frames_further_apart_than_max_lost_seconds_end_no_track() -> None:
    tracker = Tracker(max_lost_seconds=1.0)
    assert {int(tracker.update(boxes((10 + i, 10)), HIGH, 5.0 * i)[0]) for i in range(5)} == {1}


def test_a_face_elsewhere_starts_a_track() -> None:
    tracker = Tracker()
    tracker.update(boxes((0, 0)), HIGH, 0.0)
    assert tracker.update(boxes((300, 200)), HIGH, 0.04)[0] == 2
    # So does a face of a very different size at the same position.
    assert tracker.update(boxes((310, 210), side=8), HIGH, 0.08)[0] == 3


def test_detections_of_high_score_are_matched_first() -> None:
    tracker = Tracker()
    tracker.update(boxes((100, 100)), HIGH, 0.0)
    # The one of low score overlaps better; that of high score is matched first all the same.
    ids = tracker.update(boxes((100, 100), (108, 100)), np.array([0.3, 0.9], np.float32), 0.04)
    assert ids.tolist() == [2, 1]
    # Alone, a detection of low score continues the track.
    assert tracker.update(boxes((109, 100)), np.array([0.3], np.float32), 0.08).tolist() == [1]


def test_track_ids_are_integers_from_one_and_never_reused() -> None:
    tracker = Tracker(max_lost_seconds=0.0)
    given: list[int] = []
    for i in range(20):
        ids = tracker.update(boxes(*[((i % 2) * 500 + 90 * k, 0) for k in range(3)]), np.ones(3, np.float32), float(i))
        assert ids.dtype == np.int64
        assert len(set(ids.tolist())) == 3
        given += ids.tolist()
    assert min(given) == 1


def test_assignment_is_the_best_of_all_pairings() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        cost = random.normal(size=tuple(random.integers(1, 6, 2)))
        short, long = sorted(cost.shape)
        flat = cost if cost.shape[0] == short else cost.T
        best = min(sum(flat[i, p[i]] for i in range(short)) for p in itertools.permutations(range(long), short))
        pairs = linear_assignment(cost)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == short
        assert sum(cost[i, j] for i, j in pairs) == pytest.approx(best)


def test_diou_is_one_for_equal_boxes_and_falls_with_distance() -> None:
    a = boxes((0, 0))
    values = [diou(a, boxes((x, 0)))[0, 0] for x in (0, 10, 20, 60, 400)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert -1 < values[-1] < values[-2] < 0


def test_smoothing_does_not_depend_on_the_frame_rate() -> None:
    one = np.array([1])
    calm, glad = np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32)
    for rate in (100, 30, 7):
        smoother = Smoother(0.5)
        smoother(one, calm, 0.0)
        for i in range(1, rate + 1):
            p = smoother(one, glad, i / rate)
        np.testing.assert_allclose(p[0, 0], np.exp(-1 / 0.5), atol=1e-5)
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.sum(), 1, atol=1e-6)


def test_smoothing_keeps_people_apart_and_zero_switches_it_off() -> None:
    smoother = Smoother(10.0)
    p = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    smoother(np.array([1, 2]), p, 0.0)
    np.testing.assert_allclose(smoother(np.array([2, 1]), p[::-1], 0.1), p[::-1])
    np.testing.assert_array_equal(Smoother(0)(np.array([1, 2]), p, 0.0), p)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError):
            Smoother(wrong)
