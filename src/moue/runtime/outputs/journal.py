"""What a folder of results holds, in a file that any kill leaves usable: a line is appended before an input is read and
after its results are complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from moue.errors import UsageError
from moue.files import append, naming_errors
from moue.runtime.outputs.face_images import FACES
from moue.signatures import JOURNAL
from moue.spec import ModelSpec

#: What a killed program leaves of a file that it was writing.
PART = re.compile(r"\.[0-9a-f]{16}\.part")
#: Bytes at the beginning and at the end of an input that tell it from another one of its size and time.
SAMPLE = 65536

#: Options that do not change what is read in a file. All others count, also those that will be added.
UNRELATED_OPTIONS = frozenset({"engine", "threads", "batch_size", "optimize_for", "window", "reconnect"})
#: Fields of a spec that only describe.
DESCRIPTIVE = frozenset({"name", "network", "license", "parameters", "scores", "robustness", "trained"})


class Journal:
    """The inputs of a folder of results, by a key; one process at a time has it open.

    An entry is ``{"key", "stem", "identity", "files": {name: bytes}, …}``. It counts while its files have their sizes.

    Args:
        folder: the folder of the results.

    Raises:
        UsageError: when another process has it open.
        OSError: when it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / JOURNAL
        with naming_errors(self._path):
            self._file = open(self._path, "a+b")  # noqa: SIM115
        lock(self._file, folder)
        # Where the line of each complete input begins.
        self._offsets: dict[str, int] = {}
        self.stems: dict[str, str] = {}
        """By key: the stem of the files of each complete input."""
        self.identities: dict[str, str] = {}
        """By key: that of the model and options; see :func:`identity`."""
        self.named: set[str] = set()
        """The stems of all inputs whose files were ever begun: what is called so, moue wrote."""
        self._load()

    def __iter__(self) -> Iterator[str]:
        """The keys of the complete inputs, in the order in which they were completed."""
        return iter(sorted(self._offsets, key=self._offsets.__getitem__))

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The entry of a complete input."""
        self._file.seek(self._offsets[key])
        entry: dict[str, Any] = json.loads(self._file.readline())
        return entry

    def begin(self, key: str, stem: str) -> None:
        """Note that the files of an input are going to be written: what they held does not count any more."""
        self._forget(key)
        self._append({"key": key, "stem": stem})
        self.named.add(stem)

    def complete(self, key: str, stem: str, identity: str, files: list[Path], **values: Any) -> None:
        """Note that the files of an input are complete, with further values of its entry."""
        sizes = {path.relative_to(self._folder).as_posix(): path.stat().st_size for path in files}
        self._offsets[key] = self._append({"key": key, "stem": stem, "identity": identity, "files": sizes, **values})
        self.stems[key], self.identities[key] = stem, identity

    def close(self) -> None:
        """Let another process have it; without an entry, no file is left."""
        self._file.close()
        if self._path.exists() and not self._path.stat().st_size:
            self._path.unlink()

    def _append(self, entry: dict[str, Any]) -> int:
        return append(self._path, json.dumps(entry, allow_nan=False).encode() + b"\n")

    def _forget(self, key: str) -> None:
        for values in (self._offsets, self.stems, self.identities):
            values.pop(key, None)

    def _load(self) -> None:
        # Parts of files lie where the program was killed: beside the tables, or the files of an input.
        unfinished = {self._folder}
        files: dict[str, dict[str, int]] = {}
        offset = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                # The program was killed while it wrote this line.
                os.truncate(self._path, offset)
                break
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                key, stem = entry["key"], entry["stem"]
                self._forget(key)
                self.named.add(stem)
                if "files" in entry:
                    # One text for all that are equal.
                    self.identities[key] = sys.intern(entry["identity"])
                    self.stems[key], files[key], self._offsets[key] = stem, entry["files"], offset
                else:
                    unfinished |= {(self._folder / stem).parent, self._folder / f"{stem}{FACES}"}
            offset += len(line)
        for key in [key for key in self._offsets if not self._are_there(files[key])]:
            self._forget(key)
        for folder in unfinished:
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    if PART.fullmatch(path.name):
                        path.unlink()

    def _are_there(self, files: dict[str, int]) -> bool:
        try:
            return all((self._folder / name).stat().st_size == size for name, size in files.items())
        except OSError:
            return False


def lock(file: IO[bytes], folder: Path) -> None:
    """Keep other processes from writing to a folder of results until ``file``, which lies in it, is closed.

    A file system without locks, and Windows, have none.

    Raises:
        UsageError: when another process has it; ``file`` is closed then.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(f"another moue is writing to {folder}. Wait until it ends, or name another folder.") from None
    except OSError:  # A file system without locks.
        return


def fingerprint(path: str) -> list[Any] | None:
    """What tells whether a file has changed: its size, its time and its first and last bytes; None for what is no
    file, or cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116 - the name may be no path
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read(SAMPLE))
            file.seek(max(0, status.st_size - SAMPLE))
            digest.update(file.read(SAMPLE))
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns, digest.hexdigest()[:32]]


def identity(spec: ModelSpec, *options: Any) -> str:
    """A hash that is equal for results of the same model and options, on any machine.

    Args:
        spec: the model's, with its hash.
        options: dataclasses; all their fields count, but for :data:`UNRELATED_OPTIONS` and the model's name.
    """
    values = settings_of(spec, *options)
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def settings_of(spec: ModelSpec, *options: Any) -> dict[str, Any]:
    """The values that :func:`identity` hashes, by name; those of the spec as ``spec.name``."""
    values = {
        f"spec.{field.name}": getattr(spec, field.name) for field in fields(spec) if field.name not in DESCRIPTIVE
    }
    for part in options:
        ignored = {*UNRELATED_OPTIONS, "model"}
        values |= {field.name: getattr(part, field.name) for field in fields(part) if field.name not in ignored}
    # 0 and 0.0 are the same option.
    return {name: float(v) if type(v) is int else v for name, v in values.items()}
