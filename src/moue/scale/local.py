"""The engine "local": a bounded pool of processes on this machine, each with a model that stays open.

Each process has a pipe of its own, as a process that is killed while it holds the lock of a common queue would stop all
others. A process gets its next unit when it has finished one, so that nothing piles up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from moue.errors import MoueError
from moue.scale.part import Tally
from moue.scale.plan import Unit
from moue.scale.worker import Job, Scorer

#: Seconds between two reports of a worker about the input that it is at.
REPORT = 0.2
#: Workers that may die one after the other before they have opened their model.
MAX_FALSE_STARTS = 3

#: Called with the number of a unit, how many rows it has so far, and how many more than inputs it will have; None where
#: nothing tells.
OnRows = Callable[[int, int, int | None], object]


def cores() -> int:
    """The processor's cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_locally(
    job: Job, units: Iterable[Unit], workers: int, on_rows: OnRows = lambda unit, rows, more: None
) -> Generator[tuple[int, Tally], None, None]:
    """Score units in processes of their own.

    Args:
        job: what the workers do.
        units: taken as workers get free.
        workers: how many processes.
        on_rows: told how far the workers are.

    Yields:
        The number of each unit and what it had, as they are completed.

    Raises:
        MoueError: when workers cannot start, or cannot write the data set.
    """
    # A worker that is ended leaves what it had fetched.
    with tempfile.TemporaryDirectory(prefix="moue-", ignore_cleanup_errors=True) as scratch:
        pool = _Pool(job, iter(units), workers, on_rows, scratch)
        try:
            yield from pool.run()
        finally:
            pool.close()


@dataclass
class _Worker:
    process: Any
    connection: Connection
    unit: Unit | None = None
    is_ready: bool = False


@dataclass
class _Pool:
    job: Job
    units: Iterator[Unit]
    size: int
    on_rows: OnRows
    scratch: str
    workers: list[_Worker] = field(default_factory=list)
    # Units whose worker died.
    again: deque[Unit] = field(default_factory=deque)
    false_starts: int = 0
    is_empty: bool = False

    def run(self) -> Iterator[tuple[int, Tally]]:
        while self._fill():
            by_connection = {worker.connection: worker for worker in self.workers}
            for ready in wait(list(by_connection)):
                worker = by_connection[ready]  # type: ignore[index]
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    self._died(worker)
                    continue
                if kind == "failed":
                    raise MoueError(value)
                if kind == "ready":
                    worker.is_ready, self.false_starts = True, 0
                    self._assign(worker)
                elif worker.unit is not None:
                    number = worker.unit.number
                    if kind == "at":
                        self.on_rows(number, *value)
                        continue
                    worker.unit = None
                    self._assign(worker)
                    yield number, value

    def close(self) -> None:
        """End all workers: what they were at is not in the data set, and nothing of it is left."""
        for worker in self.workers:
            # One that waits ends by itself as its pipe is closed.
            if worker.unit is not None or not worker.is_ready:
                worker.process.kill()
            worker.connection.close()
        for worker in self.workers:
            worker.process.join()

    def _fill(self) -> bool:
        """Start workers as long as there is work for them; whether there is any left."""
        idle = sum(worker.unit is None and not worker.is_ready for worker in self.workers)
        while len(self.workers) < self.size and self._has_work(idle):
            self._start()
            idle += 1
        return any(worker.unit is not None or not worker.is_ready for worker in self.workers)

    def _has_work(self, more_than: int) -> bool:
        while len(self.again) <= more_than and not self.is_empty:
            unit = next(self.units, None)
            if unit is None:
                self.is_empty = True
            else:
                self.again.append(unit)
        return len(self.again) > more_than

    def _assign(self, worker: _Worker) -> None:
        if self._has_work(0):
            worker.unit = self.again.popleft()
            # One that has just died is noticed as its pipe ends.
            with contextlib.suppress(OSError):
                worker.connection.send(worker.unit)

    def _start(self) -> None:
        # A fork would inherit locks and threads of the libraries that are loaded.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.job, self.scratch), name="moue-score", daemon=True)
        process.start()
        # Or the pipe would not end with the process.
        theirs.close()
        self.workers.append(_Worker(process, ours))

    def _died(self, worker: _Worker) -> None:
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        if worker.unit is not None:
            self.again.appendleft(worker.unit)
        elif not worker.is_ready:
            self.false_starts += 1
            if self.false_starts >= MAX_FALSE_STARTS:
                raise MoueError(
                    f"the worker processes end as they start (exit code {worker.process.exitcode}). "
                    f"There may not be enough memory for {self.size} of them: give fewer with --workers."
                )


def _serve(connection: Connection, job: Job, scratch: str) -> None:
    """What a worker does: it ends when its pipe does."""
    # Ctrl-C goes to all processes of a terminal, and the first of them decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = scratch
    reported = 0.0

    def on_rows(rows: int, more: int | None) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= REPORT:
            reported = now
            try:
                connection.send(("at", (rows, more)))
            except OSError:
                # The first process is gone.
                sys.exit()

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            scorer = Scorer(job, on_rows)
        except (MoueError, OSError) as error:
            connection.send(("failed", str(error)))
            return
        connection.send(("ready", None))
        while True:
            unit = connection.recv()
            try:
                tally = scorer.score(unit)
            except MoueError as error:
                connection.send(("failed", str(error)))
                return
            connection.send(("done", tally))
