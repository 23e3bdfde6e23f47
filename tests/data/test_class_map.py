"""Classes that are numbers, words of another language or parts of file names, to labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sets import csv_text, faces, folder_of, jpeg, simple_csv, table_of, zip_of

from moue.data import load
from moue.data.class_map import NUMBERINGS, class_map
from moue.data.readers import store
from moue.errors import DataError, UsageError
from moue.labels import FER2013, FERPLUS

#: RAF-DB's numbers, by class.
RAF_DB = {"surprise": 1, "fear": 2, "disgust": 3, "happy": 4, "sad": 5, "angry": 6, "neutral": 7}


def classes_of(table: object) -> dict[str, str]:
    """The class of each row of a table, by its source."""
    labels, names = table.labels, table.label_set.labels  # type: ignore[attr-defined]
    return dict(zip(table.source, [names[k] for k in labels], strict=True))  # type: ignore[attr-defined]


def numbered(path: Path) -> Path:
    """A folder as RAF-DB's: train and test, with a folder for each number."""
    files = {f"train/{number}/{name}.jpg": jpeg(number) for name, number in RAF_DB.items()}
    return folder_of(path, {**files, "test/4/happy.jpg": jpeg(9)})


@pytest.mark.parametrize(
    "classes",
    [
        "raf-db",
        "RAF-DB",
        "1=surprise,2=fear, 3=Disgust,4=happiness,5=sadness,6=anger,7=neutral",
        {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"},
    ],
)
def test_folders_that_are_numbers(tmp_path: Path, classes: object) -> None:
    table = load(numbered(tmp_path / "set"), classes=classes)  # type: ignore[arg-type]
    assert table.label_set == FER2013
    assert all(Path(source).stem == name for source, name in classes_of(table).items())
    assert table.split.tolist().count("test") == 1


def test_without_names_numbers_are_an_error_that_says_how_to_give_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--classes VALUE=NAME"):
        load(numbered(tmp_path / "set"))


def test_every_name_can_be_the_users_own(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "set", {"Freude/a.jpg": jpeg(1), "Wut/b.jpg": jpeg(2), "sad/c.jpg": jpeg(3)})
    assert classes_of(load(path, classes="freude=happy,WUT=anger")) == {
        "Freude/a.jpg": "happy",
        "Wut/b.jpg": "angry",
        "sad/c.jpg": "sad",
    }
    own = load(path, labels="folders", classes="Freude=joy,Wut=rage")
    assert own.label_set.labels == ("joy", "rage", "sad")


def test_affectnets_eight_classes(tmp_path: Path) -> None:
    files = {f"train/{number}/{name}.jpg": jpeg(int(number)) for number, name in NUMBERINGS["affectnet"].items()}
    path = zip_of(tmp_path / "set.zip", files)
    table = load(path, labels="ferplus", classes="affectnet")
    assert table.label_set == FERPLUS
    assert all(Path(source).stem == name for source, name in classes_of(table).items())
    with pytest.raises(DataError, match=r"'7' \(1 file\).*'contempt'.*--labels folders"):
        load(path, classes="affectnet")


@pytest.mark.parametrize(
    "text",
    [
        "1=surprise\n2 = fear\n\n# a comment\n3=disgust\n4=happy\n5=sad\n6=angry\n7=neutral\n",
        "---\n1: surprise\n2: 'fear'\n\"3\": disgust\n4: happy # joy\n5: sad\n6: angry\n7: neutral\n",
        json.dumps({str(number): name for name, number in RAF_DB.items()}, indent=1),
    ],
    ids=["lines", "yaml", "json"],
)
def test_a_file_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    table = load(numbered(tmp_path / "set"), classes=str(tmp_path / "classes.txt"))
    assert all(Path(source).stem == name for source, name in classes_of(table).items())


def test_a_csv_that_numbers_its_classes_in_its_own_way(tmp_path: Path) -> None:
    path = tmp_path / "raf.csv"
    path.write_text(csv_text(faces(7), list(RAF_DB.values()), ["train"] * 7))
    table = load(path, classes="raf-db")
    assert list(classes_of(table).values()) == list(RAF_DB)
    path.write_text(path.read_text().replace("\n7,", "\n7.0,"))
    assert list(classes_of(load(path, classes="raf-db")).values()) == list(RAF_DB)
    with pytest.raises(DataError, match="row 7: emotion must be between 0 and 6"):
        load(path)
    with pytest.raises(DataError, match=r"row 1: emotion must be 2, 3\. Got '1'"):
        load(path, classes="2=fear,3=disgust")
    with pytest.raises(DataError, match=r"'1' is 'contempt', which the labels fer2013 lack.*--labels folders"):
        load(path, classes="1=contempt")
    own = load(path, labels="folders", classes="1=a,2=b,3=c,4=d,5=e,6=f,7=g")
    assert own.label_set.labels == tuple("abcdefg")


def test_labels_in_the_names_of_files(tmp_path: Path) -> None:
    codes = {
        "AN": "angry",
        "DI": "disgust",
        "FE": "fear",
        "HA": "happy",
        "SA": "sad",
        "SU": "surprise",
        "NE": "neutral",
    }
    files = {f"jaffe/KA.{code}1.{n}.tiff": jpeg(n) for n, code in enumerate(codes)}
    path = folder_of(tmp_path / "set", {**files, "jaffe/README.txt": b"hello"})
    table = load(path, label_pattern="jaffe")
    assert classes_of(table) == {source: codes[source[9:11]] for source in files}
    named = folder_of(tmp_path / "own", {"test/p1_happy.jpg": jpeg(1), "p2_joy.jpg": jpeg(2), "x/p3_7.jpg": jpeg(3)})
    table = load(named, label_pattern=r"_(?P<label>\w+)[.]", classes="7=neutral")
    assert sorted(classes_of(table).values()) == ["happy", "happy", "neutral"]
    assert table.split.tolist().count("test") == 1
    folder_of(named, {"p4.jpg": jpeg(4)})
    with pytest.raises(DataError, match=r"p4.jpg: --label-pattern finds no class"):
        load(named, label_pattern=r"_(?P<label>\w+)[.]", classes="7=neutral")
    table = load(named, label_pattern=r"_(?P<label>\w+)[.]", classes="7=neutral", skip_bad=True)
    assert (len(table), len(table.left_out)) == (3, 1)


def test_the_cache_keeps_sets_of_other_names_apart(tmp_path: Path) -> None:
    path = numbered(tmp_path / "set")
    first = load(path, classes="raf-db")
    other = load(path, classes="raf-db", label_pattern=r"(?P<label>\w+)[.]")
    third = load(path, classes={**NUMBERINGS["raf-db"], "4": "neutral"})
    assert first.label_set == other.label_set
    assert (first.labels != third.labels).sum() == 2


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("1", "takes 1=surprise"),
        ("", "takes 1=surprise"),
        ("affectne", "affectnet"),
        ("1=happy,=sad", "Got '=sad'"),
        ("1=happy,2=", "Got '2='"),
        ("1=happy,1.0=sad", "names '1.0' twice"),
        ("1=happy,2=" + "x=" * 5000, "value=name"),
        ("x" * 100_000, "1=surprise"),
    ],
)
def test_wrong_names_are_a_sentence(classes: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        class_map(classes)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"{" * 100_000, b'{"a": 1}', b'{"a": NaN}', b"", b"one", b"a=b\na=c", bytes(2 << 20)]
)
def test_a_damaged_file_of_names_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(UsageError, match="names") as caught:
        class_map(str(tmp_path / "names"))
    assert len(str(caught.value).replace(str(tmp_path), "")) < 300


@pytest.mark.parametrize("pattern", ["(", "label", "(?P<name>x)", "x{99999999999}", "(?P<label>" * 500])
def test_a_wrong_pattern_is_a_sentence(pattern: str) -> None:
    with pytest.raises(UsageError, match="--label-pattern takes a regular expression"):
        class_map(None, pattern)


def test_names_for_what_has_its_own_are_refused(tmp_path: Path) -> None:
    store.save(table_of([1, 2], [0, 1]), tmp_path / "set.npz")
    (tmp_path / "fer.csv").write_text(simple_csv())
    for source, options in (
        (tmp_path / "set.npz", {"classes": "raf-db"}),
        ("synth:50", {"classes": "raf-db"}),
        (tmp_path / "fer.csv", {"label_pattern": "jaffe"}),
        (tmp_path / "fer.csv", {"labels": "folders"}),
    ):
        with pytest.raises(UsageError, match=r"[Ll]eave"):
            load(source, **options)  # type: ignore[arg-type]
