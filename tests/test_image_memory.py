"""A photo takes little memory, whatever its format: of the largest that is read, less than 700 MB."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import saved, wide_png, wide_tiff
from PIL import Image

from moue.errors import Unreadable
from moue.image import MAX_PIXELS, read_image, read_photo
from moue.runtime.recognizer import Recognizer

#: Megabytes that the largest photo may take.
PROMISE = 700

#: The decoders' memory grows with the pixels, so that a smaller image shows it.
SIZE = (3000, 2000)
COLOR = Image.new("RGB", SIZE, (200, 120, 60))


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.full(SIZE[::-1], 40_000, np.uint16))


PHOTOS: dict[str, Callable[[], bytes]] = {
    "1-bit PNG": lambda: saved(COLOR.convert("1")),
    "gray PNG": lambda: saved(COLOR.convert("L")),
    "palette PNG": lambda: saved(COLOR.convert("P")),
    "palette PNG with transparency": lambda: saved(COLOR.convert("P"), transparency=0),
    "RGBA PNG": lambda: saved(COLOR.convert("RGBA")),
    "16-bit PNG": lambda: saved(sixteen_bits()),
    "16-bit TIFF": lambda: saved(sixteen_bits(), "TIFF", compression="tiff_lzw"),
    "12-bit color in 16-bit PNG": lambda: wide_png(np.full((*SIZE[::-1], 3), 3000, np.uint16)),
    "12-bit color with alpha in 16-bit PNG": lambda: wide_png(np.full((*SIZE[::-1], 4), 3000, np.uint16)),
    "turned TIFF": lambda: saved(COLOR, "TIFF", compression="tiff_lzw", tiffinfo={274: 6}),
    "float TIFF": lambda: saved(Image.new("F", SIZE, 0.5), "TIFF", compression="tiff_lzw"),
    "JPEG": lambda: saved(COLOR, "JPEG"),
    "progressive JPEG": lambda: saved(COLOR, "JPEG", progressive=True, subsampling=0),
    "progressive CMYK JPEG": lambda: saved(COLOR.convert("CMYK"), "JPEG", progressive=True, subsampling=0),
    "GIF": lambda: saved(COLOR.convert("P"), "GIF"),
    "WebP": lambda: saved(COLOR.convert("RGBA"), "WEBP", method=0),
    "lossless WebP": lambda: saved(COLOR, "WEBP", lossless=True, quality=0, method=0),
    "JPEG 2000": lambda: saved(COLOR, "JPEG2000"),
    "AVIF": lambda: saved(COLOR, "AVIF", speed=10),
}

#: The peak of a process's own memory; ``ru_maxrss`` may be that of the process that started it.
MEASURE = """
import sys
from pathlib import Path
from moue.image import read_image

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

small, large = sys.argv[1:]
read_image(small)
before = peak()
read_image(large)
print(peak() - before)
"""


def weight(content: bytes) -> int:
    """How often a pixel of this format counts."""
    with pytest.raises(Unreadable) as error:
        read_image(content, max_pixels=600)
    limit = re.search(r"limit of (\d+)", str(error.value))
    assert limit is not None
    return 600 // int(limit[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize("kind", PHOTOS)
def test_the_largest_photo_takes_no_more_than_promised(kind: str, tmp_path: Path) -> None:
    content = PHOTOS[kind]()
    small, large = tmp_path / "small", tmp_path / "large"
    large.write_bytes(content)
    with Image.open(large) as image:
        small.write_bytes(saved(COLOR.resize((30, 20)), image.format or ""))
    command = [sys.executable, "-c", MEASURE, str(small), str(large)]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    largest = MAX_PIXELS / weight(content) / (SIZE[0] * SIZE[1])
    # Beside the pixels, a decoder has tables and a strip, which do not grow.
    assert kilobytes > 10_000
    assert (kilobytes * 1.024e-3 - 16) * largest < PROMISE


def test_a_large_jpeg_is_read_at_half_its_size_with_the_coordinates_of_the_whole() -> None:
    pixels = np.zeros((300, 480, 3), np.uint8)
    pixels[100:200, 100:300] = 255
    content = saved(Image.fromarray(pixels), "JPEG", exif=exif(6))
    photo = read_photo(content, max_pixels=40_000)
    assert (photo.pixels.shape, photo.width, photo.height) == ((240, 150, 3), 300, 480)
    whole = read_image(content)
    assert np.abs(whole[::2, ::2].astype(int) - photo.pixels).mean() < 5
    # Four times the limit, and formats whose decoders cannot do it, are too large.
    for refused in (content, saved(Image.fromarray(pixels), "JPEG", progressive=True), saved(Image.fromarray(pixels))):
        with pytest.raises(Unreadable, match="pixels are more than") as error:
            read_photo(refused, max_pixels=35_000)
        assert error.value.status == "too_large"


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_boxes_of_a_large_jpeg_are_those_of_the_whole(tiny_onnx: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 48, 3), np.uint8)
    content = saved(Image.fromarray(pixels).resize((480, 300)), "JPEG")
    recognizers = [
        Recognizer(tiny_onnx, "none", engine="onnxruntime", threads=1, max_pixels=n) for n in (40_000, 10**6)
    ]
    half, whole = (recognizer.faces(recognizer.open(content)) for recognizer in recognizers)
    assert (half.width, half.height, half.boxes.tolist()) == (480, 300, [[0, 0, 480, 300]])
    box = [[100, 50, 200, 100]]
    half, whole = (recognizer.faces(recognizer.open(content), boxes=box) for recognizer in recognizers)
    assert half.boxes.tolist() == whole.boxes.tolist() == box
    np.testing.assert_allclose(half.predictions.probabilities, whole.predictions.probabilities, atol=0.05)
    # Drawn where they are, on an image of either size.
    photo = read_photo(content, max_pixels=40_000)
    marked = np.abs(half.draw(photo.pixels).astype(int) - photo.pixels).sum(axis=2) > 0
    assert marked[25:75, 50].all()
    assert not marked[100:, 200:].any()


def test_a_tile_counts_where_it_is_larger_than_its_image() -> None:
    content = wide_tiff(np.zeros((64, 64), np.uint16), "<u2", {322: 60_000, 323: 60_000})
    with pytest.raises(Unreadable, match="60000×60000 pixels are more") as error:
        read_image(content)
    assert error.value.status == "too_large"


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
def test_an_icon_counts_with_the_size_of_the_image_in_it() -> None:
    png = saved(Image.new("RGB", (500, 400)))
    header = b"\0\0\1\0\1\0" + bytes([16, 16, 0, 0, 1, 0, 32, 0]) + len(png).to_bytes(4, "little") + b"\x16\0\0\0"
    with pytest.raises(Unreadable, match="500×400 pixels are more"):
        read_image(header + png, max_pixels=150_000)
