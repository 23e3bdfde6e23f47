"""Images in class folders: ``train/<class>/*`` and ``test/<class>/*`` as on Kaggle, or just ``<class>/*``."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from moue.damage import reason
from moue.data.class_map import ClassMap, class_index, class_names
from moue.data.memory import require_memory
from moue.data.readers.archive import MAX_MEMBER, DamagedError, Member, escapes_archive
from moue.data.row_errors import RowErrors
from moue.data.table import SPLIT_NAMES, ImageTable, LeftOut
from moue.errors import DataError, quoted, shortened
from moue.image import MAX_PIXELS, read_photo
from moue.labels import label_set
from moue.preprocess import ImageArray, to_input
from moue.progress import Report
from moue.signatures import IMAGE_SUFFIXES, SYSTEM_FILES
from moue.spec import Color

#: File prefixes that name the competition's split, which is finer than the folder's.
PREFIXES = {"Training_": "train", "PublicTest_": "public_test", "PrivateTest_": "private_test"}

#: The classes are the folders, under their own names.
FOLDERS = ClassMap()

#: Larger images of a class are refused, as a set has many of them. Photos that faces are cut out of may have as many
#: pixels as any photo.
MAX_FACE_PIXELS = 25_000_000

#: Cuts the faces out of an image: ``(image, source) -> images``, one a face.
Crop = Callable[[ImageArray, str], "list[ImageArray]"]


def read(
    members: Sequence[Member],
    name: str,
    errors: RowErrors,
    *,
    labels: str = "fer2013",
    values: ClassMap = FOLDERS,
    size: int = 48,
    color: Color = "gray",
    crop: Crop | None = None,
    progress: Report | None = None,
) -> ImageTable:
    """Read class folders.

    Every file in a class folder counts as an image; hidden ones (``.DS_Store``, ``__MACOSX/…``, ``Thumbs.db``,
    ``desktop.ini``) are no part of a set. The split is that of the folder above its class; the files' prefixes
    (``PublicTest_…``) tell the two halves of "test" apart, and are the splits where there is no such folder; else it is
    "train". Prefixes that only some of the files have say nothing, and a warning says so.

    Args:
        members: the files, with paths relative to the folder or zip.
        name: of the folder or zip.
        errors: collects or raises what is wrong with an image.
        labels: a label set's name; "folders" takes the folders' own names, sorted.
        values: names the classes, and says whether they are in the files' names instead.
        size: height and width of the table's images.
        color: of the table's images.
        crop: cuts faces out of each image; None takes each image as one face.
        progress: called with the files read and their number.

    Raises:
        DataError: when there are no class folders, and, unless they are skipped, for bad files, unknown classes, and
            folders of an unknown name that hold the classes of the splits beside them.
    """
    images = _labeled_images(members, errors, labels, values)
    by_name = _named_splits([(folder, _file_name(member)) for member, folder, _ in images])
    counts = Counter(value for _, _, value in images)
    classes = label_set(labels, sorted({values.name_of(value) for value in counts}))
    index = class_index(counts, classes, values, errors)
    # A list, and the array that is made of it.
    require_memory(len(images), size, color, name, copies=2)
    faces, numbers, splits, sources = [], [], [], []
    for done, (member, folder, value) in enumerate(images, start=1):
        if progress:
            progress(done, len(images))
        if value not in index:
            continue
        try:
            found = _read_faces(member, crop)
        except ValueError as error:
            errors.add(member.path, str(error))
            continue
        if not found:
            errors.left_out.append(LeftOut(f"{errors.file}, {member.path}", "no face was found"))
        for number, face in enumerate(found, start=1):
            faces.append(to_input(face, size, color))
            numbers.append(index[value])
            splits.append(by_name[folder].get(_file_name(member), folder or "train"))
            sources.append(member.path if len(found) == 1 else f"{member.path} face {number}")
    if not faces:
        raise DataError(f"{errors.file} gave no image. A set is a CSV, or images in one subfolder per class.")
    return ImageTable(
        images=np.stack(faces),
        labels=np.array(numbers, np.int64),
        split=np.array(splits),
        source=sources,
        label_set=classes,
        left_out=tuple(errors.left_out),
        name=name,
    )


def has_other_classes(members: Sequence[Member], values: ClassMap, labels: str) -> bool:
    """Whether more than half of the classes are none of a label set's.

    Of fewer, one is likely misspelled; and a number is a code that needs a name. Both stay errors of :func:`read`.

    Args:
        members, values: as of :func:`read`.
        labels: the label set's name.
    """
    found = _labeled_images(members, RowErrors("", skip=True), labels, values)
    names = {values.name_of(value).strip().lower() for _, _, value in found}
    unknown = names - class_names(labels)
    return len(names) < 2 * len(unknown) and not any(name.isdigit() for name in unknown)


def _read_faces(member: Member, crop: Crop | None) -> list[ImageArray]:
    try:
        data = member.read()
    except (DamagedError, OSError) as error:
        words = error.reason if isinstance(error, DamagedError) else reason(error)
        raise ValueError(f"cannot be read ({words})") from error
    if len(data) > MAX_MEMBER:
        raise ValueError(f"an image file may have {MAX_MEMBER >> 20} MiB. Got {len(data) >> 20} MiB instead")
    image = read_photo(
        data,
        max_pixels=MAX_FACE_PIXELS if crop is None else MAX_PIXELS,
        truncated="refuse",
        reduce=False,
        remedy="scale it down",
    ).pixels
    return [image] if crop is None else crop(image, member.path)


def _labeled_images(
    members: Sequence[Member], errors: RowErrors, labels: str, values: ClassMap
) -> list[tuple[Member, str | None, str]]:
    """Each image with its folder's split, if any, and its class: the folder's name, or what is found in the file's."""
    if values.pattern is not None:
        return list(_named_images(members, errors, values.pattern))
    classes = values.known(labels)
    files = _without_wrapper(_visible_files(members, errors), {*SPLIT_NAMES, *classes})
    misnamed = _misnamed_splits([parts for _, parts in files], classes)
    for folder, shared in misnamed.items():
        errors.add(
            f"folder {quoted(folder)}",
            f"it holds the same classes as the splits beside it ({shortened(', '.join(shared))}), so it must be named "
            f"as one ({', '.join(SPLIT_NAMES)})",
        )
    images = []
    for member, (*folders, name) in files:
        if folders and folders[0] in misnamed:
            continue
        split = SPLIT_NAMES.get(folders[0].lower()) if len(folders) > 1 else None
        if split:
            folders = folders[1:]
        if not folders or (len(folders) == 1 and folders[0].lower() in SPLIT_NAMES):
            if is_image(name):
                errors.add(member.path, "an image must be in a folder that names its class")
            continue
        images.append((member, split, folders[0]))
    return images


def _named_images(
    members: Sequence[Member], errors: RowErrors, pattern: re.Pattern[str]
) -> Iterator[tuple[Member, str | None, str]]:
    """Each image with the split of its folder, if any, and the class that its name holds."""
    for member, (*folders, name) in _visible_files(members, errors):
        if not is_image(name):
            continue
        found = pattern.search(name)
        if found is None or not found["label"]:
            errors.add(member.path, "--label-pattern finds no class in the file's name")
            continue
        split = next((SPLIT_NAMES[folder.lower()] for folder in folders if folder.lower() in SPLIT_NAMES), None)
        yield member, split, found["label"]


def _named_splits(files: Sequence[tuple[str | None, str]]) -> dict[str | None, dict[str, str]]:
    """The splits that the names of files say, by the folder's split: the halves of "test", and all where it is None.

    All files there have a prefix, or none is taken by its name: the score of one split would leave out the others.
    Where prefix and folder differ, someone has sorted the images anew.
    """
    splits: dict[str | None, dict[str, str]] = {folder: {} for folder, _ in files}
    for folder, allowed in ((None, {*PREFIXES.values()}), ("test", {"public_test", "private_test"})):
        names = {name: _prefix_split(name) for of, name in files if of == folder}
        others = [name for name, split in names.items() if split not in allowed]
        if not others:
            splits[folder] = names
        elif named := [name for name in names if name not in {*others}]:
            warnings.warn(
                f"{shortened(named[0])} is named as FER-2013's images are, {shortened(others[0])} is not, nor are "
                f"{len(others) - 1:,} others of {len(names):,}: no name says a split, and all are {folder or 'train'} "
                "images. Folders above the classes split them: train, public_test, private_test.",
                stacklevel=3,
            )
    return splits


def _prefix_split(name: str) -> str:
    """The split that a file's name begins with; "" for none."""
    return next((split for prefix, split in PREFIXES.items() if name.startswith(prefix)), "")


def _file_name(member: Member) -> str:
    return member.path.replace("\\", "/").rpartition("/")[2]


def _visible_files(members: Sequence[Member], errors: RowErrors) -> list[tuple[Member, list[str]]]:
    """The files that belong to a set, each with the parts of its path."""
    files = []
    for member in members:
        parts = member.path.replace("\\", "/").split("/")
        if any((p.startswith(".") and p != "..") or p.lower() in SYSTEM_FILES for p in parts):
            continue
        if escapes_archive(member.path):
            errors.add(member.path, "a file's path must stay inside of its archive")
            continue
        files.append((member, parts))
    return files


def _without_wrapper(files: list[tuple[Member, list[str]]], known: Collection[str]) -> list[tuple[Member, list[str]]]:
    """The files relative to the folder that holds the splits or classes: a zip often wraps everything in one folder.

    Args:
        files: with the parts of their paths.
        known: names of splits and classes, which are no wrapper, in lower case.
    """
    while True:
        # Read-me files may lie beside the classes, inside the wrapper or outside of it.
        images = [parts for _, parts in files if is_image(parts[-1])] or [parts for _, parts in files]
        tops = {parts[0] for parts in images}
        if len(tops) != 1 or any(len(parts) < 3 for parts in images):
            return files
        [top] = tops
        if top.lower() in known:
            return files
        files = [(member, parts[1:]) for member, parts in files if parts[0] == top]


def _misnamed_splits(paths: Sequence[Sequence[str]], classes: Collection[str]) -> dict[str, list[str]]:
    """Folders beside the splits, neither splits nor known classes, with the classes that they share with the splits."""
    subfolders: dict[str, set[str]] = {}
    for folder, below in (parts[:2] for parts in paths if len(parts) > 2):
        subfolders.setdefault(folder, set()).add(below)
    in_splits = {name for folder, names in subfolders.items() if folder.lower() in SPLIT_NAMES for name in names}
    shared = {
        folder: sorted(names & in_splits)
        for folder, names in subfolders.items()
        if folder.lower() not in {*SPLIT_NAMES, *classes}
    }
    return {folder: names for folder, names in shared.items() if names}


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES
