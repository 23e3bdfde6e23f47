"""Videos made on the spot, and a recognizer that finds a bright square: what the video tests share."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from moue.errors import Status, Unreadable
from moue.labels import FER2013
from moue.runtime.results import Faces, Predictions

SIDE = 24


def scene(step: int, width: int = 160, height: int = 96, square: bool = True) -> NDArray[np.uint8]:
    """A dark image with a white square that wanders to the right, two pixels a step."""
    image = np.full((height, width, 3), 30, np.uint8)
    if square:
        x = 10 + 2 * step % (width - SIDE - 20)
        image[30 : 30 + SIDE, x : x + SIDE] = 255
    return image


def make_video(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    sound: str | None = None,
    layout: str = "mono",
    rotation: int = 0,
    b_frames: int = 0,
    options: dict[str, str] | None = None,
    x264: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Write images as H.264; ``times`` in ticks of ``time_base``, else one a frame; ``sound`` names a codec.

    ``options`` are the muxer's, ``x264`` the encoder's; ``context`` holds attributes of it, such as ``colorspace``.
    """
    with av.open(str(path), "w", options=options or {}) as file:
        stream = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "g": "10"} | (x264 or {}))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if time_base:
            stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        track = file.add_stream(sound, rate=48000) if sound else None
        if track is not None:
            track.layout = layout
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[i] if times else i
            frame.time_base = time_base or 1 / rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if track is not None:
            _encode_tone(file, track, float(len(images) / rate))
    return path


def make_sound(path: Path, seconds: float = 1.0, codec: str = "aac") -> Path:
    """A file that holds a tone and no images."""
    with av.open(str(path), "w") as file:
        track = file.add_stream(codec, rate=48000)
        track.layout = "mono"
        _encode_tone(file, track, seconds)
    return path


def damaged_opus(path: Path) -> Path:
    """A Matroska file whose sound is found, but MP4 cannot hold its header: the codec's private data are blanked."""
    source = make_video(path, [scene(i) for i in range(25)], sound="libopus")
    private, void = b"\x63\xa2\x93OpusHead", b"\xec\x40\x13OpusHead"
    data = source.read_bytes()
    assert data.count(private) == 1
    source.write_bytes(data.replace(private, void))
    return source


def make_song(path: Path) -> Path:
    """An MP3 file with cover art."""
    sink = io.BytesIO()
    Image.fromarray(scene(0)).save(sink, "PNG")
    cover = b"\0image/png\0\3\0" + sink.getvalue()
    frame = b"APIC" + len(cover).to_bytes(4, "big") + b"\0\0" + cover
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + size + frame + make_sound(path, codec="libmp3lame").read_bytes())
    return path


def _encode_tone(file, track, seconds: float) -> None:
    """Encode a tone of 440 Hz, at 48,000 samples/s."""
    tone = (0.3 * np.sin(np.arange(round(48000 * seconds)) * 2 * np.pi * 440 / 48000)).astype(np.float32)
    whole = (tone * 32767).astype(np.int16)
    formats: dict[str, tuple[str, np.ndarray]] = {
        "pcm_s16le": ("s16", whole),
        "mp2": ("s16", whole),
        "flac": ("s16", whole),
        "libopus": ("flt", tone),
    }
    format, samples = formats.get(track.codec_context.name, ("fltp", tone))
    for at in range(0, len(samples), 960):
        # Packed formats interleave the channels: repeat each sample.
        chunk = np.repeat(samples[None, at : at + 960], track.layout.nb_channels, axis=1)
        frame = av.AudioFrame.from_ndarray(chunk, format=format, layout=track.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = 48000, at, Fraction(1, 48000)
        file.mux(track.encode(frame))
    file.mux(track.encode(None))


def mp4_boxes(data: bytes, at: int = 0, end: int | None = None) -> dict[bytes, tuple[int, int]]:
    """The boxes of an MP4 file at one level: name to (offset, size)."""
    found, end = {}, len(data) if end is None else end
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big") or end - at
        found[data[at + 4 : at + 8]] = (at, size)
        at += size
    return found


def drain(items: Iterable[Any]) -> tuple[list[Any], BaseException | None]:
    """All items, and what ended them if it was an error."""
    drained: list[Any] = []
    try:
        for item in items:
            drained.append(item)
    except (Unreadable, OSError, KeyboardInterrupt) as error:
        return drained, error
    return drained, None


class SquareReader:
    """A recognizer whose face is the white square of :func:`scene`: happy in the left half of the image, else sad."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        """The number of images of each call of :meth:`batch`."""

    def batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        self.sizes.append(len(images))
        return [self.faces(image) for image in images]

    def failed(self, source: str, status: Status, reason: str) -> Faces:
        return Faces(source, status, reason=reason, predictions=Predictions.empty(FER2013.labels))

    def for_video(self) -> SquareReader:
        return self

    def faces(self, image: NDArray[np.uint8], source: str = "") -> Faces:
        height, width = image.shape[:2]
        ys, xs = np.nonzero(image.min(axis=2) > 140)
        if not len(xs):
            return Faces(source, "no_face", width, height)
        box = np.array([[xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]], np.float32)
        p = np.full((1, len(FER2013)), 0.02, np.float32)
        p[0, FER2013.index("happy" if xs.mean() < width / 2 else "sad")] = 0.88
        return Faces(source, "ok", width, height, box, np.ones(1, np.float32), None, Predictions(p, FER2013.labels))


def walking_face(step: int) -> NDArray[np.uint8]:
    """A frame with the astronaut's face, which moves to the right."""
    face = np.asarray(Image.fromarray(skimage.data.astronaut()[0:256, 96:352]).resize((160, 160)))
    image = np.full((240, 320, 3), 90, np.uint8)
    left = 20 + 4 * step % 120
    image[40:200, left : left + 160] = face
    return image
