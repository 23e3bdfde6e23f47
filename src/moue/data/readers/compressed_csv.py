"""The competition's CSV, plain or inside gzip, a zip or a tar."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from moue.data.readers import fer2013_csv
from moue.data.readers.archive import DamagedError, LimitedReader, archive_kind, escapes_archive, open_zip, unpacking
from moue.errors import DataError, shortened


def is_csv(name: str) -> bool:
    """Whether a member of an archive is a CSV that may be read."""
    base = PurePosixPath(name.replace("\\", "/")).name
    return (
        base.lower().endswith(".csv")
        and not base.startswith(".")
        and "__MACOSX" not in name
        and not escapes_archive(name)
    )


@contextmanager
def open_csv(path: Path) -> Iterator[LimitedReader]:
    """The bytes of the competition's CSV, decompressed where it is compressed.

    Raises:
        DataError: when an archive is damaged or holds no CSV.
    """
    kind, size = archive_kind(path), path.stat().st_size
    if kind == "plain":
        with open(path, "rb") as file:
            yield LimitedReader(file, str(path), size, total=size)
    elif kind == "gzip":
        with open(path, "rb") as raw, gzip.GzipFile(fileobj=raw) as packed:
            yield LimitedReader(packed, str(path), size, position=raw.tell)
    elif kind == "zip":
        with open_zip(path) as archive:
            infos = [i for i in archive.infolist() if is_csv(i.filename)]

            def open_info(info: zipfile.ZipInfo) -> LimitedReader:
                name = f"{path}, {shortened(info.filename)}"
                with unpacking(name):
                    stream = archive.open(info)
                return LimitedReader(stream, name, info.compress_size, total=info.file_size)

            chosen = _face_csv([i.filename for i in infos], lambda n: open_info(infos[n]), path)
            yield open_info(infos[chosen])
    else:
        with open(path, "rb") as raw:
            yield from _open_tar(path, raw, size)


def _open_tar(path: Path, raw: IO[bytes], size: int) -> Iterator[LimitedReader]:
    # Once for the list, once for the rows: a compressed tar can only be read forwards.
    with unpacking(path):
        archive = tarfile.TarFile.open(fileobj=raw, mode="r:*")
    with archive:
        with unpacking(path):
            infos = [m for m in archive if m.isfile() and is_csv(m.name)]

        def open_info(number: int) -> LimitedReader:
            name = f"{path}, {shortened(infos[number].name)}"
            with unpacking(name):
                stream = archive.extractfile(infos[number])
            assert stream is not None  # regular files alone were listed
            return LimitedReader(stream, name, size, total=infos[number].size)

        yield open_info(_face_csv([m.name for m in infos], open_info, path))


def _face_csv(names: list[str], open_member: Callable[[int], LimitedReader], path: Path) -> int:
    """Which CSV of an archive holds the faces: the one with emotion and pixels, best with Usage too."""
    scores = []
    for number in range(len(names)):
        try:
            columns = fer2013_csv.read_layout(open_member(number), names[number])[0].columns
        except DamagedError:
            raise
        except DataError:  # No text; the other files may hold the faces.
            columns = {}
        scores.append(sum(c in columns for c in ("emotion", "pixels", "usage")) if "pixels" in columns else 0)
    if not scores:
        raise DataError(f"{path} holds no CSV. Give fer2013.csv, or an archive that holds it.")
    return max(range(len(scores)), key=scores.__getitem__)
