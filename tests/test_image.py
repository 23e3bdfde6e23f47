"""Anything that holds an image becomes the same upright RGB array, or a reason."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pictures import png_bomb, saved, wide_png, wide_tiff
from PIL import Image, ImageFile

from moue.errors import Unreadable, UsageError
from moue.image import read_image

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_path_bytes_file_image_and_array_agree(tmp_path: Path) -> None:
    content = saved(Image.fromarray(RGB), "JPEG")
    path = tmp_path / "Größe 1 ☺.jpg"
    path.write_bytes(content)
    expected = np.asarray(Image.open(path))
    with open(path, "rb") as file:
        ways: list[Any] = [
            path,
            str(path),
            content,
            bytearray(content),
            file,
            Image.open(path),
            expected,
            expected[..., ::-1],
        ]
        for x, color in zip(ways, ["rgb"] * 7 + ["bgr"], strict=True):
            image = read_image(x, color="bgr" if color == "bgr" else "rgb")
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_upright(orientation: int) -> None:
    upright = np.zeros((8, 12, 3), np.uint8)
    upright[:4, :6] = 255
    # How a camera stores the image for each orientation.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(saved(Image.fromarray(stored.copy()), exif=exif)), upright)


def test_sixteen_bits_are_scaled() -> None:
    gray = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    for x in (gray, saved(Image.fromarray(gray))):
        np.testing.assert_array_equal(read_image(x)[:, :, 0].ravel(), np.arange(256))


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("color", [False, True])
def test_values_wider_than_eight_bits_are_of_as_many_as_hold_the_largest(white: int, color: bool) -> None:
    eight = (RGB if color else RGB[:, :, 0]).copy()
    eight[0, 0] = 255
    wide = (eight.astype(np.uint32) * white // 255).astype(np.uint16)
    expected = read_image(eight)
    np.testing.assert_array_equal(read_image(wide), expected)
    for content in (wide_png(wide), wide_tiff(wide, "<u2"), wide_tiff(wide, ">u2")):
        np.testing.assert_array_equal(read_image(content), expected)


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("opaque", [255, 1023, 65535])
def test_colors_of_few_bits_are_scaled_before_they_lie_over_white(white: int, opaque: int) -> None:
    eight = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    eight[0, 0, :3] = 255
    eight[1:, :2, 3] = 0
    eight[1:, 2:4, 3] = 85
    wide = (eight.astype(np.uint32) * ([white] * 3 + [opaque]) // 255).astype(np.uint16)
    if white == 65535:
        # Only where the colors are of fewer bits can their alpha be of fewer, too.
        wide[:, :, 3] = eight[:, :, 3] * np.uint16(257)
    for content in (wide_png(wide), wide_tiff(wide, "<u2"), wide_tiff(wide, ">u2")):
        np.testing.assert_allclose(read_image(content), read_image(eight), atol=1)
    gray = np.repeat(eight[:, :, :1], 4, axis=2)
    gray[:, :, 3] = eight[:, :, 3]
    np.testing.assert_allclose(read_image(wide_png(wide[:, :, [0, 3]])), read_image(gray), atol=1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_modes(mode: str, format: str) -> None:
    white = np.full((5, 6, 3), 255, np.uint8)
    image = (
        Image.fromarray(np.full((5, 6), 65535, np.uint16)) if mode == "I;16" else Image.fromarray(white).convert(mode)
    )
    if mode == "CMYK" and format == "PNG":
        format = "JPEG"
    np.testing.assert_array_equal(read_image(saved(image, format)), white)


def test_transparent_pixels_show_white() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    palette = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P")
    for x in (clear, saved(Image.fromarray(clear)), saved(palette, transparency=0)):
        assert read_image(x).min() == 255


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (9, 7), color) for color in ("white", "black")]
    image = read_image(saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True))
    assert image.shape == (7, 9, 3)
    assert image.min() == 255


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.ones((2, 2), bool), 255),
        (np.full((2, 2, 1), 7, np.uint8), 7),
        (np.full((2, 2, 3), 7, np.int64), 7),
        (np.full((2, 2, 3), 0.5, np.float32), 128),
    ],
)
def test_array_types(array: np.ndarray, expected: int) -> None:
    assert (read_image(array) == np.full((2, 2, 3), expected)).all()


def test_wide_integers_are_the_same_from_a_file_and_an_array(tmp_path: Path) -> None:
    gray = np.arange(256, dtype=np.int32).reshape(16, 16)
    Image.fromarray(gray).save(tmp_path / "gray.tif")
    for x in (gray, tmp_path / "gray.tif", Image.fromarray(gray)):
        np.testing.assert_array_equal(read_image(x)[:, :, 0], gray)
    Image.fromarray(gray * 257).save(tmp_path / "gray.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.tif")[:, :, 0], gray)


def test_the_preview_of_a_raw_photo_is_not_taken_for_the_photo(tmp_path: Path) -> None:
    preview, photo = Image.new("RGB", (16, 12), "red"), Image.new("RGB", (160, 120), "red")
    preview.save(tmp_path / "raw.dng", "TIFF", tiffinfo={254: 1}, save_all=True, append_images=[photo])
    with pytest.raises(Unreadable, match="raw photo"):
        read_image(tmp_path / "raw.dng")
    photo.save(tmp_path / "scan.tif", "TIFF", tiffinfo={254: 2}, save_all=True, append_images=[preview])
    assert read_image(tmp_path / "scan.tif").shape == (120, 160, 3)


def test_floats_may_be_off_by_rounding() -> None:
    array = np.array([[-1e-9, 0.5], [1.0, 1 + 1e-9]])
    assert read_image(array)[:, :, 0].tolist() == [[0, 128], [255, 255]]
    for wrong in (-0.01, 1.01):
        with pytest.raises(Unreadable, match=rf"floats must be 0..1. Got .*{wrong}"):
            read_image(np.array([[0.5, wrong]]))


def feed(pipe: Path, content: bytes) -> threading.Thread:
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    return writer


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_pipe_is_read_to_its_end_and_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # More than fits into a pipe at once.
    large = np.tile(RGB, (10, 10, 1))
    writer = feed(pipe, saved(Image.fromarray(large), "BMP"))
    np.testing.assert_array_equal(read_image(pipe), large)
    writer.join()
    writer = feed(pipe, b"")
    with pytest.raises(Unreadable, match="empty"):
        read_image(pipe)
    writer.join()
    monkeypatch.setattr("moue.image.PIPE_TIMEOUT", 0.05)
    with pytest.raises(Unreadable, match="the pipe is empty"):
        read_image(pipe)
    with pytest.raises(Unreadable, match="neither a file nor a pipe"):
        read_image(os.devnull)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 2, 3), 200.0), "divide by 255"),
        (np.full((2, 2, 3), np.nan), "0..1"),
        (np.full((2, 2, 3), 300), "0..255"),
        (np.zeros((3, 20, 20), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros((2, 2), complex), "numbers"),
    ],
)
def test_arrays_that_are_no_image(array: np.ndarray, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_image(array)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"not an image at all, but a text", "not an image"),
        (saved(Image.fromarray(np.tile(RGB, (20, 20, 1))), "JPEG")[:-4000], "damaged JPEG.*truncated"),
        (saved(Image.fromarray(RGB))[:200], "damaged PNG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "damaged PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_files_that_are_no_image(content: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_image(content)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heif"])
def test_heif_is_read_where_its_package_is_installed(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class StandIn(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            assert self.fp is not None
            with Image.open(io.BytesIO(self.fp.read()[24:])) as inner:
                inner.load()
            self._size, self._mode, self.im, self.tile = inner.size, inner.mode, inner.im, []

    def register() -> None:
        Image.register_open("HEIF", StandIn, lambda prefix: prefix[8:12] == brand)

    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    monkeypatch.setattr(Image, "OPEN", {name: opener for name, opener in Image.OPEN.items() if name != "HEIF"})
    content = b"\0\0\0\x18ftyp" + brand + bytes(12) + saved(Image.fromarray(RGB))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Unreadable, match=r"pip install 'moue\[heif\]'"):
        read_image(content)
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    np.testing.assert_array_equal(read_image(content), RGB)
    with pytest.raises(Unreadable, match="damaged"):
        read_image(content[:40])


def test_bomb_is_refused_by_a_limit_that_can_be_raised(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(Unreadable, match="30000×30000 pixels are more than") as error:
        read_image(png_bomb(30_000, 30_000))
    assert error.value.status == "too_large"
    with pytest.raises(Unreadable, match="limit of 599"):
        read_image(saved(Image.fromarray(RGB)), max_pixels=599)
    assert read_image(saved(Image.fromarray(RGB)), max_pixels=600).shape == RGB.shape
    # Above Pillow's own limit, which warns or refuses: here it is the caller's limit that counts.
    with pytest.raises(Unreadable, match="damaged PNG"):
        read_image(png_bomb(20_000, 10_000), max_pixels=10**9)
    assert not [w for w in recwarn if w.category is Image.DecompressionBombWarning]


def test_paths_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: Any
    for given, words in [
        (tmp_path, "folder"),
        (tmp_path / "gone.png", "no such file"),
        ("a\0b", "null"),
        ("http://x/y", "addr"),
    ]:
        with pytest.raises(Unreadable, match=words):
            read_image(given)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "locked.png").touch()
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(Unreadable, match="permission denied"):
        read_image(tmp_path / "locked.png")


def test_usage_errors() -> None:
    with pytest.raises(UsageError, match="Got dict"):
        read_image({})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="binary"):
        read_image(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'rgb' or 'bgr'"):
        read_image(RGB, color="rbg")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_photos_of_phones_are_read_upright(format: str, tmp_path: Path) -> None:
    import pillow_heif

    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:32, :48] = 240
    photo = Image.fromarray(pixels)
    path = tmp_path / "IMG_0001.HEIC"
    if format == "HEIF":
        pillow_heif.from_pillow(photo).save(path, quality=90, exif=turned.tobytes())
    else:
        path.write_bytes(saved(photo, format, quality=90, exif=turned))
    image = read_image(path)
    np.testing.assert_allclose(image, np.rot90(pixels, -1), atol=40)
    assert np.abs(image.astype(int) - np.rot90(pixels, -1)).mean() < 3
