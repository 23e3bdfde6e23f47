"""Class folders and zips of them: splits, names and own images."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sets import folder_of, jpeg, simple_csv, zip_of

from moue.data import load
from moue.data.loading import FER2013_OR_OWN, chose_own_classes
from moue.data.readers.store import save
from moue.errors import DataError, UnknownName, UsageError
from moue.image import read_image
from moue.preprocess import ImageArray

KAGGLE = {
    "train/angry/Training_1.jpg": jpeg(1),
    "train/happy/Training_2.jpg": jpeg(2),
    "test/happy/PublicTest_3.jpg": jpeg(3),
    "test/sad/PrivateTest_4.jpg": jpeg(4),
}


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("wrap", ["", "archive/", "a/b/"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_kaggle_folders(tmp_path: Path, kind: str, wrap: str) -> None:
    files = {wrap + name: data for name, data in KAGGLE.items()}
    path = folder_of(tmp_path / "fer", files) if kind == "folder" else zip_of(tmp_path / "fer.zip", files)
    table = load(path)
    rows = {
        s.removeprefix(wrap): (p, table.label_set.labels[k])
        for s, p, k in zip(table.source, table.split, table.labels, strict=True)
    }
    assert rows == {
        "train/angry/Training_1.jpg": ("train", "angry"),
        "train/happy/Training_2.jpg": ("train", "happy"),
        "test/happy/PublicTest_3.jpg": ("public_test", "happy"),
        "test/sad/PrivateTest_4.jpg": ("private_test", "sad"),
    }
    assert len(table.part("test")) == 2
    decoded = np.asarray(Image.open(io.BytesIO(jpeg(1))))
    assert (table.images[list(table.labels).index(0), 0] == decoded).all()


def test_a_split_folder_takes_precedence_over_a_prefix(tmp_path: Path) -> None:
    """Images that someone has sorted anew: no row of a test folder is trained on for its name's sake."""
    expected = {
        "train/happy/PublicTest_1.jpg": "train",
        "val/happy/Training_2.jpg": "validation",
        "test/happy/Training_3.jpg": "test",
        "public_test/happy/PrivateTest_4.jpg": "public_test",
    }
    table = load(folder_of(tmp_path / "sorted", {name: jpeg(i) for i, name in enumerate(expected)}))
    assert dict(zip(table.source, table.split.tolist(), strict=True)) == expected
    table = load(folder_of(tmp_path / "flat", {"happy/Training_1.jpg": jpeg(1), "sad/PrivateTest_2.jpg": jpeg(2)}))
    assert table.split.tolist() == ["train", "private_test"]


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["happy/PublicTest_1.jpg", "happy/a.jpg", "sad/b.jpg"], "train"),
        (["happy/Training_1.jpg", "sad/PublicTest_2.jpg", "sad/me.jpg"], "train"),
        (["test/happy/PublicTest_1.jpg", "test/sad/a.jpg"], "test"),
        (["test/happy/PublicTest_1.jpg", "test/sad/Training_2.jpg"], "test"),
    ],
)
def test_where_only_some_names_say_a_split_none_does(names: list[str], split: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", {name: jpeg(i) for i, name in enumerate(names)})
    with pytest.warns(UserWarning, match=f"no name says a split, and all are {split} images"):
        table = load(folder)
    assert table.split.tolist() == [split] * len(names)


def test_names_in_the_folders_of_other_splits_do_not_count(tmp_path: Path) -> None:
    names = ["train/happy/a.jpg", "test/happy/PublicTest_1.jpg", "test/sad/PrivateTest_2.jpg", "val/sad/Training_3.jpg"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = load(folder_of(tmp_path / "set", {name: jpeg(i) for i, name in enumerate(names)}))
    found = dict(zip(table.source, table.split.tolist(), strict=True))
    assert found == dict(zip(names, ["train", "public_test", "private_test", "validation"], strict=True))


def test_own_folders_of_any_size_and_color(tmp_path: Path) -> None:
    files = {
        "Joy/a.jpg": jpeg(1, (90, 60), "RGB"),
        "Joy/deeper/b.png": png(Image.new("RGBA", (20, 20), (0, 0, 0, 0))),
        "anger/c.png": png(Image.fromarray(np.full((7, 5), 65535, np.uint16))),
        "readme.txt": b"mine",
        "Joy/.DS_Store": b"\0",
        "__MACOSX/Joy/._a.jpg": b"\0",
    }
    table = load(folder_of(tmp_path / "mine", files), size=32, color="rgb")
    assert table.images.shape == (3, 3, 32, 32)
    assert [table.label_set.labels[k] for k in table.labels] == ["happy", "happy", "angry"]
    assert set(table.split.tolist()) == {"train"}
    # Nothing is behind a transparent image but white; 16 bits keep their brightness.
    assert (table.images[1:] == 255).all()


def test_the_folders_own_names(tmp_path: Path) -> None:
    files = {"train/bored/a.jpg": jpeg(1), "train/awake/b.jpg": jpeg(2), "validation/bored/c.jpg": jpeg(3)}
    table = load(folder_of(tmp_path / "mine", files), labels="folders")
    assert table.label_set.labels == ("awake", "bored")
    assert sorted(zip(table.split.tolist(), table.labels.tolist(), strict=True)) == [
        ("train", 0),
        ("train", 1),
        ("validation", 1),
    ]


def test_own_classes_are_those_that_a_set_has(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", {"bored/a.jpg": jpeg(1), "awake/b.jpg": jpeg(2)})
    assert load(mine, labels="own").label_set.labels == ("awake", "bored")
    assert load(mine, fallback="own").label_set.name == "folders"
    competition = tmp_path / "fer2013.csv"
    competition.write_text(simple_csv())
    assert load(competition, labels="own").label_set.name == "fer2013"
    renamed = load(competition, labels="own", classes="0=a,1=b,2=c,3=d,4=e,5=f,6=g")
    assert renamed.label_set.labels == tuple("abcdefg")
    save(load(mine, labels="own"), tmp_path / "mine.npz")
    assert load(tmp_path / "mine.npz", labels="own").label_set.labels == ("awake", "bored")
    assert load("synth:10:0", labels="own").label_set.name == "fer2013"


def test_other_names_of_the_splits(tmp_path: Path) -> None:
    expected = {"Training": "train", "dev": "validation", "Valid": "validation", "testing": "test", "eval": "test"}
    files = {f"{name}/happy/a.jpg": jpeg(i) for i, name in enumerate(expected)}
    table = load(folder_of(tmp_path / "a", files), labels="folders")
    assert {s.split("/")[0]: p for s, p in zip(table.source, table.split.tolist(), strict=True)} == expected
    assert table.label_set.labels == ("happy",)


@pytest.mark.parametrize("labels", ["folders", "fer2013"])
def test_a_split_under_an_unknown_name_is_no_class(tmp_path: Path, labels: str) -> None:
    names = ("train/happy/a.jpg", "train/sad/b.jpg", "heldout/happy/c.jpg", "heldout/sad/d.jpg", "readme.txt")
    path = folder_of(tmp_path / "a", {name: jpeg(i) for i, name in enumerate(names)})
    with pytest.raises(DataError, match=r"folder 'heldout': .*\(happy, sad\).*train, .*validation, .*test, ") as caught:
        load(path, labels=labels)
    assert str(path) in str(caught.value)
    table = load(path, labels=labels, skip_bad=True)
    assert list(table.source) == ["train/happy/a.jpg", "train/sad/b.jpg"]
    assert [row.source for row in table.left_out] == [f"{path}, folder 'heldout'"]


def test_a_class_may_hold_folders_beside_a_split(tmp_path: Path) -> None:
    files = {"train/happy/a.jpg": jpeg(1), "train/sad/b.jpg": jpeg(2), "happy/sad/c.jpg": jpeg(3)}
    table = load(folder_of(tmp_path / "a", files))
    assert [table.label_set.labels[k] for k in table.labels[np.argsort(table.source)]] == ["happy", "happy", "sad"]
    files = {"train/cat/a.jpg": jpeg(1), "dog/outside/b.jpg": jpeg(2)}
    assert load(folder_of(tmp_path / "b", files), labels="folders").label_set.labels == ("cat", "dog")


def test_exif_orientation_is_honored(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 24, axis=0).repeat(48, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    [face] = load(folder_of(tmp_path / "mine", {"happy/a.jpg": file.getvalue()})).images
    assert face[0, :20].min() > 200
    assert face[0, 28:].max() < 50


BAD_IMAGES = {
    "not an image": (b"hello", "not an image of a known format"),
    "empty": (b"", "is empty"),
    "truncated": (jpeg(1, (200, 200))[:3000], "a damaged JPEG file"),
}


@pytest.mark.parametrize("what", BAD_IMAGES)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_bad_image_is_named_and_left_out_on_request(tmp_path: Path, kind: str, what: str) -> None:
    data, reason = BAD_IMAGES[what]
    files = {"happy/good.jpg": jpeg(1), "sad/bad.jpg": data}
    path = folder_of(tmp_path / "f", files) if kind == "folder" else zip_of(tmp_path / "f.zip", files)
    with pytest.raises(DataError, match=reason) as caught:
        load(path)
    assert f"{path}, sad/bad.jpg" in str(caught.value)
    assert "--skip-bad" in str(caught.value)
    table = load(path, skip_bad=True)
    assert list(table.source) == ["happy/good.jpg"]
    assert [row.source for row in table.left_out] == [f"{path}, sad/bad.jpg"]


def test_an_unknown_class_folder(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "f", {"happy/a.jpg": jpeg(1), "hapy/b.jpg": jpeg(2), "hapy/c.jpg": jpeg(3)})
    with pytest.raises(DataError, match=r"folder 'hapy' \(2 files\).*Did you mean happy\?.*--labels folders"):
        load(path)
    table = load(path, skip_bad=True)
    assert len(table) == 1
    assert len(table.left_out) == 1


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_folder_of_other_classes_has_its_own_where_it_may(tmp_path: Path, kind: str) -> None:
    def made(name: str, *classes: str) -> Path:
        files = {f"train/{c}/{i}.jpg": jpeg(i) for c in classes for i in range(2)}
        return folder_of(tmp_path / name, files) if kind == "folder" else zip_of(tmp_path / f"{name}.zip", files)

    own = made("own", "awake", "sleepy", "happy")
    table = load(own, fallback=FER2013_OR_OWN)
    assert table.label_set.labels == ("awake", "happy", "sleepy")
    assert chose_own_classes(table, own)
    assert load(own, labels="folders", fallback=FER2013_OR_OWN).label_set.name == "folders"
    usual = load(made("usual", "happy", "sadness"), fallback=FER2013_OR_OWN)
    assert usual.label_set.name == "fer2013"
    assert not chose_own_classes(usual, own)
    # One of a few is likely misspelled, numbers need names, and what is asked for is taken.
    for name, classes in (("misspelled", ("happy", "hapy")), ("numbers", ("21", "22", "23"))):
        with pytest.raises(DataError, match="--labels folders keeps"):
            load(made(name, *classes), fallback=FER2013_OR_OWN)
    with pytest.raises(DataError, match="--labels folders keeps"):
        load(own, labels="fer2013", fallback=FER2013_OR_OWN)


def test_an_image_without_a_class_folder(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "f", {"train/happy/a.jpg": jpeg(1), "train/b.jpg": jpeg(2)})
    with pytest.raises(DataError, match=r"train/b\.jpg: an image must be in a folder that names its class"):
        load(path)


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty folder"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match="gave no image"):
        load(zip_of(tmp_path / "a.zip", {"readme.txt": b"a"}))


def test_a_crop_gives_a_row_a_face(tmp_path: Path) -> None:
    path = folder_of(
        tmp_path / "f", {"happy/two.jpg": jpeg(1, (96, 48)), "sad/none.jpg": jpeg(2), "sad/one.jpg": jpeg(3)}
    )

    def crop(image: ImageArray, source: str) -> list[ImageArray]:
        if "none" in source:
            return []
        return [image[:, :48], image[:, 48:]] if "two" in source else [image]

    table = load(path, crop=crop)
    assert list(table.source) == ["happy/two.jpg face 1", "happy/two.jpg face 2", "sad/one.jpg"]
    assert table.labels.tolist() == [3, 3, 4]
    assert [(row.source, row.reason) for row in table.left_out] == [(f"{path}, sad/none.jpg", "no face was found")]


def test_unknown_label_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="fer2013"):
        load(folder_of(tmp_path / "f", {"happy/a.jpg": jpeg(1)}), labels="fer2012")


def test_linked_folders_are_read_and_cyclic_links_end(tmp_path: Path) -> None:
    real = folder_of(tmp_path / "real", {"a.jpg": jpeg(1)})
    faces = folder_of(tmp_path / "faces", {"sad/b.jpg": jpeg(2)})
    (faces / "happy").symlink_to(real)
    (faces / "sad" / "back").symlink_to(faces)
    assert sorted(load(faces).source) == ["happy/a.jpg", "sad/b.jpg"]


def test_a_read_me_beside_the_classes_is_no_class(tmp_path: Path) -> None:
    files = {"faces/joyful/a.jpg": jpeg(1), "faces/glum/b.jpg": jpeg(2), "faces/README.txt": b"mine", "LICENSE": b"MIT"}
    for path in (zip_of(tmp_path / "a.zip", files), folder_of(tmp_path / "a", files)):
        assert load(path, labels="folders").label_set.labels == ("glum", "joyful")


def test_a_list_beside_class_folders_is_not_mistaken_for_the_set(tmp_path: Path) -> None:
    files = {"happy/a.jpg": jpeg(1), "sad/b.jpg": jpeg(2), "files.csv": b"file,person\na.jpg,7\n"}
    assert len(load(zip_of(tmp_path / "a.zip", files))) == 2
    assert len(load(folder_of(tmp_path / "a", files))) == 2


def test_a_folder_that_holds_the_csv_is_the_csv(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "fer", {"fer2013.csv": simple_csv().encode(), "README.md": b"faces"})
    assert len(load(folder)) == 21


def test_a_folder_of_several_csvs_says_which(tmp_path: Path) -> None:
    files = {"icml_face_data.csv": simple_csv().encode(), "train.csv": simple_csv().encode(), "submission.csv": b"a,b"}
    with pytest.raises(DataError, match=r"2 CSVs of faces \(icml_face_data\.csv, train\.csv\)"):
        load(folder_of(tmp_path / "fer", files))
    assert len(load(folder_of(tmp_path / "fer", {"happy/a.jpg": jpeg(1)}))) == 1


def test_what_windows_leaves_in_a_folder_is_no_image(tmp_path: Path) -> None:
    files = {"happy/a.jpg": jpeg(1), "happy/desktop.ini": b"[x]", "happy/Thumbs.db": b"x"}
    assert len(load(folder_of(tmp_path / "a", files))) == 1


def test_undecodable_names_are_kept_as_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "cache"))
    folder = folder_of(tmp_path / "a", {"happy/a.jpg": jpeg(1)})
    (folder / "happy" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg(2))
    assert len(load(folder)) == len(load(folder)) == 2


def test_votes_are_not_ignored_silently(tmp_path: Path) -> None:
    folder, votes = folder_of(tmp_path / "a", {"happy/a.jpg": jpeg(1)}), tmp_path / "votes.csv"
    votes.write_text("x")
    own = tmp_path / "own.npz"
    save(load(folder), own)
    for source, words in ((folder, "holds images"), (own, "holds no votes"), ("synth:200", "no votes")):
        with pytest.raises(UsageError, match=words):
            load(source, votes=votes)
    assert load(folder, labels="ferplus").label_set.name == "ferplus"


def test_a_saved_set_keeps_its_size_by_default(tmp_path: Path) -> None:
    folder, own = folder_of(tmp_path / "a", {"happy/a.jpg": jpeg(1, (96, 96), "RGB")}), tmp_path / "own.npz"
    save(load(folder, size=96, color="rgb"), own)
    assert load(own).images.shape == (1, 3, 96, 96)
    assert load(own, size=48, color="gray").images.shape == (1, 1, 48, 48)


def test_images_of_sixteen_bits_in_either_order_of_bytes(tmp_path: Path) -> None:
    gray = np.full((6, 6), 40000, np.uint16)
    for order in ("<u2", ">u2"):
        assert read_image(gray.astype(order)).max() == round(40000 / 257)
