"""File types by first bytes and by name: one table for everything that reads images and videos."""

from __future__ import annotations

from typing import Literal

FileKind = Literal["image", "video", "other"]

#: Number of first bytes that :func:`kind_of` needs.
HEAD = 512

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"

#: First bytes and what they stand for. "other" is neither: documents and archives, and icons, whose first bytes are
#: also those of damaged MPEG streams.
SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (JPEG, "image"),
    (PNG, "image"),
    (b"GIF8", "image"),
    (b"BM", "image"),  # BMP
    (b"II*\0", "image"),  # TIFF
    (b"MM\0*", "image"),
    (b"P5", "image"),  # PGM
    (b"P6", "image"),  # PPM
    (b"\0\0\1\0", "other"),  # ICO
    (b"8BPS", "other"),  # PSD
    (b"%PDF", "other"),
    (b"PK\3\4", "other"),  # ZIP
    (b"\x1aE\xdf\xa3", "video"),  # Matroska, WebM
    (b"FLV\1", "video"),
    (b"0&\xb2u\x8ef\xcf\x11", "video"),  # ASF, WMV
    (b"\0\0\1\xba", "video"),  # MPEG program stream
    (b"OggS", "video"),
)

#: Brands of ISO media files (``ftyp``) that are HEIF images (HEIC); AVIF may share the last two.
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"heif", b"mif1", b"msf1")
#: Brands that are AVIF images.
AVIF_BRANDS = (b"avif", b"avis")

#: Boxes with which a QuickTime file of before ``ftyp`` begins.
QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")

#: Forms of RIFF files; all others, such as WAVE, are "other".
RIFF_FORMS: dict[bytes, FileKind] = {b"WEBP": "image", b"AVI ": "video"}

#: Packets of an MPEG transport stream have this many bytes, the first of which is always the same.
TS_PACKET, TS_SYNC = 188, 0x47

#: Suffixes, in lower case, of images.
IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm"),
        *("pnm", "jp2", "j2k", "avif", "heic", "heif", "hif", "ico", "tga", "pcx", "mpo"),
    )
)
#: Suffixes, in lower case, of videos.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts"),
        *("m2ts", "wmv", "flv", "3gp", "ogv", "mxf", "h264", "264", "hevc"),
    )
)

#: What operating systems leave in folders of images, in lower case; files whose names begin with a dot are ignored too.
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
#: What a folder of results has, hidden as it is for the program alone.
JOURNAL = ".moue-journal.jsonl"


def kind_of(head: bytes) -> FileKind | None:
    """What a file is by its first :data:`HEAD` bytes; None where the table does not know them. Text is "other"."""
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in (*HEIF_BRANDS, *AVIF_BRANDS) else "video"
    if head[:4] == b"RIFF":
        return RIFF_FORMS.get(head[8:12], "other")
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    if len(head) > 2 * TS_PACKET and {head[0], head[TS_PACKET], head[2 * TS_PACKET]} == {TS_SYNC}:
        return "video"
    # Text too is known: FFmpeg takes some of it for subtitles or lyrics, and opens the addresses in a playlist.
    return "other" if head and all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in head) else None
