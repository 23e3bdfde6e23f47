"""The competition's CSV, plain and compressed, and the errors of a broken one."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sets import PIXELS, broken, csv_text, faces, folder_of, jpeg, simple_csv, table_of, zip_of

from moue.data import load
from moue.data.readers import fer2013_csv
from moue.data.readers.compressed_csv import open_csv
from moue.errors import DataError, UsageError
from moue.labels import FERPLUS


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def tar_of(path: Path, files: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_rows_keep_their_pixels_labels_and_splits(tmp_path: Path) -> None:
    table = load(write(tmp_path / "fer.csv", simple_csv()))
    assert table.images.shape == (21, 1, 48, 48)
    assert (table.images.reshape(21, PIXELS) == faces(21)).all()
    assert table.labels.tolist() == [i % 7 for i in range(21)]
    assert table.split.tolist() == ["train"] * 14 + ["public_test"] * 7
    assert table.source[0] == "row 1"
    assert table.name == "fer.csv"


def test_fer2013_is_recognized_by_its_content_not_by_its_layout(tmp_path: Path) -> None:
    whole = [k for k, n in enumerate(fer2013_csv.TRAINING) for _ in range(n)]
    fer = table_of([0] * len(whole), whole)
    kaggle = load(folder_of(tmp_path / "f", {"happy/Training_17.jpg": jpeg(1)}))
    voted = replace(table_of([1], [0]), votes=np.full((1, 8), 1 / 8, np.float32))
    assert all(map(fer2013_csv.is_fer2013, (fer, fer.take(np.arange(100, len(fer))), kaggle, voted)))
    others = (load(write(tmp_path / "other.csv", simple_csv())), load("synth"), fer.take(np.arange(9000)))
    assert not any(map(fer2013_csv.is_fer2013, others))
    assert not fer2013_csv.is_fer2013(table_of([1, 2], [0, 7], classes=FERPLUS))


@pytest.mark.parametrize("text", ["emotion," * 1_000_000, "a,pixels" + "," * 1_000_000 + "\n1,2\n"])
def test_a_first_line_without_an_end_is_read_no_further_than_columns_may_take(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fer.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with open_csv(path) as stream:
        with pytest.raises(DataError, match="first line of more than 65,536 bytes"):
            fer2013_csv.read_layout(stream, path.name)
        assert len(text) - len(stream.read()) < 80_000
    with pytest.raises(DataError, match="first line"):
        load(path)


@pytest.mark.parametrize("wrapping", ["gz", "zip", "tar", "tar.gz", "misnamed"])
def test_compressed_files_give_the_same_table(tmp_path: Path, wrapping: str) -> None:
    text = simple_csv()
    plain = load(write(tmp_path / "fer.csv", text))
    data = text.encode()
    others = {"fer/readme.txt": b"hello", "fer/submission.csv": b"id,emotion\n1,2\n"}
    if wrapping == "gz":
        (path := tmp_path / "fer.csv.gz").write_bytes(gzip.compress(data))
    elif wrapping == "zip":
        path = zip_of(tmp_path / "fer.zip", {**others, "fer/fer2013.csv": data})
    elif wrapping == "misnamed":
        path = zip_of(tmp_path / "fer.csv", {"fer2013.csv": data})
    else:
        path = tar_of(tmp_path / "x", {**others, "fer/fer2013.csv": data}, "w:gz" if wrapping == "tar.gz" else "w")
    assert load(path, cache=False).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    "header", ["emotion, Usage, pixels", "Usage,pixels,emotion", " Emotion ,PIXELS,usage", "\ufeffemotion,pixels,Usage"]
)
def test_columns_stand_in_any_order(tmp_path: Path, header: str) -> None:
    usage = ["Training", "PrivateTest"]
    names = header.lstrip("\ufeff")
    text = csv_text(faces(2), [3, 5], usage, names).replace(names, header)
    table = load(write(tmp_path / "fer.csv", text))
    assert table.labels.tolist() == [3, 5]
    assert table.split.tolist() == ["train", "private_test"]
    assert (table.images.reshape(2, -1) == faces(2)).all()


@pytest.mark.parametrize(
    ("head", "before", "after"),
    [
        (",,emotion,pixels,Usage", "0,0,", ""),
        ("emotion,pixels,Usage,,", "", ",,"),
        ("emotion,pixels,Usage,n,n", "", ",1,2"),
    ],
)
def test_columns_without_a_name_are_ignored(tmp_path: Path, head: str, before: str, after: str) -> None:
    rows = simple_csv().splitlines()[1:]
    table = load(write(tmp_path / "fer.csv", "\n".join([head, *(f"{before}{row}{after}" for row in rows)])))
    assert (table.images.reshape(21, -1) == faces(21)).all()
    assert table.labels.tolist() == [i % 7 for i in range(21)]


def test_a_comma_within_quotes_separates_no_columns(tmp_path: Path) -> None:
    lines = simple_csv().splitlines()
    noted = [f"{lines[0]},note", *(f'{row},"dim, from the left"' for row in lines[1:])]
    table = load(write(tmp_path / "fer.csv", "\n".join(noted)))
    assert (table.images.reshape(21, -1) == faces(21)).all()
    assert table.split.tolist() == ["train"] * 14 + ["public_test"] * 7


def test_without_usage_all_is_training(tmp_path: Path) -> None:
    text = csv_text(faces(3), [0, 1, 2], [""] * 3, "emotion,pixels")
    assert set(load(write(tmp_path / "train.csv", text)).split.tolist()) == {"train"}


def test_quotes_blank_lines_windows_ends_and_class_names(tmp_path: Path) -> None:
    lines = csv_text(faces(2), [3, 4], ["Training"] * 2).splitlines()
    head, pixels = lines[1].split(",")[0], lines[1].split(",")[1]
    text = "\r\n".join([lines[0], f'{head},"{pixels}",Training', "", lines[2].replace("4,", "Sadness,", 1), ""])
    table = load(write(tmp_path / "fer.csv", text))
    assert table.labels.tolist() == [3, 4]
    assert (table.images.reshape(2, -1) == faces(2)).all()


ROW = 12
BAD = {
    "2303 pixels": (lambda t: broken(t, ROW, ",0 255 ", ",0 "), "must have 2,304 pixels. Got 2,303 instead"),
    "2305 pixels": (lambda t: broken(t, ROW, ",0 255 ", ",0 255 7 "), "must have 2,304 pixels. Got 2,305 instead"),
    "pixel of 300": (lambda t: broken(t, ROW, ",0 255 ", ",0 300 "), "from 0 to 255. Got '300' at pixel 2"),
    "negative pixel": (lambda t: broken(t, ROW, ",0 255 ", ",0 -25 "), "from 0 to 255. Got '-25' at pixel 2"),
    "letter": (lambda t: broken(t, ROW, ",0 255 ", ",0 2x5 "), "from 0 to 255. Got '2x5' at pixel 2"),
    "huge pixel": (lambda t: broken(t, ROW, ",0 255 ", ",0 1255 "), "from 0 to 255. Got '1255' at pixel 2"),
    "label of 9": (lambda t: broken(t, ROW, "4,", "9,"), "emotion must be between 0 and 6. Got '9'"),
    "no label": (lambda t: broken(t, ROW, "4,", ","), "emotion must be between 0 and 6. Got ''"),
    "usage": (
        lambda t: broken(t, ROW, "Training", "Trying"),
        "Usage must be Training, PublicTest or PrivateTest. Got 'Trying'",
    ),
    "columns": (lambda t: broken(t, ROW, ",Training", ""), "must have 3 columns. Got 2"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_named_and_left_out_on_request(tmp_path: Path, what: str) -> None:
    damage, reason = BAD[what]
    path = write(tmp_path / "fer.csv", damage(simple_csv()))
    with pytest.raises(DataError) as caught:
        load(path)
    for part in (str(path), f"row {ROW}", reason, "--skip-bad"):
        assert part in str(caught.value)
    table = load(path, skip_bad=True)
    assert len(table) == 20
    assert (table.images.reshape(20, -1) == np.delete(faces(21), ROW - 1, axis=0)).all()
    assert f"row {ROW}" not in table.source
    [row] = table.left_out
    assert row.source == f"{path}, row {ROW}"
    assert reason in row.reason


def test_rows_that_make_up_for_each_other_are_both_found(tmp_path: Path) -> None:
    # Together they have the right number of pixels.
    text = broken(broken(simple_csv(), 3, ",0 255 ", ",0 "), 4, ",0 255 ", ",0 255 9 ")
    table = load(write(tmp_path / "fer.csv", text), skip_bad=True)
    assert [row.source.rpartition(" ")[2] for row in table.left_out] == ["3", "4"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"emotion,pixels,Usage\n", "no usable rows"),
        (b"pixels,Usage\n1 2,Training\n", "needs a column 'emotion'"),
        (b"emotion,Usage\n1,Training\n", "needs a column 'pixels'"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "neither a CSV"),
        (b"emotion,pixels\n" + b"1" * (2 << 20), "shorter than 1 MiB"),
    ],
)
def test_files_that_are_not_a_set(tmp_path: Path, content: bytes, reason: str) -> None:
    (path := tmp_path / "x.csv").write_bytes(content)
    for skip in (False, True):
        with pytest.raises(DataError, match=reason) as caught:
            load(path, skip_bad=skip)
        assert str(path) in str(caught.value)


def test_a_missing_file() -> None:
    with pytest.raises(DataError, match="does not exist"):
        load("nowhere.csv")


def test_a_truncated_gzip_keeps_its_complete_rows_on_request(tmp_path: Path) -> None:
    packed = gzip.compress(simple_csv(60).encode())
    (path := tmp_path / "fer.csv.gz").write_bytes(packed[: len(packed) * 3 // 4])
    with pytest.raises(DataError, match="truncated or damaged"):
        load(path)
    table = load(path, skip_bad=True)
    assert 20 < len(table) < 46
    assert f"from row {len(table) + 1} on" in table.left_out[-1].source


def test_a_truncated_zip_and_tar(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "whole.zip", {"fer2013.csv": simple_csv().encode()}).read_bytes()
    (path := tmp_path / "fer.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        load(path)
    whole = tar_of(tmp_path / "whole.tgz", {"fer2013.csv": simple_csv().encode()}, "w:gz").read_bytes()
    (path := tmp_path / "fer.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        load(path)


def test_an_archive_without_a_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a column"):
        load(zip_of(tmp_path / "a.zip", {"other.csv": b"a,b\n1,2\n"}))
    with pytest.raises(DataError, match="holds no CSV"):
        load(tar_of(tmp_path / "a.tar", {"readme": b"a"}, "w"))


def test_options_that_do_not_fit_a_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "fer.csv", simple_csv())
    with pytest.raises(UsageError, match="no class folders"):
        load(path, labels="folders")
    with pytest.raises(UsageError, match="--votes"):
        load(path, labels="ferplus")


def test_other_sizes_and_colors(tmp_path: Path) -> None:
    path = write(tmp_path / "fer.csv", simple_csv())
    table = load(path, size=32, color="rgb")
    assert table.images.shape == (21, 3, 32, 32)
    assert (table.images[:, 0] == table.images[:, 2]).all()


def test_progress_ends_at_the_number_of_rows(tmp_path: Path) -> None:
    text = simple_csv(600)
    seen: list[tuple[int, int | None]] = []
    load(write(tmp_path / "fer.csv", text), progress=lambda done, total: seen.append((done, total)), cache=False)
    assert seen[-1] == (600, 600)
    assert len(seen) == 2
    done, total = seen[0]
    assert done == 512
    assert total is not None
    assert 512 <= total <= 660


def test_a_first_line_that_is_a_row_is_read_as_one(tmp_path: Path) -> None:
    """Without a header, columns that nothing else could be are found in any order."""
    whole = load(write(tmp_path / "whole.csv", simple_csv()))
    rows = [line.split(",") for line in simple_csv().splitlines()[1:]]
    for number, order in enumerate(([0, 1, 2], [2, 0, 1], [1, 0])):
        text = "\n".join(",".join(row[i] for i in order) for row in rows)
        table = load(write(tmp_path / f"{number}.csv", text))
        assert (table.images == whole.images).all()
        assert table.labels.tolist() == whole.labels.tolist()
        assert table.source[0] == "row 1"
        assert (table.split == (whole.split if 2 in order else "train")).all()
    path = zip_of(tmp_path / "set.zip", {"readme.csv": b"\xff\xfe", "faces.csv": text.encode(), "a.png": b""})
    assert len(load(path)) == len(whole)


def test_a_first_line_that_may_be_anything_asks_for_a_header(tmp_path: Path) -> None:
    text = "\n".join(f"{number},{line}" for number, line in enumerate(simple_csv().splitlines()[1:]))
    with pytest.raises(DataError, match=r"no header row\? The columns are emotion.*pixels.*Usage") as caught:
        load(write(tmp_path / "numbered.csv", text))
    assert len(str(caught.value).replace(str(tmp_path), "")) < 300
    with pytest.raises(DataError, match=r"has id, image\. The columns are"):
        load(write(tmp_path / "other.csv", "id,image\n1,2\n"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_the_separator_is_found(tmp_path: Path, separator: str) -> None:
    whole = load(write(tmp_path / "whole.csv", simple_csv()))
    for text in (simple_csv(), simple_csv().partition("\n")[2]):
        table = load(write(tmp_path / "other.csv", text.replace(",", separator)))
        assert table.fingerprint == whole.fingerprint
    quotes = simple_csv().replace(",", f'"{separator}"').replace("\n", '"\n"')
    assert load(write(tmp_path / "quoted.csv", f'"{quotes}'.removesuffix('"'))).fingerprint == whole.fingerprint


def test_labels_are_whole_numbers_with_a_decimal_point_too(tmp_path: Path) -> None:
    text = "\n".join(line.replace(",", ".0,", 1) if line[0].isdigit() else line for line in simple_csv().splitlines())
    assert load(write(tmp_path / "pandas.csv", text)).labels.tolist() == [k % 7 for k in range(21)]
    for wrong in ("1.5", "7.0", "-1.0", "nan", "", "1e0", "9" * 5000):
        path = write(tmp_path / "wrong.csv", csv_text(faces(1), [0], ["Training"]).replace("\n0,", f"\n{wrong},"))
        with pytest.raises(DataError, match="row 1: emotion must be between 0 and 6") as caught:
            load(path)
        assert len(str(caught.value).replace(str(path), "")) < 250


@pytest.mark.parametrize(
    ("usage", "split"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("Test", "test"),
        ("VALIDATION", "validation"),
        ("val", "validation"),
        ("publictest", "public_test"),
        ("public_test", "public_test"),
        ("PRIVATETEST", "private_test"),
    ],
)
def test_usage_has_the_names_of_split_folders_in_any_case(tmp_path: Path, usage: str, split: str) -> None:
    assert load(write(tmp_path / "fer.csv", csv_text(faces(1), [3], [usage]))).split.tolist() == [split]


def test_no_message_quotes_a_whole_file(tmp_path: Path) -> None:
    names = ",".join(f"column{n}" for n in range(20_000))
    usage = csv_text(faces(1), [3], ["T" * 100_000])
    pixel = csv_text(faces(1), [3], ["Training"]).replace(",0 255", f",{'9' * 100_000} 255")
    for text in (names, usage, pixel):
        path = write(tmp_path / "long.csv", text)
        with pytest.raises(DataError) as caught:
            load(path)
        assert len(str(caught.value).replace(str(path), "")) < 350
