"""Valid inputs of each kind, made on the spot: what the mutations begin with. Each is a name and its bytes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from moue.labels import FER2013
from moue.spec import ModelSpec

Corpus = dict[str, bytes]


def picture(side: int = 24, mode: str = "RGB") -> Image.Image:
    """A picture with content."""
    values = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def images() -> Corpus:
    """Every format that Pillow can write here, in every mode that it takes, and the beginnings of the others."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    found: Corpus = {}
    for format in Image.SAVE:
        if format in ("PDF", "PALM"):
            continue
        for mode in ("RGB", "L", "P", "RGBA", "1", "I;16", "CMYK", "F"):
            with contextlib.suppress(OSError, ValueError, KeyError, RuntimeError, TypeError):
                found[f"{format.lower()}-{mode.replace(';', '')}"] = _saved(picture(24, mode), format)
    more = [picture(24, "L").convert("RGB").rotate(angle) for angle in (90, 180)]
    for format in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        found[f"{format.lower()}-frames"] = _saved(picture(), format, save_all=True, append_images=more)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4", "packbits"):
        with contextlib.suppress(OSError, ValueError):
            mode = "1" if compression == "group4" else "RGB"
            found[f"tiff-{compression}"] = _saved(picture(24, mode), "TIFF", compression=compression)
    found["jpeg-progressive"] = _saved(picture(64), "JPEG", progressive=True, exif=_exif())
    for name, start in _BEGINNINGS.items():
        found[f"{name}-begun"] = start + np.random.default_rng(len(start)).bytes(400)
    return found


#: Formats that Pillow only reads.
_BEGINNINGS = {
    "ftex": b"FTEX\x05\0\1\0\x10\0\0\0\x10\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\x30\0\0\0",
    "psd": b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\x10\0\0\0\x10\0\x08\0\3",
    "fli": b"\0\2\0\0\x12\xaf\4\0\x10\0\x10\0\x08\0\3\0",
    "cur": b"\0\0\2\0\1\0\x10\x10\0\0\0\0\0\0\x68\0\0\0\x16\0\0\0",
    "dcx": b"\xb1\x68\xde\x3a\x0c\0\0\0",
    "sun": b"\x59\xa6\x6a\x95\0\0\0\x10\0\0\0\x10\0\0\0\x08\0\0\1\0\0\0\0\1\0\0\0\0",
    "fits": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80),
    "xpm": b'/* XPM */\nstatic char *x[] = {\n"4 4 2 1",\n"a c #000000",\n"b c #ffffff",\n',
    "gbr": b"\0\0\0\x1c\0\0\0\2\0\0\0\x10\0\0\0\x10\0\0\0\3GIMP\0\0\0\1",
    "wal": b"\0" * 32 + b"\x10\0\0\0\x10\0\0\0",
    "iptc": b"\x1c\3\x3c\0\2\1\0\x1c\3\x14\0\1\x10\x1c\x08\x0a\0\x10",
    "pcd": b"\0" * 2048 + b"PCD_",
    "qoi": b"qoif\0\0\0\x10\0\0\0\x10\3\0",
    "wmf": b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x10\0\x10\0\x48\0",
    "grib": b"GRIB\0\0\0\1",
    "hdf5": b"\x89HDF\r\n\x1a\n",
}


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    return exif


def videos() -> Corpus:
    """Six frames in each container, without and with sound."""
    made = {
        "mp4": ("libx264", None), "mp4-aac": ("libx264", "aac"), "mov-pcm": ("libx264", "pcm_s16le"),
        "matroska-opus": ("libx264", "libopus"), "webm-opus": ("libvpx", "libopus"), "avi-mp3": ("mpeg4", "libmp3lame"),
        "avi": ("mjpeg", None), "mpegts-aac": ("mpeg2video", "aac"), "ogg": ("libtheora", None), "flv": ("flv", None),
    }  # fmt: skip
    found: Corpus = {}
    for name, (codec, sound) in made.items():
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            found[name] = _film(name.split("-")[0], codec, sound)
    return found


def _film(container: str, codec: str, sound: str | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"
        with av.open(str(path), "w", format=container) as file:
            stream = file.add_stream(codec, rate=Fraction(25))
            stream.width = stream.height = 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            track = file.add_stream(sound, rate=48000) if sound else None
            for i in range(6):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * i, np.uint8), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
            if track is not None:
                _silence(file, track)
        return path.read_bytes()


def _silence(file, track) -> None:
    whole = track.codec_context.name == "pcm_s16le"
    for at in range(0, 9600, 960):
        # As long as the pictures.
        samples = np.zeros((1, 960), np.int16 if whole else np.float32)
        format = "s16" if whole else "flt" if track.codec_context.name == "libopus" else "fltp"
        frame = av.AudioFrame.from_ndarray(samples, format=format, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, at, Fraction(1, 48000)
        file.mux(track.encode(frame))
    file.mux(track.encode(None))


def texts() -> Corpus:
    """Playlists and other texts that name another file; a photo and a film of those names lie beside them."""
    texts = {
        "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfilm.ts\n#EXT-X-ENDLIST\n",
        "m3u": "#EXTM3U\nfilm.mp4\nphoto.png\n",
        "concat": "ffconcat version 1.0\nfile 'film.mp4'\nfile photo.png\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "box-sdp": "\0\0\0\x18ftypisom\nv=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "mpd": '<?xml version="1.0"?><MPD><Period><BaseURL>film.mp4</BaseURL></Period></MPD>',
        "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="photo.png" width="9" height="9"/></svg>',
        "html": '<html><img src="photo.png"></html>',
        "eps-like": "%!PS\n(photo.png) run\n",
        "url": "[InternetShortcut]\nURL=file:photo.png\n",
        "path": "photo.png\n",
        "asx": '<asx version="3.0"><entry><ref href="film.mp4"/></entry></asx>',
        "xspf": "<playlist><trackList><track><location>film.mp4</location></track></trackList></playlist>",
        "vtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
        "lavfi": "color=c=red:s=64x64\n",
        "imf": '<AssetMap><Path>film.mp4</Path></AssetMap>',
    }  # fmt: skip
    return {name: text.encode("latin-1") for name, text in texts.items()}


def data_sets() -> Corpus:
    """Data sets in each layout; the name's last part is the file's suffix."""
    plain = csv_text()
    npz, tar = io.BytesIO(), io.BytesIO()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        from moue.data.readers import store
        from moue.data.readers.synth import synthetic

        store.save(synthetic(70, seed=1), Path(folder) / "set.npz")
        saved = (Path(folder) / "set.npz").read_bytes()
    np.savez(npz, images=rng.integers(0, 256, (4, 48, 48), np.uint8), labels=np.arange(4))
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        info = tarfile.TarInfo("fer2013/fer2013.csv")
        info.size = len(plain)
        archive.addfile(info, io.BytesIO(plain))
    folders = {
        f"train/{name}/{i}.png": _saved(picture(48 + i, "L"), "PNG") for i in range(3) for name in ("happy", "sad")
    }
    found = {
        "comma.csv": plain,
        "semicolon.csv": plain.replace(b",", b";"),
        "tab.csv": plain.replace(b",", b"\t"),
        "quoted.csv": plain.replace(b"Training", b'"Training"'),
        "windows.csv": b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n"),
        "wide.csv": plain.decode().encode("utf-16"),
        "float.csv": plain.replace(b"\n0,", b"\n0.0,"),
        "no header.csv": plain.split(b"\n", 1)[1],
        "plain.csv.gz": gzip.compress(plain, mtime=0),
        "plain.csv.bz2": bz2.compress(plain),
        "plain.csv.xz": lzma.compress(plain),
        "plain.tar.gz": tar.getvalue(),
        "arrays.npz": npz.getvalue(),
        "saved.npz": saved,
        "folders.zip": _zip(folders),
    }
    for name, method in (("deflate", 8), ("store", 0), ("bz2", 12), ("lzma", 14)):
        found[f"{name}.zip"] = _zip({"fer2013.csv": plain}, method)
    return found


def csv_text(n: int = 14) -> bytes:
    """The competition's layout."""
    rng, lines = np.random.default_rng(0), ["emotion,pixels,Usage"]
    for i in range(n):
        lines.append(
            f"{i % 7},{' '.join(map(str, rng.integers(0, 256, 2304)))},{'Training' if i < 7 else 'PublicTest'}"
        )
    return ("\n".join(lines) + "\n").encode()


def votes() -> Corpus:
    """FER+'s file for the rows of :func:`csv_text`."""
    names = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    lines = [f"Usage,Image name,{names}"]
    for i in range(14):
        counts = [1] * 10
        counts[(4, 5, 6, 1, 3, 2, 0)[i % 7]] = 8
        lines.append(f"{'Training' if i < 7 else 'PublicTest'},fer{i:07}.png,{','.join(map(str, counts))}")
    return {"comma.csv": ("\n".join(lines) + "\n").encode()}


def _zip(files: dict[str, bytes], method: int = 8) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def onnx_models() -> Corpus:
    """A small graph; "spec.json" is what stands beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.02, (144, len(FER2013))).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("AveragePool", ["float"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["small"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(FER2013)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole = onnx.load_from_string(model.SerializeToString())
    whole.graph.initializer[0].data_location = TensorProto.EXTERNAL
    whole.graph.initializer[0].ClearField("raw_data")
    whole.graph.initializer[0].external_data.add(key="location", value="photo.png")
    return {"small": bytes(model.SerializeToString()), "external": bytes(whole.SerializeToString())}


def specs() -> Corpus:
    """The JSON beside a graph."""
    spec = ModelSpec("small", "linear", FER2013.labels, parameters=1008, sha256="0" * 64)
    return {"spec": json.dumps(spec.to_dict(), indent=2).encode()}


def recipes() -> Corpus:
    """The recipes that moue brings, and YAML that expands itself."""
    from moue.training.recipe import recipes as shipped

    found = {path.stem: path.read_bytes() for path in shipped().values()}
    found["aliases"] = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\noptim: *c\n"
    found["itself"] = b"optim: &a\n  epochs: *a\n"
    found["deep"] = b"optim: " + b"[" * 3000 + b"]" * 3000
    return found


def runs() -> Corpus:
    """The files of a run that trained for an epoch, by their paths."""
    from moue.data.readers.synth import synthetic
    from moue.training.config import Config
    from moue.training.loop import fit

    small = ["model.options={widths: [8, 16], blocks: [1]}", "optim.epochs=1", "optim.steps=1", "optim.batch_size=16"]
    config = Config().override([*small, "run.threads=1", "optim.warmup=0", "optim.keep=best"])
    with tempfile.TemporaryDirectory() as folder:
        fit(config, synthetic(140, seed=1), Path(folder) / "run")
        root = Path(folder) / "run"
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


CORPORA: dict[str, Callable[[], Corpus]] = {
    "images": images,
    "videos": videos,
    "texts": texts,
    "data sets": data_sets,
    "votes": votes,
    "models": onnx_models,
    "specs": specs,
    "recipes": recipes,
    "runs": runs,
}
