"""Classes of a data set to labels, by name."""

from __future__ import annotations

from collections.abc import Mapping

from moue.data.row_errors import RowErrors
from moue.errors import UnknownName
from moue.labels import ALIASES, LabelSet, label_set


def class_names(labels: str) -> set[str]:
    """All names of the classes of a label set, in lower case; its name is as for :func:`moue.labels.label_set`."""
    names = set(label_set(labels).labels)
    return names | {alias for alias, name in ALIASES.items() if name in names}


def class_index(folders: Mapping[str, int], classes: LabelSet, errors: RowErrors) -> dict[str, int]:
    """The label of each class folder.

    Args:
        folders: their numbers of files, by name.
        classes: the label set.
        errors: collects or raises for unknown folders.
    """
    index = {}
    for folder, files in folders.items():
        try:
            # The folders' own names are kept apart even where two are synonyms.
            index[folder] = classes.labels.index(folder) if classes.name == "folders" else classes.index(folder)
        except UnknownName as error:
            errors.add(
                f"folder {folder!r} ({files:,} files)",
                f"{str(error).rstrip('.')} (--labels folders keeps the folders' own names)",
            )
    return index
