"""Damaged copies of a file, the same at every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from moue.errors import MoueError


def damaged(whole: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies that are cut, or have some bytes changed; half of them at the ends, where archives describe themselves."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            near = int(rng.integers(0, min(600, len(data))))
            at = (near, len(data) - 1 - near, int(rng.integers(0, len(data))))[int(rng.integers(0, 3))]
            data[at] = int(rng.integers(0, 256)) if rng.random() < 0.5 else data[at] ^ (1 << int(rng.integers(0, 8)))
        if number % 4 == 0:
            del data[int(rng.integers(0, len(data))) :]
        yield bytes(data)


def survives(read: Callable[[], object], shown: str, words: int = 500) -> bool:
    """Whether a file could be read; an error other than moue's own, or a longer one, fails the test.

    Args:
        read: reads the file.
        shown: what messages may hold besides, as the file's path.
        words: how long a message may be without it.
    """
    try:
        read()
    except MoueError as error:
        message = str(error)
    else:
        return True
    assert len(message.replace(shown, "")) < words, message[:2000]
    assert "\n" not in message
    return False
