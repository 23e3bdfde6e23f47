"""Damaged files: what can be read of them is, and the rest has a reason, whatever the decoder makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import saved
from PIL import Image

from moue.cli.main import main
from moue.errors import Unreadable, UsageError
from moue.image import read_image, read_photo
from moue.runtime.recognizer import Recognizer

NOISE = np.random.default_rng(0).integers(0, 256, (20, 32, 3), np.uint8)
PHOTO = Image.fromarray(NOISE).resize((320, 200))

JPEGS: dict[str, bytes] = {
    "baseline": saved(PHOTO, "JPEG"),
    "full chroma": saved(PHOTO, "JPEG", subsampling=0),
    "gray": saved(PHOTO.convert("L"), "JPEG"),
    "CMYK": saved(PHOTO.convert("CMYK"), "JPEG"),
    "RGB": saved(PHOTO, "JPEG", keep_rgb=True),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_breaks_off_is_read_where_nine_tenths_of_its_rows_are_there(kind: str) -> None:
    content = JPEGS[kind]
    whole = read_image(content)
    photo = read_photo(content[: -len(content) // 20])
    assert photo.remark is not None
    rows = int(photo.remark.partition("breaks off: ")[2].partition(" of 200 rows were read")[0])
    assert 180 <= rows < 200
    # A row of blocks may be there in part, and is mixed with what is not at its edges.
    np.testing.assert_array_equal(photo.pixels[: rows - 18], whole[: rows - 18])
    assert read_photo(content[:-2]).remark is not None
    assert read_photo(content).remark is None
    with pytest.raises(Unreadable, match=r"a damaged JPEG file: it breaks off after \d+ of 200 rows"):
        read_photo(content[: len(content) * 4 // 5])
    with pytest.raises(Unreadable, match=r"damaged JPEG file: .*truncated"):
        read_image(content[:-100])


def test_rows_are_counted_in_the_file_and_not_in_the_turned_image() -> None:
    turned = Image.Exif()
    turned[0x0112] = 8
    content = saved(PHOTO, "JPEG", exif=turned)
    photo = read_photo(content[: -len(content) // 20])
    assert photo.pixels.shape == (320, 200, 3)
    assert "of 200 rows" in str(photo.remark)
    np.testing.assert_array_equal(photo.pixels[:, :150], read_image(content)[:, :150])


def test_every_row_of_a_progressive_jpeg_is_there_after_its_first_scan() -> None:
    content = saved(PHOTO, "JPEG", progressive=True)
    photo = read_photo(content[: len(content) // 2])
    assert "some detail" in str(photo.remark)
    assert np.abs(photo.pixels.astype(int) - read_image(content)).mean() < 40


def test_truncated_files_are_refused_on_request(tiny_onnx: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "cut.jpg").write_bytes(JPEGS["baseline"][:-300])
    (tmp_path / "whole.jpg").write_bytes(JPEGS["baseline"])
    command = ["predict", str(tmp_path), "--model", str(tiny_onnx), "--detector", "none", "--format", "json"]
    assert main(command) == 0
    cut, whole = json.loads(capsys.readouterr().out)
    assert (cut["status"], whole["status"], whole["reason"]) == ("ok", "ok", None)
    assert cut["reason"].startswith("the file breaks off")
    assert len(cut["faces"]) == 1
    assert main([*command, "--truncated", "refuse"]) == 3
    cut, whole = json.loads(capsys.readouterr().out)
    assert (cut["status"], whole["status"]) == ("unreadable", "ok")
    with pytest.raises(UsageError, match="value of truncated"):
        Recognizer(tiny_onnx, truncated="maybe")  # type: ignore[arg-type]
