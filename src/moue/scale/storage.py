"""The data set that a run writes, in a folder of any file system."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from moue.damage import decoding
from moue.errors import MoueError, UsageError, shortened
from moue.files import atomic_write
from moue.runtime.outputs.journal import PART, lock
from moue.scale.filesystem import (
    CannotWrite,
    failures,
    is_address,
    is_missing,
    make_folder,
    open_filesystem,
    patiently,
    shown,
    unplanned,
)

#: What to do where the notes of a run are damaged.
ANOTHER = "The run cannot go on: name another folder"
#: Small files that are read at a time.
READ_TOGETHER = 1000


T = TypeVar("T")


@contextmanager
def writing_errors() -> Iterator[None]:
    """Run what writes the data set, and raise :class:`CannotWrite` where it cannot."""
    try:
        yield
    except failures() as error:
        name, why = getattr(error, "filename", None), getattr(error, "strerror", None)
        text = f"{name}: {why}" if name and why else str(error)
        text = f"the data set cannot be written: {shortened(text, 200).rstrip('.')}"
        raise CannotWrite(f"{text}. What is there is complete, and the same command goes on.") from error


class Storage:
    """The folder that a run writes: each file whole or not at all.

    Args:
        place: a path or an address; made where it is missing.

    Raises:
        UsageError: when there is a file of that name, or the address cannot be used.
        OSError: when it cannot be made.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.folder = None if is_address(place) else Path(place)
        """The folder on this machine; None where it is another one's."""
        if self.folder is not None:
            if self.folder.exists() and not self.folder.is_dir():
                raise UsageError(f"{place} is a file; the data set needs a folder.")
            self._is_new = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
        self._filesystem, self._root = open_filesystem(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.place,)

    def names(self, folder: str = "") -> set[str]:
        """The names of the files in one of its folders; empty where there is none."""
        with suppress(FileNotFoundError):
            self._filesystem.invalidate_cache()
            found = self._asked(lambda: self._filesystem.ls(self._path(folder), detail=False))
            return {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return set()

    def open(self, name: str) -> IO[bytes]:
        """A file to read."""
        file: IO[bytes] = self._filesystem.open(self._path(name), "rb")
        return file

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where it does not exist."""
        try:
            return bytes(self._asked(lambda: self._filesystem.cat_file(self._path(name))))
        except FileNotFoundError:
            return None

    @contextmanager
    def decoding(self, name: str, remedy: str) -> Iterator[None]:
        """Run what decodes one of its files.

        Raises:
            MoueError: when the file is damaged; names it and says what to do.
        """
        place = f"{shown(self.place)}/{name}"
        with decoding(place, lambda reason: MoueError(f"{place} is damaged: {reason}. {remedy}.")):
            yield

    def read_all(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """The names of the files in one of its folders, and what they hold; drivers read many at a time."""
        names = sorted(name for name in self.names(folder) if not name.startswith("."))
        for start in range(0, len(names), READ_TOGETHER):
            paths = [self._path(f"{folder}/{name}") for name in names[start : start + READ_TOGETHER]]
            contents = self._filesystem.cat(paths, on_error="omit")
            yield from ((str(path).rpartition("/")[2], bytes(content)) for path, content in contents.items())

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        if self.folder is not None:
            return (self.folder / name).exists()
        self._filesystem.invalidate_cache()
        return bool(self._asked(lambda: self._filesystem.exists(self._path(name))))

    def remove(self, name: str) -> None:
        """Delete a file, if there is one.

        Raises:
            CannotWrite: when it cannot be deleted.
        """
        with writing_errors(), suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one step.

        Raises:
            CannotWrite: when it cannot be written; nothing of it is left then.
        """
        with writing_errors(), self.writing(name) as part:
            part.write_bytes(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary file of this machine, which becomes the file when the block ends; see
        :func:`moue.files.atomic_write`. Object stores take an upload whole or not at all."""
        if self.folder is not None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                yield part
            return
        with tempfile.TemporaryDirectory(prefix="moue-") as folder:
            part = Path(folder) / "part"
            yield part
            make_folder(self._filesystem, self._path(name))
            patiently(self._filesystem, lambda: self._filesystem.put_file(str(part), self._path(name)))

    def discard(self) -> None:
        """Remove what a run has left that never began: its notes, and the folder where it made it."""
        if self.folder is None:
            with suppress(FileNotFoundError):
                self._filesystem.rm(self._path("_progress"), recursive=True)
            return
        shutil.rmtree(self.folder / "_progress", ignore_errors=True)
        if self._is_new:
            with suppress(OSError):
                self.folder.rmdir()

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keep other processes of this machine from writing here, and remove what killed ones left of files.

        Raises:
            UsageError: when another process writes here.
        """
        if self.folder is None:
            yield
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            lock(file, self.folder)
            try:
                self._clean(self.folder)
                yield
            finally:
                self._clean(self.folder)

    @staticmethod
    def _clean(folder: Path) -> None:
        for left in (*folder.glob(".*"), *(folder / "_progress").rglob(".*")):
            if PART.fullmatch(left.name):
                left.unlink(missing_ok=True)

    def _asked(self, call: Callable[[], T]) -> T:
        """What a call of the file system returns.

        Raises:
            FileNotFoundError: when there is no such file.
            MoueError: when nobody knows.
        """
        try:
            return patiently(self._filesystem, call)
        except failures() as error:
            if is_missing(error):
                raise FileNotFoundError(self.place) from None
            if self.folder is not None:
                raise
            raise MoueError(unplanned(self.place, error)) from error

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")
