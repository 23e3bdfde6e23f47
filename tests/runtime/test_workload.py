"""The time left of a run over many inputs holds within a third after its first tenth, whatever the mix."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import make_video, scene

from moue.runtime.inputs.source import Source
from moue.runtime.options import VideoOptions
from moue.runtime.workload import TimeLeft, Workload, workload_of

PHOTO, SMALL, LARGE = Workload("photo", 1, 0.13), Workload("photo", 1, 0.06), Workload("photo", 1, 0.5)


def film(frames: int, a_frame: float = 0.027) -> Workload:
    return Workload("frame", frames, 0.1 + a_frame * frames)


def shuffled(loads: list[Workload], seed: int = 0) -> list[Workload]:
    return [loads[i] for i in np.random.default_rng(seed).permutation(len(loads))]


MIXES = {
    "photos": [PHOTO] * 300,
    "small, then large photos": [SMALL] * 400 + [LARGE] * 50,
    "films of one length": [film(300)] * 12,
    "short, then long films": [film(72)] * 40 + [film(3000)] * 4,
    "one long film first": [film(9000), *[film(90)] * 50],
    "photos, then films": [PHOTO] * 200 + [film(500)] * 10,
    "films, then photos": [film(500)] * 10 + [PHOTO] * 400,
    "shuffled": shuffled([PHOTO] * 200 + [SMALL] * 100 + [film(n) for n in (30, 72, 300, 300, 1500, 4000)]),
    "HD among small films": shuffled([film(250)] * 20 + [film(250, 0.05)] * 20, 1),
    "one film": [film(5000)],
}


def simulated(
    loads: list[Workload], seconds: Callable[[Workload], float], seed: int
) -> Iterator[tuple[float, float, float | None]]:
    """Seconds gone, seconds left in truth and seconds left as estimated, whenever something was read.

    A machine takes ``seconds`` for an input on average. An input takes more or less of them: photos by half, as they
    have one face or ten, films by a tenth.
    """
    rng = np.random.default_rng(seed)
    spread = {"photo": 0.5, "frame": 0.1}
    took = [seconds(load) * rng.lognormal(-(spread[load.unit] ** 2) / 2, spread[load.unit]) for load in loads]
    left, gone = TimeLeft(loads), 0.0
    for load, total in zip(loads, took, strict=True):
        left.begin(load)
        steps = 1 if load.unit == "photo" else max(1, (load.amount or 1) // 8)
        for step in range(1, steps + 1):
            left.advance(step / steps, total * step / steps)
            now = gone + total * step / steps
            yield now, sum(took) - now, left.seconds
        left.end()
        gone += total


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize(("photo", "frame"), [(1.0, 1.0), (0.25, 0.25), (7.0, 6.0), (0.85, 1.0), (1.0, 0.85)])
def test_it_holds_within_a_third_after_the_first_tenth(mix: str, photo: float, frame: float) -> None:
    loads = MIXES[mix]

    def seconds(load: Workload) -> float:
        return load.cost * (photo if load.unit == "photo" else frame)

    for seed in range(3):
        moments = list(simulated(loads, seconds, seed))
        total = moments[-1][0]
        checked = 0
        for gone, truth, estimate in moments:
            # At the very end, a third of what is left is less than one input varies by.
            if not 0.1 * total <= gone <= 0.95 * total:
                continue
            checked += 1
            assert estimate is not None
            assert abs(estimate - truth) <= truth / 3, (
                f"{mix}: {estimate:.1f} s for {truth:.1f} s, {gone / total:.0%} gone"
            )
        assert checked > 5


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_kind_that_is_cheaper_or_dearer_than_thought_is_learned(factor: float) -> None:
    loads = shuffled([PHOTO] * 300 + [film(200)] * 30)
    moments = list(simulated(loads, lambda load: load.cost * (factor if load.unit == "photo" else 1.0), 0))
    total = moments[-1][0]
    for gone, truth, estimate in moments:
        if 0.1 * total <= gone <= 0.95 * total:
            assert abs((estimate or 0) - truth) <= truth / 3


def test_what_cannot_be_read_takes_no_part_of_the_rate() -> None:
    left = TimeLeft([PHOTO] * 40)
    assert left.seconds is None
    for i in range(20):
        left.begin(PHOTO)
        if i % 2:
            left.advance(1.0, 0.2)
        left.end()
    assert left.seconds == pytest.approx(20 * 0.2)
    assert left.share == pytest.approx(10 / 30)


def test_a_photo_that_took_longer_tells_little_about_films() -> None:
    left = TimeLeft([PHOTO, film(1000)])
    left.begin(PHOTO)
    left.advance(1.0, 4 * PHOTO.cost)
    left.end(effort=4.0)
    assert left.seconds == pytest.approx(film(1000).cost)
    # Of other photos it does, as many of a folder may be of that kind.
    left = TimeLeft([PHOTO] * 200)
    for _ in range(100):
        left.begin(PHOTO)
        left.advance(1.0, 4 * PHOTO.cost)
        left.end(effort=4.0)
    assert left.seconds == pytest.approx(100 * 4 * PHOTO.cost, rel=0.1)


def test_the_present_film_has_a_time_of_its_own() -> None:
    left = TimeLeft([film(1000), film(1000)])
    left.begin(film(1000))
    assert (left.present, left.share) == (None, 0)
    left.advance(0.5, 100)
    assert left.present == pytest.approx(100)
    assert left.seconds == pytest.approx(300)
    left.advance(1.0, 200)
    left.end()
    left.begin(film(1000))
    assert left.present == left.seconds == pytest.approx(200)
    # Dearer than the first: the present one counts by its own rate.
    left.advance(0.5, 300)
    assert left.present == pytest.approx(300, rel=0.05)


def test_the_header_tells_how_much_a_film_is(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", [scene(i) for i in range(100)])
    source = Source(str(path), "video")

    def load(**options: float) -> Workload:
        return workload_of(source, VideoOptions(**options), False)  # type: ignore[arg-type]

    assert (load().unit, load().amount) == ("frame", 100)
    assert load(start=1.0).amount == 75
    assert load(start=1.0, end=2.0).amount == 25
    assert load(end=90.0).amount == 100
    assert load(every=5).amount == 100
    assert load().cost > load(every=2).cost > load(fps=2.0).cost > 0.1
    assert workload_of(source, VideoOptions(), True).cost > load().cost
    wide = make_video(tmp_path / "wide.mp4", [scene(i, width=640, height=480) for i in range(100)])
    assert workload_of(replace(source, name=str(wide)), VideoOptions(), False).cost > load().cost


def test_the_header_tells_how_much_a_photo_is(tmp_path: Path) -> None:
    def load(width: int, height: int) -> Workload:
        path = tmp_path / f"{width}.png"
        Image.new("L", (width, height)).save(path)
        return workload_of(Source(str(path), "image"), VideoOptions(start=5.0), False)

    small, medium, large = load(60, 60), load(1280, 960), load(5000, 3000)
    assert (small.unit, small.amount) == ("photo", 1)
    assert small.cost < medium.cost < large.cost < 12 * medium.cost


def test_what_has_no_header_counts_as_a_usual_one(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 broken")
    options = VideoOptions()
    photos = [Source(str(tmp_path / "broken.jpg"), "image"), Source("gone.jpg", "image"), Source("a\0.jpg", "image"),
              Source("<bytes>", "image", content=b"")]  # fmt: skip
    for source in photos:
        assert workload_of(source, options, False).amount == 1
    films = [Source(str(tmp_path / "broken.mp4"), "video"), Source("<video>", "video", content=io.BytesIO(b"x"))]
    for source in films:
        load = workload_of(source, options, False)
        assert (load.amount, load.unit) == (None, "frame")
        assert load.cost > 0
    assert workload_of(Source("notes.txt", "skipped", "why"), options, False).cost == 0
    assert workload_of(Source("0", "camera"), options, False).cost == 0


def test_what_is_damaged_from_its_beginning_is_hardly_any_work(tmp_path: Path) -> None:
    """Ten damaged films would else be believed to take longer than a hundred whole ones."""
    film = make_video(tmp_path / "clip.mp4", [scene(i) for i in range(10)])
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "half.mp4").write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    options = VideoOptions()
    whole = workload_of(Source(str(film), "video"), options, False).cost
    for name in ("text.mp4", "half.mp4"):
        assert workload_of(Source(str(tmp_path / name), "video"), options, False).cost < whole
    Image.new("L", (60, 60)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no photo")
    photo = workload_of(Source(str(tmp_path / "a.png"), "image"), options, False).cost
    assert workload_of(Source(str(tmp_path / "text.png"), "image"), options, False).cost <= photo
