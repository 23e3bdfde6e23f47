"""Every data set by one function: :func:`load`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from moue.data.cache import cache_path, load_cached, save_cached
from moue.data.class_map import ClassMap, class_map
from moue.data.memory import require_memory
from moue.data.readers import fer2013_csv, folders, store, synth
from moue.data.readers.archive import Member, archive_kind, folder_members, open_zip, unpacking, zip_members
from moue.data.readers.compressed_csv import is_csv, open_csv
from moue.data.readers.folders import Crop
from moue.data.row_errors import RowErrors
from moue.data.table import ImageTable
from moue.data.votes import majority_table, vote_shares, votes_of
from moue.errors import DataError, UsageError, quoted
from moue.files import valid_text
from moue.labels import FER2013, FERPLUS, label_set
from moue.preprocess import to_inputs
from moue.progress import Report
from moue.spec import MAX_SIZE, Color, channels_of

#: The classes that a source has, whichever these are.
OWN = "own"

#: FER-2013's classes, or those of class folders of which fewer than half are FER-2013's.
FER2013_OR_OWN = "fer2013 or own"


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
    classes: str | Mapping[str, str] | None = None,
    label_pattern: str | None = None,
) -> ImageTable:
    """Read a data set, whatever its form, which is recognized from its content.

    Args:
        source: the competition's CSV (plain, .gz, .zip, .tar.gz), class folders (a folder or zip), a file that
            ``moue data import`` wrote, or "synth" or "synth:N:SEED" for the synthetic set.
        labels: "fer2013"; "ferplus", for a CSV together with ``votes``, whose soft targets and majorities become the
            table's; "folders" for the class folders' own names; "own" for those of class folders and FER-2013's of a
            CSV without ``classes``. None and "own" take the label set that a file that moue wrote or the synthetic set
            has, and None takes ``fallback`` for any other source.
        fallback: a label set, or :data:`FER2013_OR_OWN`.
        votes: path of FER+'s ``fer2013new.csv``. With "ferplus" its majorities become the labels; with "fer2013" its
            shares become the table's ``votes``, beside the labels. For a CSV alone.
        size: height and width of the table's images in pixels; by default 48, or those of a file that moue wrote.
        color: "gray" or "rgb"; by default "gray", or that of a file that moue wrote.
        skip_bad: skip rows that cannot be used, and list them in ``left_out``.
        cache: keep the parsed set in the user's cache folder (see :mod:`moue.data.cache`), and read it from there.
        progress: called as ``progress(done, total or None)`` with counts of rows or files.
        crop: cuts the faces out of each image of a folder, ``(image, source) -> images``; never cached.
        classes: names of folders or labels that are numbers or other words, as "1=surprise,2=fear", "raf-db" or a file;
            see :func:`moue.data.class_map.class_map`.
        label_pattern: finds the class in each image's file name instead of its folder: a regular expression with a
            group ``label``, or "jaffe".

    Raises:
        DataError: when the set, or without ``skip_bad`` one of its rows, cannot be used; names file, row and remedy;
            when memory does not hold its images at this size.
        UsageError: for an option that does not go with the source, as a label set that is not the written file's.
        UnknownName: for an unknown label set.
    """
    labels, fallback = _checked(labels, fallback)
    values = class_map(classes, label_pattern)
    if (size is not None and not 1 <= size <= MAX_SIZE) or color not in ("gray", "rgb", None):
        raise UsageError(
            f"size must be from 1 to {MAX_SIZE} pixels and color 'gray' or 'rgb'. Got {quoted(size)} and "
            f"{quoted(color)} instead."
        )
    if synth.is_synthetic(source):
        if labels not in (None, FER2013.name) or votes is not None or values:
            raise UsageError(
                "the synthetic set has FER-2013's labels and no votes. Leave --labels, --votes and --classes out."
            )
        return _resized(synth.read(str(source)), size or 48, color or "gray")
    path = Path(source)
    vote_file = Path(votes) if votes is not None and labels != "folders" else None
    if not path.is_dir() and store.is_saved_set(path):
        if values:
            raise UsageError(f"{path} has labels of its own. Import its source again with --classes, or leave it out.")
        return _load_saved(path, labels, vote_file, size, color)
    labels, size, color = labels or fallback, size or 48, color or "gray"
    if labels == FER2013_OR_OWN:
        labels = _fer2013_or_own(path, values)
    if vote_file is not None and not vote_file.is_file():
        raise DataError(f"the votes file {vote_file} does not exist. Get fer2013new.csv from the FER+ repository.")
    options: dict[str, object] = {"labels": labels, "size": size, "color": color, "skip_bad": skip_bad}
    cached = cache_path(path, vote_file, options | {"values": values}) if cache and crop is None else None
    if cached is not None and (table := load_cached(cached)) is not None:
        return table
    [path] = source_files(path)
    errors = RowErrors(str(path), skip_bad)
    with _image_files(path) as members:
        if members is not None:
            if vote_file is not None:
                raise UsageError(
                    f"{path} holds images, and FER+'s votes go with the rows of fer2013.csv. Give that file, or leave "
                    "out --votes."
                )
            name = valid_text(path.resolve().name if path.is_dir() else path.name)
            table = folders.read(
                members,
                name,
                errors,
                labels="folders" if labels == OWN else labels,
                values=values,
                size=size,
                color=color,
                crop=crop,
                progress=progress,
            )
        else:
            labels = labels if labels != OWN else "folders" if values.names else FER2013.name
            _check_csv_options(path, labels, values, crop)
            table = _resized(_read_csv(path, labels, values, vote_file, errors, progress), size, color)
    if cached is not None:
        save_cached(table, cached)
    return table


def _checked(labels: str | None, fallback: str) -> tuple[str | None, str]:
    """Label set and fallback, of known names; "own" becomes a fallback."""
    labels, fallback = (None, OWN) if labels == OWN else (labels, fallback)
    if (labels or fallback) not in (OWN, FER2013_OR_OWN):
        label_set(labels or fallback)
    return labels, fallback


def _fer2013_or_own(path: Path, values: ClassMap) -> str:
    """The label set of a folder or zip by its classes; FER-2013's for any other source."""
    if not path.exists():
        return FER2013.name  # Reading it says so.
    [path] = source_files(path)
    with _image_files(path) as members:
        other = members is not None and folders.has_other_classes(members, values, FER2013.name)
    return "folders" if other else FER2013.name


def chose_own_classes(table: ImageTable, source: str | Path) -> bool:
    """Whether :data:`FER2013_OR_OWN` was a source's own classes; not of a file that moue wrote, which says its own."""
    return table.label_set.name == "folders" and not (Path(source).is_file() and store.is_saved_set(Path(source)))


@dataclass(frozen=True)
class ReadingOptions:
    """How a data set is read, whatever model it is read for: what the options beside ``--data`` say."""

    labels: str | None = None
    """A label set's name, as of :func:`load`."""
    votes: str | Path | None = None
    """FER+'s votes."""
    classes: str | Mapping[str, str] | None = None
    """Names of folders or labels that are numbers or other words."""
    label_pattern: str | None = None
    """Finds the class in each image's file name."""
    skip_bad: bool = False
    """Skip rows that cannot be used."""

    def load(self, source: str | Path, **others: Any) -> ImageTable:
        """:func:`load` with these options and those others."""
        return load(
            source,
            labels=self.labels,
            votes=self.votes,
            classes=self.classes,
            label_pattern=self.label_pattern,
            skip_bad=self.skip_bad,
            **others,
        )


#: Nothing said.
AS_IT_IS = ReadingOptions()


def _check_csv_options(path: Path, labels: str, values: ClassMap, crop: Crop | None) -> None:
    """Refuse options that are for folders of images."""
    if labels == "folders" and not values.names:
        raise UsageError(
            f"{path} is a CSV, which has no class folders. Leave out --labels folders, or name its labels: --classes "
            "0=angry,…"
        )
    if values.pattern is not None:
        raise UsageError(f"{path} is a CSV, whose images have no file names. Leave --label-pattern out.")
    if crop is not None:
        raise UsageError(f"{path} is a CSV of cropped faces; faces are detected in folders of photos alone.")


def source_files(source: str | Path, votes: str | Path | None = None) -> list[Path]:
    """What :func:`load` reads: a file or a folder of images, none for the synthetic set, and the votes file."""
    files = [Path(votes)] if votes is not None else []
    if synth.is_synthetic(source):
        return files
    path = Path(source)
    csvs = _face_csvs(path) if path.is_dir() else []
    return [*(csvs if len(csvs) == 1 else [path]), *files]


def _load_saved(
    path: Path, labels: str | None, vote_file: Path | None, size: int | None, color: Color | None
) -> ImageTable:
    """A set that moue wrote, with its own label set, size and color where none are asked for."""
    table = store.load(path)
    if labels not in (None, table.label_set.name):
        raise UsageError(
            f"{path} has {table.label_set.name} labels. Import its source again with --labels {labels}, or leave it."
        )
    if vote_file is not None and table.votes is None and table.label_set.name != "ferplus":
        raise UsageError(f"{path} holds no votes. Import its CSV again with --votes {vote_file}")
    table = replace(table, left_out=tuple(replace(row, earlier=True) for row in table.left_out))
    return _resized(table, size or table.size, color or ("rgb" if table.images.shape[1] == 3 else "gray"))


@contextmanager
def _image_files(path: Path) -> Iterator[list[Member] | None]:
    """The files of a folder or zip of class folders; None for a CSV, plain or compressed."""
    if path.is_dir():
        members, csvs = list(folder_members(path)), _face_csvs(path)
        if not members:
            raise DataError(f"{path} is an empty folder. A set has one subfolder per class, or is a CSV.")
        if len(csvs) > 1 and not any(folders.is_image(m.path) for m in members):
            names = ", ".join(csv.name for csv in csvs)
            raise DataError(f"{path} holds {len(csvs)} CSVs of faces ({names}). Give one of them.")
        yield members
    elif archive_kind(path) == "zip":
        with open_zip(path) as archive:
            members = zip_members(archive)
            csv_infos = [info for info in archive.infolist() if is_csv(info.filename)]
            # Class folders may hold a list of their images, too.
            has_images = any(folders.is_image(m.path) for m in members)
            has_faces = csv_infos and (not has_images or any(_has_pixels(archive.open, info) for info in csv_infos))
            yield None if has_faces else members
    else:
        yield None


def _face_csvs(folder: Path) -> list[Path]:
    """The competition's CSVs that lie in a folder."""
    csvs = [p for p in sorted(folder.iterdir()) if p.is_file() and is_csv(p.name)]
    return [p for p in csvs if _has_pixels(p.open, "rb")]


def _has_pixels(open_file: Callable[..., IO[bytes]], argument: object) -> bool:
    """Whether a CSV has the competition's column of pixels."""
    try:
        with unpacking(str(argument)), open_file(argument) as file:
            return fer2013_csv.has_pixels(file.read(4096))
    except (DataError, OSError):
        return True  # Reading it reports what is wrong.


def _read_csv(
    path: Path, labels: str, values: ClassMap, vote_file: Path | None, errors: RowErrors, progress: Report | None
) -> ImageTable:
    """The competition's CSV, joined with FER+'s votes where they are given."""
    # Labels that have names can be of any set; numbers are FER-2013's.
    classes = values.label_set(labels) if values and vote_file is None else FER2013
    if labels == FERPLUS.name and vote_file is None and not values:
        raise UsageError("FER+ labels come from its votes: type --votes fer2013new.csv.")
    with open_csv(path) as stream:
        rows = fer2013_csv.read(stream, str(path), errors, progress, classes, values)
    table = ImageTable(
        images=rows.images,
        labels=rows.labels,
        split=rows.split,
        source=[f"row {n}" for n in rows.numbers],
        label_set=classes,
        left_out=tuple(errors.left_out),
        name=valid_text(path.name),
    )
    if vote_file is None:
        return table
    counts = votes_of(table, rows.numbers, vote_file, path)
    return majority_table(table, counts, path) if labels == FERPLUS.name else replace(table, votes=vote_shares(counts))


def _resized(table: ImageTable, size: int, color: Color) -> ImageTable:
    """The table with images of another size or color."""
    if table.images.shape[1:] == (channels_of(color), size, size):
        return table
    require_memory(len(table), size, color, table.name or "the data set")
    return replace(table, images=to_inputs(table.images, size, color), _digests=[])
