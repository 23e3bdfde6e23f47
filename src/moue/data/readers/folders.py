"""Images in class folders: ``train/<class>/*`` and ``test/<class>/*`` as on Kaggle, or ``<class>/*`` of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from moue.data.readers.archive import DAMAGE, MAX_MEMBER, Member, outside, reason
from moue.data.row_errors import RowErrors
from moue.data.table import ImageTable, LeftOut
from moue.errors import DataError, UnknownName
from moue.image import read_image
from moue.labels import ALIASES, LabelSet, label_set
from moue.preprocess import ImageArray, to_input
from moue.progress import Report
from moue.signatures import IMAGE_SUFFIXES, SYSTEM_FILES
from moue.spec import Color

#: Folder names that are splits, not classes. Some call their validation part "eval", others their test part: as a test
#: part no weights are chosen on it, whichever it is.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "publictest": "public_test",
    "public_test": "public_test",
    "privatetest": "private_test",
    "private_test": "private_test",
}

#: File prefixes that name the competition's split, where the folder says nothing finer.
PREFIXES = {"Training_": "train", "PublicTest_": "public_test", "PrivateTest_": "private_test"}

#: Cuts the faces out of an image: ``(image, source) -> images``, one a face.
Crop = Callable[[ImageArray, str], "list[ImageArray]"]


def read(
    members: Sequence[Member],
    name: str,
    bad: RowErrors,
    *,
    labels: str = "fer2013",
    size: int = 48,
    color: Color = "gray",
    crop: Crop | None = None,
    progress: Report | None = None,
) -> ImageTable:
    """Read class folders.

    Every file in a class folder counts as an image; hidden ones (``.DS_Store``, ``__MACOSX/…``, ``Thumbs.db``,
    ``desktop.ini``) are no part of a set. The split is that of the folder above its class; the file's prefix
    (``PublicTest_…``) tells the two halves of "test" apart, and is the split where there is no such folder; else it is
    "train".

    Args:
        members: the files, with paths relative to the folder or zip.
        name: of the folder or zip.
        bad: where images that cannot be used go.
        labels: a label set's name; "folders" takes the folders' own names, sorted.
        size: height and width of the table's images.
        color: of the table's images.
        crop: cuts faces out of each image; None takes each image as one face.
        progress: called with the files read and their number.

    Raises:
        DataError: when there are no class folders, and, unless they are skipped, for bad files, unknown classes, and
            folders of an unknown name that hold the classes of the splits beside them.
    """
    placed = _places(members, bad, labels)
    found = sorted({cls for _, _, cls in placed})
    classes = label_set(labels, found)
    index = _class_index(Counter(cls for _, _, cls in placed), classes, bad)
    images, numbers, splits, sources = [], [], [], []
    for done, (member, split, cls) in enumerate(placed, start=1):
        if progress:
            progress(done, len(placed))
        if cls not in index:
            continue
        try:
            faces = _faces(member, crop)
        except ValueError as error:
            bad.add(member.path, str(error))
            continue
        if not faces:
            bad.left_out.append(LeftOut(f"{bad.file}, {member.path}", "no face was found"))
        for number, face in enumerate(faces, start=1):
            images.append(to_input(face, size, color))
            numbers.append(index[cls])
            splits.append(split)
            sources.append(member.path if len(faces) == 1 else f"{member.path} face {number}")
    if not images:
        raise DataError(f"{bad.file} gave no image. A set is a CSV, or images in one sub-folder a class.")
    return ImageTable(
        images=np.stack(images),
        labels=np.array(numbers, np.int64),
        split=np.array(splits),
        source=sources,
        label_set=classes,
        left_out=tuple(bad.left_out),
        name=name,
    )


def _faces(member: Member, crop: Crop | None) -> list[ImageArray]:
    try:
        data = member.read()
    except (*DAMAGE, OSError) as error:
        raise ValueError(f"cannot be read ({reason(error)})") from error
    if len(data) > MAX_MEMBER:
        raise ValueError(f"an image file may have {MAX_MEMBER >> 20} MiB. Got {len(data) >> 20} MiB instead")
    image = read_image(data)
    return [image] if crop is None else crop(image, member.path)


def _places(members: Sequence[Member], bad: RowErrors, labels: str) -> list[tuple[Member, str, str]]:
    """Each image with its split and class folder."""
    kept: list[tuple[Member, list[str]]] = []
    for member in members:
        parts = member.path.replace("\\", "/").split("/")
        if any((p.startswith(".") and p != "..") or p.lower() in SYSTEM_FILES for p in parts):
            continue
        if outside(member.path):
            bad.add(member.path, "a file's path must stay inside of its archive")
            continue
        kept.append((member, parts))
    known = set() if labels == "folders" else _names(labels)
    # A zip often wraps everything in one folder.
    while True:
        # Read-me files may lie beside the classes, inside the wrapping or outside of it.
        images = [parts for _, parts in kept if is_image(parts[-1])] or [parts for _, parts in kept]
        if len({parts[0] for parts in images}) != 1 or not all(len(parts) > 2 for parts in images):
            break
        top = images[0][0]
        if top.lower() in SPLIT_FOLDERS or top.lower() in known:
            break
        kept = [(member, parts[1:]) for member, parts in kept if parts[0] == top]
    strays = _strays([parts for _, parts in kept], known)
    for top, shared in strays.items():
        bad.add(
            f"folder {top!r}",
            f"it holds the same classes as the splits beside it ({', '.join(shared)}), so it must be named as one "
            f"({', '.join(SPLIT_FOLDERS)})",
        )
    placed = []
    for member, parts in kept:
        if parts[0] in strays:
            continue
        *folders, file = parts
        split = None
        if len(folders) > 1 and folders[0].lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[folders[0].lower()]
            folders = folders[1:]
        if not folders or (len(folders) == 1 and folders[0].lower() in SPLIT_FOLDERS):
            if is_image(file):
                bad.add(member.path, "an image must be in a folder that names its class")
            continue
        named = next((s for prefix, s in PREFIXES.items() if file.startswith(prefix)), "train")
        # On Kaggle test/ holds both halves. Where prefix and folder differ, someone has sorted the images anew.
        if split is None or (split == "test" and named != "train"):
            split = named
        placed.append((member, split, folders[0]))
    return placed


def _strays(paths: Sequence[Sequence[str]], known: Collection[str]) -> dict[str, list[str]]:
    """Folders beside the splits, neither splits nor known classes, with the classes that they share with the splits."""
    inside: dict[str, set[str]] = {}
    for top, below in (parts[:2] for parts in paths if len(parts) > 2):
        inside.setdefault(top, set()).add(below)
    classes = {below for top, found in inside.items() if top.lower() in SPLIT_FOLDERS for below in found}
    others = {top: found & classes for top, found in inside.items() if top.lower() not in {*SPLIT_FOLDERS, *known}}
    return {top: sorted(shared) for top, shared in others.items() if shared}


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES


def _names(labels: str) -> set[str]:
    own = set(label_set(labels).labels)
    return own | {alias for alias, name in ALIASES.items() if name in own}


def _class_index(found: Mapping[str, int], classes: LabelSet, bad: RowErrors) -> dict[str, int]:
    """Class folder to label, of folders with their numbers of files; unknown ones go to ``bad``."""
    index = {}
    for folder, files in found.items():
        try:
            # Own names are kept apart even where two are synonyms.
            index[folder] = classes.labels.index(folder) if classes.name == "folders" else classes.index(folder)
        except UnknownName as error:
            bad.add(
                f"folder {folder!r} ({files:,} files)",
                f"{reason(error)} (--labels folders keeps the folders' own names)",
            )
    return index
