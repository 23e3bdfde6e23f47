"""How far `moue score` says that it is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shards import samples, score_here, tar_of

from moue.cli import progress as cli_progress
from moue.cli import score as cli_score
from moue.runtime.options import RecognizerOptions
from moue.scale import score as module
from moue.scale.discover import discover
from moue.scale.header import ScoreOptions
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.part import Tally, part_name
from moue.scale.plan import Planner, write_plan
from moue.scale.run_state import UNITS, RunState
from moue.scale.storage import Storage

#: Without worker processes, which `test_kills` has.
pytestmark = pytest.mark.usefixtures("here")


def test_progress_counts_what_is_under_way_and_guesses_what_is_not_known(archive: Path, tiny_onnx: Path) -> None:
    tar_of(archive / "in" / "c.tgz", samples(30), "w:gz")
    tar_of(archive / "in" / "d.tgz", samples(30), "w:gz")
    told: list[tuple[int, int | None]] = []

    def score_and_look(*arguments: Any) -> Any:
        for number, tally in score_here(*arguments):
            if number < 4:
                arguments[3](number + 1, 1, 0)
            yield number, tally

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "score_locally", score_and_look)
        summary = module.score(
            [str(archive / "in")],
            str(archive / "out"),
            RecognizerOptions(str(tiny_onnx), "none"),
            progress=lambda step, unit: _Told(told if step == "scoring" else []),
        )
    assert summary.tally.inputs == 81
    assert told[0] == (0, None)
    assert told[-1] == (81, 81)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert RunState(Storage(str(archive / "out"))).progress == (81, 81)


def test_a_film_counts_as_its_frames_as_soon_as_it_tells_them(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", "a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    storage = Storage(str(tmp_path / "out"))
    write_plan(storage, Planner(512, ParquetColumns()).units(discover([str(tmp_path)], str(tmp_path / "out"))))
    state = RunState(storage)
    assert state.progress == (0, None)
    state.complete(0, Tally(inputs=2, rows=2))
    state.begun(1, 0, None)
    assert state.progress == (2, None)
    state.begun(1, 30, 99)
    # The other film is as long as those that are known.
    assert state.progress == (32, 2 + 100 + 100)
    state.complete(1, Tally(inputs=1, rows=100))
    assert state.progress == (102, 202)
    state.begun(2, 10, 49)
    assert state.progress == (112, 152)
    state.complete(2, Tally(inputs=1, rows=50))
    assert state.progress == (152, 152)


def test_what_an_earlier_run_made_of_a_shard_counts_as_done_and_not_as_fast(tmp_path: Path, tiny_onnx: Path) -> None:
    tar_of(tmp_path / "a.tgz", samples(20), "w:gz")
    told: list[tuple[int, int | None]] = []
    scored = partial(
        module.score,
        [str(tmp_path / "a.tgz")],
        str(tmp_path / "out"),
        RecognizerOptions(str(tiny_onnx), "none"),
        scoring=ScoreOptions(part_inputs=8),
        progress=lambda step, unit: _Told(told if step == "scoring" else []),
    )
    scored()
    # As a run that was killed after its second part.
    for name in (f"{UNITS}/0000000.json", part_name(0, 2)):
        (tmp_path / "out" / name).unlink()
    told.clear()
    summary = scored()
    assert told[0] == (16, None)
    assert (summary.already_scored, summary.tally.inputs) == (16, 20)


def test_starting_workers_does_not_count_for_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0
    for command in (cli_score, cli_progress):
        monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: now))
    report = cli_score._Progress("scoring", "rows", quiet=False)
    # What earlier runs made, then a worker that begins, then work at a row a second.
    for time, done in ((0, 100), (20, 100), (60, 140)):
        now = time
        report(done, 200)
    assert capsys.readouterr().err == "moue: scoring: 140 of 200 rows, 1 rows/s, 1:00 left\n"


class _Told:
    def __init__(self, told: list[tuple[int, int | None]]) -> None:
        self.told = told

    def __enter__(self) -> Any:
        return lambda done, total: self.told.append((done, total))

    def __exit__(self, *error: object) -> None:
        pass
