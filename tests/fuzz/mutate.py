"""Hostile variants of a valid input: cut, with changed bytes, with headers that lie, or mixed with another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator
#: What headers lie with: none, one, the largest and the first negative numbers of 16 and 32 bits, and a few in between.
_LIES = (0, 1, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
#: Where files describe themselves.
_HEAD = 200
#: Longest input, in bytes.
_LONGEST = 1 << 20
_WORDS = (
    b"-1",
    b"1e999",
    b"nan",
    b"null",
    b"[" * 5000,
    b"{" * 5000,
    b"9" * 5000,
    b"\0",
    b"\xff\xfe",
    b'"',
    b"&a *a",
    b"../",
)


def mutated(whole: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    """One to six changes of an input."""
    data = bytearray(whole)
    for _ in range(int(rng.choice((1, 1, 2, 3, 6)))):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        change(data, others, rng)
    return bytes(data[:_LONGEST])


def _place(data: bytearray, rng: Rng) -> int:
    """Half of the changes are near the beginning or the end."""
    size = len(data)
    if not size:
        return 0
    near = int(rng.integers(min(_HEAD, size)))
    return (near, size - 1 - near, int(rng.integers(size)), near)[int(rng.integers(4))]


def _flip(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _set(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    at, count = _place(data, rng), int(rng.integers(1, 9))
    data[at : at + count] = rng.bytes(count)


def _lie(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    size = int(rng.choice((2, 4, 4, 8)))
    order = "big" if rng.random() < 0.5 else "little"
    value = int(rng.choice(_LIES)) % (1 << 8 * size)
    at = int(rng.integers(max(min(_HEAD, len(data)), 1)))
    data[at : at + size] = value.to_bytes(size, order)  # type: ignore[arg-type]


def _cut(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 64))]


def _repeat(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    at, size = _place(data, rng), int(rng.integers(1, 512))
    data[at:at] = data[at : at + size] * int(rng.integers(1, 20))


def _insert(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    at = _place(data, rng)
    data[at:at] = _WORDS[int(rng.integers(len(_WORDS)))]


def _splice(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    other = others[int(rng.integers(len(others)))]
    data[_place(data, rng) :] = other[_place(bytearray(other), rng) :]


_CHANGES: tuple[Callable[[bytearray, Sequence[bytes], Rng], None], ...] = (
    _flip, _flip, _set, _set, _lie, _lie, _lie, _cut, _remove, _repeat, _insert, _splice,
)  # fmt: skip
