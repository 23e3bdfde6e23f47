"""The temporary folder of one server, removed with it; what a crashed server left is removed by the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "moue-serve-"
_LOCK = "owner.lock"


class Workspace:
    """A folder that only this user can read. The folders of servers that no longer run are removed first.

    Args:
        parent: where it is made; the system's folder for temporary files where None.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        for folder in self._parent.glob(f"{PREFIX}*"):
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self._create()

    def subfolder(self, name: str) -> Path:
        """Make a folder inside and return it."""
        # Jobs that clean up temporary folders remove that of a server which had no video for days.
        if not self._path.is_dir():
            self._lock.close()
            self._create()
        path = self._path / name
        path.mkdir()
        return path

    def close(self) -> None:
        """Remove the folder."""
        self._lock.close()
        shutil.rmtree(self._path, ignore_errors=True)

    def _create(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
        # The system releases the lock however this process ends.
        self._lock = open(self._path / _LOCK, "wb")  # noqa: SIM115 (open until the server ends)
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
