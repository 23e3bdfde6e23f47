"""Classes of a data set to labels, by name; values that are no names, as RAF-DB's numbers, to names first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from moue.damage import decoding, read_json, reason
from moue.data.row_errors import RowErrors
from moue.errors import UnknownName, UsageError, quoted
from moue.labels import ALIASES, LabelSet, label_set

#: What the numbers of published data sets stand for: RAF-DB (Li et al., "Reliable crowdsourcing and deep
#: locality-preserving learning", 2017) and AffectNet (Mollahosseini et al., "AffectNet", 2017).
NUMBERINGS: dict[str, dict[str, str]] = {
    "raf-db": {
        "1": "surprise",
        "2": "fear",
        "3": "disgust",
        "4": "happy",
        "5": "sad",
        "6": "angry",
        "7": "neutral",
    },
    "affectnet": {
        "0": "neutral",
        "1": "happy",
        "2": "sad",
        "3": "surprise",
        "4": "fear",
        "5": "disgust",
        "6": "angry",
        "7": "contempt",
    },
}

#: File names that hold the class, and what their codes stand for: JAFFE's ``KA.AN1.39.tiff`` (Lyons et al., "Coding
#: facial expressions with Gabor wavelets", 1998).
PATTERNS: dict[str, tuple[str, dict[str, str]]] = {
    "jaffe": (
        r"^[A-Za-z]{2}[.-](?P<label>[A-Za-z]{2})\d*[.-]",
        {
            "AN": "angry",
            "DI": "disgust",
            "FE": "fear",
            "HA": "happy",
            "SA": "sad",
            "SU": "surprise",
            "NE": "neutral",
        },
    ),
}

#: One ``value=name`` or ``value: name``, in quotes or not, as YAML has it too.
_PAIR = re.compile(r"""\s*["']?([^=:"']*[^=:"'\s])["']?\s*[=:]\s*["']?([^=:"']*[^=:"'\s])["']?\s*""")

#: Bytes that a file of class names may have.
MAX_FILE = 1 << 20


@dataclass(frozen=True)
class ClassMap:
    """Where a data set's classes come from, and which names they have.

    Without arguments: from its folders or its column, as they are.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    """The name of each value, as ``{"1": "surprise"}``."""
    pattern: re.Pattern[str] | None = None
    """Finds the class in a file's name, as its group ``label``, instead of taking that of the folder."""

    @cached_property
    def _by_key(self) -> dict[str, str]:
        return {_key(value): name for value, name in self.names.items()}

    def __bool__(self) -> bool:
        return bool(self.names) or self.pattern is not None

    def name_of(self, value: str) -> str:
        """The class of a value, which is a name itself where nothing else is said: "1" and "1.0" are the same."""
        return self._by_key.get(_key(value), value)

    def known(self, labels: str) -> set[str]:
        """All names and values that stand for a class, in lower case."""
        return {*(set() if labels == "folders" else class_names(labels)), *self._by_key}

    def label_set(self, labels: str) -> LabelSet:
        """The label set of that name; "folders" has the names alone."""
        return label_set(labels, sorted(set(self.names.values())))

    def __repr__(self) -> str:
        # The same for equal maps, as the cache's keys are made from it.
        return json.dumps([sorted(self._by_key.items()), self.pattern and self.pattern.pattern])


def class_map(classes: str | Mapping[str, str] | None = None, label_pattern: str | None = None) -> ClassMap:
    """The classes as an option names them.

    Args:
        classes: "1=surprise,2=fear", a name of :data:`NUMBERINGS`, a file with one ``value=name`` or ``value: name`` a
            line or with a JSON object, or the names by value.
        label_pattern: a regular expression with a group ``label`` that is searched in each file's name, or a name of
            :data:`PATTERNS`, which brings the names of its codes.

    Raises:
        UsageError: for classes that are none of these, a value that is named twice, or a pattern without the group.
    """
    names = (
        {str(k): v for k, v in classes.items()}
        if isinstance(classes, Mapping)
        else _names(classes)
        if classes is not None
        else {}
    )
    if label_pattern is None:
        return ClassMap(names)
    expression, codes = PATTERNS.get(label_pattern.lower(), (label_pattern, {}))
    try:
        pattern = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--label-pattern takes a regular expression. Got {quoted(expression)}: {error}.") from error
    if "label" not in pattern.groupindex:
        raise UsageError(
            f"--label-pattern takes a regular expression with a group named label, as in '_(?P<label>[a-z]+)[.]', or "
            f"{', '.join(PATTERNS)}. Got {quoted(expression)} instead."
        )
    return ClassMap({**codes, **names}, pattern)


def class_names(labels: str) -> set[str]:
    """All names of the classes of a label set, in lower case; its name is as for :func:`moue.labels.label_set`."""
    names = set(label_set(labels).labels)
    return names | {alias for alias, name in ALIASES.items() if name in names}


def class_index(counts: Mapping[str, int], classes: LabelSet, values: ClassMap, errors: RowErrors) -> dict[str, int]:
    """The label of each class folder, or of each class that file names hold.

    Args:
        counts: their numbers of files.
        classes: the label set.
        values: names them.
        errors: collects or raises for unknown ones.
    """
    what = "folder" if values.pattern is None else "class"
    index = {}
    for value, files in counts.items():
        name = values.name_of(value)
        try:
            # The folders' own names are kept apart even where two are synonyms.
            index[value] = classes.labels.index(name) if classes.name == "folders" else classes.index(name)
        except UnknownName as error:
            remedy = "--classes VALUE=NAME,… names it; --labels folders keeps the folders' own names"
            source = f"{what} {quoted(value)} ({files:,} file{'s' * (files != 1)})"
            errors.add(source, f"{str(error).rstrip('.')} ({remedy})")
    return index


def _key(value: str) -> str:
    """Equal for "1", "01", " 1" and "1.0", and for names in any case."""
    text = value.strip().casefold()
    number = re.fullmatch(r"0*(\d{1,9})(?:\.0*)?", text)
    return number[1] if number else text


def _names(classes: str) -> dict[str, str]:
    if (preset := NUMBERINGS.get(classes.strip().lower())) is not None:
        return preset
    path = Path(classes)
    # A list of classes may be longer than a file's name can be.
    if "=" not in classes or (len(classes) < 200 and path.is_file()):
        return _names_in(path)
    return _pairs(classes.split(","), "--classes")


def _names_in(path: Path) -> dict[str, str]:
    """The names in a file."""

    def damaged(why: str) -> UsageError:
        return UsageError(f"{quoted(str(path))} is no list of classes ({why}). Write one value=name a line.")

    try:
        with decoding(path, damaged):
            size = path.stat().st_size
            text = path.read_text(encoding="utf-8-sig") if size <= MAX_FILE else ""
    except OSError as error:
        raise UsageError(
            f"--classes takes 1=surprise,2=fear,…, a file of that, or {' or '.join(NUMBERINGS)}. "
            f"Got {quoted(str(path))}: {reason(error)}."
        ) from None
    if size > MAX_FILE:
        raise damaged(f"it has {size >> 20} MiB")
    if text.lstrip().startswith("{"):
        values = read_json(path, damaged)
        if not all(isinstance(name, str) and name.strip() for name in values.values()):
            raise damaged("a name must be text")
        return {value: name.strip() for value, name in values.items()}
    lines = [line.partition("#")[0] for line in text.splitlines()]
    return _pairs([line for line in lines if line.strip() not in ("", "---")], str(path))


def _pairs(texts: list[str], where: str) -> dict[str, str]:
    """``value=name`` or ``value: name``, each at most once."""
    names: dict[str, str] = {}
    for text in texts:
        found = _PAIR.fullmatch(text)
        if found is None:
            raise UsageError(f"{where} takes value=name, as in 1=surprise. Got {quoted(text)} instead.")
        value, name = found.groups()
        if _key(value) in map(_key, names):
            raise UsageError(f"{where} names {quoted(value)} twice. Name each value once.")
        names[value] = name
    if not names:
        raise UsageError(f"{where} names no class. Write value=name, as in 1=surprise.")
    return names
