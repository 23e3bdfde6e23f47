"""The set file and the cache are complete or absent, and a cache's errors are ignored."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sets import folder_of, jpeg, simple_csv, table_of, zip_of

from moue.data import ImageTable, LeftOut, load
from moue.data.readers import fer2013_csv, store
from moue.errors import DataError, UsageError
from moue.labels import FERPLUS


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were parsed rather than taken from the cache."""
    seen: list[str] = []
    read = fer2013_csv.read

    def counting(stream: object, file: str, *rest: object) -> fer2013_csv.Rows:
        seen.append(file)
        return read(stream, file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fer2013_csv, "read", counting)
    return seen


def csv(path: Path, n: int = 21) -> Path:
    path.write_text(simple_csv(n))
    return path


def same(a: ImageTable, b: ImageTable) -> bool:
    arrays = (a.images == b.images).all() and (a.labels == b.labels).all() and (a.split == b.split).all()
    rest = (
        list(a.source) == list(b.source)
        and a.label_set == b.label_set
        and a.left_out == b.left_out
        and a.name == b.name
    )
    targets = (a.targets is None) == (b.targets is None) and (a.targets is None or (a.targets == b.targets).all())
    return bool(arrays and rest and targets and a.fingerprint == b.fingerprint)


def test_a_saved_set_loads_unchanged(tmp_path: Path) -> None:
    table = replace(
        table_of([1, 2, 2], [0, 7, 7], ["train", "public_test", "validation"], FERPLUS),
        targets=np.eye(8, dtype=np.float32)[[0, 7, 7]],
        source=["ä/b.jpg", "new\nline", ""],
        left_out=(LeftOut("c.jpg", "no"), LeftOut("row 2", "rule", by_rule=True)),
        name="mine",
    )
    store.save(table, tmp_path / "deep" / "set")
    assert same(store.load(tmp_path / "deep" / "set"), table)
    assert same(load(tmp_path / "deep" / "set", size=2), table)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["set"]


def test_a_saved_set_is_converted_to_the_requested_size_and_color(tmp_path: Path) -> None:
    store.save(table_of([1, 2], [0, 1]), tmp_path / "set")
    assert load(tmp_path / "set", size=32, color="rgb").images.shape == (2, 3, 32, 32)


def test_ferplus_labels_cannot_be_read_from_a_fer2013_set(tmp_path: Path) -> None:
    store.save(table_of([1, 2], [0, 1]), tmp_path / "set")
    with pytest.raises(UsageError, match="Import its source again"):
        load(tmp_path / "set", labels="ferplus")


def test_a_set_keeps_its_own_labels_and_others_are_refused(tmp_path: Path) -> None:
    names = load(folder_of(tmp_path / "f", {"dull/a.jpg": jpeg(1), "keen/b.jpg": jpeg(2)}), labels="folders")
    store.save(names, tmp_path / "set")
    assert load(tmp_path / "set", fallback="fer2013").label_set == names.label_set
    for source, labels in ((tmp_path / "set", "fer2013"), ("synth:200", "folders")):
        with pytest.raises(UsageError, match=r"[lL]eave"):
            load(source, labels=labels)
    assert load("synth:200", labels="fer2013").label_set.name == load("synth:200").label_set.name == "fer2013"


def test_others_can_read_a_set_where_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store.save(table_of([1], [0]), tmp_path / "set")
    finally:
        os.umask(before)
    assert (tmp_path / "set").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(table_of([1], [0]), tmp_path / "set")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        store.save(table_of([2, 3], [0, 1]), tmp_path / "set")
    assert len(store.load(tmp_path / "set")) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_damaged_set_is_an_error(tmp_path: Path) -> None:
    store.save(table_of(list(range(50)), [0] * 50), tmp_path / "set")
    whole = (tmp_path / "set").read_bytes()
    middle = len(whole) // 2
    (tmp_path / "set").write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(DataError, match=r"set is damaged"):
        load(tmp_path / "set")
    (tmp_path / "set").write_bytes(whole[:middle])
    with pytest.raises(DataError, match="truncated or damaged"):
        load(tmp_path / "set")


def test_a_set_never_runs_a_pickle(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(ran),)

    np.savez(tmp_path / "set.npz", moue=np.array([Evil()], object))
    with pytest.raises(DataError, match="damaged, or no set"):
        load(tmp_path / "set.npz")
    assert not ran.exists()


def test_the_second_read_is_the_cache(tmp_path: Path, cache: Path, reads: list[str]) -> None:
    first = load(csv(tmp_path / "fer.csv"))
    assert same(load(tmp_path / "fer.csv"), first)
    assert len(reads) == 1
    load(tmp_path / "fer.csv", cache=False)
    load(tmp_path / "fer.csv", size=32)
    assert len(reads) == 3


def test_a_changed_source_is_read_again_and_its_old_cache_goes(tmp_path: Path, cache: Path, reads: list[str]) -> None:
    load(csv(tmp_path / "fer.csv"))
    assert len(load(csv(tmp_path / "fer.csv", 28))) == 28
    assert len(reads) == 2
    assert len(list((cache / "sets").iterdir())) == 1


def test_an_image_added_to_a_folder_is_seen(tmp_path: Path, cache: Path) -> None:
    path = folder_of(tmp_path / "f", {"happy/a.jpg": jpeg(1)})
    assert len(load(path)) == 1
    folder_of(path, {"sad/b.jpg": jpeg(2)})
    assert len(load(path)) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "other", "folder"])
def test_a_damaged_cache_is_no_error(tmp_path: Path, cache: Path, reads: list[str], damage: str) -> None:
    first = load(csv(tmp_path / "fer.csv"))
    [kept] = (cache / "sets").iterdir()
    whole = kept.read_bytes()
    if damage == "folder":
        kept.unlink()
        kept.mkdir()
    elif damage == "other":
        zip_of(kept, {"a": b"b"})
    else:
        half = len(whole) // 2
        flipped = whole[:half] + bytes([whole[half] ^ 255]) + whole[half + 1 :]
        kept.write_bytes({"truncated": whole[:half], "flipped": flipped, "emptied": b""}[damage])
    assert same(load(tmp_path / "fer.csv"), first)
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "file"))
    assert len(load(csv(tmp_path / "fer.csv"))) == 21


def test_what_was_left_out_is_remembered(tmp_path: Path, cache: Path, reads: list[str]) -> None:
    path = csv(tmp_path / "fer.csv")
    path.write_text(path.read_text().replace("\n3,", "\n9,", 1))
    assert load(path, skip_bad=True).left_out == load(path, skip_bad=True).left_out
    assert len(reads) == 1
    # Without the option it is still an error, cache or not.
    with pytest.raises(DataError):
        load(path)
