"""Whatever is wrong in a data set's file, reading it gives a table or one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, survives
from sets import jpeg, simple_csv, table_of, zip_of

from moue.data import load
from moue.data.readers import store
from moue.data.splits import Split
from moue.data.votes import COLUMNS, read_votes
from moue.errors import DataError, ModelError
from moue.labels import FER2013
from moue.spec import ModelSpec


def zipped(files: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(mode: str, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("fer/" + "long" * 40 + "/fer2013.csv")
        info.size = len(CSV)
        archive.addfile(info, io.BytesIO(CSV))
    return buffer.getvalue()


def saved() -> bytes:
    buffer = io.BytesIO()
    meta = {
        "version": store.VERSION,
        "name": "mine",
        "label_set": ["fer2013", *FER2013.labels],
        "source": ["a", "b"],
        "left_out": [["c", "no face", False]],
        "splits": ["train", "validation", "public_test", "private_test", "test"],
    }
    np.savez(
        buffer,
        moue=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        images=np.zeros((2, 1, 4, 4), np.uint8),
        labels=np.array([1, 6], np.uint16),
        split=np.array([0, 4], np.uint8),
        digests=np.zeros((2, 16), np.uint8),
        votes=np.full((2, 8), 1 / 8, np.float32),
    )
    return buffer.getvalue()


def votes() -> bytes:
    lines = ["Usage,Image name," + ",".join(COLUMNS)]
    lines += [f"Training,{n}.png," + ",".join(str((n + k) % 10) for k in range(10)) for n in range(20)]
    return "\n".join(lines).encode()


CSV = simple_csv(9).encode()
PHOTOS = {f"train/{name}/{k}.jpg": jpeg(k, (16, 16)) for k, name in enumerate(FER2013.labels)}

#: A whole file of each kind.
FILES: dict[str, Callable[[], bytes]] = {
    "csv": lambda: CSV,
    "gzip": lambda: gzip.compress(CSV),
    **{
        f"zip, {name}, {what}": lambda files=files, method=method: zipped(files, method)  # type: ignore[misc]
        for what, files in (("csv", {"fer.csv": CSV, "notes.csv": b"id\n1\n"}), ("photos", PHOTOS))
        for name, method in (
            ("stored", zipfile.ZIP_STORED),
            ("deflated", zipfile.ZIP_DEFLATED),
            ("bzip2", zipfile.ZIP_BZIP2),
            ("lzma", zipfile.ZIP_LZMA),
        )
    },
    "tar": lambda: tarred("w"),
    "tar, gnu": lambda: tarred("w", tarfile.GNU_FORMAT),
    "tar.gz": lambda: tarred("w:gz"),
    "npz": saved,
}


@pytest.mark.parametrize("skip_bad", [False, True], ids=["strict", "skip"])
@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_set_is_read_or_one_sentence(tmp_path: Path, kind: str, skip_bad: bool) -> None:
    path = tmp_path / "set"
    path.write_bytes(FILES[kind]())
    assert len(load(path, cache=False)) in (2, 7, 9)
    read = [0, 0]
    for data in damaged(FILES[kind](), 60, seed=int(skip_bad)):
        path.write_bytes(data)
        read[survives(lambda: load(path, cache=False, skip_bad=skip_bad, size=16), str(path))] += 1
    assert read[0], "nothing was damaged"


def test_damaged_votes_splits_and_specs_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(votes())
    assert len(read_votes(path).counts) == 20
    Split(np.arange(40), np.arange(40, 50), 3, 0.2, "0123456789abcdef").save(tmp_path / "split.json")
    curves = {"train_loss": [1.5, 0.5], "train_accuracy": [0.5, None]}
    data = {"fingerprint": "0123", "train": 4, "validation": 2, "split": {"seed": 0, "fraction": 0.2, "fold": 0}}
    spec = ModelSpec("m", "compact", FER2013.labels, trained={"curves": curves, "data": data}, scores={"test": 0.5})
    spec.save(tmp_path / "spec.json")
    for whole, read in (
        (votes(), read_votes),
        ((tmp_path / "split.json").read_bytes(), Split.load),
        ((tmp_path / "spec.json").read_bytes(), ModelSpec.load),
    ):
        outcomes = set()
        for content in damaged(whole, 150):
            path.write_bytes(content)
            outcomes.add(survives(lambda read=read: read(path), str(path)))  # type: ignore[misc]
        assert False in outcomes


#: Values that are none of those that a file should hold, as JSON.
WRONG = [
    "null",
    "true",
    "-1",
    "1e400",
    "NaN",
    "3.5",
    '"text"',
    "[]",
    "{}",
    "[[1]]",
    '{"a": 1}',
    "1" * 5000,
    "[" * 90000,
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[:10])
def test_a_value_of_another_type_is_one_sentence(tmp_path: Path, wrong: str) -> None:
    """Of each key of a split and of a spec, and of the whole."""
    Split(np.arange(4), np.arange(4, 6), 3, 0.2, "0123456789abcdef").save(tmp_path / "split.json")
    data = {"fingerprint": "0123", "train": 4, "validation": 2, "split": {"seed": 0, "fraction": 0.2, "fold": 0}}
    ModelSpec("m", "compact", FER2013.labels, trained={"data": data}).save(tmp_path / "spec.json")
    for name, read, required in (
        ("split.json", Split.load, "train"),
        ("spec.json", ModelSpec.load, "labels"),
    ):
        path = tmp_path / name
        values = json.loads(path.read_text())
        for key in values:
            parts = [f"{json.dumps(k)}: {wrong if k == key else json.dumps(v)}" for k, v in values.items()]
            path.write_text("{" + ", ".join(parts) + "}")
            unreadable = not survives(lambda: read(path), str(path))  # noqa: B023
            assert unreadable or key != required
        path.write_text(wrong)
        assert not survives(lambda: read(path), str(path))  # noqa: B023


def test_what_broke_readers_is_named_with_a_remedy(tmp_path: Path) -> None:
    """Each of these ended in a traceback, or in words that name nothing."""
    lzma_zip = bytearray(zipped({"train/happy/a.jpg": lzma.compress(jpeg(1)) * 9}, zipfile.ZIP_LZMA))
    lzma_zip[200:230] = bytes(30)
    bz2_zip = bytearray(zipped({"fer.csv": CSV}, zipfile.ZIP_BZIP2))
    start = bz2_zip.index(bz2.compress(b"")[:2])
    bz2_zip[start + 40 : start + 60] = bytes(20)
    nameless = bytearray(zipped({"a": b"b"}, zipfile.ZIP_STORED))
    entry = nameless.index(b"PK\1\2")
    nameless[entry + 28] = 0
    del nameless[entry + 46]
    nameless[-10] -= 1  # The size of the directory, without the name.
    offset = bytearray(zipped({"fer.csv": CSV}, zipfile.ZIP_STORED))
    end = offset.index(b"PK\5\6")
    offset[end + 16 : end + 20] = (len(offset) * 3).to_bytes(4, "little")
    pax = bytearray(tarred("w"))
    pax[512:542] = b"9" * 25 + b" a=b\n"  # The length of the first record.
    packed = bytearray(gzip.compress(CSV))
    packed[10:40] = bytes(range(60, 90))
    for name, data in {
        "lzma.zip": lzma_zip,
        "bz2.zip": bz2_zip,
        "nameless.zip": nameless,
        "offset.zip": offset,
        "pax.tar": pax,
        "packed.csv.gz": packed,
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}.*[.] (Download or copy it again|Correct it|Unpack it yourself)"):
            load(tmp_path / name)


def test_an_array_that_promises_more_than_its_file_takes_no_memory(tmp_path: Path) -> None:
    data = saved().replace(b"'shape': (2, 1, 4, 4), }", b"'shape': (2, 9, 9999999,")
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"set.npz is damaged"):
        store.load(tmp_path / "set.npz")


def test_a_split_beyond_its_table_is_refused(tmp_path: Path) -> None:
    table = table_of([1, 2, 3], [0, 1, 2])
    Split(np.array([0, 7]), np.array([1]), 0, 0.2, table.fingerprint).save(tmp_path / "split.json")
    with pytest.raises(DataError, match="beyond the 3 rows"):
        Split.load(tmp_path / "split.json").check(table)
    with pytest.raises(DataError, match=r"missing.*train the run again"):
        Split.load(tmp_path / "absent.json")


def test_a_name_of_any_length_is_quoted_in_part(tmp_path: Path) -> None:
    names = {f"train/happy/{'x' * 60_000}.jpg": b"no image", f"train/{'y' * 60_000}/a.jpg": jpeg(1)}
    for name, data in names.items():
        path = zip_of(tmp_path / "set.zip", {"train/happy/good.jpg": jpeg(2), name: data})
        with pytest.raises(DataError) as caught:
            load(path)
        assert len(str(caught.value).replace(str(path), "")) < 500
        assert load(path, skip_bad=True).left_out
    with pytest.raises(ModelError) as failure:
        ModelSpec("m", "n", ("x" * 100_000,) * 2)
    assert len(str(failure.value)) < 200
