"""moue's own set file: an uncompressed ``.npz`` of plain arrays, without pickles, written atomically."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from moue.data.readers.archive import ARCHIVE_ERRORS, archive_kind, check_decompressed_size, open_zip
from moue.data.table import SPLITS, ImageTable, LeftOut
from moue.errors import DataError
from moue.files import atomic_write
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
    try:
        with zipfile.ZipFile(path) as archive:
            check_decompressed_size(str(path), sum(i.file_size for i in archive.infolist()), path.stat().st_size)
        with np.load(path, allow_pickle=False) as arrays:
            meta = json.loads(arrays["moue"].tobytes())
            if meta["version"] != VERSION:
                raise DataError(f"{path} was written by another version of moue. Import its source again.")
            name, *labels = meta["label_set"]
            return ImageTable(
                images=arrays["images"],
                labels=arrays["labels"].astype(np.int64),
                split=np.array(meta["splits"])[arrays["split"]],
                source=[str(s) for s in meta["source"]],
                label_set=LabelSet(name, tuple(labels)),
                targets=arrays["targets"].astype(np.float32, copy=False) if "targets" in arrays else None,
                votes=arrays["votes"].astype(np.float32, copy=False) if "votes" in arrays else None,
                left_out=tuple(LeftOut(str(s), str(r), bool(b)) for s, r, b in meta["left_out"]),
                name=str(meta["name"]),
                _digests=[d.tobytes() for d in arrays["digests"]],
            )
    except DataError:
        raise
    except (*ARCHIVE_ERRORS, ValueError, KeyError, IndexError, TypeError, MemoryError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged, or no set that moue wrote ({error}). Import its source again.") from error
