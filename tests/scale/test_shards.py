"""Tar files in WebDataset's layout and Parquet files of bytes: every image once, however they are cut and damaged."""

from __future__ import annotations

import io
import random
import tarfile
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from servers import content, web_server
from shards import image, parquet_of, samples, tar_of

from moue.errors import UsageError
from moue.runtime.inputs.source import Source
from moue.scale import tar_shard
from moue.scale.discover import Entry
from moue.scale.item import Item
from moue.scale.parquet_shard import ParquetColumns, parquet_items, row_groups
from moue.scale.plan import Planner
from moue.scale.tar_shard import cut_tar, tar_items


def opened(items: Any) -> list[tuple[str, str | None, Source]]:
    def read(item: Item) -> tuple[str, str | None, Source]:
        with item.open() as source:
            return item.name, item.key, source

    return [read(item) for item in items]


def tar_sources(path: Path, size: int = 1000) -> list[tuple[str, str | None, Source]]:
    pieces = list(cut_tar(str(path), lambda: size))
    sources = [opened(tar_items(str(path), start, stop)) for start, stop, _ in pieces]
    for (_, _, inputs), found in zip(pieces, sources, strict=True):
        assert inputs in (None, len(found))
    return [source for found in sources for source in found]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_pieces_of_a_tar_file_have_each_image_once(tmp_path: Path, size: int) -> None:
    content = {"a/" * 60 + "long.name.png": image(1), "note": b"text", "photo": image(2), **samples(7)}
    path = tar_of(tmp_path / "a.tar", content)
    found = tar_sources(path, size)
    images = [name for name, data in content.items() if data.startswith(b"\x89PNG")]
    assert [(name, source.data) for name, _, source in found] == [(f"{path}/{n}", content[n]) for n in images]
    assert [key for _, key, _ in found] == ["a/" * 60 + "long", "photo", *(f"{i:03d}" for i in range(7))]


def test_hidden_files_and_links_of_a_tar_file_are_no_inputs(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", {"._a.png": image(), "a.png": image(), "Thumbs.db": image()})
    assert [name for name, _, _ in tar_sources(path)] == [f"{path}/a.png"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_hard_link_of_a_tar_file_has_a_row_that_says_to_what(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(image())
    (tmp_path / "linked_a.png").hardlink_to(tmp_path / "a.png")
    with tarfile.open(tmp_path / name, "w:gz" if name.endswith(".gz") else "w") as tar:
        for file in ("a.png", "linked_a.png"):
            tar.add(tmp_path / file, file)
    (_, _, first), (link, key, second) = tar_sources(tmp_path / name)
    assert (first.kind, first.content) == ("image", image())
    assert (link, key, second.kind) == (f"{tmp_path / name}/linked_a.png", "linked_a", "skipped")
    assert second.reason == "a hard link to a.png, which is read under that name"


@pytest.mark.parametrize(("mode", "name"), [("w:gz", "a.tgz"), ("w:gz", "what?.tar.gz"), ("w:xz", "a.tar.xz")])
def test_a_compressed_tar_file_is_one_piece(tmp_path: Path, mode: str, name: str) -> None:
    path = tar_of(tmp_path / name, samples(3), mode)
    assert list(cut_tar(str(path), lambda: 1)) == [(0, None, None)]
    assert [source.data for _, _, source in tar_sources(path)] == [image(0), image(1), image(2)]
    path.write_bytes(path.read_bytes()[:-60])
    assert tar_sources(path)[-1][2].kind == "unreadable"


def test_a_compressed_tar_file_is_read_from_its_start_to_its_end_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            if whence == io.SEEK_SET:
                back.append(self.tell() - offset)
            return super().seek(offset, whence)

    back: list[int] = []
    # Names that do not tell what the files are, and more in each than is read to tell it.
    big = image() + bytes(100_000)
    tar_of(tmp_path / "a.tar", {"a": big, "b": big, "c.png": big, "d": b"{}"})
    file = Watched((tmp_path / "a.tar").read_bytes())
    monkeypatch.setattr(tar_shard, "_opened", lambda path, folder: nullcontext(file))
    assert [source.content for _, _, source in opened(tar_items("a.tgz", 0, None))] == [big] * 3
    # Once to the first byte, and at last a few blocks from the file's end to that of the last header.
    assert max(back) < 100_000
    assert sum(step > 1 for step in back) <= 1


def test_a_tar_file_that_breaks_off_says_so_after_the_images_before(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", samples(5))
    whole = path.read_bytes()
    for length in random.Random(0).sample(range(1, len(whole) - 12_000), 40):
        path.write_bytes(whole[:length])
        for size in (2, 1000):
            found = tar_sources(path, size)
            assert found[-1][2].kind in ("unreadable", "image"), length
            kinds = [source.kind for _, _, source in found]
            assert "unreadable" in kinds or length % 512 == 0, length
            assert [s.data for _, _, s in found if s.kind == "image"] == [image(i) for i in range(kinds.count("image"))]


def test_a_wrong_header_is_no_silent_end(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", samples(5))
    data = bytearray(path.read_bytes())
    data[data.index(b"003.png")] ^= 1
    path.write_bytes(data)
    found = tar_sources(path)
    assert [source.kind for _, _, source in found] == ["image"] * 3 + ["unreadable"]
    assert "its other files are not read" in str(found[-1][2].reason)


def test_a_header_that_tarfile_cannot_read_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for i in range(3):
            member = tarfile.TarInfo(f"{i}.png")
            member.size, member.pax_headers = len(image(i)), {"comment": 40 * "x"}
            tar.addfile(member, io.BytesIO(image(i)))
    data = bytearray(path.read_bytes())
    # A record begins with its length.
    at = data.rindex(b" comment=")
    data[at - 2 : at + 28] = b"9999999999999999999999 path=x\n"
    path.write_bytes(data)
    found = tar_sources(path)
    assert [source.kind for _, _, source in found] == ["image"] * 2 + ["unreadable"]
    assert "a header is wrong" in str(found[-1][2].reason)


def test_an_archive_without_images_has_a_row(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", {"a.json": b"{}"})
    # The plan says so where the file can be looked through, and else the one who reads it.
    assert list(cut_tar(str(path), lambda: 9)) == [(0, None, 0)]
    assert [(item.name, source.kind) for item, source in _skipped(path)] == [(str(path), "skipped")]


def _skipped(path: Path) -> list[tuple[Item, Source]]:
    items = list(tar_items(str(path), 0, None))
    return [(item, opened([item])[0][2]) for item in items]


@pytest.mark.parametrize("size", [4, 100])
def test_the_pieces_of_a_parquet_file_have_each_row_once(tmp_path: Path, size: int) -> None:
    images = [image(i) if i != 3 else None for i in range(30)]
    path = str(parquet_of(tmp_path / "a.parquet", {"id": list(range(100, 130)), "jpg": images}))
    assert row_groups(path, ParquetColumns()) == [8, 8, 8, 6]
    found = [
        source
        for start in range(0, 30, size)
        for source in opened(parquet_items(path, start, min(start + size, 30), ParquetColumns()))
    ]
    assert [(name, key) for name, key, _ in found] == [(f"{path}#{i}", str(100 + i)) for i in range(30)]
    assert [source.kind for _, _, source in found] == ["unreadable" if i == 3 else "image" for i in range(30)]
    assert [source.content for _, _, source in found] == images


@pytest.mark.parametrize(
    ("part_inputs", "stops"), [(4, [8, 16, 24, 30]), (9, [8, 16, 24, 30]), (16, [16, 30]), (512, [16, 30])]
)
def test_the_pieces_of_another_machines_parquet_file_are_whole_row_groups(
    tmp_path: Path, part_inputs: int, stops: list[int]
) -> None:
    path = parquet_of(tmp_path / "a.parquet", {"jpg": [image()] * 30})
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/a.parquet", path.read_bytes())
    try:
        units = list(Planner(part_inputs, ParquetColumns()).units([Entry("memory://a.parquet", "parquet")]))
    finally:
        memory.rm("/a.parquet")
    assert [(unit.start, unit.stop) for unit in units] == list(pairwise([0, *stops]))


def test_hugging_faces_images_are_read_with_their_paths(tmp_path: Path) -> None:
    values = [{"bytes": image(i), "path": f"{i}.png"} for i in range(3)]
    path = str(parquet_of(tmp_path / "a.parquet", {"image": values, "label": [0, 1, 2]}))
    assert [key for _, key, _ in opened(parquet_items(path, 0, 3, ParquetColumns()))] == ["0.png", "1.png", "2.png"]


def test_columns_that_cannot_be_told_are_asked_for(tmp_path: Path) -> None:
    path = str(parquet_of(tmp_path / "a.parquet", {"a": [b"x"], "b": [b"y"], "c": ["z"]}))
    with pytest.raises(UsageError, match=r"several columns of bytes: a, b. Choose one with --image-column"):
        row_groups(path, ParquetColumns())
    with pytest.raises(UsageError, match=r"has no column 'd'. Its columns: a, b, c"):
        row_groups(path, ParquetColumns(image="d"))
    with pytest.raises(UsageError, match=r"'c' of .* holds no bytes"):
        row_groups(path, ParquetColumns(image="c"))
    assert row_groups(path, ParquetColumns(image="b", key="c")) == [1]


def test_a_parquet_file_without_images_or_damaged_has_a_row(tmp_path: Path) -> None:
    path = parquet_of(tmp_path / "a.parquet", {"a": [1]})
    assert isinstance(entry := row_groups(str(path), ParquetColumns()), Entry)
    assert entry.kind == "skipped"
    parquet_of(path, {"a": pa.array([], pa.binary())})
    assert isinstance(entry := row_groups(str(path), ParquetColumns(image="a")), Entry)
    assert (entry.kind, entry.reason) == ("skipped", "a Parquet file without rows")
    path.write_bytes(path.read_bytes()[:50])
    assert isinstance(entry := row_groups(str(path), ParquetColumns()), Entry)
    assert entry.kind == "unreadable"


def test_a_damaged_group_of_rows_takes_no_other_one_along(tmp_path: Path) -> None:
    path = parquet_of(tmp_path / "a.parquet", {"jpg": [image(i) for i in range(24)]}, row_group=8)
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    found = opened(parquet_items(str(path), 2, 22, ParquetColumns()))
    assert [name for name, _, _ in found] == [f"{path}#{row}" for row in range(2, 22)]
    assert [source.kind for _, _, source in found] == ["image"] * 6 + ["unreadable"] * 8 + ["image"] * 6
    assert [s.content for _, _, s in found if s.kind == "image"] == [image(i) for i in (*range(2, 8), *range(16, 22))]


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int8(), pa.binary())])
def test_a_column_of_bytes_may_be_stored_in_any_way(tmp_path: Path, kind: Any) -> None:
    path = str(parquet_of(tmp_path / "a.parquet", {"jpg": pa.array([image(), image(1)]).cast(kind)}))
    assert row_groups(path, ParquetColumns()) == [2]
    assert [s.content for _, _, s in opened(parquet_items(path, 0, 2, ParquetColumns()))] == [image(), image(1)]


def test_keys_may_be_bytes(tmp_path: Path) -> None:
    path = str(parquet_of(tmp_path / "a.parquet", {"__key__": ["é".encode(), b"\xff", None], "jpg": [image()] * 3}))
    columns = ParquetColumns(image="jpg")
    assert [key for _, key, _ in opened(parquet_items(path, 0, 3, columns))] == ["é", "\\xff", None]


def test_inputs_that_a_shard_has_lost_since_the_plan_are_missed(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", samples(4))
    [piece] = cut_tar(str(path), lambda: 9)
    tar_of(path, samples(3))
    found = opened(tar_items(str(path), *piece[:2], inputs=piece[2]))
    assert [source.kind for _, _, source in found] == ["image"] * 3 + ["unreadable"]
    assert found[-1][2].reason == "the archive has changed since the run was planned: 1 of its files are missing"

    table = str(parquet_of(tmp_path / "a.parquet", {"jpg": [image()] * 3}))
    found = opened(parquet_items(table, 1, 5, ParquetColumns()))
    assert [source.kind for _, _, source in found] == ["image"] * 2 + ["unreadable"] * 2
    assert str(found[-1][2].reason).endswith("it has no such row any more")
    parquet_of(Path(table), {"a": [image()] * 5, "b": [image()] * 5})
    found = opened(parquet_items(table, 1, 5, ParquetColumns()))
    assert [source.kind for _, _, source in found] == ["unreadable"] * 4
    assert "it has 2 columns of bytes, and had one" in str(found[0][2].reason)


def test_a_parquet_file_of_a_server_that_sends_no_parts_says_what_to_do(tmp_path: Path) -> None:
    path = parquet_of(tmp_path / "a.parquet", {"a": [random.Random(0).randbytes(200_000)]})
    with web_server() as server:
        server.answers["/a.parquet"] = content(path.read_bytes(), "application/octet-stream", ranges=False)
        entry = row_groups(server.url("/a.parquet"), ParquetColumns())
    assert isinstance(entry, Entry)
    assert str(entry.reason).endswith("sends files only as a whole (no range requests): save it and give its path")
