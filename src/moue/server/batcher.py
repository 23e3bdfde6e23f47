"""One line in front of the graphs: images of all requests wait in it and are read together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from moue.errors import MoueError, Unreadable
from moue.runtime.detect import WholeImage
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces

#: Images read at once. Faces that are cut out already gain by going through the graph together; where they must be
#: found first, finding takes the time, and a long batch would only keep its first image waiting.
CROPS, IMAGES = 64, 4


class Overloaded(MoueError):
    """The line is full.

    Args:
        seconds: after which trying again makes sense.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the server is busy. Try again in {seconds} s.")
        self.seconds = seconds


class _Ticket(NamedTuple):
    recognizer: Recognizer
    content: bytes
    name: str
    answer: Future[Faces]


class Batcher:
    """Reads images in the order in which they come, as many at once as wait; safe to share between threads.

    Images are decoded when it is their turn, so what waits is small.

    Args:
        size: images that may wait.
        patience: seconds of work that may wait.
        observe: told the number of images of each batch.
    """

    def __init__(self, size: int, patience: float, observe: Callable[[int], None] = lambda n: None) -> None:
        self._size, self._patience, self._observe = size, patience, observe
        self._line: deque[_Ticket] = deque()
        self._changed = threading.Condition()
        self._open = True
        #: Seconds that one image takes: the mean of the first batches, then a moving one.
        self._pace = 0.0
        self._batches = 0
        #: Images being read.
        self._hands = 0
        self._worker = threading.Thread(target=self._work, name="moue-reading", daemon=True)
        self._worker.start()

    def __len__(self) -> int:
        return len(self._line)

    def submit(self, recognizer: Recognizer, images: Sequence[tuple[str, bytes]]) -> list[Future[Faces]]:
        """Queue images.

        Args:
            recognizer: who reads them.
            images: name and content of each.

        Returns:
            The answers to come, in order; an image that cannot be read has an answer with status and reason. A
            cancelled one is not worked on.

        Raises:
            Overloaded: when too many wait already. One request alone is never refused.
        """
        tickets = [_Ticket(recognizer, content, name, Future()) for name, content in images]
        with self._changed:
            waiting = len(self._line)
            seconds = (waiting + self._hands) * self._pace
            if seconds > self._patience or (waiting and waiting + len(tickets) > self._size):
                raise Overloaded(max(1, round(seconds)))
            if not self._open:
                raise Overloaded(5)
            self._line.extend(tickets)
            self._changed.notify()
        return [ticket.answer for ticket in tickets]

    def close(self) -> None:
        """Stop; what waits is cancelled."""
        with self._changed:
            self._open = False
            for ticket in self._line:
                ticket.answer.cancel()
            self._line.clear()
            self._changed.notify()
        self._worker.join(timeout=10)

    def _work(self) -> None:
        while tickets := self._next():
            start = time.perf_counter()
            _read(tickets)
            pace = (time.perf_counter() - start) / len(tickets)
            self._batches += 1
            self._pace += max(0.2, 1 / self._batches) * (pace - self._pace)
            self._hands = 0
            self._observe(len(tickets))

    def _next(self) -> list[_Ticket]:
        """The images whose turn it is, all for one recognizer; none when closed."""
        with self._changed:
            while True:
                while self._open and not self._line:
                    self._changed.wait()
                if not self._open:
                    return []
                recognizer = self._line[0].recognizer
                most = CROPS if isinstance(recognizer.detector, WholeImage) else IMAGES
                taken: list[_Ticket] = []
                while self._line and len(taken) < most and self._line[0].recognizer is recognizer:
                    ticket = self._line.popleft()
                    if ticket.answer.set_running_or_notify_cancel():
                        taken.append(ticket)
                if taken:
                    self._hands = len(taken)
                    return taken


def _read(tickets: Sequence[_Ticket]) -> None:
    recognizer = tickets[0].recognizer
    open_tickets, images = [], []
    for ticket in tickets:
        try:
            image = recognizer.open(ticket.content)
        except Unreadable as error:
            ticket.answer.set_result(recognizer.failed(ticket.name, error.status, str(error)))
        except Exception as error:  # The one who asked is told; the line goes on.
            ticket.answer.set_exception(error)
        else:
            open_tickets.append(ticket)
            images.append(image)
    if not images:
        return
    try:
        answers = recognizer.batch(images)
    except Exception as error:
        if len(open_tickets) == 1:
            open_tickets[0].answer.set_exception(error)
            return
        # One of them is to blame, and only that one shall pay.
        for ticket in open_tickets:
            _read([ticket])
        return
    for ticket, answer in zip(open_tickets, answers, strict=True):
        ticket.answer.set_result(answer.replace(source=ticket.name))
