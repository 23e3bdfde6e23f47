"""Label sets: which expressions a data set or model distinguishes, and in which order.

The order of a model's outputs is in its spec; data sets get theirs from these sets.
Classes are always mapped by name, through :meth:`LabelSet.index`, never by position in a folder listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moue.errors import UnknownName, quoted

#: Other names that data sets use for the same expression, in lower case.
ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "natural": "neutral",
    "neutrality": "neutral",
}

#: Display color of each expression (sRGB, 0 to 255); distinguishable with the common forms of color blindness
#: (after Okabe and Ito, "Color Universal Design", 2008).
COLORS: dict[str, tuple[int, int, int]] = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (160, 90, 200),
    "happy": (240, 200, 40),
    "sad": (0, 114, 178),
    "surprise": (86, 180, 233),
    "neutral": (150, 150, 150),
    "contempt": (204, 121, 167),
}


@dataclass(frozen=True)
class LabelSet:
    """A named, ordered set of classes.

    Attributes:
        name: "fer2013", "ferplus", or "folders" for a set that takes its names from folders.
        labels: class names, in output order.
    """

    name: str
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def index(self, name: str) -> int:
        """The position of a class, by any of its names and in any case.

        Raises:
            UnknownName: when no class has that name.
        """
        # The exact name first: class folders may hold both "happy" and "joy".
        if name in self.labels:
            return self.labels.index(name)
        key = canonical(name)
        for i, label in enumerate(self.labels):
            if key == canonical(label):
                return i
        raise UnknownName(f"class of the label set {quoted(self.name)}", name, self.labels)


#: FER-2013's seven classes in the competition's numbering (Goodfellow et al., "Challenges in representation learning:
#: a report on three machine learning contests", 2013).
FER2013 = LabelSet("fer2013", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))

#: FER+'s eight classes in the order of its vote columns (Barsoum et al., "Training deep networks for facial expression
#: recognition with crowd-sourced label distribution", 2016).
FERPLUS = LabelSet("ferplus", ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))

LABEL_SETS = {s.name: s for s in (FER2013, FERPLUS)}


def canonical(name: str) -> str:
    """A class name in its standard spelling: lower case, stripped, synonyms resolved."""
    key = name.strip().lower()
    return ALIASES.get(key, key)


def label_set(name: str, labels: Iterable[str] = ()) -> LabelSet:
    """The label set of that name; "folders" takes its classes from ``labels``.

    Raises:
        UnknownName: when the name is neither a known set nor "folders".
    """
    if name == "folders":
        return LabelSet("folders", tuple(labels))
    if name not in LABEL_SETS:
        raise UnknownName("label set", name, [*LABEL_SETS, "folders"])
    return LABEL_SETS[name]


def label_permutation(target: Sequence[str], source: Sequence[str]) -> list[int] | None:
    """The positions in ``source`` of the ``target`` classes, by name; None where the two are not the same classes."""
    classes = LabelSet("source", tuple(source))
    try:
        order = [classes.index(name) for name in target]
    except UnknownName:
        return None
    return order if sorted(order) == list(range(len(source))) else None


def labels_for(classes: Iterable[str], votes: bool = False) -> str:
    """The name of the label set in which to read data for a model, by default.

    Args:
        classes: the model's.
        votes: whether FER+'s votes are given.

    Returns:
        "ferplus" for a model of FER+'s classes with its votes; "fer2013" for one without, or where all classes are
        among its seven and no two mean the same; else "folders".
    """
    classes = list(classes)
    names = {canonical(name) for name in classes}
    if names == set(FERPLUS.labels):
        return FERPLUS.name if votes else FER2013.name
    return FER2013.name if names <= set(FER2013.labels) and len(names) == len(classes) else "folders"


def color(label: str) -> tuple[int, int, int]:
    """The display color of a class, as sRGB from 0 to 255; derived from the name of classes without one."""
    key = canonical(label)
    if key in COLORS:
        return COLORS[key]
    # Stable over processes (hash() is not), spread over the hues by the golden angle.
    hue = (sum(ord(c) * (i + 1) for i, c in enumerate(key)) * 137.508) % 360
    return _from_hue(hue)


def _from_hue(hue: float) -> tuple[int, int, int]:
    import colorsys

    r, g, b = colorsys.hls_to_rgb(hue / 360, 0.55, 0.55)
    return round(r * 255), round(g * 255), round(b * 255)
