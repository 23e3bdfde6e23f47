"""Damaged files: what can be read of them is, and the rest has a reason, whatever the decoder makes of it."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import saved, wide_png, wide_tiff
from PIL import Image, ImageFile

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
    assert main([*command[:-1], "table"]) == 0
    assert capsys.readouterr().out.count("the file breaks off") == 1
    assert main([*command, "--truncated", "refuse"]) == 3
    cut, whole = json.loads(capsys.readouterr().out)
    assert (cut["status"], whole["status"]) == ("unreadable", "ok")
    with pytest.raises(UsageError, match="value of truncated"):
        Recognizer(tiny_onnx, truncated="maybe")  # type: ignore[arg-type]


FORMATS: dict[str, bytes] = {
    **{f"JPEG, {kind}": content for kind, content in JPEGS.items()},
    "progressive JPEG": saved(PHOTO, "JPEG", progressive=True),
    "16-bit PNG": wide_png(NOISE.astype(np.uint16)),
    "16-bit TIFF": wide_tiff(NOISE.astype(np.uint16), ">u2"),
    "LZW TIFF": saved(PHOTO, "TIFF", compression="tiff_lzw"),
    "JPEG in TIFF": saved(PHOTO, "TIFF", compression="jpeg"),
    "fax TIFF": saved(PHOTO.convert("1"), "TIFF", compression="group4"),
    "animated PNG": saved(PHOTO, save_all=True, append_images=[PHOTO.rotate(90)]),
    "animated GIF": saved(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "animated WebP": saved(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(90)]),
    "lossless WebP": saved(PHOTO, "WEBP", lossless=True),
    "palette PNG": saved(PHOTO.convert("P"), transparency=3),
    "HEIF": b"\0\0\0\x18ftypheic" + bytes(200),
    "FTEX": struct.pack("<4sIIIIIIII", b"FTEX", 1, 8, 0, 1, 1, 0, 36, 64) + bytes(68),
    **{
        name: saved(PHOTO.convert(mode), name)
        for name, mode in {
            **dict.fromkeys(("BMP", "DIB", "ICO", "IM", "JPEG2000", "PCX", "PPM", "SGI", "TGA", "TIFF", "AVIF"), "RGB"),
            **dict.fromkeys(("GIF", "PNG", "WEBP", "QOI"), "RGBA"),
            **dict.fromkeys(("MSP", "XBM"), "1"),
            "SPIDER": "F",
        }.items()
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_is_read_or_unreadable(kind: str) -> None:
    content = FORMATS[kind]
    random = np.random.default_rng(7)
    damaged = [content[: round(part * len(content))] for part in (0.02, 0.1, 0.5, 0.9)]
    damaged += [content[:n] for n in (1, 12, 16, 17, 40)]
    for _ in range(60):
        changed = bytearray(content)
        for at in random.integers(0, min(len(content), 400), 3):
            changed[at] = random.choice([0, 1, 127, 255, changed[at] ^ 1 << random.integers(8)])
        damaged.append(bytes(changed))
    reasons = []
    for file in damaged:
        try:
            photo = read_photo(file, max_pixels=200_000)
        except Unreadable as error:
            reasons.append(str(error))
        else:
            assert photo.pixels.shape[2:] == (3,)
    assert reasons
    assert all(0 < len(reason) < 200 for reason in reasons)


ODD_ERRORS = (
    *(ValueError("bad"), SyntaxError("bad"), struct.error("bad"), OverflowError("bad"), RecursionError("bad")),
    *(EOFError(), zlib.error("bad"), KeyError("bad"), IndexError("bad"), ZeroDivisionError("bad"), TypeError("bad")),
    *(AssertionError(), NotImplementedError(), StopIteration(), UnicodeDecodeError("utf-8", b"", 0, 1, "bad")),
    *(Image.DecompressionBombError("bad"), MemoryError(), Exception("x" * 10_000)),
)


@pytest.mark.parametrize("place", ["_open", "load", "getexif", "crop", "is_animated", "size"])
@pytest.mark.parametrize("error", ODD_ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_costs_its_own_row_alone(
    place: str, error: Exception, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    class Odd(ImageFile.ImageFile):
        format = "ODD"

        def _open(self) -> None:
            self._size, self._mode = (4, 4), "L"
            self.im, self.tile = Image.new("L", (4, 4)).im, []

    setattr(Odd, place, property(fail) if place in ("is_animated", "size") else fail)
    monkeypatch.setattr(Image, "ID", [*Image.ID, "ODD"])
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, "ODD": (Odd, lambda prefix: prefix.startswith(b"ODD"))})
    recognizer = Recognizer(tiny_onnx, "none", engine="onnxruntime", threads=1)
    odd, good = recognizer.stream([b"ODD file", JPEGS["gray"]])
    assert good.status == "ok"
    # Without its orientation, and without knowing whether there are more images, the first one is there.
    assert odd.status in (("ok",) if place in ("getexif", "is_animated") else ("unreadable", "too_large"))
    assert len(odd.reason or "") < 200


def test_a_file_object_that_fails_costs_its_own_row_alone(tiny_onnx: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    closed = io.BytesIO(JPEGS["gray"])
    closed.close()
    recognizer = Recognizer(tiny_onnx, "none", engine="onnxruntime", threads=1)
    results = list(recognizer.stream([closed, Failing(), JPEGS["gray"]]))
    assert [faces.status for faces in results] == ["unreadable", "unreadable", "ok"]
    assert "closed file" in str(results[0].reason)
    assert "Input/output error" in str(results[1].reason)


def test_nothing_is_written_to_stderr_about_damaged_images(tiny_onnx: Path, tmp_path: Path) -> None:
    for i, compression in enumerate(["tiff_lzw", "tiff_deflate", "jpeg"]):
        content = bytearray(saved(PHOTO, "TIFF", compression=compression))
        content[200:260] = bytes(60)
        content[len(content) // 2 :: 97] = bytes(len(content[len(content) // 2 :: 97]))
        (tmp_path / f"{i}.tif").write_bytes(content)
    png = saved(Image.new("RGB", (40, 40)))
    icon = b"\0\0\1\0\1\0" + bytes([16, 16, 0, 0, 1, 0, 32, 0]) + len(png).to_bytes(4, "little") + b"\x16\0\0\0" + png
    (tmp_path / "odd.ico").write_bytes(icon)
    command = [
        sys.executable,
        "-m",
        "moue",
        "predict",
        "--quiet",
        str(tmp_path),
        "--model",
        str(tiny_onnx),
        "--format",
        "json",
    ]
    done = subprocess.run([*command, "--detector", "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert len(json.loads(done.stdout)) == 4
    assert done.stderr == ""


LIMITED = """
import json, resource, sys
from pathlib import Path
import av, numpy as np
from PIL import Image
from moue.errors import MoueError
from moue.runtime.engine import open_model
from moue.runtime.recognizer import Recognizer

model, *files = sys.argv[1:]
recognizer = Recognizer(model, "none", engine="onnxruntime", threads=1)
# What the decoders need in any case is there before the limit; `full` takes ten times what is left.
Image.init()
small = np.zeros((8, 8, 3), np.uint8)
recognizer.read(small)
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), -1))
rows = [recognizer.read(file).to_dict() for file in files]
try:
    open_model("full", threads=1)
except (MoueError, OSError, MemoryError) as error:
    rows.append(str(error))
rows.append(recognizer.read(small).to_dict())
print(json.dumps(rows))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_too_little_memory_is_said_as_such(tiny_onnx: Path, tmp_path: Path) -> None:
    large = Image.new("RGB", (4000, 3000), (200, 120, 60))
    for suffix, format in {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}.items():
        (tmp_path / f"a.{suffix}").write_bytes(saved(large, format))
    files = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny_onnx), *files], capture_output=True, text=True, check=True
    )
    *rows, model, small = json.loads(done.stdout)
    for row in rows:
        assert row["status"] == "unreadable", row
        assert "not enough memory" in row["reason"]
    assert "memory" in model
    assert "damaged" not in model
    assert small["status"] == "ok"
