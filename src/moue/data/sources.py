"""Every data set by one function: :func:`load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from moue.data import cache as caches
from moue.data import votes as polls
from moue.data.readers import fer2013_csv, folders, store
from moue.data.readers.archive import DAMAGE, folder_members, kind_of, open_zip, zip_members
from moue.data.readers.compressed_csv import is_csv, open_csv
from moue.data.readers.folders import Crop
from moue.data.readers.synth import synthetic
from moue.data.row_errors import RowErrors
from moue.data.table import ImageTable, LeftOut
from moue.errors import DataError, UsageError
from moue.labels import FER2013, FERPLUS, label_set
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.spec import Color


def load(
    source: str | Path,
    *,
    labels: str | None = None,
    fallback: str = "fer2013",
    votes: str | Path | None = None,
    size: int | None = None,
    color: Color | None = None,
    skip_bad: bool = False,
    cache: bool = True,
    progress: Report | None = None,
    crop: Crop | None = None,
) -> ImageTable:
    """Read a data set, whatever its form; what it is is seen from its content.

    Args:
        source: the competition's CSV (plain, .gz, .zip, .tar.gz), class folders (a folder or zip), a file that
            ``moue data import`` wrote, or "synth" or "synth:N:SEED" for the synthetic set.
        labels: "fer2013"; "ferplus", for a CSV together with ``votes``, whose soft targets and majorities become the
            table's; "folders" for the class folders' own names. None takes the label set that a file that moue wrote
            or the synthetic set has, and ``fallback`` for any other source.
        fallback: a label set.
        votes: path of FER+'s ``fer2013new.csv``. With "ferplus" its majorities become the labels; with "fer2013" its
            shares become the table's ``votes``, beside the labels. For a CSV alone.
        size: height and width of the table's images in pixels; by default 48, or those of a file that moue wrote.
        color: "gray" or "rgb"; by default "gray", or that of a file that moue wrote.
        skip_bad: go on without rows that cannot be used, and list them in ``left_out``.
        cache: keep the parsed set in the user's cache folder (see :mod:`moue.data.cache`), and read it from there.
        progress: called as ``progress(done, total or None)`` with counts of rows or files.
        crop: cuts the faces out of each image of a folder, ``(image, source) -> images``; never cached.

    Raises:
        DataError: when the set, or without ``skip_bad`` one of its rows, cannot be used; names file, row and remedy.
        UsageError: for an option that does not go with the source, as a label set that is not the written file's.
        UnknownName: for an unknown label set.
    """
    label_set(labels or fallback)
    if (size is not None and size < 1) or color not in ("gray", "rgb", None):
        raise UsageError(f"size must be at least 1 and color 'gray' or 'rgb'. Got {size!r} and {color!r} instead.")
    if _is_drawn(source):
        if labels not in (None, FER2013.name) or votes is not None:
            raise UsageError("the synthetic set has FER-2013's labels and no votes. Leave --labels and --votes out.")
        return _fit(_synth(str(source)), size or 48, color or "gray")
    path = Path(source)
    vote_file = Path(votes) if votes is not None and labels != "folders" else None
    if not path.is_dir() and _is_own(path):
        written = _own(path, labels)
        if vote_file is not None and written.votes is None and written.label_set.name != "ferplus":
            raise UsageError(f"{path} holds no votes. Import its CSV again with --votes {vote_file}")
        own: Color = "rgb" if written.images.shape[1] == 3 else "gray"
        return _fit(written, size or written.images.shape[-1], color or own)
    labels = labels or fallback
    size, color = size or 48, color or "gray"
    keep = cache and crop is None
    options: dict[str, object] = {"labels": labels, "size": size, "color": color, "skip_bad": skip_bad}
    if vote_file is not None and not vote_file.is_file():
        raise DataError(f"the votes file {vote_file} does not exist. Get fer2013new.csv from the FER+ repository.")
    place = caches.place(path, vote_file, options) if keep else None
    if place is not None and (table := caches.load(place)) is not None:
        return table
    table = _read(path, labels, vote_file, size, color, RowErrors(str(path), skip_bad), crop, progress)
    if place is not None:
        caches.save(table, place)
    return table


def origin(source: str | Path) -> list[Path]:
    """What :func:`load` reads a set from: a file, a folder of images, or nothing for the synthetic set."""
    if _is_drawn(source):
        return []
    path = Path(source)
    return [(_csv_of_faces(path) if path.is_dir() else None) or path]


def _is_drawn(source: str | Path) -> bool:
    return str(source) == "synth" or str(source).startswith("synth:")


def _read(
    path: Path,
    labels: str,
    vote_file: Path | None,
    size: int,
    color: Color,
    bad: RowErrors,
    crop: Crop | None,
    progress: Report | None,
) -> ImageTable:
    if path.is_dir() and (inside := _csv_of_faces(path)) is not None:
        path = inside
    if path.is_dir():
        members = list(folder_members(path))
        if not members:
            raise DataError(f"{path} is an empty folder. A set has one sub-folder a class, or is a CSV.")
        if (several := _csvs_of_faces(path)) and not any(folders.is_image(m.path) for m in members):
            names = ", ".join(p.name for p in several)
            raise DataError(f"{path} holds {len(several)} CSVs of faces ({names}). Give one of them.")
        _without_votes(path, vote_file)
        return folders.read(
            members, path.resolve().name, bad, labels=labels, size=size, color=color, crop=crop, progress=progress
        )
    if kind_of(path) == "zip":
        with open_zip(path) as archive:
            members = zip_members(archive)
            sheets = [i for i in archive.infolist() if is_csv(i.filename)]
            # Class folders may hold a list of their images, too.
            images = any(folders.is_image(m.path) for m in members)
            if not sheets or (images and not any(_holds_faces(archive.open, i) for i in sheets)):
                _without_votes(path, vote_file)
                return folders.read(
                    members, path.name, bad, labels=labels, size=size, color=color, crop=crop, progress=progress
                )
    if labels == "folders":
        raise UsageError(f"{path} is a CSV, which has no class folders. Leave out --labels folders.")
    if crop is not None:
        raise UsageError(f"{path} is a CSV of cropped faces; faces are looked for in folders of photos alone.")
    with open_csv(path) as stream:
        rows = fer2013_csv.read(stream, str(path), bad, progress)
    table = ImageTable(
        images=rows.images,
        labels=rows.labels,
        split=rows.split,
        source=[f"row {n}" for n in rows.numbers],
        label_set=FER2013,
        left_out=tuple(bad.left_out),
        name=path.name,
    )
    if labels == "ferplus":
        if vote_file is None:
            raise UsageError("FER+ labels come from its votes: type --votes fer2013new.csv.")
        table = _with_majorities(table, _votes_of(table, rows.numbers, vote_file, path), path)
    elif vote_file is not None:
        table = replace(table, votes=polls.distribution(_votes_of(table, rows.numbers, vote_file, path)))
    return _fit(table, size, color)


def _csv_of_faces(folder: Path) -> Path | None:
    """The competition's CSV that lies in a folder; None without exactly one."""
    found = _csvs_of_faces(folder)
    return found[0] if len(found) == 1 else None


def _csvs_of_faces(folder: Path) -> list[Path]:
    found = [p for p in sorted(folder.iterdir()) if p.is_file() and is_csv(p.name)]
    return [p for p in found if _holds_faces(p.open, "rb")]


def _holds_faces(open_one: Callable[..., IO[bytes]], which: object) -> bool:
    """Whether a CSV has the competition's column of pixels."""
    try:
        with open_one(which) as file:
            return b"pixels" in file.readline(4096).lower()
    except (*DAMAGE, OSError):
        return True  # Reading it says what is wrong.


def _without_votes(path: Path, vote_file: Path | None) -> None:
    if vote_file is not None:
        raise UsageError(
            f"{path} holds images, and FER+'s votes go with the rows of fer2013.csv. Give that file, or leave out "
            "--votes."
        )


def _votes_of(table: ImageTable, numbers: NDArray[np.int64], vote_file: Path, path: Path) -> NDArray[np.int64]:
    """FER+'s votes ``(N, 10)`` of a competition table's rows."""
    polled = polls.read(vote_file)
    if numbers.max() > len(polled.counts):
        raise DataError(
            f"{vote_file} has {len(polled.counts):,} rows, {path} has row {numbers.max():,}: they do not match."
        )
    index = numbers - 1
    differ = polled.split[index] != table.split
    if differ.any():
        row = int(numbers[differ.argmax()])
        raise DataError(
            f"{path}, row {row}: Usage differs from row {row} of {vote_file}. Votes are joined by row, so the CSV "
            "must keep the original order of fer2013.csv."
        )
    counts = polled.counts[index]
    # Within one Usage a removed row moves all that follow it, and nothing but the labels tells.
    if (found := polls.first_misaligned(counts, table.labels)) is not None:
        first, share = found
        raise DataError(
            f"{path}, from row {numbers[first]} on: the labels of {polls.WINDOW} rows agree with {vote_file} for "
            f"{share:.0%}, where FER-2013's do for 63 %. Votes are joined by row, so the CSV must keep the original "
            "order of fer2013.csv, with no row left out."
        )
    return counts


def _with_majorities(table: ImageTable, counts: NDArray[np.int64], path: Path) -> ImageTable:
    """The table with FER+'s labels and soft targets; rows without a majority are left out and listed."""
    winner = polls.majority(counts)
    reason = "FER+'s votes have no majority for an expression"
    lost = [LeftOut(f"{path}, {table.source[i]}", reason, by_rule=True) for i in np.flatnonzero(winner < 0).tolist()]
    kept = table.take(winner >= 0)
    if not len(kept):
        raise DataError(f"no row of {path} has a majority among FER+'s votes.")
    return replace(
        kept,
        labels=winner[winner >= 0],
        targets=polls.distribution(counts[winner >= 0]),
        label_set=FERPLUS,
        left_out=(*table.left_out, *lost),
    )


def _fit(table: ImageTable, size: int, color: Color) -> ImageTable:
    """The table with images of another size or color."""
    images = to_inputs(table.images, size, color)
    return table if images is table.images else replace(table, images=images, _digests=[])


def _synth(source: str) -> ImageTable:
    parts = source.split(":")[1:]
    if len(parts) > 2 or not all(p.isdecimal() for p in parts):
        raise UsageError(f"the synthetic set is synth, synth:N or synth:N:SEED. Got {source!r} instead.")
    return synthetic(*(int(p) for p in parts))


def _is_own(path: Path) -> bool:
    if kind_of(path) != "zip":
        return False
    with open_zip(path) as archive:
        return store.MARK in archive.namelist()


def _own(path: Path, labels: str | None) -> ImageTable:
    table = store.load(path)
    if labels not in (None, table.label_set.name):
        raise UsageError(
            f"{path} has {table.label_set.name} labels. Import its source again with --labels {labels}, or leave it."
        )
    return replace(table, left_out=tuple(replace(row, earlier=True) for row in table.left_out))
