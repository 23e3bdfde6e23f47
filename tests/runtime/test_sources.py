"""What names stand for: every file accounted for, in the order in which a person would count."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from moue.errors import UsageError
from moue.runtime.sources import Source, expand, require_one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my photos"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "empty").mkdir()
    for name in ("10.png", "2.png", "sub/1.png", ".hidden.png", ".git/x.png", "no suffix", "Thumbs.db"):
        Image.new("RGB", (4, 4)).save(root / name, "PNG")
    (root / "film.MP4").write_bytes(b"")
    (root / "notes.txt").write_text("shopping list\n")
    (root / "loop").symlink_to(root)
    return root


def seen(sources: list[Source], root: Path) -> list[tuple[str, str]]:
    return [(Path(s.path).relative_to(root).as_posix(), s.kind) for s in sources]


def test_folder_in_natural_order_with_nothing_lost(folder: Path) -> None:
    found = list(expand([folder]))
    assert seen(found, folder) == [
        ("2.png", "picture"),
        ("10.png", "picture"),
        ("empty", "skipped"),
        ("film.MP4", "video"),
        ("loop", "skipped"),
        ("no suffix", "picture"),
        ("notes.txt", "skipped"),
        ("sub/1.png", "picture"),
    ]
    assert all((s.reason is not None) == (s.kind == "skipped") for s in found)


def test_glob_and_a_file_whose_name_looks_like_one(folder: Path) -> None:
    assert seen(list(expand([f"{folder}/**/*.png"])), folder) == [
        ("2.png", "picture"),
        ("10.png", "picture"),
        ("sub/1.png", "picture"),
    ]
    literal = folder / "a[1].png"
    Image.new("RGB", (4, 4)).save(literal)
    assert [s.path for s in expand([str(literal)])] == [str(literal)]
    [nothing] = expand([f"{folder}/*.gif"])
    assert nothing.kind == "unreadable"


def test_camera_and_a_list_on_stdin(folder: Path) -> None:
    assert list(expand(["0"])) == [Source("0", "camera")]
    listed = io.StringIO(f"{folder}/2.png\n\n{folder}/sub\n0\n")
    assert [s.path for s in expand(["-"], stdin=listed)] == [f"{folder}/2.png", f"{folder}/sub/1.png", "0"]


def test_file_that_is_named_itself_is_always_tried(folder: Path) -> None:
    assert [s.kind for s in expand([folder / "notes.txt", "gone.png"])] == ["picture", "picture"]


def test_folder_without_permission_has_its_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list(expand([folder])) == [Source(str(folder), "unreadable", "permission denied")]


def test_names_of_which_none_is_there(folder: Path) -> None:
    require_one([str(folder / "gone.png"), str(folder)])
    with pytest.raises(UsageError, match=r"a\.png and b\.png: no such"):
        require_one(["a.png", "b.png"])
