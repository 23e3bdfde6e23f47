"""Which commit a run names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from moue.training import machine


def test_a_package_in_somebody_elses_repository_names_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)

    def git(*args: str) -> str:
        me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        command = ["git", "-C", str(tmp_path), *me, *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    file = tmp_path / "venv" / "moue" / "training" / "machine.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    monkeypatch.setattr(machine, "__file__", str(file))
    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    assert machine.git_state() is None
    git("add", "-f", str(file))
    git("commit", "-m", "ours")
    assert machine.git_state() == {"commit": git("rev-parse", "HEAD"), "changed": False}
    file.write_text("# changed")
    assert machine.git_state() == {"commit": git("rev-parse", "HEAD"), "changed": True}
