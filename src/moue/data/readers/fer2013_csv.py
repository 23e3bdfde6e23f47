"""The competition's CSV: ``emotion,pixels,Usage``, one face a row as 2,304 numbers from 0 to 255.

Layout of FER-2013 (Goodfellow et al., "Challenges in representation learning", 2013). Columns may stand in any order
and with stray spaces in the header, as in ``icml_face_data.csv``; without ``Usage``, as in Kaggle's ``train.csv``,
every row is Training. Other programs write such files again: with semicolons or tabs, labels as ``0.0`` and other names
of the splits. Rows are counted from 1, the header not counted.
"""

from __future__ import annotations

import codecs
import csv
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from moue.data.class_map import ClassMap
from moue.data.readers.archive import DamagedError, LimitedReader
from moue.data.row_errors import RowErrors
from moue.data.table import SPLIT_NAMES, ImageTable
from moue.errors import DataError, UnknownName, quoted, shortened
from moue.labels import FER2013, FERPLUS, LabelSet, canonical
from moue.progress import Report

#: Height and width of the competition's images.
SIDE = 48
PIXELS = SIDE * SIDE

#: What separates columns; spreadsheets write semicolons in countries that write decimals with a comma.
SEPARATORS = b",;\t"

#: Images of each class in Training, in the competition's numbering.
TRAINING = (3995, 436, 4097, 7215, 4830, 3171, 4965)
#: How Kaggle's folders name the images.
IMAGE = re.compile(r"(Training|PublicTest|PrivateTest)_\d+\.jpg", re.IGNORECASE)

# Rows that are parsed at once: their text and index arrays fit in the cache of one core.
_BATCH = 16
# Bytes that are read at once, hence that a truncated archive loses at most; and the longest line.
_BLOCK = 1 << 16
_MAX_LINE = 1 << 20
# The longest first line: names of columns, or a row of 2,304 numbers.
_MAX_FIRST_LINE = 1 << 16


@dataclass(frozen=True)
class Rows:
    """What a competition CSV holds."""

    images: NDArray[np.uint8]
    """``(N, 1, 48, 48)``."""
    labels: NDArray[np.int64]
    """``(N,)`` in the competition's numbering."""
    split: NDArray[np.str_]
    numbers: NDArray[np.int64]
    """``(N,)``: the row number of each in its file, from 1."""


def is_fer2013(table: ImageTable) -> bool:
    """Whether a table holds FER-2013's images, whatever format they were in; other sets use the same layouts.

    Only they are joined with FER+'s votes or named as Kaggle names them, and no other set has as many images of each
    class, give or take a few that were left out.
    """
    has_votes = table.votes is not None or (table.targets is not None and table.label_set == FERPLUS)
    if has_votes or any(map(IMAGE.search, table.source)):
        return True
    if table.label_set != FER2013:
        return False
    counts = np.bincount(table.labels[table.split == "train"], minlength=len(TRAINING))
    return bool(np.allclose(counts, TRAINING, rtol=0.05))


@dataclass(frozen=True)
class Layout:
    """Where the columns of a CSV are."""

    columns: dict[str, int]
    """Positions by name in lower case; of a file without a header, of what is unmistakable."""
    separator: bytes
    header: bool
    """Whether the first line is one; else it is the first row."""


def has_pixels(head: bytes) -> bool:
    """Whether a CSV that begins like this holds images: a column of that name, or a row of numbers."""
    return b"pixels" in head.partition(b"\n")[0].lower() or re.search(rb"(?:\d{1,3} +){99}", head) is not None


def read_layout(stream: LimitedReader, file: str) -> tuple[Layout, bytes]:
    """The layout of a CSV by its first line, and the bytes that were read after its header.

    Raises:
        DataError: when the first line is no text, or longer than any that names columns.
    """
    head = b""
    while b"\n" not in head and len(head) <= _MAX_FIRST_LINE and (block := stream.read(4096)):
        head += block
    line, _, rest = head.partition(b"\n")
    if len(line) > _MAX_FIRST_LINE:
        raise DataError(
            f"{file} has a first line of more than {_MAX_FIRST_LINE:,} bytes. It must name the columns emotion, pixels "
            "and, where there are splits, Usage."
        )
    try:
        text = line.decode("utf-8-sig").strip("\r")
        layouts = [_layout(next(csv.reader([text], delimiter=chr(s)), []), bytes([s])) for s in SEPARATORS]
    except (UnicodeDecodeError, csv.Error):
        raise DataError(
            f"{file} is neither a CSV with the columns emotion and pixels nor another set that moue reads."
        ) from None
    # The first of those that have most of what is looked for: a separator that is none gives one column.
    layout = max(layouts, key=lambda found: len(found.columns.keys() & {"emotion", "pixels", "usage"}))
    return layout, rest if layout.header else head.removeprefix(codecs.BOM_UTF8)


def _layout(fields: list[str], separator: bytes) -> Layout:
    found = [_kind(field) for field in fields]
    if found.count("pixels") == 1 and len(set(found)) == len(found) and "emotion" in found:
        return Layout({kind: i for i, kind in enumerate(found)}, separator, header=False)
    columns: dict[str, int] = {}
    for i, name in enumerate(field.strip().lower() for field in fields):
        # Columns without a name or with a repeated one count, too: spreadsheets write such.
        columns[name if name and name not in columns else f"column {i + 1}"] = i
    return Layout(columns, separator, header=True)


def _kind(field: str) -> str:
    """Which column a value is unmistakably of; "" for any other."""
    text = field.strip()
    if len(text) > PIXELS and len(text.split()) == PIXELS:
        return "pixels"
    if text.lower() in SPLIT_NAMES:
        return "usage"
    return "emotion" if re.fullmatch(r"\d{1,3}(\.0*)?", text) or canonical(text) in FER2013.labels else ""


def _require_columns(layout: Layout, file: str) -> None:
    """Raise unless the columns that are needed are there."""
    missing = [name for name in ("emotion", "pixels") if name not in layout.columns]
    if missing:
        hint = ": no header row?" if _looks_like_data(layout.columns) else "."
        raise DataError(
            f"{file} needs a column '{missing[0]}'; its first line has {shortened(', '.join(layout.columns)) or 'none'}"
            f"{hint} The columns are emotion (a label), pixels ({PIXELS:,} numbers) and, where there are splits, Usage."
        )


def _looks_like_data(names: Iterable[str]) -> bool:
    """Whether a first line is a row rather than names of columns."""
    return any(len(name.split()) > 20 or name.replace(".", "").isdecimal() for name in names)


def read(
    stream: LimitedReader,
    file: str,
    errors: RowErrors,
    progress: Report | None = None,
    classes: LabelSet = FER2013,
    values: ClassMap | None = None,
) -> Rows:
    """Read a competition CSV.

    Args:
        stream: its bytes.
        file: its name, for messages.
        errors: collects or raises what is wrong with a row.
        classes: the label set, in whose numbering the labels are where ``values`` does not name them.
        values: names the labels.
        progress: called with the rows read and, once it can be estimated, their total.

    Raises:
        DataError: for a missing column, an empty file, and, unless they are skipped, for bad rows.
    """
    layout, rest = read_layout(stream, file)
    _require_columns(layout, file)
    columns = layout.columns
    emotion, pixels, usage = columns["emotion"], columns["pixels"], columns.get("usage")
    label_of = _labels(classes, values or ClassMap())
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    splits: list[str] = []
    numbers: list[int] = []
    fields: list[bytes] = []
    first = 0

    def flush() -> None:
        nonlocal first
        values, good = _parse(fields, [f"row {n}" for n in numbers[first:]], errors)
        images.append(values)
        labels[first:] = compress(labels[first:], good)
        splits[first:] = compress(splits[first:], good)
        numbers[first:] = compress(numbers[first:], good)
        first = len(numbers)
        fields.clear()

    number = 0
    for number, line in enumerate(_lines(stream, rest, errors), start=1):
        try:
            parts = _fields(line, len(columns), layout.separator)
            if len(parts) != len(columns):
                raise ValueError(f"must have {len(columns)} columns. Got {len(parts)} instead")
            label, split = label_of(parts[emotion]), "train" if usage is None else _split(parts[usage])
        except (ValueError, csv.Error) as error:
            errors.add(f"row {number}", str(error))
            continue
        labels.append(label)
        splits.append(split)
        numbers.append(number)
        fields.append(parts[pixels])
        if len(fields) == _BATCH:
            flush()
        if progress and number % 512 == 0:
            progress(number, max(number, round(number / stream.fraction)) if stream.fraction else None)
    flush()
    if progress:
        progress(number, number)
    if not numbers:
        raise DataError(f"{file} has no usable rows below its header. Download or export it again.")
    return Rows(
        np.concatenate(images).reshape(-1, 1, SIDE, SIDE),
        np.array(labels, np.int64),
        np.array(splits),
        np.array(numbers, np.int64),
    )


def _lines(stream: LimitedReader, rest: bytes, errors: RowErrors) -> Iterator[bytes]:
    """The lines that are not blank."""
    count = 0
    while True:
        try:
            block = stream.read(_BLOCK)
        except DamagedError as error:
            errors.add(f"from row {count + 1} on", f"the file is truncated or damaged ({error.reason})")
            return
        *lines, rest = (rest + block).split(b"\n")
        if not block:
            lines.append(rest)
        elif len(rest) > _MAX_LINE:
            raise DataError(f"{errors.file}, row {count + len(lines) + 1}: a line must be shorter than 1 MiB.")
        for line in lines:
            if stripped := line.strip():
                count += 1
                yield stripped
        if not block:
            return


def _fields(line: bytes, columns: int, separator: bytes) -> list[bytes]:
    """A line's fields, without their quotes."""
    fields = line.replace(b'"', b"").split(separator)
    if len(fields) == columns or b'"' not in line:
        return fields
    # Much slower: separators within quotes do not separate columns.
    text = line.decode("utf-8", "replace")
    return [field.encode() for field in next(csv.reader([text], delimiter=separator.decode()))]


def _labels(classes: LabelSet, values: ClassMap) -> Callable[[bytes], int]:
    """The label of a field: a number in the label set's numbering, also as 3.0, or a name."""

    @functools.lru_cache(maxsize=1024)
    def label_of(field: bytes) -> int:
        text = field.decode("utf-8", "replace").strip()
        name = values.name_of(text)
        # pandas writes whole numbers as 3.0 in a column where one is missing.
        number = re.fullmatch(r"(\d{1,9})(\.0*)?", name)
        if number is None:
            with suppress(UnknownName):
                return classes.index(name)
        elif not values and int(number[1]) < len(classes):
            return int(number[1])
        if name != text:
            raise ValueError(
                f"emotion {quoted(text)} is {quoted(name)}, which the labels {classes.name} lack: type --labels "
                "folders to take the names of --classes"
            )
        known = ", ".join(values.names) if values else f"between 0 and {len(classes) - 1}"
        raise ValueError(f"emotion must be {shortened(known)}. Got {quoted(text)} instead")

    return label_of


def _split(field: bytes) -> str:
    text = field.decode("utf-8", "replace").strip()
    if text.lower() not in SPLIT_NAMES:
        raise ValueError(f"Usage must be Training, PublicTest or PrivateTest. Got {quoted(text)} instead")
    return SPLIT_NAMES[text.lower()]


def _parse(fields: list[bytes], names: list[str], errors: RowErrors) -> tuple[NDArray[np.uint8], list[bool]]:
    """Pixel fields to uint8 ``(rows, 2304)``, and which of the fields could be used."""
    if (fast := _parse_fast(fields)) is not None:
        return fast, [True] * len(fields)
    values: list[NDArray[np.uint8]] = []
    good: list[bool] = []
    for field, name in zip(fields, names, strict=True):
        try:
            values.append(_parse_slow(field))
            good.append(True)
        except ValueError as error:
            errors.add(name, str(error))
            good.append(False)
    return np.array(values, np.uint8).reshape(-1, PIXELS), good


def _parse_fast(fields: list[bytes]) -> NDArray[np.uint8] | None:
    """The numbers of well-formed fields, all at once; None when any of them is not, for :func:`_parse_slow`."""
    if not fields:
        return np.zeros((0, PIXELS), np.uint8)
    text = np.frombuffer(b" ".join(fields) + b" ", np.uint8)
    ends = np.flatnonzero(text == 32)
    if len(ends) != PIXELS * len(fields):
        return None
    row_ends = np.cumsum([len(f) + 1 for f in fields]) - 1
    lengths = np.diff(ends, prepend=-1) - 1
    digits = text - 48
    if (ends[PIXELS - 1 :: PIXELS] != row_ends).any() or lengths.min() < 1 or lengths.max() > 3:
        return None
    # A space wraps to 240: every other byte that is no digit breaks the count.
    if np.count_nonzero(digits > 9) != len(ends):
        return None
    value = digits[ends - 1].astype(np.uint16)
    value += digits[ends - 2] * np.uint16(10) * (lengths > 1)
    value += digits[ends - 3] * np.uint16(100) * (lengths > 2)
    return None if value.max() > 255 else value.astype(np.uint8).reshape(-1, PIXELS)


def _parse_slow(field: bytes) -> NDArray[np.uint8]:
    tokens = field.split()
    if len(tokens) != PIXELS:
        raise ValueError(f"must have {PIXELS:,} pixels. Got {len(tokens):,} instead")
    for i, token in enumerate(tokens, start=1):
        if not token.isdigit() or len(token) > 9 or int(token) > 255:
            shown = quoted(token.decode("utf-8", "replace"))
            raise ValueError(f"a pixel must be a whole number from 0 to 255. Got {shown} at pixel {i} instead")
    return np.array([int(t) for t in tokens], np.uint8)
