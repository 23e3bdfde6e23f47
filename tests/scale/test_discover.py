"""What the sources of `moue score` are found to be."""

from __future__ import annotations

import zipfile
from pathlib import Path

import fsspec
import pytest
from fsspec.registry import known_implementations
from shards import image

from moue.errors import UsageError
from moue.scale import discover as discovery
from moue.scale.discover import discover, require_sources
from moue.scale.filesystem import DRIVERS, open_filesystem, shown


def found(*sources: object, exclude: Path | str | None = None) -> list[tuple[str, str]]:
    return [
        (entry.name, entry.kind) for entry in discover(map(str, sources), None if exclude is None else str(exclude))
    ]


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image())
    return folder


def test_a_folder_holds_images_shards_and_what_is_skipped(tmp_path: Path) -> None:
    files(tmp_path, "2.png", "10.png", "a.tar", "sub/b.parquet", ".hidden.png", "out/x.png")
    (tmp_path / "note.txt").write_text("hello")
    assert found(tmp_path, exclude=tmp_path / "out") == [
        (f"{tmp_path}/2.png", "image"),
        (f"{tmp_path}/10.png", "image"),
        (f"{tmp_path}/a.tar", "tar"),
        (f"{tmp_path}/note.txt", "skipped"),
        (f"{tmp_path}/sub/b.parquet", "parquet"),
    ]


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png", "c.tar")
    assert len(found(tmp_path, tmp_path / "a.png", tmp_path / "." / "*.png", f"{tmp_path}/c.tar")) == 3


def test_a_list_has_paths_folders_and_addresses(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "sub/b.png", "[1].png")
    listed = tmp_path / "names.txt"
    listed.write_text(f"\ufeff{tmp_path}/a.png\r\n\n{tmp_path}/sub\n{tmp_path}/[1].png\nhttps://host/c.jpg?token=x\n")
    assert found(listed) == [
        (f"{tmp_path}/a.png", "image"),
        (f"{tmp_path}/sub/b.png", "image"),
        (f"{tmp_path}/[1].png", "image"),
        ("https://host/c.jpg?token=x", "image"),
    ]


def test_empty_lines_and_comments_of_a_list_are_no_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files(tmp_path, "a.png", "#1.png", " b.png"))
    (tmp_path / "names.txt").write_text("# my photos\n\n   \n  a.png  \n#1.png\n b.png\n#missing.png\n")
    assert found("names.txt") == [("a.png", "image"), ("#1.png", "image"), (" b.png", "image")]


def test_a_list_may_have_an_address() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/archive/names.txt", b"# photos\nmemory://archive/a.png\n")
    try:
        assert found("memory://archive/names.txt") == [("memory://archive/a.png", "image")]
        with pytest.raises(UsageError, match=r"memory://archive/no\.txt cannot be read: no such file"):
            found("memory://archive/no.txt")
    finally:
        memory.rm("/archive", recursive=True)


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"\0\1\2")
    with pytest.raises(UsageError, match="is no list of paths"):
        found(tmp_path / "names.txt")


def test_braces_count_as_webdataset_has_them(tmp_path: Path) -> None:
    files(tmp_path, "s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar")
    assert [Path(name).name for name, _ in found(tmp_path / "s-{008..010}.tar")] == [
        "s-008.tar",
        "s-009.tar",
        "s-010.tar",
    ]
    with pytest.raises(UsageError, match="first number must not be above the last"):
        found("s-{9..8}.tar")


def test_a_shard_that_is_missing_is_no_silence(tmp_path: Path) -> None:
    assert found(tmp_path / "s-{0..1}.tar") == [(f"{tmp_path}/s-0.tar", "image"), (f"{tmp_path}/s-1.tar", "image")]


def test_other_file_systems_have_files_folders_and_globs() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a.png", "b.tar", "sub/film.mp4", "sub/labels.csv"):
        memory.pipe_file(f"/archive/{name}", b"x")
    try:
        assert found("memory://archive/a.png") == [("memory://archive/a.png", "image")]
        assert found("memory://archive") == [
            ("memory://archive/a.png", "image"),
            ("memory://archive/b.tar", "tar"),
            ("memory://archive/sub/film.mp4", "video"),
            ("memory://archive/sub/labels.csv", "skipped"),
        ]
        assert found("memory://archive/*.tar") == [("memory://archive/b.tar", "tar")]
        assert found("memory://archive/*.pq") == [("memory://archive/*.pq", "unreadable")]
        # However it is found, a file is one.
        assert len(found("memory://archive/a.png", "memory://archive/", "memory://archive/*.png", "memory://")) == 4
        assert found("memory://archive", exclude="memory://archive/sub") == found("memory://archive/[ab]*")
        assert found("memory://archive/*") == found("memory://archive/**") == found("memory://archive")
    finally:
        memory.rm("/archive", recursive=True)


def test_names_of_other_file_systems_are_taken_as_they_are(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    names = ("user=ann/a.png", "a#1.png", "a[1].png", "a1.png", "a?b.png")
    for name in (*names, ".cache/b.png"):
        memory.pipe_file(f"/.archive/{name}", b"x")
    try:
        # Hidden is what lies below, not what was asked for.
        everything = found("memory://.archive")
        assert {name for name, _ in everything} == {f"memory://.archive/{name}" for name in names}
        assert all(shown(name) == name and open_filesystem(name)[0].isfile(name) for name, _ in everything)
        assert found("memory://.archive/a[1].png") == [("memory://.archive/a1.png", "image")]
        assert found("memory://.archive/what?.tar") == [("memory://.archive/what?.tar", "tar")]
        (tmp_path / "list.txt").write_text("memory://.archive/a[1].png")
        assert found(tmp_path / "list.txt") == [("memory://.archive/a[1].png", "image")]
        memory.rm("/.archive/a1.png")
        assert found("memory://.archive/a[1].png") == [("memory://.archive/a[1].png", "image")]
    finally:
        memory.rm("/.archive", recursive=True)


def test_a_zip_archive_says_how_it_is_read_and_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("sub/a.png", "b.png"):
            archive.writestr(name, image())
    [entry] = discover([str(tmp_path / "a.zip")])
    address = f"zip://::{tmp_path}/a.zip"
    assert (entry.kind, entry.reason) == ("skipped", f"a ZIP archive is read as {address}")
    files = [(f"zip://{name}::{tmp_path}/a.zip", "image") for name in ("b.png", "sub/a.png")]
    assert found(address) == found(f"zip://*::{tmp_path}/a.zip") == files
    assert found(f"zip://sub::{tmp_path}/a.zip") == found(f"zip://sub/*.png::{tmp_path}/a.zip") == files[1:]
    for name, _ in files:
        filesystem, path = open_filesystem(name)
        assert filesystem.cat_file(path) == image()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://archive/user=ann/a?b#1@home.png", "s3://archive/user=ann/a?b#1@home.png"),
        ("hf://datasets/ann/faces@main/a.png", "hf://datasets/ann/faces@main/a.png"),
        ("s3://ann:secret@archive/a.png", "s3://archive/a.png"),
        ("zip://a.png::https://host/a.zip?token=secret", "zip://a.png::https://host/a.zip?token=…"),
        ("sftp://ann:secret@host/a.png", "sftp://host/a.png"),
    ],
)
def test_a_name_is_shown_as_it_is_and_a_secret_is_not(address: str, name: str) -> None:
    assert shown(address) == name


def test_files_of_a_folder_keep_the_host_and_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    class Host:
        def isdir(self, path: str) -> bool:
            return True

        def find(self, path: str) -> list[str]:
            return ["/photos/a.png", "/photos/sub/b.tar"]

    def opened(address: str, folder: str = "") -> tuple[Host, str]:
        return Host(), "/" + address.partition("://")[2].partition("/")[2].rstrip("/")

    monkeypatch.setattr(discovery, "open_filesystem", opened)
    assert found("sftp://ann@host/photos") == [
        ("sftp://ann@host/photos/a.png", "image"),
        ("sftp://ann@host/photos/sub/b.tar", "tar"),
    ]


def test_brackets_around_a_host_are_no_pattern() -> None:
    assert found("http://[2001:db8:0:0:0:0:0:1]:8000/a.png?x=[1]") == [
        ("http://[2001:db8:0:0:0:0:0:1]:8000/a.png?x=[1]", "image")
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("-", "Save it as FILE.txt"),
        ("0", "moue predict 0"),
        ("rtsp://user:secret@camera/live", "moue predict ADDRESS"),
        ("no/such/folder", "no such file or folder"),
    ],
)
def test_what_cannot_be_read_again_is_refused(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        require_sources([source])
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("nosuch://host/x", "is no address that fsspec reads"),
        ("abfs://user:secret@host/x", "its driver is not installed. Type: pip install adlfs"),
        ("s3://bucket/x", "its driver is not installed. Type: pip install s3fs"),
        ("https://host/x.png", "its driver is not installed. Type: pip install 'moue[scale]'"),
    ],
)
def test_an_address_without_a_driver_says_what_to_type(
    address: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(address: str, **options: object) -> None:
        if "nosuch" in address:
            raise ValueError("Protocol not known: nosuch")
        raise ImportError("Install something to access this")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    monkeypatch.setattr("fsspec.url_to_fs", missing)
    with pytest.raises(UsageError) as error:
        open_filesystem(address)
    assert remedy in str(error.value)
    assert "secret" not in str(error.value)


def test_drivers_are_those_that_fsspec_asks_for() -> None:
    for scheme, package in DRIVERS.items():
        text = known_implementations.get(scheme, {}).get("err", "")
        # The extra brings what the web needs; of Hugging Face's, which is fsspec's entry point, fsspec says nothing.
        assert package in text or not text or scheme in ("http", "https", "hf"), scheme
