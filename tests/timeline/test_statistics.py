"""``moue.timeline``: numbers that can be worked out by hand, intervals that hold, and inputs of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from films import LABELS, film
from numpy.typing import NDArray

from moue import timeline
from moue.errors import DataError, MissingExtra, UnknownName, UsageError
from moue.evaluation.intervals import t_quantile
from moue.runtime.outputs.dataframe import to_frame, to_rows
from moue.runtime.outputs.people import People, columns_of, to_row
from moue.runtime.outputs.sinks import open_sink
from moue.runtime.outputs.tabular import to_csv
from moue.runtime.results import Faces, Predictions
from moue.timeline.intervals import mean_over_units

EVENTS = [
    timeline.Event("a.mp4", 2, 4, "joke"),
    timeline.Event("b.mp4", 0, 5, "joke"),
    timeline.Event("films/a.mp4", 4, 10, "rest"),
]


def test_by_person_has_the_numbers_of_people_csv(results: list[Faces]) -> None:
    people = timeline.by_person(timeline.read(results))
    expected = [to_row(row) for row in People(results).summary()]
    for row, known in zip(people, expected, strict=True):
        assert row == pytest.approx({name: known[name] for name in people.columns}, abs=2e-5), "but for its seconds"
    assert set(columns_of(LABELS)) - set(people.columns) == {"seconds"}
    assert [row["track"] for row in people] == [1, 2, 1]
    assert people[0]["happy"] == pytest.approx(0.26)
    assert people[0]["happy_share"] == pytest.approx(0.2)
    assert (people[1]["start"], people[1]["uncertain_share"]) == (5.0, 1.0)


def test_by_person_and_condition(results: list[Faces]) -> None:
    rows = timeline.by_person(timeline.read(results), EVENTS)
    found = {(row["source"][-5:], row["track"], row["condition"]): row for row in rows}
    assert {key: (row["frames"], round(row["happy"], 3)) for key, row in found.items()} == {
        ("a.mp4", 1, "joke"): (20, 0.9),
        ("a.mp4", 1, "rest"): (60, 0.1),
        ("a.mp4", 2, "rest"): (50, 0.5),
        ("b.mp4", 1, "joke"): (50, 0.7),
    }
    assert found["a.mp4", 1, "joke"]["happy_share"] == 1
    assert rows.to_frame().shape == (4, len(rows.columns))


def test_by_condition_counts_each_person_the_same(results: list[Faces]) -> None:
    table = timeline.by_condition(timeline.read(results), EVENTS)
    assert table.columns == (
        *("condition", "expression", "people", "frames"),
        *("mean", "mean_low", "mean_high", "share", "share_low", "share_high"),
    )
    rows = {(row["condition"], row["expression"]): row for row in table}
    joke, rest = rows["joke", "happy"], rows["rest", "happy"]
    assert (joke["people"], joke["frames"], joke["mean"], joke["share"]) == (2, 70, pytest.approx(0.8), 1)
    assert (rest["people"], rest["mean"], rest["share"]) == (2, pytest.approx(0.3), pytest.approx(0.5))
    # Of two people, hardly anything can be said: 0.8 ± 12.7 · 0.141 / sqrt(2), within what is possible.
    assert (joke["mean_low"], joke["mean_high"]) == (0, 1)
    half = timeline.by_condition(timeline.read(results), EVENTS, confidence=0.5)
    assert half[1]["mean_low"] == pytest.approx(0.8 - 1.0 * 0.1414 / 2**0.5, abs=1e-4)
    assert [*dict.fromkeys(row["condition"] for row in table)] == ["joke", "rest"]
    alone = timeline.by_condition(timeline.read(results), EVENTS[1:2])
    assert (alone[1]["people"], alone[1]["mean_low"]) == (1, None)
    nobody = timeline.by_condition(timeline.read(results), [timeline.Event("a.mp4", 90, 91, "later")])
    assert (nobody[0]["people"], nobody[0]["mean"]) == (0, None)


def test_a_frame_in_two_events_counts_once_and_the_end_is_not_part_of_an_event(results: list[Faces]) -> None:
    events = [
        timeline.Event("a.mp4", 1, 3, "x"),
        timeline.Event("a.mp4", 2, 4, "x"),
        timeline.Event("b.mp4", 0, 0.5, "y"),
    ]
    rows = timeline.by_person(timeline.read(results), events)
    assert [(row["frames"], row["end"]) for row in rows] == [(30, 3.9), (5, 0.4)]


def test_curves_are_locked_to_the_start_of_events(results: list[Faces]) -> None:
    events = [timeline.Event("a.mp4", 2, condition="joke"), timeline.Event("a.mp4", 9.95, condition="joke")]
    curves = timeline.event_locked(timeline.read(results[:100]), events[:1], before=1, after=2.9)
    assert (curves.conditions, curves.unit, curves.events) == (("joke",), "person", (1,))
    assert curves.times == pytest.approx(np.arange(-10, 30) / 10)
    happy = curves.mean[0, :, LABELS.index("happy")]
    assert happy == pytest.approx([0.9 if 0 <= t < 2 - 1e-9 else 0.1 for t in curves.times])
    assert np.isnan(curves.low).all(), "of one person, nothing is known about others"
    # At the end of the film nothing is known, and the other person counts from where he is seen.
    late = timeline.event_locked(timeline.read(results[:100]), events[1:], before=5, after=1)
    assert late.n[0].tolist() == [1, *[2] * 49, *[0] * 11]
    assert late.mean[0, -1, 0] != late.mean[0, -1, 0]
    changes = timeline.event_locked(timeline.read(results[:100]), events[:1], after=2.9, baseline=(-1, -0.1))
    assert changes.mean[0, :, 1] == pytest.approx(happy - 0.1)
    frame = curves.to_frame()
    assert list(frame) == ["condition", "time", "expression", "mean", "low", "high", "n"]
    assert len(frame) == 40 * 3


def test_points_between_frames_are_interpolated_but_not_where_nobody_was() -> None:
    seen = timeline.read(film("a", lambda t: {} if 4 <= t < 6 else {1: t / 20}, rate=5))
    curves = timeline.event_locked(seen, [timeline.Event("a", 0, condition="x")], before=0, after=9, step=0.1)
    happy = curves.mean[0, :, 1]
    there = (curves.times <= 3.81) | (curves.times >= 5.99)
    assert happy[there] == pytest.approx(curves.times[there] / 20)
    assert np.isnan(happy[~there]).all()
    # Of a film that is read once a second, seconds apart is as usual.
    slow = timeline.read(film("a", lambda t: {1: t / 20}, rate=1))
    slow_curves = timeline.event_locked(slow, [timeline.Event("a", 2.5, condition="x")], step=0.5)
    assert slow_curves.mean[0, :, 1] == pytest.approx((slow_curves.times + 2.5) / 20)


def test_what_is_independent_can_be_said() -> None:
    rng = np.random.default_rng(0)
    level: list[float] = rng.uniform(0.2, 0.8, 12).tolist()
    pairs = {name: dict(enumerate(level[2 * f : 2 * f + 2])) for f, name in enumerate("abcdef")}
    seen = timeline.read([film(f"{name}.mp4", lambda t: pair) for name, pair in pairs.items()])  # noqa: B023 - used at once
    events = [timeline.Event(f"{name}.mp4", t, condition="x") for name in "abcdef" for t in (2, 4, 6)]
    by = {unit: timeline.event_locked(seen, events, unit=unit) for unit in ("person", "source", "event")}
    assert {unit: (curves.n[0, 5], curves.events) for unit, curves in by.items()} == {
        "person": (12, (36,)),
        "source": (6, (36,)),
        "event": (36, (36,)),
    }
    width = {unit: float((curves.high - curves.low)[0, 5, 1]) for unit, curves in by.items()}
    assert width["event"] < 0.75 * width["person"], "three events of a person are one observation"
    assert timeline.event_locked(seen, events).unit == "person"


@pytest.mark.parametrize("n", [5, 10, 30])
@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_intervals_hold_the_true_mean_as_often_as_they_say(n: int, draw: str) -> None:
    rng = np.random.default_rng(n)
    columns = 800
    values: NDArray[Any] = rng.normal(0.5, 0.1, (n, columns)) if draw == "normal" else rng.beta(1, 4, (n, columns))
    true = 0.5 if draw == "normal" else 0.2
    found = mean_over_units(values)
    covered = float(np.mean((found.low <= true) & (true <= found.high)))
    assert 0.90 <= covered <= 0.97
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()


def test_quantiles_of_t_are_those_of_the_tables() -> None:
    known = {1: 12.7062, 2: 4.3027, 4: 2.7764, 9: 2.2622, 30: 2.0423, 1000: 1.9623}
    assert {df: t_quantile(0.975, df) for df in known} == pytest.approx(known, abs=2e-3)


def test_units_that_lack_a_value_do_not_count() -> None:
    values = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, 4.0]])
    found = mean_over_units(values, bounds=(-99, 99))
    assert found.mean.tolist() == [3, 4]
    assert found.n.tolist() == [3, 1]
    # ± 4.303 · sqrt(7) / sqrt(3)
    assert (found.low[0], found.high[0]) == (pytest.approx(-3.572, abs=1e-3), pytest.approx(9.572, abs=1e-3))
    assert np.isnan(found.low[1])
    for wrong in (1.0, 0):
        with pytest.raises(UsageError, match=r"confidence must be"):
            mean_over_units(values, confidence=wrong)


def written(folder: Path, format: str, results: list[Faces]) -> Path:
    path = folder / f"rows.{format}"
    sink = open_sink(path, format, LABELS)
    for row in results:
        sink.write(row)
    sink.close()
    return path


def test_results_are_read_from_wherever_they_are(results: list[Faces], tmp_path: Path) -> None:
    photo = Faces("photo.jpg", "unreadable", reason="damaged", predictions=Predictions.empty(LABELS))
    everything = [*results, photo]
    known = timeline.by_person(timeline.read(everything))
    kinds: dict[str, Any] = {
        "faces": iter(everything),
        "lists": [results[:100], results[100:]],
        "frame": to_frame(everything),
        "rows": to_rows(everything),
        **{format: written(tmp_path, format, everything) for format in ("json", "jsonl", "csv", "parquet")},
        "read by pandas": pd.read_csv(tmp_path / "rows.csv"),
    }
    for kind, given in kinds.items():
        found = timeline.by_person(timeline.read(given))
        for row, expected in zip(found, known, strict=True):
            assert row == pytest.approx(expected, abs=2e-4), kind
    assert timeline.read(everything).sources == ("films/a.mp4", "films/sub/b.mp4", "photo.jpg")


def test_people_csv_gives_the_same_as_the_frames(results: list[Faces], tmp_path: Path) -> None:
    rows = [to_row(row) for row in People(results).summary()]
    (tmp_path / "people.csv").write_text(to_csv(rows))
    people = timeline.read(tmp_path / "people.csv")
    for row, expected in zip(timeline.by_person(people), timeline.by_person(timeline.read(results)), strict=True):
        assert row == pytest.approx(expected, abs=2e-4)
    films = [timeline.Event("a.mp4", condition="with others"), timeline.Event("b.mp4", condition="alone")]
    whole = timeline.by_condition(timeline.read(results), films)
    for row, expected in zip(timeline.by_condition(people, films), whole, strict=True):
        assert row == pytest.approx(expected, abs=2e-4)
    for statistic in (timeline.by_person, timeline.by_condition, timeline.event_locked):
        with pytest.raises(UsageError, match="Read the folder that it lies in instead"):
            statistic(people, EVENTS)
    # The second person is in the event for all of her time.
    later = timeline.by_person(people, [timeline.Event("a.mp4", 20, 30, "later")])
    assert len(later) == 0


def test_events_are_a_csv_as_any_spreadsheet_writes_it(results: list[Faces], tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    expected = [timeline.Event("a.mp4", 2.5, 4, "joke"), timeline.Event("sub/b.mp4", condition="rest, later")]
    for text in (
        'source,start,end,condition\na.mp4,2.5,4,joke\nsub/b.mp4,,,"rest, later"\n',
        "\ufeffSource;Start;End;Condition;note\r\na.mp4;2,5;4,0;joke;x\r\nsub/b.mp4; ;;rest, later;\r\n",
        "condition\tsource\tstart\tend\njoke\ta.mp4\t2.5\t4\nrest, later\tsub/b.mp4\t\t\n",
    ):
        path.write_bytes(text.encode())
        assert timeline.read_events(path) == expected
    assert timeline.read_events(pd.read_csv(path, sep="\t")) == expected
    assert (
        timeline.read_events([{"source": "a.mp4", "start": 2.5, "end": 4, "condition": "joke"}, expected[1]])
        == expected
    )
    assert [row["condition"] for row in timeline.by_person(timeline.read(results), expected)] == ["joke", "rest, later"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,start,condition\na.mp4,1,x\n", "needs the columns source, start, end, condition"),
        (
            "source,start,end,condition\na.mp4,soon,4,x\n",
            "line 2: start must be a time such as 12.5, 1:30 or 0:01:30. Got",
        ),
        ("source,start,end,condition\na.mp4,1,2,x\na.mp4,5,4,x\n", "line 3: an event must end after its start"),
        ("source,start,end,condition\na.mp4,1,2,\n", "line 2: an event needs a source and a condition"),
        ("source,start,end,condition\na.mp4,nan,2,x\n", "line 2"),
        ("", "is empty. It needs a line with source,start,end,condition"),
    ],
)
def test_events_that_cannot_be_used_say_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        timeline.read_events(tmp_path / "events.csv")
    assert "events.csv" in str(error.value)


def test_what_cannot_be_computed_says_what_to_do(results: list[Faces], tmp_path: Path) -> None:
    seen = timeline.read(results)
    with pytest.raises(UnknownName, match=r"no film in the results named 'a\.mp3'.*Did you mean a\.mp4"):
        timeline.by_condition(seen, [timeline.Event("a.mp3", condition="x")])
    both = timeline.read([*results, *film("other/a.mp4", lambda t: {1: 0.5})])
    with pytest.raises(UsageError, match="Write more of the path"):
        timeline.by_condition(both, EVENTS)
    with pytest.raises(UsageError, match="there is no event"):
        timeline.by_condition(seen, [])
    with pytest.raises(UsageError, match="needs a start"):
        timeline.event_locked(seen, [timeline.Event("a.mp4", condition="x")])
    for wrong in ({"step": 0}, {"before": -1}, {"before": 0, "after": 0}, {"baseline": (-9, -8)}, {"unit": "people"}):
        with pytest.raises(UsageError):
            timeline.event_locked(seen, EVENTS, **wrong)
    for nothing in ([], film("a", lambda t: {}), tmp_path, tmp_path / "gone.csv", tmp_path / "x.txt", 7):
        with pytest.raises((UsageError, DataError)):
            timeline.read(nothing)
    (tmp_path / "rows.json").write_text('[{"source": "a", "faces": [{"track": 1}], "timestamp": 1}]')
    (tmp_path / "rows.jsonl").write_text("{")
    for damaged in ("rows.json", "rows.jsonl"):
        with pytest.raises(DataError):
            timeline.read(tmp_path / damaged)
    names = ("x", "y", "z")
    other = [
        row.replace(source=f"other/{row.source}", predictions=Predictions(row.predictions.probabilities, names))
        for row in results
    ]
    with pytest.raises(UsageError, match="one model"):
        timeline.read([*results, *other])


def test_figures_are_drawn_of_every_kind(results: list[Faces], tmp_path: Path) -> None:
    seen = timeline.read(results)
    curves = timeline.event_locked(seen, EVENTS)
    for name in ("all.png", "happy.svg", "print.pdf"):
        timeline.plot_curves(curves, tmp_path / name, ["happy"] if name == "happy.svg" else None)
        assert (tmp_path / name).stat().st_size > 2000
    svg = (tmp_path / "happy.svg").read_text()
    assert "joke (n = 2)" in svg
    assert "calm" not in svg
    timeline.plot_conditions(timeline.by_condition(seen, EVENTS), tmp_path / "conditions.svg")
    assert all(text in (tmp_path / "conditions.svg").read_text() for text in ("joke (n = 2)", "calm", "happy"))
    with pytest.raises(UnknownName):
        timeline.plot_curves(curves, tmp_path / "x.png", ["hapy"])
    with pytest.raises(UsageError, match="must end in"):
        timeline.plot_curves(curves, tmp_path / "x.mp3")
    with pytest.raises(UsageError, match="by_condition"):
        timeline.plot_conditions(curves.to_table())


def test_figures_show_every_condition_as_it_is_written(results: list[Faces], tmp_path: Path) -> None:
    seen = timeline.read(results)
    names = ("_rest", "$\\x$")
    events = [timeline.Event("a.mp4", 2, 4, names[0]), timeline.Event("b.mp4", 1, 5, names[1])]
    timeline.plot_curves(timeline.event_locked(seen, events), tmp_path / "curves.svg")
    timeline.plot_conditions(timeline.by_condition(seen, events), tmp_path / "conditions.svg")
    for name in ("curves.svg", "conditions.svg"):
        assert all(f"{condition} (n = " in (tmp_path / name).read_text() for condition in names)


def test_without_pandas_and_matplotlib_the_numbers_are_there(
    results: list[Faces], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, moue.timeline; print(sorted({m.split('.')[0] for m in sys.modules} & {'pandas', 'matplotlib'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    table = timeline.by_condition(timeline.read(results), EVENTS)
    curves = timeline.event_locked(timeline.read(results), EVENTS)
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="pip install pandas"):
        table.to_frame()
    with pytest.raises(MissingExtra, match=r"pip install 'moue\[report\]'"):
        timeline.plot_curves(curves)
    assert table.to_csv().startswith("condition,expression,people,frames,mean,mean_low,mean_high,share,")


def test_tracks_of_one_person_in_a_film_can_count_as_one(results: list[Faces]) -> None:
    """A cut or a turned head makes two tracks of a person, who is no sample of two."""
    seen, whole = (
        timeline.read(results),
        [timeline.Event("a.mp4", condition="x"), timeline.Event("b.mp4", condition="x")],
    )
    by_person, by_film = (timeline.by_condition(seen, whole, unit=unit) for unit in ("person", "source"))
    assert [(table[1]["people"], table[1]["frames"]) for table in (by_person, by_film)] == [(3, 250), (2, 250)]
    # 100 frames with a mean of 0.26 and 50 with 0.5 are one person.
    assert by_film[1]["mean"] == pytest.approx(((100 * 0.26 + 50 * 0.5) / 150 + 0.7) / 2, abs=1e-6)
    assert by_person[1]["mean"] == pytest.approx((0.26 + 0.5 + 0.7) / 3, abs=1e-6)
    nobody = timeline.by_condition(seen, [timeline.Event("a.mp4", 90, 99, "late")], unit="source")
    assert (nobody[1]["people"], nobody[1]["mean"]) == (0, None)
    with pytest.raises(UsageError, match="event"):
        timeline.by_condition(seen, whole, unit="event")  # type: ignore[arg-type]


def test_events_without_people_are_named(results: list[Faces]) -> None:
    late, early = timeline.Event("films/a.mp4", 90, 99, "late"), timeline.Event("b.mp4", 0, 5, "joke")
    assert timeline.without_people(timeline.read(results), [late, early]) == [late]
    people = [to_row(row) for row in People(results).summary()]
    assert timeline.without_people(timeline.read(people), [late, early]) == [late]


def test_events_have_the_times_that_people_read_off_a_player(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("source,start,end,condition\na.mp4,1:30,0:01:32.5,joke\n")
    assert timeline.read_events(path) == [timeline.Event("a.mp4", 90, 92.5, "joke")]


def test_panels_above_an_empty_place_have_an_axis(results: list[Faces]) -> None:
    labels = [f"class {i}" for i in range(7)]
    shape = (1, 2, 7)
    curves = timeline.Curves(np.array([0.0, 1.0]), ("x",), tuple(labels), np.zeros(shape), np.zeros(shape),
                             np.zeros(shape), np.ones((1, 2), np.int64), "person", (1,), 0.95)  # fmt: skip
    axes = timeline.plot_curves(curves).axes[:7]
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, False, True, True, True, True]
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes] == [bool(ax.get_xlabel()) for ax in axes]


@pytest.mark.parametrize("inside", ["sub", "none"])
def test_what_is_no_folder_of_results_says_which_is(inside: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.csv").write_text("source,status,reason,faces,seconds,answer\n")
    with pytest.raises((UsageError, DataError)) as caught:
        timeline.read(tmp_path / inside)
    assert {"sub": f"That of {tmp_path} has it", "none": "no such file"}[inside] in str(caught.value)
