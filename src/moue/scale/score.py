"""Scores archives into a data set of Parquet files, over many processes; one that was stopped anywhere goes on.

A run first writes a plan: what the sources hold, cut into units of work. Each unit leads to one or more parts, whose
names it determines, and each part is written whole or not at all. So a part that is there is never made again, and one
that is not there is, whatever stopped the run before.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moue.errors import MoueError, UsageError, require, shortened
from moue.progress import ProgressFactory, Report, no_progress
from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.runtime.outputs.mirror import absolute
from moue.runtime.weights import find_model, is_known
from moue.scale.discover import Presence, discover, require_sources
from moue.scale.filesystem import ADVICE, is_address, shown
from moue.scale.header import Header, ScoreOptions, require_own, require_same
from moue.scale.local import cores, score_locally
from moue.scale.part import Tally
from moue.scale.plan import PLAN, Planner, Unit, write_plan
from moue.scale.ray_data import score_on_ray
from moue.scale.run_state import RunState
from moue.scale.storage import Storage
from moue.scale.worker import Job

#: A file that lets one run at a time write, and the one that is there when all is done.
LOCK, SUCCESS = "_progress/lock", "_SUCCESS"
#: Sources that are not there, of which an error says why.
SHOWN = 3

_RECOGNIZER, _VIDEO, _SCORING = RecognizerOptions(), VideoOptions(), ScoreOptions()


@dataclass(frozen=True)
class Summary:
    """What a data set of scores holds."""

    dataset: str
    tally: Tally
    already_scored: int
    """Inputs that earlier runs had scored."""
    seconds: float
    """Of this run."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as ``moue score --format json`` has them."""
        return {
            "dataset": self.dataset,
            **self.tally.to_dict(),
            "already_scored": self.already_scored,
            "seconds": round(self.seconds, 3),
            "inputs_per_second": round((self.tally.inputs - self.already_scored) / max(self.seconds, 1e-9), 2),
        }


def score(
    sources: Sequence[str],
    dataset: str,
    options: RecognizerOptions = _RECOGNIZER,
    video: VideoOptions = _VIDEO,
    scoring: ScoreOptions = _SCORING,
    *,
    progress: ProgressFactory = no_progress,
) -> Summary:
    """Read the faces of archives, and write a row an image, and a row a frame of a film.

    Args:
        sources: folders, globs, films, tar files in WebDataset's layout, Parquet files with a column of bytes, lists of
            paths (``.txt``), and addresses of all these that fsspec reads: ``s3://``, ``gs://``, ``https://``.
        dataset: the folder or address for the parts. One that a run was stopped in is completed.
        options: of the recognizer; each worker has one.
        video: how films are read.
        scoring: how the work is spread.
        progress: makes what is told how many of all rows are made, one an image and one a frame of a film.

    Returns:
        What the data set holds.

    Raises:
        UsageError: when the sources cannot be used or hold nothing to score, which leaves no data set behind; when the
            data set is of other sources, another model or other options.
        MissingExtra: without the extra ``scale``.
        MoueError: when workers cannot start, or the data set cannot be written.
    """
    for module in ("fsspec", "pyarrow.parquet", *(["ray"] if scoring.engine == "ray" else [])):
        require(module, "scale")
    require_sources(sources)
    if dataset.lower().startswith("memory:"):
        raise UsageError(f"{dataset} is the memory of one process, and others write the data set. Name a folder.")
    _, spec = find_model(_name(options))
    storage = Storage(dataset)
    require_own(storage)
    began = time.monotonic()
    with storage.locked(LOCK):
        require_same(storage, Header.of(sources, spec, options, video, scoring))
        _plan(storage, sources, scoring, progress)
        state = RunState(storage)
        before = state.already_scored
        if state.is_complete and storage.exists(SUCCESS):
            return Summary(dataset, state.tally, before, time.monotonic() - began)
        storage.remove(SUCCESS)
        # Workers of a cluster are in another folder.
        model = _name(options) if is_known(_name(options)) else absolute(str(options.model))
        place = dataset if is_address(dataset) else absolute(dataset)
        options = replace(options, model=model, threads=options.threads or 1, optimize_for="throughput")
        job = Job(uuid.uuid4().hex, place, options, video, scoring.columns, scoring.part_inputs, scoring.timeout)
        with progress("scoring", "rows") as report, closing(_scored(job, state, scoring, report)) as results:
            for number, tally in results:
                state.complete(number, tally)
                report(*state.progress)
        summary = Summary(dataset, state.tally, before, time.monotonic() - began)
        storage.write(SUCCESS, json.dumps(summary.to_dict(), indent=2).encode() + b"\n")
    return summary


def _name(options: RecognizerOptions) -> str | Path:
    if not isinstance(options.model, (str, Path)) or not isinstance(options.detector, str):
        raise UsageError("worker processes open model and detector themselves: give their names or paths.")
    return options.model


def _scored(
    job: Job, state: RunState, scoring: ScoreOptions, report: Report
) -> Generator[tuple[int, Tally], None, None]:
    def on_rows(unit: int, rows: int, more: int | None) -> None:
        state.begun(unit, rows, more)
        report(*state.progress)

    report(*state.progress)
    workers = scoring.workers or cores()
    if scoring.engine == "ray":
        return score_on_ray(job, ((unit.number, place) for place, unit in state.pending()), workers)
    return score_locally(job, (unit for _, unit in state.pending()), workers, on_rows)


def _plan(storage: Storage, sources: Sequence[str], scoring: ScoreOptions, progress: ProgressFactory) -> None:
    """Write the plan, unless it is there."""
    if storage.exists(PLAN):
        return
    planner = Planner(scoring.part_inputs, scoring.columns)
    with progress("listing", "inputs") as report:

        def counted() -> Iterator[Unit]:
            inputs = 0
            for unit in _require_any(planner.units(discover(sources, storage.place)), sources):
                inputs += unit.inputs or 0
                report(inputs, None)
                yield unit

        try:
            write_plan(storage, counted())
        except MoueError:
            storage.discard()
            raise


def _require_any(units: Iterable[Unit], sources: Sequence[str]) -> Iterator[Unit]:
    """Pass units on, and refuse them in the end where not one of their inputs is there."""
    missing: list[str] = []
    presence, is_any = Presence(), False
    for unit in units:
        for entry in () if is_any else unit.entries:
            not_asked = presence.not_asked
            reason = presence.why_not(entry)
            if reason is None:
                is_any = True
                break
            if len(missing) < SHOWN and presence.not_asked == not_asked:
                missing.append(f"{shown(entry.name)}: {reason}")
        yield unit
    if not is_any:
        names = shortened(", ".join(map(shown, sources)), 200)
        text = f"there is nothing to score in {names}. {'; '.join(missing) or 'It lists nothing'}."
        if presence.not_asked:
            text += f" {presence.not_asked:,} more of the same server were not asked for."
        if presence.unreachable:
            text += f" {ADVICE}"
        raise UsageError(text)
