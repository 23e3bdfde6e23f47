"""`moue.spec`: what a model's JSON may say, and that it comes back as it was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moue.errors import ModelError
from moue.spec import MAX_BYTES, MAX_SIZE, VERSION, VIEWS, ModelSpec, channels_of, expected_views, file_sha256

FEW = settings(max_examples=20, deadline=None)
LABELS = ("angry", "happy", "sad")


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec("a", "b", LABELS).replace(**changes)


NUMBERS = st.floats(0, 1, exclude_min=True)


@FEW
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "labels": st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True).map(tuple),
            "size": st.integers(1, MAX_SIZE),
            "color": st.sampled_from(["gray", "rgb"]),
            "margin": st.floats(0, 1),
            "align": st.booleans(),
            "temperature": st.floats(0.01, 100),
            "uncertain_below": st.floats(0, 1),
            "views": st.sampled_from(list(VIEWS)),
            "license": st.text(max_size=20),
            "parameters": st.integers(0, 10**9),
            "scores": st.dictionaries(st.text(max_size=8), st.floats(0, 1), max_size=3),
        },
    )
)
def test_a_spec_comes_back_from_its_json(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("spec") / "model.json"
    made = spec(**changes)
    made.save(path)
    assert ModelSpec.load(path) == made
    assert ModelSpec.from_dict(made.to_dict()) == made


CLEAN = {"n": 9, "clean": {"accuracy": 0.5}}


def corrupted(*columns: Any) -> dict[str, Any]:
    """A record of robustness with one corruption of these columns."""
    return CLEAN | {"corrupted": {"blur": {str(i): column for i, column in enumerate(columns)}}}


#: Field to values that it takes, at the borders, and values that it does not.
BORDERS: dict[str, tuple[list[Any], list[Any]]] = {
    "name": (["", "x"], [None, 3]),
    "network": (["x"], [None]),
    "sha256": ([""], [1]),
    "license": ([""], [None]),
    "labels": ([("a",), ["a", "é"]], [(), "ab", ("a", "a"), ("a", ""), ("a", 1), ("a", "\ud800"), None]),
    "align": ([True, False], [0, 1, None]),
    "size": ([1, MAX_SIZE], [0, MAX_SIZE + 1, 48.0, True, "48"]),
    "color": (["gray", "rgb"], ["bgr", None]),
    "margin": ([0, 1, 0.5], [-0.01, 1.01, True, float("nan"), "0"]),
    "temperature": ([0.001, 50], [0, 1e-320, -1, float("inf"), 10**400, True]),
    "uncertain_below": ([0, 1], [-0.1, 1.1]),
    "parameters": ([0, 2**53], [-1, 1.5, 10**400, True]),
    "crop_size": ([0, 48], [-1, 1.5, True, 49]),
    "scores": ([{}, {"a": 0.5}], [{"a": "x"}, {"a": True}, [], {"a": float("nan")}, {"a": -(10**400)}]),
    "trained": (
        [{}, {"data": {}}, {"members": [{"trained": {}}, {}]}],
        [[], {"data": 1}, {"members": 1}, {"members": [1]}, {"members": [{"trained": 1}]}],
    ),
    "robustness": (
        [{}, corrupted([0.5]), corrupted([0.5, 0.4], [0.1, 0.2])],
        [
            corrupted("x"),
            corrupted(1),
            corrupted([]),
            corrupted([0.5], [0.1, 0.2]),
            corrupted([0.5], 1),
            corrupted(),
            CLEAN,
            [],
            None,
            corrupted([0.5]) | {"n": "9"},
            corrupted([0.5]) | {"n": 10**400},
            corrupted([0.5]) | {"clean": {"accuracy": "x"}},
        ],
    ),
    "class_frequencies": ([(), (0.2, 0.3, 0.5), [1, 1, 1]], [(0, 0.5, 0.5), (0.5, 0.5), (1.1, 0.1, 0.1), 1]),
    "views": (list(VIEWS), [0, 3, "2", None]),
    "logit_adjustment": ([0], [-0.1, 2.1, True, "1"]),
}


@pytest.mark.parametrize("field", BORDERS)
def test_what_a_field_takes(field: str) -> None:
    good, bad = BORDERS[field]
    for value in good:
        changes = {field: value, **({"scores": {}} if field == "labels" else {})}
        assert getattr(spec(**changes), field) == (
            tuple(value) if isinstance(value, list) and field != "views" else value
        )
    for value in bad:
        with pytest.raises(ModelError, match=field.partition("_")[0]):
            spec(**{field: value})


def test_an_adjustment_needs_frequencies_and_goes_up_to_two() -> None:
    frequencies = (0.2, 0.3, 0.5)
    for value in (0.5, 2):
        assert spec(class_frequencies=frequencies, logit_adjustment=value).logit_adjustment == value
    with pytest.raises(ModelError, match="how frequent its classes were"):
        spec(logit_adjustment=0.5)
    with pytest.raises(ModelError, match="between 0 and 2"):
        spec(class_frequencies=frequencies, logit_adjustment=2.1)


def test_curves_are_lists_of_one_length() -> None:
    made = spec(trained={"curves": {"loss": [1.5, None], "accuracy": [0.2, 0.4]}})
    assert made.history == [
        {"epoch": 1, "loss": 1.5, "accuracy": 0.2},
        {"epoch": 2, "loss": None, "accuracy": 0.4},
    ]
    assert spec().history == []
    curves: object
    for curves in ([], {"a": 1}, {"a": ["x"]}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": [float("nan")]}):
        with pytest.raises(ModelError, match="equally long"):
            spec(trained={"curves": curves})


def test_channels() -> None:
    assert (spec(color="gray").channels, spec(color="rgb").channels) == (1, 3)
    assert (channels_of("gray"), channels_of("rgb")) == (1, 3)


def test_defaults_of_a_spec() -> None:
    made = ModelSpec("a", "b", LABELS)
    assert (made.size, made.color, made.margin, made.align) == (48, "gray", 0.0, True)
    assert (made.temperature, made.uncertain_below, made.views, made.parameters) == (1.0, 0.4, 1, 0)
    assert (made.crop_size, made.logit_adjustment, made.class_frequencies) == (0, 0.0, ())


def test_the_file_is_read_by_people_and_by_versions(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    spec(license="© me", trained={"curves": {"loss": [1.0, 0.5, None]}}).save(path)
    text = path.read_text(encoding="utf-8")
    assert '"loss": [1.0, 0.5, null]' in text
    assert "© me" in text
    assert text.endswith("}\n")
    values = json.loads(text)
    # Whoever raises it adds the old names to `moue.renames`.
    assert values["version"] == VERSION == 2
    path.write_text(json.dumps(values | {"of_a_later_version": 1}))
    assert ModelSpec.load(path).license == "© me"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    with pytest.raises(ModelError, match=r"is missing: a model's \.onnx travels with"):
        ModelSpec.load(path)
    for text, words in [
        ("[1", "is not a model's JSON"),
        ("{}", "needs labels, name, network, which this one lacks"),
        ('{"name": "a", "network": "b", "labels": ["x"], "size": 0}', f"{path}: size must be from 1 to"),
        (" " * (MAX_BYTES + 1), "is not a model's JSON"),
    ]:
        path.write_text(text)
        with pytest.raises(ModelError, match=words.replace("(", r"\(")):
            ModelSpec.load(path)
    assert expected_views(3) == "views must be 1, 2, 6 or 10. Got 3 instead."


def test_the_hash_is_that_of_all_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * 5000  # more than one block
    path.write_bytes(content)
    assert file_sha256(path) == hashlib.sha256(content).hexdigest()
