"""``moue.timeline.read``: rows from any program, and no two films taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moue import timeline
from moue.cli.main import main
from moue.errors import DataError, UsageError
from moue.runtime.outputs.dataframe import to_frame

HEAD = ["source", "timestamp", "track", "uncertain", "happy", "neutral"]


def rows(source: str = "clip.mp4", happy: float = 0.75, track: int = 1) -> list[list[str]]:
    """Ten frames of one person, as cells."""
    return [[source, f"{i / 10}", f"{track}", f"{i == 3}", f"{happy}", f"{1 - happy}"] for i in range(10)]


def write(path: Path, cells: list[list[str]], separator: str = ",", head: list[str] = HEAD) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(separator.join(line) + "\n" for line in [head, *cells]), encoding="utf-8")
    return path


def test_two_films_of_one_name_are_not_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (write(tmp_path / name / "rows.csv", rows(happy=p)) for name, p in (("p01", 0.9), ("p02", 0.1)))
    assert main(["timeline", str(first), str(second)]) == 2
    error = capsys.readouterr().err
    assert f"two films are called clip.mp4 ({first}; {second})" in error
    assert "by different paths" in error
    # Films of other names are not affected, and a file that is given twice is read once.
    other = write(tmp_path / "p03" / "rows.csv", rows("other.mp4"))
    seen = timeline.read([first, other, str(first)])
    assert (len(seen), len(seen.people)) == (20, 2)


def test_two_films_in_memory_of_one_name_are_not_one(results: list) -> None:
    assert len(timeline.read(results)) > 0
    with pytest.raises(UsageError, match=r"two films are called films/a\.mp4"):
        timeline.read([*results, *results])
    # In a table, rows may stand in any order.
    frame = to_frame(results).sort_values("happy")
    assert len(timeline.read(frame)) == len(timeline.read(results))


def test_rows_that_a_spreadsheet_saved(tmp_path: Path) -> None:
    plain = timeline.read(write(tmp_path / "plain.csv", rows()))
    assert plain.uncertain.sum() == 1
    upper = [[*row[:3], row[3].upper(), *row[4:]] for row in rows()]
    german = [[cell.replace(".", ",") if i else cell for i, cell in enumerate(row)] for row in upper]
    saved = [
        write(tmp_path / "upper.csv", [*upper, [""] * 6]),
        write(tmp_path / "semicolons.csv", german, ";"),
        write(tmp_path / "tabs.csv", german, "\t"),
    ]
    (tmp_path / "marked.csv").write_text("\ufeff" + saved[1].read_text(), encoding="utf-8")
    for path in (*saved, tmp_path / "marked.csv"):
        seen = timeline.read(path)
        assert seen.labels == ("happy", "neutral")
        np.testing.assert_array_equal(seen.probabilities, plain.probabilities)
        np.testing.assert_array_equal(seen.start, plain.start)
        np.testing.assert_array_equal(seen.uncertain, plain.uncertain)


def test_json_of_other_programs(tmp_path: Path) -> None:
    face = {"track": 1, "uncertain": False, "probabilities": {"happy": 0.75, "neutral": 0.25}}
    # A name may hold what Unicode, but not JSON, takes for the end of a line.
    values = [{"source": "a\u2028b.mp4", "timestamp": i, "faces": [face]} for i in (0, 1)]
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    (tmp_path / "rows.jsonl").write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "rows.json").write_text("\ufeff[" + ",".join(lines) + "]", encoding="utf-8")
    (tmp_path / "row.json").write_text(lines[0], encoding="utf-8")
    for name, n in (("rows.jsonl", 2), ("rows.json", 2), ("row.json", 1)):
        seen = timeline.read(tmp_path / name)
        assert (seen.sources, len(seen)) == (("a\u2028b.mp4",), n)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("index.csv", "a,b\n1,2\n", r"index\.csv is not of moue: name a folder that moue predict --out wrote"),
        ("n.json", "5", "a row of results needs a source. Got 5"),
        ("n.jsonl", '{"source": 1}\n', "a row of results needs a source"),
        ("n.jsonl", '{"source": "a",\n', r"n\.jsonl is damaged"),
        ("n.csv", "source,timestamp,track\na,1,1,9\n", "a line has more cells than the first one"),
        ("n.csv", "source,timestamp,track,happy\na,0,1,1\n", "a row of a cannot be used: uncertain is missing"),
        (
            "n.csv",
            "source,timestamp,track,uncertain,happy,who\na,0,1,False,1,anna\n",
            "who must be a number. Got 'anna'",
        ),
    ],
)
def test_files_of_other_programs_are_refused_in_a_sentence(
    name: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    given = tmp_path if name == "index.csv" else tmp_path / name
    with pytest.raises((UsageError, DataError), match=message):
        timeline.read(given)
    assert main(["timeline", str(given)]) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("empty", [np.nan, None, pd.NA, pd.NaT])
def test_an_event_without_a_condition_is_none_called_nan(empty: object) -> None:
    columns = {"source": ["clip.mp4"], "start": [empty], "end": [2.0]}
    for values in ({"condition": [empty]}, {"condition": ["joke"], "source": [empty]}):
        with pytest.raises(DataError, match="event 1: an event needs a source and a condition"):
            timeline.read_events(pd.DataFrame(columns | values))
    [event] = timeline.read_events(pd.DataFrame(columns | {"condition": ["joke"]}))
    assert (event.start, event.condition) == (-np.inf, "joke")
