"""What is needed to use a trained model; it lies as JSON beside every model.

The graph itself takes raw pixels (up-sampling and normalization are inside), so the spec holds only what happens before
the pixels (size, color, crop) and after the logits (labels, temperature, threshold), and the model's provenance.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from moue.damage import read_json, reason
from moue.errors import ModelError, quoted
from moue.files import atomic_write, valid_text
from moue.renames import current_spec

#: Of the file format; 1 had other names, see :mod:`moue.renames`.
VERSION = 2

#: Of a spec's file: the curves of a thousand epochs take a tenth of it.
MAX_BYTES = 1 << 20

#: Height and width in pixels of the largest input that a model may have.
MAX_SIZE = 4096

#: Up to here floats tell whole numbers apart; Python's own have no end, and larger ones fail in arithmetic.
_MAX_WHOLE = 2**53

#: Below it, logits divided by it are of a size at which they differ by their rounding alone.
MIN_TEMPERATURE = 0.001

#: Of a model's input.
Color = Literal["gray", "rgb"]


def channels_of(color: Color) -> int:
    """Channels of an image in that color."""
    return 1 if color == "gray" else 3


#: How many views of a face can be averaged, and which, in words that continue "each averaged …";
#: :func:`moue.tta.make_views` makes them.
VIEWS = {
    1: "as it is",
    2: "with its mirror image",
    6: "with two shifts by one pixel, and with the mirror images of all three",
    10: "over ten crops, at the center and the corners, half of them mirrored",
}


def expected_views(value: object) -> str:
    """The error message for a number of views that is none of :data:`VIEWS`."""
    *others, last = VIEWS
    return f"views must be {', '.join(map(str, others))} or {last}. Got {quoted(value)} instead."


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return _is_whole_number(value) or (isinstance(value, float) and math.isfinite(value))


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_WHOLE


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_labels(value: Any) -> bool:
    is_list = isinstance(value, (list, tuple)) and all(map(_is_label, value))
    return is_list and 0 < len(value) == len(set(value))


def _is_label(value: Any) -> bool:
    """Whether it is text that files of results can hold, which half a surrogate pair is not."""
    return isinstance(value, str) and value != "" and valid_text(value) == value


def _are_frequencies(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_fraction(share) and share > 0 for share in value)


def _are_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_robustness(value: Any) -> bool:
    """Whether it is empty, or has the parts that a card shows."""
    if value == {}:
        return True
    match value:
        case {"n": n, "clean": dict(clean), "corrupted": dict(corrupted)} if _is_whole_number(n):
            columns = [
                column for scores in corrupted.values() if isinstance(scores, dict) for column in scores.values()
            ]
            lengths = {len(column) if _is_curve(column) else 0 for column in columns}
            return all(map(_is_number, clean.values())) and len(lengths) == 1 and 0 not in lengths
    return False


def _is_provenance(value: Any) -> bool:
    """Whether "trained" has the parts that moue reads again: where the data were split, and by which members."""
    if not isinstance(value, dict):
        return False
    members = value.get("members", [])
    return isinstance(value.get("data", {}), dict) and isinstance(members, list) and all(map(_is_member, members))


def _is_curve(value: Any) -> bool:
    return isinstance(value, list) and all(number is None or _is_number(number) for number in value)


def _is_member(value: Any) -> bool:
    return isinstance(value, dict) and _is_provenance(value.get("trained", {}))


#: Fields of a spec, the condition that each must satisfy, and the same as text.
_REQUIREMENTS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("name", _is_text, "text"),
    ("network", _is_text, "text"),
    ("sha256", _is_text, "text"),
    ("license", _is_text, "text"),
    ("scores", _are_scores, "names with numbers"),
    ("robustness", _is_robustness, "scores by corruption and severity"),
    ("trained", _is_provenance, "names with values"),
    ("labels", _are_labels, "distinct names of valid text"),
    ("align", lambda value: isinstance(value, bool), "true or false"),
    ("size", lambda value: _is_whole_number(value) and 1 <= value <= MAX_SIZE, f"from 1 to {MAX_SIZE} whole pixels"),
    ("color", lambda value: value in ("gray", "rgb"), "'gray' or 'rgb'"),
    ("margin", _is_fraction, "a number between 0 and 1"),
    (
        "temperature",
        lambda value: _is_number(value) and value >= MIN_TEMPERATURE,
        f"a number of at least {MIN_TEMPERATURE}",
    ),
    ("uncertain_below", _is_fraction, "a number between 0 and 1"),
    ("class_frequencies", _are_frequencies, "numbers above 0 and at most 1"),
    ("logit_adjustment", lambda value: _is_number(value) and 0 <= value <= 2, "a number between 0 and 2"),
    ("crop_size", lambda value: _is_whole_number(value) and value >= 0, "a whole number of pixels"),
    ("parameters", lambda value: _is_whole_number(value) and value >= 0, "a whole number"),
)


@dataclass(frozen=True)
class ModelSpec:
    """The contract of one model.

    Its input is uint8 ``(N, channels, size, size)`` in 0..255; its output float32 logits ``(N, K)``.
    """

    name: str
    """The model's name, as in ``--model``."""
    network: str
    """The architecture's name, as in ``moue networks``."""
    labels: tuple[str, ...]
    """Class names in output order."""
    size: int = 48
    """Height and width of the input in pixels."""
    color: Color = "gray"
    """"gray" (one channel, ITU-R 601 luma) or "rgb" (three channels, in that order)."""
    margin: float = 0.0
    """How much the detected box grows on each side before the crop, as a fraction of the box's longer side."""
    align: bool = True
    """Whether the crop is rotated so that the eyes are level."""
    temperature: float = 1.0
    """Logits are divided by this before softmax (Guo et al., "On calibration of modern neural networks", 2017)."""
    uncertain_below: float = 0.4
    """A prediction whose top probability is below this is marked as uncertain (0 to 1)."""
    class_frequencies: tuple[float, ...] = ()
    """Share of each class among the training rows, in the order of the labels; empty where it is not known."""
    logit_adjustment: float = 0.0
    """Probabilities are divided by the class frequencies to this power (Menon et al., "Long-tail learning via logit
    adjustment", 2021, equation 9): 0 for the likeliest class, 1 for the best mean recall over the classes."""
    crop_size: int = 0
    """Side in pixels of the unscaled crops that the network was trained on: those of ten views are as large. 0 where it
    was trained on whole images; the graph of any other takes images of any side."""
    views: int = 1
    """How many views of a face are averaged: one of :data:`VIEWS`."""
    sha256: str = ""
    """Of the model file that this spec describes; empty when it describes none yet."""
    license: str = ""
    """License of the weights, and what of the training data binds it."""
    parameters: int = 0
    """Number of weights."""
    scores: dict[str, float] = field(default_factory=dict)
    """Measured scores, fractions of 1: "public_test", "public_test_se", "public_test_deduplicated", …;
    "public_test_views_10" is the accuracy over that many views."""
    robustness: dict[str, Any] = field(default_factory=dict)
    """Measured on corrupted images: what :meth:`moue.evaluation.robustness.Robustness.to_record` gives, and "split",
    "views" and "precision"; empty where it was not measured."""
    trained: dict[str, Any] = field(default_factory=dict)
    """Provenance: seed, epochs, hours and core-hours, machine, data fingerprint, moue version, and "curves": losses
    and accuracies by epoch."""

    def __post_init__(self) -> None:
        for name, is_valid, requirement in _REQUIREMENTS:
            if not is_valid(value := getattr(self, name)):
                raise ModelError(f"{name} must be {requirement}. Got {quoted(value)} instead.")
        if self.crop_size > self.size:
            raise ModelError(f"crop_size must be at most the size, {self.size}. Got {self.crop_size} instead.")
        for name in ("name", "network", "license"):
            object.__setattr__(self, name, valid_text(getattr(self, name)))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "class_frequencies", tuple(self.class_frequencies))
        if self.class_frequencies and len(self.class_frequencies) != len(self.labels):
            raise ModelError(
                f"class_frequencies must be one for each of the {len(self.labels)} labels. "
                f"Got {len(self.class_frequencies)} instead."
            )
        if self.logit_adjustment and not self.class_frequencies:
            raise ModelError(
                f"the model {quoted(self.name)} does not say how frequent its classes were in training, which a logit "
                "adjustment needs. Add class_frequencies to its JSON, one a label, or leave the adjustment out."
            )
        curves = self.trained.get("curves", {})
        if (
            not isinstance(curves, dict)
            or not all(map(_is_curve, curves.values()))
            or len(set(map(len, curves.values()))) > 1
        ):
            raise ModelError(f"trained.curves must be names with equally long lists. Got {quoted(curves)} instead.")
        if not isinstance(self.views, int) or self.views not in VIEWS:
            raise ModelError(expected_views(self.views))

    @property
    def channels(self) -> int:
        """1 for gray, 3 for rgb."""
        return channels_of(self.color)

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The shapes ``(C, S, S)`` of images that the network takes: faces, and crops of them of ``crop_size``."""
        return tuple((self.channels, side, side) for side in dict.fromkeys((self.size, self.crop_size or self.size)))

    @property
    def history(self) -> list[dict[str, Any]]:
        """The curves by row: a dictionary an epoch, with epoch (from 1), losses and accuracies; none without curves."""
        curves = self.trained.get("curves", {})
        return [
            {"epoch": epoch, **dict(zip(curves, values, strict=True))}
            for epoch, values in enumerate(zip(*curves.values(), strict=True), 1)
        ]

    def replace(self, **changes: Any) -> ModelSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            "version": VERSION,
            **asdict(self),
            "labels": list(self.labels),
            "class_frequencies": list(self.class_frequencies),
        }

    def save(self, path: Path | str) -> None:
        """Write the spec as JSON."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        # A curve in one line, for people who read the file.
        text = re.sub(r"\[[\s\d.,null-]+\]", lambda match: f"[{' '.join(match[0][1:-1].split())}]", text)
        with atomic_write(Path(path)) as part:
            part.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """The inverse of :meth:`to_dict`; reads older versions, too, and ignores fields of later ones."""
        values = current_spec(values)
        known = {f.name for f in fields(cls)}
        missing = {"name", "network", "labels"} - values.keys()
        if missing:
            raise ModelError(f"a model's JSON needs {', '.join(sorted(missing))}, which this one lacks.")
        return cls(**{k: v for k, v in values.items() if k in known})

    @classmethod
    def load(cls, path: Path | str) -> ModelSpec:
        """Read a spec from JSON.

        Raises:
            ModelError: when the file is missing or not a spec.
        """
        path = Path(path)

        def damaged(reason: str) -> ModelError:
            return ModelError(
                f"{path} is not a model's JSON ({reason}). Take the file that was written with the model."
            )

        try:
            values = read_json(path, damaged, MAX_BYTES)
        except FileNotFoundError:
            raise ModelError(f"{path} is missing: a model's .onnx travels with a .json of the same name.") from None
        except OSError as error:
            raise damaged(reason(error)) from error
        try:
            return cls.from_dict(values)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error


def join_licenses(texts: Iterable[str]) -> str:
    """Licenses of which all bind, as one: most have clauses in common, separated by ";", and each is said once."""
    clauses = (clause for text in texts for clause in text.split("; "))
    return "; ".join(dict.fromkeys(filter(None, clauses)))


def file_sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
