"""moue's own set file: an uncompressed ``.npz`` of plain arrays, without pickles, written atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.damage import decoding
from moue.data.readers.archive import archive_kind, open_zip
from moue.data.table import SPLITS, ImageTable, LeftOut
from moue.errors import DataError, shortened
from moue.files import atomic_write, valid_text
from moue.labels import LabelSet

#: Raised by one when the layout changes; caches of another version are read anew.
VERSION = 1
#: The member that distinguishes a set that moue wrote from other zip files.
MARKER = "moue.npy"


def save(table: ImageTable, path: Path | str) -> None:
    """Write a table to a file, atomically."""
    path = Path(path)
    meta = {
        "version": VERSION,
        "name": table.name,
        "label_set": [table.label_set.name, *table.label_set.labels],
        "source": list(table.source),
        "left_out": [[row.source, row.reason, row.by_rule] for row in table.left_out],
        "splits": list(SPLITS),
    }
    arrays: dict[str, Any] = {
        "moue": np.frombuffer(json.dumps(meta, ensure_ascii=False).encode("utf-8", "backslashreplace"), np.uint8),
        "images": table.images,
        "labels": table.labels.astype(np.uint16),
        "split": np.array([SPLITS.index(s) for s in table.split.tolist()], np.uint8),
        "digests": np.frombuffer(b"".join(table.digests), np.uint8).reshape(-1, 16),
    }
    if table.targets is not None:
        arrays["targets"] = table.targets
    if table.votes is not None:
        arrays["votes"] = table.votes
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part, open(part, "xb") as file:
        np.savez(file, **arrays)


def is_saved_set(path: Path) -> bool:
    """Whether a file is one that :func:`save` wrote.

    Raises:
        DataError: when it is missing, empty or a damaged archive.
    """
    if archive_kind(path) != "zip":
        return False
    with open_zip(path) as archive:
        return MARKER in archive.namelist()


def load(path: Path | str) -> ImageTable:
    """Read a file that :func:`save` wrote.

    Raises:
        DataError: when it is damaged or was written by a later version.
    """
    path = Path(path)

    def damaged(reason: str) -> DataError:
        return DataError(f"{path} is damaged, or no set that moue wrote ({reason}). Import its source again.")

    # Names and sizes of the members first: numpy opens them without looking.
    open_zip(path).close()
    with decoding(path, damaged), np.load(path, allow_pickle=False) as arrays:
        _require_sizes(arrays)
        meta = json.loads(arrays["moue"].tobytes())
        if meta["version"] != VERSION:
            raise DataError(f"{path} was written by another version of moue. Import its source again.")
        name, *labels = meta["label_set"]
        images, digests = arrays["images"], arrays["digests"]
        targets, votes = arrays.get("targets"), arrays.get("votes")
        table = ImageTable(
            images=images,
            labels=_whole_numbers(arrays["labels"]).astype(np.int64),
            split=np.array(_texts(meta["splits"]))[_whole_numbers(arrays["split"])],
            source=[valid_text(s) for s in _texts(meta["source"])],
            label_set=LabelSet(str(name), tuple(_texts(labels))),
            targets=None if targets is None else _shares(targets),
            votes=None if votes is None else _shares(votes),
            left_out=tuple(LeftOut(str(s), str(r), bool(b)) for s, r, b in meta["left_out"]),
            name=valid_text(meta["name"]),
            _digests=[d.tobytes() for d in digests],
        )
        n, channels, height, width = images.shape
        if digests.dtype != np.uint8 or digests.shape != (n, 16) or channels not in (1, 3) or height != width:
            raise ValueError("its arrays do not belong together")
        if not set(table.split.tolist()) <= set(SPLITS) or len(table) == 0:
            raise ValueError("it has no rows, or splits of another name")
    return table


def _require_sizes(arrays: Any) -> None:
    """Refuse an array whose header says another size than its member has, before memory is taken for it."""
    for info in arrays.zip.infolist():
        with arrays.zip.open(info) as file:
            version = np.lib.format.read_magic(file)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read_header[version](file)
            if dtype.hasobject or info.file_size - file.tell() != dtype.itemsize * math.prod(shape):
                raise ValueError(f"the header of {shortened(info.filename)} is damaged")


def _texts(values: Any) -> Sequence[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("its description is damaged")
    return values


def _whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim != 1 or values.dtype.kind not in "ui":
        raise ValueError("labels and splits must be whole numbers")
    return values


def _shares(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.ndim != 2 or values.dtype.kind != "f" or not ((values >= 0) & (values <= 1.001)).all():
        raise ValueError("votes must be shares from 0 to 1")
    return values.astype(np.float32, copy=False)
