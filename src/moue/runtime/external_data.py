"""Whether an ONNX graph keeps weights in other files, found without the onnx package.

The search walks over protobuf's wire format (https://protobuf.dev/programming-guides/encoding), looks into nodes, and
steps over weights.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

#: Fields of onnx.proto that hold messages which may hold a tensor: message to field number to message.
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: Of a tensor: where its data are in another file, and the enumeration that says so.
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14

Buffer = bytes | mmap.mmap


def has_external_data(source: str | Path | bytes) -> bool:
    """Whether any tensor of an ONNX graph is, or may be, in another file.

    Args:
        source: path of an ``.onnx`` file, or its bytes.

    Raises:
        ValueError: when it is no protobuf message.
        OSError: when it cannot be read.
    """
    if isinstance(source, bytes):
        return _search(source)
    with open(source, "rb") as file:
        if not file.read(1):
            raise ValueError("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _search(content)


def _search(data: Buffer) -> bool:
    # A list instead of recursion: graphs may be nested as deeply as their author likes.
    remaining = [("model", 0, len(data))]
    while remaining:
        message, start, end = remaining.pop()
        for field, first, last in _fields(data, start, end):
            if message == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and first)):
                return True
            # Numbers have an empty range, which holds no fields.
            if field in _MESSAGES[message] and last > first:
                remaining.append((_MESSAGES[message][field], first, last))
    return False


def _fields(data: Buffer, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of the message from ``at`` to ``end``: number, and where the content starts and ends; for a number its
    value and 0.
    """
    while at < end:
        tag, at = _varint(data, at, end)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at, end)
            yield field, value, 0
            continue
        if wire_type == 2:
            size, at = _varint(data, at, end)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"byte {at} is no field of a protobuf message")
        if size > end - at:
            raise ValueError(f"it ends within a field, at byte {end}")
        if wire_type == 2:
            yield field, at, at + size
        at += size


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, seven bits a byte, and where the next byte is."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise ValueError(f"byte {at} is no field of a protobuf message")
