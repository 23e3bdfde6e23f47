"""Scores one unit after the other, with a model that stays open: what each process of a run does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from moue.damage import reason
from moue.runtime.inputs.source import Source
from moue.runtime.options import RecognizerOptions, VideoOptions
from moue.runtime.recognizer import Recognizer
from moue.runtime.run import run
from moue.scale.attempts import OPENING, Attempts
from moue.scale.deadline import Deadline
from moue.scale.filesystem import RETRIES, CannotWrite, is_address, may_pass, pause, reading_errors, shown
from moue.scale.item import Item, failed_item
from moue.scale.parquet_shard import ParquetColumns
from moue.scale.part import PartSink, Tally, part_name, read_tally
from moue.scale.plan import Unit
from moue.scale.storage import Storage
from moue.scale.tar_shard import CHANGED
from moue.scale.unit_items import unit_items


@dataclass(frozen=True)
class Job:
    """What all workers of a run have in common; it can be pickled."""

    run: str
    """Names the run."""
    dataset: str
    """The path or address of the data set."""
    options: RecognizerOptions
    """Of the recognizer."""
    video: VideoOptions
    """How films are read."""
    columns: ParquetColumns
    """Of Parquet files."""
    part_inputs: int
    """Inputs of a part at most."""
    timeout: float = 0.0
    """Seconds without a result, of an image or of a film's next frames, after which the process ends; 0: no limit."""


class Scorer:
    """Scores units.

    Args:
        job: what to do.
        on_rows: called at each input, and after each batch of a film's frames, with how many rows the unit has so far
            and how many more than inputs it will have, as far as that is known; None for a film that does not tell.

    Raises:
        MoueError, OSError: when the model or the data set cannot be opened.
    """

    def __init__(self, job: Job, on_rows: Callable[[int, int | None], None] = lambda rows, more: None) -> None:
        self._job, self._on_rows = job, on_rows
        self._storage = Storage(job.dataset)
        self._recognizer = Recognizer.from_options(job.options)
        self._deadline = Deadline(job.timeout)

    def score(self, unit: Unit) -> Tally:
        """Write the parts of a unit that are not there yet.

        An input at which an exception is raised, or at which processes died before, is tried again; see
        :class:`Attempts`.

        Raises:
            CannotWrite: when the data set cannot be written.
        """
        attempts = Attempts(self._storage, unit.number, self._job.run, self._job.timeout)
        attempts.begin()
        failures, furthest = 0, OPENING
        while True:
            # What cannot be had over the network may come back.
            patient = is_address(unit.path) and failures < RETRIES
            try:
                with self._deadline:
                    tally = self._attempt(unit, attempts, patient)
            except _Unreachable as error:
                if not may_pass(error.failure):
                    failures = RETRIES
                    continue
                # At the same place: a large shard may take hours, in which a network fails more often.
                failures = failures + 1 if attempts.place <= furthest else 1
                furthest = max(furthest, attempts.place)
                pause(failures - 1)
            except CannotWrite:
                raise
            except Exception as error:
                attempts.failed(f"{type(error).__name__}: {reason(error)}")
                attempts.begin()
            else:
                attempts.end()
                return tally

    def _attempt(self, unit: Unit, attempts: Attempts, patient: bool) -> Tally:
        total = Tally()
        items = _numbered(unit, self._job.columns, attempts, patient)
        for number in itertools.count():
            name = part_name(unit.number, number)
            tally = read_tally(self._storage, name)
            if tally is None:
                tally = self._part(name, items, attempts, patient, total.rows)
            else:
                items = _after(items, tally.inputs, unit)
            if tally is None:
                break
            total.add(tally)
            if tally.ended or tally.inputs < self._job.part_inputs:
                break
        return total

    def _part(
        self, name: str, items: Iterator[tuple[int, Item]], attempts: Attempts, patient: bool, before: int
    ) -> Tally | None:
        """Write a part, before which the unit has some rows; None where no items are left for it."""
        first = next(items, None)
        if first is None:
            return None
        chosen = itertools.chain([first], itertools.islice(items, self._job.part_inputs - 1))
        with PartSink(self._storage, name, self._recognizer.spec.labels) as sink:
            began = before

            def begin(kind: str) -> None:
                nonlocal began
                began = before + sink.rows
                self._on_rows(began, None if kind == "video" else began - attempts.place)

            def at_frame(decoded: int, frames: int | None) -> None:
                self._deadline.restart()
                rows = before + sink.rows
                whole = max(rows - began, round((rows - began) * frames / decoded)) if frames and decoded else None
                self._on_rows(rows, None if whole is None else began - attempts.place + whole - 1)

            failed = run(
                self._sources(chosen, sink, attempts, patient, begin),
                self._recognizer,
                [sink],
                self._job.video,
                report=at_frame,
                on_remark=lambda text: None,
            )
            return sink.commit(failed)

    def _sources(
        self,
        items: Iterator[tuple[int, Item]],
        sink: PartSink,
        attempts: Attempts,
        patient: bool,
        begin: Callable[[str], None],
    ) -> Iterator[Source]:
        for index, item in items:
            sink.key = item.key
            sink.tally.ended = item.ends_shard
            given_up = attempts.given_up(index)
            if given_up is not None:
                yield Source(item.name, "unreadable", given_up)
                continue
            attempts.at(index)
            with ExitStack() as stack:
                with _reaching(patient):
                    source = stack.enter_context(item.open())
                begin(source.kind)
                self._deadline.restart()
                yield source
                # What another machine has to send has limits of its own.
                self._deadline.stop()


class _Unreachable(Exception):
    """A shard on another machine could not be read."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(failure)
        self.failure = failure


@contextmanager
def _reaching(patient: bool) -> Iterator[None]:
    """Run what reads a shard, and raise _Unreachable where that is to be tried again."""
    try:
        yield
    except reading_errors() as error:
        if not patient:
            raise
        raise _Unreachable(error) from error


def _after(items: Iterator[tuple[int, Item]], count: int, unit: Unit) -> Iterator[tuple[int, Item]]:
    """The items after as many as a part has: where the shard cannot be read so far any more, what says so."""
    lost = failed_item(shown(unit.path), f"{CHANGED}: it has fewer files", ends_shard=True)
    for _ in range(count):
        index, item = next(items, (OPENING, lost))
        if item.ends_shard:
            return iter([(index, item)])
    return items


def _numbered(unit: Unit, columns: ParquetColumns, attempts: Attempts, patient: bool) -> Iterator[tuple[int, Item]]:
    """The inputs of a unit with their numbers; of one that cannot even be opened, one that says so."""
    given_up = attempts.given_up(OPENING)
    if given_up is not None:
        yield 0, failed_item(shown(unit.path or unit.files[0].name), given_up, ends_shard=True)
        return
    items = enumerate(unit_items(unit, columns, patient=patient))
    while True:
        with _reaching(patient):
            item = next(items, None)
        if item is None:
            return
        yield item
