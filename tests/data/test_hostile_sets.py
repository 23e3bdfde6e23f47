"""Archives and images that mean harm, and those that cannot be opened."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
from pictures import png_bomb
from sets import folder_of, jpeg, simple_csv, zip_of

from moue.data import load
from moue.data.readers import archive
from moue.errors import DataError


@pytest.mark.parametrize(
    "name", ["../../happy/evil.jpg", "/happy/evil.jpg", "happy/../../evil.jpg", "..\\happy\\evil.jpg"]
)
def test_a_member_cannot_leave_its_zip(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    path = zip_of(tmp_path / "in" / "f.zip", {"happy/a.jpg": jpeg(1), name: jpeg(2)})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="inside of its archive"):
        load(path, cache=False)
    assert len(load(path, cache=False, skip_bad=True)) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bombs = {
        "image.zip": {"happy/a.jpg": bytes(archive.RATIO_EXEMPT_BYTES + 1)},
        "many.zip": {f"happy/{i}.jpg": bytes(4 << 20) for i in range(5)},
        "csv.zip": {"fer2013.csv": b"emotion,pixels\n" + bytes(archive.RATIO_EXEMPT_BYTES + 1)},
    }
    for name, files in bombs.items():
        with pytest.raises(DataError, match="decompression bomb"):
            load(zip_of(tmp_path / name, files), skip_bad=True)


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_EXEMPT_BYTES", 1 << 16)
    row = b"3," + b" ".join([b"0"] * 2304) + b"\n"
    (path := tmp_path / "fer.csv.gz").write_bytes(gzip.compress(b"emotion,pixels\n" + row * 200))
    with pytest.raises(DataError, match="decompression bomb"):
        load(path)


def test_a_set_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL", 1000)
    with pytest.raises(DataError, match="the limit"):
        load(zip_of(tmp_path / "f.zip", {"happy/a.jpg": jpeg(1)}))


def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "f", {"happy/a.png": png_bomb(30_000, 30_000)})
    with pytest.raises(DataError, match="more than the limit"):
        load(path)


@pytest.mark.parametrize("others", [{}, {"list.csv": b"file,person\na.jpg,7\n"}], ids=["alone", "with a list"])
def test_an_encrypted_member(tmp_path: Path, others: dict[str, bytes]) -> None:
    with pytest.raises(DataError, match="encrypted"):
        load(encrypted(zip_of(tmp_path / "f.zip", {"happy/a.jpg": jpeg(1), **others})))


def test_an_encrypted_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"encrypted.*Unpack it yourself"):
        load(encrypted(zip_of(tmp_path / "f.zip", {"fer2013.csv": simple_csv().encode()})))


def encrypted(path: Path) -> Path:
    """The same zip, all of whose files are marked as encrypted."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as whole:
        end = whole.start_dir
        for info in whole.infolist():
            data[info.header_offset + 6] |= 1
            data[end + 8] |= 1
            end += 46 + len(info.filename)
    path.write_bytes(data)
    return path


def test_a_picture_of_too_many_pixels_is_refused_by_name(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", {"happy/a.jpg": jpeg(1), "happy/b.png": png_bomb(6000, 5000)})
    with pytest.raises(
        DataError, match=r"b\.png: 6000×5000 pixels are more than the limit of 25,000,000; scale it down"
    ):
        load(folder)
    table = load(folder, skip_bad=True)
    assert len(table) == 1
    assert "b.png" in table.left_out[0].source
