"""Photos read before their turn, so that one is decoded while another is searched for faces."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from moue.errors import Unreadable
from moue.image_format import identify
from moue.runtime.inputs.source import Source

#: Photos of more pixels are read in their turn alone: several at a time would take several times the memory.
MAX_PIXELS_AHEAD = 16_000_000
#: Threads at most: more of them wait for each other's graphs.
MAX_THREADS = 4

T = TypeVar("T")


def threads_ahead(threads: int) -> int:
    """How many photos to read at a time, for a recognizer of so many CPU threads (0: all); 0 where it has only one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number = min(threads or allowed, allowed, MAX_THREADS)
    return number if number > 1 else 0


def read_ahead(
    sources: Iterable[Source], read: Callable[[Source], T], threads: int
) -> Generator[tuple[Source, Callable[[], T]], None, None]:
    """Go through sources, in order, and read photos of moderate size before their turn.

    Args:
        sources: all at hand: up to ``threads`` more than were asked for are taken.
        read: what reads a photo; called in threads.
        threads: of them at a time; 0 reads each in its turn.

    Yields:
        A source, and what returns its result, or raises what ``read`` raised. Of a source that is no photo it is not to
        be called.
    """
    waiting: deque[tuple[Source, Future[T] | None]] = deque()
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="moue-photo")
    try:
        for source in sources:
            waiting.append((source, _submitted(pool, read, source) if threads else None))
            if len(waiting) > threads:
                yield _turn(*waiting.popleft(), read)
        while waiting:
            yield _turn(*waiting.popleft(), read)
    finally:
        pool.shutdown(cancel_futures=True)


def _turn(source: Source, future: Future[T] | None, read: Callable[[Source], T]) -> tuple[Source, Callable[[], T]]:
    return source, future.result if future is not None else lambda: read(source)


def _submitted(pool: ThreadPoolExecutor, read: Callable[[Source], T], source: Source) -> Future[T] | None:
    """The result to come of a photo's file of moderate size; None for all else."""
    if source.kind != "image" or source.content is not None:
        return None
    try:
        # Not of a pipe, whose content would be gone.
        if not Path(source.name).is_file():
            return None
        with open(source.name, "rb") as file:
            width, height = identify(file).size
        return pool.submit(read, source) if width * height <= MAX_PIXELS_AHEAD else None
    except (OSError, ValueError, Unreadable, RuntimeError):
        # What cannot be read says so in its turn; RuntimeError: no thread could be started.
        return None
