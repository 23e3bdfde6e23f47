"""The photos and the film that the benchmark reads, made on the spot of the one portrait that the wheel carries."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

#: NASA's portrait of Eileen Collins, 320 × 320.
PORTRAIT = Path(__file__).parent.parent / "server" / "static" / "sample.jpg"
#: Width and height of the mixed photos, in turn; every fifth has no face, every tenth is a PNG.
SIZES = ((640, 480), (1280, 960), (800, 1200), (1920, 1080), (4000, 3000))
NO_FACE, PNG = 5, 10
#: Of the film: width, height, frames a second.
FILM, RATE = (640, 480), 30


@dataclass(frozen=True)
class Inputs:
    """What is read."""

    photo: str
    """One photo with one face, 640 × 640."""
    photos: list[str]
    """Mixed photos."""
    faces: int
    """How many of them have a face."""
    film: str
    """640 × 480, a face that moves, grows and shrinks."""
    frames: int
    """Of the film."""


def make_inputs(folder: Path, photos: int, frames: int) -> Inputs:
    """Write the inputs.

    Args:
        folder: where to.
        photos: how many mixed photos.
        frames: how many of the film.
    """
    draw = np.random.default_rng(0)
    portrait = Image.open(PORTRAIT).convert("RGB")
    photo = folder / "photo.jpg"
    portrait.resize((640, 640), Image.Resampling.BICUBIC).save(photo, quality=92)
    paths, faces = [], 0
    for i in range(photos):
        size = SIZES[i % len(SIZES)]
        scene = _background(size, draw)
        # Of four in five photos; the sizes go round with another step, so that each has photos of both kinds.
        if (i + i // len(SIZES)) % NO_FACE:
            side = int(min(size) * draw.uniform(0.35, 0.95))
            left, top = (int(draw.integers(0, space - side + 1)) for space in size)
            scene.paste(portrait.resize((side, side), Image.Resampling.BICUBIC), (left, top))
            faces += 1
        path = folder / (f"{i:04d}.png" if i % PNG == PNG - 1 else f"{i:04d}.jpg")
        scene.save(path, quality=88)
        paths.append(str(path))
    film = folder / "film.mp4"
    _write_film(film, portrait, _background(FILM, draw), frames)
    return Inputs(str(photo), paths, faces, str(film), frames)


def _background(size: tuple[int, int], draw: np.random.Generator) -> Image.Image:
    """Soft shapes of color with grain, as what is out of focus behind people."""
    width, height = size
    shapes = draw.integers(0, 256, (height // 80 + 1, width // 80 + 1, 3), dtype=np.uint8)
    soft = Image.fromarray(shapes).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(4))
    grain = draw.integers(-6, 7, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(soft, np.int16) + grain, 0, 255).astype(np.uint8))


def _write_film(path: Path, portrait: Image.Image, background: Image.Image, frames: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *FILM, "yuv420p", 4_000_000
        for i in range(frames):
            angle = 2 * np.pi * i / 150
            side = int(300 + 90 * np.sin(1.3 * angle))
            frame = background.copy()
            left, top = int((FILM[0] - side) * (0.5 + 0.4 * np.sin(angle))), int((FILM[1] - side) * 0.6)
            frame.paste(portrait.resize((side, side), Image.Resampling.BILINEAR), (left, top))
            image = av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")
            image.pts, image.time_base = i, Fraction(1, RATE)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
