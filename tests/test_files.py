"""Files are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk import room

from moue.files import atomic_write, atomic_write_many


def test_a_failed_write_keeps_the_older_file_and_names_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("older")
    with room(100), pytest.raises(OSError, match="File too large") as caught, atomic_write(path) as part:
        part.write_bytes(bytes(200))
    assert caught.value.filename == str(path)
    with pytest.raises(ZeroDivisionError), atomic_write(path) as part:
        part.write_text(str(1 / part.write_bytes(b"")))
    assert (path.read_text(), list(tmp_path.iterdir())) == ("older", [path])


def test_a_folder_of_that_name_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file") as caught, atomic_write(tmp_path / "file") as part:
        part.write_text("content")
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_when_one_of_several_files_fails_none_is_replaced(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "made" / "second"
    first.write_text("older")
    with room(100), pytest.raises(OSError, match="File too large") as caught:
        atomic_write_many({first: b"newer", second: bytes(200)})
    assert caught.value.filename == str(second)
    assert (first.read_text(), list(second.parent.iterdir())) == ("older", [])
    assert atomic_write_many({first: b"newer", second: b"new"}) == [first, second]
    assert (first.read_bytes(), second.read_bytes()) == (b"newer", b"new")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [first, second]
