"""What one worker makes of its units: rows of everything, each part once, and no input lost to another one's damage."""

from __future__ import annotations

import faulthandler
import gzip
import json
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from disk import room
from servers import at_last, content, refusal, web_server
from shards import image, parquet_of, rows_of, samples, tar_of
from videos import make_video, scene

from moue.errors import MoueError
from moue.labels import FER2013
from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.runtime.recognizer import Recognizer
from moue.scale import filesystem
from moue.scale.attempts import MAX_DEATHS, Attempts
from moue.scale.discover import discover
from moue.scale.filesystem import CannotWrite
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.part import Tally
from moue.scale.plan import Planner, Unit, read_plan, read_unit, write_plan
from moue.scale.storage import Storage
from moue.scale.worker import Job, Scorer

COLUMNS = ParquetColumns()


def job(dataset: object, model: Path, **changes: Any) -> Job:
    options = RecognizerOptions(str(model), "none", threads=1)
    return replace(Job("r", str(dataset), options, VideoOptions(), COLUMNS, 512), **changes)


def units(*sources: object, part_inputs: int = 512) -> list[Unit]:
    return list(Planner(part_inputs, COLUMNS).units(discover(map(str, sources))))


def scored(scorer: Scorer, work: Iterable[Unit]) -> Tally:
    total = Tally()
    for unit in work:
        total.add(scorer.score(unit))
    return total


def test_every_kind_of_source_has_its_rows(tmp_path: Path, tiny_onnx: Path) -> None:
    # The data set may lie in what is read.
    (tmp_path / "a.png").write_bytes(image())
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xffdamaged")
    (tmp_path / "note.txt").write_text("text")
    make_video(tmp_path / "film.mp4", [scene(i) for i in range(5)])
    tar_of(tmp_path / "t.tar", {**samples(2), "clip.mp4": (tmp_path / "film.mp4").read_bytes()})
    parquet_of(tmp_path / "z.parquet", {"key": ["x", "y"], "jpg": [image(), None]})
    tally = scored(
        Scorer(job(tmp_path / "out", tiny_onnx)),
        Planner(512, COLUMNS).units(discover([str(tmp_path)], str(tmp_path / "out"))),
    )
    found = [
        (row["source"].removeprefix(f"{tmp_path}/"), row["key"], row["status"], row["frame"])
        for row in rows_of(tmp_path / "out")
    ]
    film = [("film.mp4", None, "ok", i) for i in range(5)]
    clip = [("t.tar/clip.mp4", "clip", "ok", i) for i in range(5)]
    assert sorted(found, key=str) == sorted(
        [
            ("a.png", None, "ok", None),
            ("b.jpg", None, "unreadable", None),
            ("note.txt", None, "skipped", None),
            *film,
            ("t.tar/000.png", "000", "ok", None),
            ("t.tar/001.png", "001", "ok", None),
            *clip,
            ("z.parquet#0", "x", "ok", None),
            ("z.parquet#1", "y", "unreadable", None),
        ],
        key=str,
    )
    assert (tally.inputs, tally.rows, tally.failed) == (9, 17, 2)
    assert dict(tally.statuses) == {"ok": 6, "unreadable": 2, "skipped": 1}


def test_a_row_is_that_of_predict(tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "a.png").write_bytes(image())
    Scorer(job(tmp_path / "out", tiny_onnx)).score(units(tmp_path / "a.png")[0])
    [row] = rows_of(tmp_path / "out")
    expected = Recognizer(str(tiny_onnx), "none").read(str(tmp_path / "a.png")).to_dict()  # type: ignore[union-attr]
    [face], [wanted] = row.pop("faces"), expected.pop("faces")
    assert {k: v for k, v in row.items() if v is not None} == {k: v for k, v in expected.items() if v is not None}
    assert face["label"] == wanted["label"]
    assert face["box"] == wanted["box"]
    assert list(face["probabilities"]) == list(FER2013.labels)
    assert face["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)
    assert face["quality"]["flaws"] == wanted["quality"]["flaws"]


def test_a_part_that_is_there_is_not_made_again(tmp_path: Path, tiny_onnx: Path) -> None:
    tar_of(tmp_path / "a.tgz", samples(10), "w:gz")
    [unit] = units(tmp_path / "a.tgz")
    work = job(tmp_path / "out", tiny_onnx, part_inputs=3)
    scorer = Scorer(work)
    first = scorer.score(unit)
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert (first.inputs, first.parts, len(parts)) == (10, 4, 4)
    whole = rows_of(tmp_path / "out")
    parts[1].unlink()
    kept = {part: part.stat().st_mtime_ns for part in parts if part.exists()}
    assert scorer.score(unit) == first
    assert rows_of(tmp_path / "out") == whole
    assert {part: part.stat().st_mtime_ns for part in kept} == kept


@pytest.mark.parametrize(
    ("left", "reason"), [(None, "no such file"), (5, "it has fewer files"), (0.5, "a header is wrong")]
)
def test_a_shard_that_was_lost_after_its_first_parts_is_no_silent_end(
    tmp_path: Path, tiny_onnx: Path, left: float | None, reason: str
) -> None:
    shard = tar_of(tmp_path / "a.tgz", samples(10), "w:gz")
    [unit] = units(shard)
    scorer = Scorer(job(tmp_path / "out", tiny_onnx, part_inputs=3))
    scorer.score(unit)
    for part in sorted((tmp_path / "out").glob("part-*"))[2:]:
        part.unlink()
    if left is None:
        shard.unlink()
    elif left < 1:
        shard.write_bytes(shard.read_bytes()[: int(left * shard.stat().st_size)])
    else:
        tar_of(shard, samples(int(left)), "w:gz")
    tally = scorer.score(unit)
    assert tally.statuses == {"ok": 6, "unreadable": 1}
    *_, last = rows_of(tmp_path / "out")
    assert (last["source"], reason in last["reason"]) == (str(shard), True)


@pytest.mark.parametrize("deleted", [None, 0, 1])
def test_a_shard_whose_damage_is_the_last_input_of_a_part_says_so_once(
    tmp_path: Path, tiny_onnx: Path, deleted: int | None
) -> None:
    shard = tar_of(tmp_path / "a.tgz", samples(10), "w:gz")
    with tarfile.open(shard) as tar:
        within_a_header = tar.getmember("007.png").offset + 100
    shard.write_bytes(gzip.compress(gzip.decompress(shard.read_bytes())[:within_a_header]))
    [unit] = units(shard)
    scorer = Scorer(job(tmp_path / "out", tiny_onnx, part_inputs=4))
    first, rows = scorer.score(unit), rows_of(tmp_path / "out")
    assert (first.inputs, first.parts) == (8, 2)
    assert rows[-1]["source"] == str(shard)
    if deleted is not None:
        sorted((tmp_path / "out").glob("part-*"))[deleted].unlink()
    assert scorer.score(unit) == first
    assert rows_of(tmp_path / "out") == rows


def test_a_worker_tells_the_rows_that_a_film_has_and_will_have(tmp_path: Path, tiny_onnx: Path) -> None:
    told: list[tuple[int, int | None]] = []
    film = make_video(tmp_path / "film.mp4", [scene(i) for i in range(80)]).read_bytes()
    tar_of(tmp_path / "a.tar", {"a.png": image(), "b.mp4": film, "c.png": image(1)})
    work = job(tmp_path / "out", tiny_onnx, video=VideoOptions(every=2))
    Scorer(work, lambda rows, more: told.append((rows, more))).score(units(tmp_path / "a.tar")[0])
    # 1 + 40 + 1 rows of three inputs.
    assert told[:2] == [(0, 0), (1, None)]
    assert told[-2:] == [(41, 39), (41, 39)]
    assert len(told) > 4, told
    assert all(35 <= (more or 0) <= 43 and 1 < rows <= 41 for rows, more in told[2:]), told


def test_an_input_that_raises_is_given_up_and_the_others_are_read(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, opened = image(3), Recognizer.open
    tries = []

    def open(self: Recognizer, x: Any, *rest: Any) -> Any:
        if x == bad:
            tries.append(x)
            raise RuntimeError("the decoder has a fault")
        return opened(self, x, *rest)

    monkeypatch.setattr(Recognizer, "open", open)
    tar_of(tmp_path / "a.tar", samples(6))
    tally = scored(Scorer(job(tmp_path / "out", tiny_onnx)), units(tmp_path / "a.tar"))
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["unreadable"] + ["ok"] * 2
    assert rows[3]["reason"] == "given up after 2 attempts: RuntimeError: the decoder has a fault"
    assert (tally.inputs, tally.failed, len(tries)) == (6, 1, MAX_DEATHS)


def test_a_fault_of_the_program_is_not_laid_to_the_inputs(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open(self: Recognizer, x: Any, *rest: Any) -> Any:
        raise RuntimeError("broken installation")

    monkeypatch.setattr(Recognizer, "open", open)
    tar_of(tmp_path / "a.tar", samples(12))
    with pytest.raises(MoueError, match=r"no fault of theirs.*broken installation"):
        scored(Scorer(job(tmp_path / "out", tiny_onnx)), units(tmp_path / "a.tar"))
    assert not rows_of(tmp_path / "out")


def test_deaths_at_one_input_are_counted_and_those_of_another_run_are_not(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))

    def attempt(run: str, at: int | None) -> str | None:
        """What the attempt knows about input 5; it then dies at an input."""
        attempts = Attempts(storage, 0, run)
        attempts.begin()
        for index in range(0 if at is None else at + 1):
            attempts.at(index)
        return attempts.given_up(5)

    # The first says nothing about where it died; a death elsewhere gives up nothing.
    assert [attempt("a", at) for at in (5, 5, 2, 5)] == [None] * 4
    assert "given up after 2 attempts: the worker process died" in (attempt("a", 5) or "")
    assert attempt("b", 5) is None
    storage.write("_progress/attempts/0000000.json", b"{damaged")
    assert attempt("b", 5) is None
    Attempts(storage, 0, "b").end()
    assert not storage.names("_progress/attempts")


def test_a_death_after_the_time_limit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, now = Storage(str(tmp_path)), [1000.0]
    monkeypatch.setattr("moue.scale.attempts.time.time", lambda: now[0])
    for seconds in (0, 60, 60):
        attempts = Attempts(storage, 0, "a", timeout=60)
        attempts.begin()
        attempts.at(5)
        now[0] += seconds
    last = Attempts(storage, 0, "a", timeout=60)
    last.begin()
    assert last.given_up(5) == "given up after 2 attempts: no result within 60 s, or the worker process died"


def test_the_time_limit_is_that_of_each_input_and_of_each_batch_of_frames(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **_: steps.append(f"start {seconds}"))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: steps.append("stop"))
    make_video(tmp_path / "b.mp4", [scene(i) for i in range(70)])
    tar_of(tmp_path / "a.tar", {"a.png": image(), "b.mp4": (tmp_path / "b.mp4").read_bytes()})
    scored(Scorer(job(tmp_path / "out", tiny_onnx, timeout=60)), units(tmp_path / "a.tar"))
    assert steps[:3] == ["start 60", "stop", "start 60"]
    assert steps[3:].count("start 60") >= 2
    assert steps[-2:] == ["stop", "stop"]
    steps.clear()
    scored(Scorer(job(tmp_path / "other", tiny_onnx)), units(tmp_path / "a.tar"))
    assert steps == []


def test_a_full_disk_ends_the_run_and_blames_no_input(tmp_path: Path, tiny_onnx: Path) -> None:
    tar_of(tmp_path / "a.tar", samples(16))
    [unit] = units(tmp_path / "a.tar")
    scorer = Scorer(job(tmp_path / "out", tiny_onnx))
    with room(2000), pytest.raises(CannotWrite, match="the data set cannot be written"):
        scorer.score(unit)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_progress"]
    assert scorer.score(unit).inputs == 16


def test_addresses_are_read_and_written(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "PAUSE", 0)
    film = make_video(tmp_path / "film.mp4", [scene(i) for i in range(3)]).read_bytes()
    memory = fsspec.filesystem("memory")
    try:
        with web_server() as server:
            server.answers["/a.png"] = content(image(), "image/png", drops=[100])
            server.answers["/film.mp4"] = content(film, "video/mp4")
            names = [server.url("/a.png?token=secret"), server.url("/film.mp4"), server.url("/missing.png")]
            (tmp_path / "list.txt").write_text("\n".join(names))
            memory.pipe_file("/archive/a.tar", tar_of(tmp_path / "a.tar", samples(3)).read_bytes())
            tally = scored(Scorer(job("memory://scores", tiny_onnx)), units(tmp_path / "list.txt", "memory://archive"))
        assert (tally.inputs, tally.rows, tally.failed) == (6, 8, 1)
        memory.get("/scores", str(tmp_path / "copy"), recursive=True)
        rows = rows_of(tmp_path / "copy")
        assert {row["reason"] for row in rows} == {None, "no such file"}
        assert {row["source"].rpartition("/")[2] for row in rows} >= {"a.png?token=…", "film.mp4", "missing.png"}
        assert "secret" not in json.dumps(rows)
    finally:
        for folder in ("/archive", "/scores"):
            if memory.exists(folder):
                memory.rm(folder, recursive=True)


def test_a_server_with_too_much_to_do_is_asked_again_and_one_that_refuses_is_not(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "PAUSE", 0)
    with web_server() as server:
        server.answers["/busy.png"] = at_last(content(image(), "image/png"), 503, 429)
        server.answers["/forbidden.png"] = refusal(403)
        server.answers["/down.png"] = refusal(500)
        (tmp_path / "list.txt").write_text("\n".join(map(server.url, server.answers)))
        scored(Scorer(job(tmp_path / "out", tiny_onnx)), units(tmp_path / "list.txt"))
        asked = [path for path, _ in server.requests]
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok", "unreadable", "unreadable"]
    assert "the server answers 403" in rows[1]["reason"]
    assert "the server answers 500" in rows[2]["reason"]
    assert (asked.count("/forbidden.png"), asked.count("/down.png")) == (1, 1 + filesystem.RETRIES)


def test_a_temporary_folder_that_is_full_ends_the_run_and_blames_no_film(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/archive/film.mp4", bytes(5000))
    try:
        [unit] = units("memory://archive/film.mp4")
        with room(1000), pytest.raises(CannotWrite, match=r"no room for a film .* Set TMPDIR"):
            Scorer(job(tmp_path / "out", tiny_onnx)).score(unit)
        assert not rows_of(tmp_path / "out")
    finally:
        memory.rm("/archive", recursive=True)


def test_a_shard_that_cannot_be_had_for_a_while_is_read_all_the_same(
    tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moue.scale import tar_shard

    monkeypatch.setattr(filesystem, "PAUSE", 0)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/archive/a.tar", tar_of(tmp_path / "a.tar", samples(8)).read_bytes())
    # More often than an input is tried, but at other places.
    drops, opened = iter([1, 2, 3, 5, 6]), tar_shard._item

    def item(name: str, file: Any, member: Any, *rest: Any) -> Any:
        if drop[0] is not None and member.name == f"{drop[0]:03d}.png":
            drop[0] = next(drops, None)
            raise ConnectionResetError("the connection is gone")
        return opened(name, file, member, *rest)

    drop: list[int | None] = [next(drops)]
    monkeypatch.setattr(tar_shard, "_item", item)
    try:
        tally = scored(Scorer(job(tmp_path / "out", tiny_onnx, part_inputs=3)), units("memory://archive/a.tar"))
        assert (tally.inputs, tally.failed, drop) == (8, 0, [None])
        assert [row["key"] for row in rows_of(tmp_path / "out")] == [f"{i:03d}" for i in range(8)]
    finally:
        memory.rm("/archive", recursive=True)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.png").write_bytes(b"")
    tar_of(folder / "a.tar", samples(40))
    storage = Storage(str(tmp_path / "out"))
    work = units(folder, part_inputs=16)
    write_plan(storage, work)
    assert [unit for _, unit in read_plan(storage)] == work
    assert [read_unit(storage, place) for place, _ in read_plan(storage)] == work
    assert [unit.number for unit in work] == list(range(len(work)))
    assert [unit.inputs for unit in work] == [16, 16, 8, 16, 16, 8]
