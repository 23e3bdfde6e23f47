"""The temporary folder of one server, removed with it; what a crashed server left is removed by the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

PREFIX = "moue-serve-"
_LOCK = "owner.lock"


class Workspace:
    """A folder that only this user can read. The folders of servers that no longer run are removed first.

    Where no folder can be made, as in a container whose file system is read-only, a server still reads images.

    Args:
        parent: where it is made; the system's folder for temporary files where None.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._path: Path | None = None
        self._lock: BinaryIO | None = None
        with contextlib.suppress(OSError):
            self._path = self._create()

    def subfolder(self, name: str) -> Path:
        """Make a folder inside and return it.

        Raises:
            OSError: where no folder can be made.
        """
        # Jobs that clean up temporary folders remove that of a server which had no video for days.
        if self._path is None or not self._path.is_dir():
            self._close_lock()
            self._path = self._create()
        path = self._path / name
        path.mkdir()
        return path

    def close(self) -> None:
        """Remove the folder."""
        self._close_lock()
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)

    def _create(self) -> Path:
        parent = Path(tempfile.gettempdir()) if self._parent is None else self._parent
        for folder in parent.glob(f"{PREFIX}*"):
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # The system releases the lock however this process ends.
        self._lock = open(path / _LOCK, "wb")  # noqa: SIM115 (open until the server ends)
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path

    def _close_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _is_abandoned(folder: Path) -> bool:
    lock = folder / _LOCK
    try:
        if os.name == "nt":
            lock.unlink()  # Fails while another process has it open.
            return True
        import fcntl

        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        # In use, another user's, or just being made.
        return False
