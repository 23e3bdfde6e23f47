"""What names stand for: every file accounted for, in the order in which a person would count."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from videos import make_song, make_sound, make_video, scene

import moue
from moue.errors import UsageError
from moue.runtime.inputs.paths import expand, require_one
from moue.runtime.inputs.resolve import resolve, resolve_single
from moue.runtime.inputs.source import Source
from moue.signatures import JOURNAL, kind_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my photos"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "empty").mkdir()
    for name in ("10.png", "2.png", "sub/1.png", ".hidden.png", ".git/x.png", "no suffix", "Thumbs.db"):
        Image.new("RGB", (4, 4)).save(root / name, "PNG")
    (root / "video.MP4").write_bytes(b"")
    (root / "notes.txt").write_text("shopping list\n")
    (root / "loop").symlink_to(root)
    return root


def seen(sources: list[Source], root: Path) -> list[tuple[str, str]]:
    return [(Path(s.name).relative_to(root).as_posix(), s.kind) for s in sources]


def test_folder_in_natural_order_with_nothing_lost(folder: Path) -> None:
    found = list(resolve([folder]))
    assert seen(found, folder) == [
        ("2.png", "image"),
        ("10.png", "image"),
        ("empty", "skipped"),
        ("loop", "skipped"),
        ("no suffix", "image"),
        ("notes.txt", "skipped"),
        ("sub/1.png", "image"),
        ("video.MP4", "video"),
    ]
    assert all((s.reason is not None) == (s.kind == "skipped") for s in found)


def test_glob_and_a_file_whose_name_looks_like_one(folder: Path) -> None:
    assert seen(list(resolve([f"{folder}/**/*.png"])), folder) == [
        ("2.png", "image"),
        ("10.png", "image"),
        ("sub/1.png", "image"),
    ]
    literal = folder / "a[1].png"
    Image.new("RGB", (4, 4)).save(literal)
    assert [s.name for s in resolve([str(literal)])] == [str(literal)]
    [nothing] = resolve([f"{folder}/*.gif"])
    assert nothing.kind == "unreadable"


def test_camera_and_a_list_on_stdin(folder: Path) -> None:
    assert list(resolve(["0"])) == [Source("0", "camera")]
    listed = io.StringIO(f"{folder}/2.png\n\n{folder}/sub\n0\n")
    assert [s.name for s in resolve(["-"], stdin=listed)] == [f"{folder}/2.png", f"{folder}/sub/1.png", "0"]


def test_file_that_is_named_itself_is_always_tried(folder: Path) -> None:
    assert [s.kind for s in resolve([folder / "notes.txt", "gone.png"])] == ["image", "image"]


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "elsewhere" / "deep" / "1.png")
    (tmp_path / "photos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "photos")
    found = list(resolve([tmp_path / "photos"]))
    assert seen(found, tmp_path / "photos") == [("linked/deep/1.png", "image"), ("linked/deep/back", "skipped")]
    assert "link back" in str(found[1].reason)
    # The folder of the results is excluded whichever path leads to it.
    assert [s.kind for s in resolve([tmp_path / "photos"], exclude=tmp_path / "elsewhere" / "deep")] == ["skipped"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_pipe_in_a_folder_is_not_opened(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.jpg", "pipe.mp4"):
        os.mkfifo(tmp_path / name)
    assert {(s.kind, s.reason) for s in resolve([tmp_path])} == {("skipped", "neither a file nor a folder")}
    # Named itself it is tried, as what its name says.
    assert [s.kind for s in resolve([tmp_path / "pipe", tmp_path / "pipe.mp4"])] == ["image", "video"]


def piped(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)), encoding="utf-8")


def test_sound_in_a_folder_is_skipped_whatever_its_container(tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for name, codec in (("song.m4a", "aac"), ("song.ogg", "libopus"), ("song.mka", "aac"), ("song.flac", "flac")):
        make_sound(folder / name, codec=codec)
    make_song(folder / "song.mp3")
    (folder / "song.m4b").write_bytes((folder / "song.m4a").read_bytes().replace(b"ftypM4A ", b"ftypM4B "))
    make_video(folder / "video.mkv", [scene(i) for i in range(5)], sound="aac").rename(folder / "no suffix")
    kinds = {Path(source.name).name: source.kind for source in resolve([folder])}
    assert kinds.pop("no suffix") == "video"
    assert len(kinds) == 6
    assert set(kinds.values()) == {"skipped"}
    # Named itself it is tried, and says that it holds sound alone.
    assert [s.kind for s in resolve([folder / "song.m4a"])] == ["video"]


def test_an_image_or_video_on_stdin_is_no_list(tmp_path: Path) -> None:
    for format in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        sink = io.BytesIO()
        Image.new("RGB", (40, 30)).save(sink, format)
        with pytest.raises(UsageError, match="moue predict /dev/stdin"):
            list(resolve(["-"], stdin=piped(sink.getvalue())))
    for kind in ("mp4", "mkv", "ts", "avi"):
        video = make_video(tmp_path / f"video.{kind}", [scene(i) for i in range(5)])
        with pytest.raises(UsageError, match="Got a video instead: save it"):
            list(resolve(["-"], stdin=piped(video.read_bytes())))


def test_a_list_on_stdin_may_hold_any_name() -> None:
    names = [b"BMW.jpg", b"P5.jpg", b"caf\xe9.jpg", "ü.jpg".encode()]
    listed = piped(b"\r\n".join(names))
    assert [s.name for s in resolve(["-"], stdin=listed)] == [os.fsdecode(name) for name in names]


def test_a_list_may_begin_with_the_mark_of_its_encoding() -> None:
    listed = piped("\ufeffone.jpg\r\ntwo.jpg\r\n".encode())
    assert [s.name for s in resolve(["-"], stdin=listed)] == ["one.jpg", "two.jpg"]


def test_names_that_no_file_can_have() -> None:
    listed = io.StringIO("a\0.jpg\na\0.mp4\n")
    assert [s.kind for s in resolve(["-"], stdin=listed)] == ["image", "video"]
    assert [s.kind for s in resolve(["\0", "\0/*"])] == ["image", "image"]


def test_a_file_that_is_named_as_media_and_is_none_is_unreadable(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    names = [
        f"{kind}.{suffix}" for kind in ("text", "pdf", "sound", "zero") for suffix in ("jpg", "PNG", "mp4", "webm")
    ]
    sound = make_sound(tmp_path / "sound.ogg", codec="libopus").read_bytes()
    contents = {"text": b"no image\n" * 99, "pdf": b"%PDF-1.4\n\0" * 99, "sound": sound, "zero": bytes(5000)}
    for name in names:
        (folder / name).write_bytes(contents[name.partition(".")[0]])
    (folder / "notes.txt").write_bytes(contents["text"])
    sources = {Path(source.name).name: source for source in resolve([folder])}
    assert {name for name, source in sources.items() if source.kind == "skipped"} == {"notes.txt"}
    rows = {Path(row.source).name: row for row in moue.Recognizer("tiny", "none", threads=1).stream([folder])}
    assert {name: row.status for name, row in rows.items()} == dict.fromkeys(names, "unreadable") | {
        "notes.txt": "skipped"
    }
    assert all(row.reason for row in rows.values())


def test_addresses_are_streams_and_lists_hold_none() -> None:
    for address in ("https://example.org/video.mp4", "RTSP://camera/1?channel=2", "http://[::1]:8080/photo.jpg"):
        [source] = resolve([address])
        assert (source.kind, source.name.lower()) == ("stream", address.lower())
        require_one([address])
        [listed] = resolve("-", stdin=io.StringIO(address))
        assert listed.kind == "unreadable"
        assert "a list holds paths" in (listed.reason or "")
    for address in ("ftp://bob:secret@example.org/a.mp4", "http:///a.mp4", "rtsp://camera:port/", "http://a b/"):
        [source] = resolve([address])
        assert source.kind == "unreadable"
        with pytest.raises(UsageError, match="address") as caught:
            require_one([address])
        assert "secret" not in f"{caught.value} {source}"


def test_folder_without_permission_has_its_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list(resolve([folder])) == [Source(str(folder), "unreadable", "permission denied")]


def test_a_folder_inside_that_may_not_be_read_has_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "closed").mkdir()
    entries, stat = Path.iterdir, os.stat

    def refuse(path: object) -> None:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied")

    def iterdir(self: Path) -> Iterator[Path]:
        refuse(self)
        return entries(self)

    def of(path: str | Path, *rest: Any, **options: Any) -> os.stat_result:
        # The folder itself can be seen, what lies in it cannot.
        refuse(Path(path).parent if isinstance(path, (str, Path)) else "")
        return stat(path, *rest, **options)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(os, "stat", of)
    found = [(Path(source.name).name, source.kind, source.reason) for source in resolve([tmp_path])]
    assert found == [("a.png", "image", None), ("closed", "unreadable", "permission denied")]


def test_names_of_which_none_is_there(folder: Path) -> None:
    require_one([str(folder / "gone.png"), str(folder)])
    with pytest.raises(UsageError, match=r"a\.png and b\.png: no such"):
        require_one(["a.png", "b.png"])


def test_content_becomes_one_source(tmp_path: Path) -> None:
    image, video = tmp_path / "photo.png", make_video(tmp_path / "clip.mp4", [scene(i) for i in range(3)])
    Image.new("RGB", (4, 4)).save(image)
    with open(image, "rb") as file, Image.open(image) as opened:
        for x, name in (
            (image.read_bytes(), "<bytes>"),
            (bytearray(image.read_bytes()), "<bytearray>"),
            (io.BytesIO(image.read_bytes()), "<BytesIO>"),
            (file, str(image)),
            (opened, str(image)),
            (np.zeros((4, 4, 3), np.uint8), "<ndarray>"),
        ):
            for [source] in (list(resolve(x)), list(resolve([x]))):
                assert (source.name, source.kind, source.data is x) == (name, "image", True)
    with open(video, "rb") as file:
        content = video.read_bytes()
        for x, name in ((content, "<video>"), (memoryview(content), "<video>"), (file, str(video))):
            [source] = resolve(x)
            assert (source.name, source.kind) == (name, "video")
        assert file.tell() == 0
    assert [s.kind for s in resolve(np.zeros((2, 4, 4, 3), np.uint8))] == ["image", "image"]
    assert list(resolve(0)) == list(resolve(np.int64(0))) == [Source("0", "camera")]
    assert list(resolve(Source("a", "skipped", "b"))) == [Source("a", "skipped", "b")]


def test_a_file_object_that_cannot_seek_is_not_read_to_see_what_it_is() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("what is read from a pipe is gone")

    [source] = resolve(Pipe(b"x"))
    assert (source.kind, source.name) == ("image", "<Pipe>")


def test_of_several_inputs_one_of_a_wrong_type_does_not_stop_the_rest(folder: Path) -> None:
    found = list(resolve([folder / "2.png", None, {}, [folder / "2.png"]]))
    assert [(s.kind, s.name) for s in found[1:]] == [
        ("unreadable", "<NoneType>"),
        ("unreadable", "<dict>"),
        ("unreadable", "<list>"),
    ]
    assert all("Got" in str(s.reason) for s in found[1:])
    for wrong in (None, 1.5, {"a": 1}):
        with pytest.raises(UsageError, match="Got"):
            list(resolve(wrong))


def test_what_is_one_image_video_or_camera(folder: Path) -> None:
    for one in (folder / "2.png", str(folder / "2.png"), "gone.png", folder / "video.MP4", b"", "0", 0):
        assert resolve_single(one) == next(resolve(one))
    for several in (folder, str(folder / "*.png"), "-", [folder / "2.png"], np.zeros((1, 4, 4, 3), np.uint8), None):
        assert resolve_single(several) is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image"),
        (b"\0\0\0\x18ftypheic", "image"),
        (b"\0\0\0\x18ftypavif", "image"),
        (b"RIFF\0\0\0\0WEBP", "image"),
        (b"\0\0\0\x18ftypisom", "video"),
        (b"RIFF\0\0\0\0AVI ", "video"),
        ((b"G" + bytes(187)) * 3, "video"),
        (b"RIFF\0\0\0\0WAVE", "other"),
        (b"PK\3\4", "other"),
        (b"#EXTM3U\n", "other"),
        (b"", None),
        (b"\1\2\3", None),
    ],
)
def test_first_bytes_tell_images_videos_and_other_files(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind


def test_results_inside_the_sources_are_not_read_as_sources(tmp_path: Path) -> None:
    (tmp_path / "photos" / "results").mkdir(parents=True)
    (tmp_path / "photos" / "results" / JOURNAL).write_text("")
    for name in ("a.jpg", "results/a.jpg"):
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / name)
    found = list(expand(str(tmp_path / "photos")))
    assert [(Path(s.name).name, s.kind) for s in found] == [("a.jpg", "image"), ("results", "skipped")]
    # Who names it means it.
    assert [s.kind for s in expand(str(tmp_path / "photos" / "results"))] == ["image"]
