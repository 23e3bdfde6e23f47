"""`moue score` killed anywhere: a worker, the first process, by Ctrl-C. What is started again has each input once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from shards import image, rows_of, samples, tar_of

#: Runs the command with workers that do what an input says: b"KILL <process> <signal> <times>", or b"HANG", which
#: never returns and keeps Python's lock, as a decoder in C may.
SCRIPT = """
import ctypes, os, pathlib, sys, tempfile
from moue.runtime.recognizer import Recognizer

opened = Recognizer.open

def obey(self, x, *rest):
    if x.startswith(b"KILL"):
        _, process, number, times = x.split()
        mark = pathlib.Path(os.environ["MARKS"], process.decode())
        done = len(mark.read_bytes()) if mark.exists() else 0
        if done < int(times):
            mark.write_bytes(bytes(done + 1))
            tempfile.mkstemp()
            os.kill({b"worker": os.getpid(), b"first": os.getppid()}[process], int(number))
        x = bytes.fromhex(os.environ["IMAGE"])
    if x.startswith(b"HANG"):
        ctypes.PyDLL(None).pause()
    return opened(self, x, *rest)

# Workers are started with this file.
Recognizer.open = obey

if __name__ == "__main__":
    from moue.cli.main import main
    sys.exit(main(sys.argv[1:]))
"""


class Command:
    """`moue score` over an archive, in processes of its own."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model, self.out = folder, model, folder / "out"
        (folder / "marks").mkdir()
        (folder / "temporary").mkdir()
        (folder / "script.py").write_text(SCRIPT)

    def run(self, *sources: Path, workers: int = 1, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        options = ["--out", str(self.out), "--model", str(self.model), "--detector", "none", "--format", "json"]
        options += ["--workers", str(workers), "--timeout", str(timeout)]
        return subprocess.run(
            [sys.executable, str(self.folder / "script.py"), "score", *map(str, sources), *options],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "MARKS": str(self.folder / "marks"),
                "IMAGE": image().hex(),
                "TMPDIR": str(self.folder / "temporary"),
            },
            timeout=120,
        )

    def check_each_once(self, count: int) -> list[str]:
        """Each sample has one row; their statuses, in order."""
        rows = rows_of(self.out)
        assert Counter(row["key"] for row in rows) == Counter({f"{i:03d}": 1 for i in range(count)})
        assert (self.out / "_SUCCESS").exists()
        assert not list(self.out.rglob(".*.part"))
        assert not list((self.out / "_progress" / "attempts").iterdir())
        return [row["status"] for row in rows]


@pytest.fixture
def command(tmp_path: Path, tiny_onnx: Path) -> Command:
    return Command(tmp_path, tiny_onnx)


def archive(folder: Path, count: int, **commands: str) -> Path:
    """Samples, some of which are commands: ``_007="worker 9 1"``."""
    files = samples(count)
    for name, text in commands.items():
        files[f"{name[1:]}.png"] = f"KILL {text}".encode()
    return tar_of(folder / "a.tar", files)


def test_a_killed_worker_loses_nothing_and_one_input_that_kills_them_all_is_given_up(
    command: Command, tmp_path: Path
) -> None:
    source = archive(tmp_path, 40, _020="worker 9 99")
    done = command.run(source, workers=2)
    assert done.returncode == 3, done.stderr
    statuses = command.check_each_once(40)
    assert Counter(statuses) == Counter(ok=39, unreadable=1)
    assert json.loads(done.stdout)["failed"] == 1
    [row] = [row for row in rows_of(command.out) if row["status"] == "unreadable"]
    assert (row["key"], row["reason"]) == ("020", "given up after 2 attempts: the worker process died")
    assert list((tmp_path / "temporary").iterdir()) == []
    # Once without a note of where, twice with one.
    assert len((tmp_path / "marks" / "worker").read_bytes()) == 3


def test_an_input_at_which_the_decoder_hangs_is_given_up_and_the_others_are_read(
    command: Command, tmp_path: Path
) -> None:
    source = tar_of(tmp_path / "a.tar", samples(20) | {"004.png": b"HANG"})
    done = command.run(source, timeout=2)
    assert done.returncode == 3, done.stderr
    assert Counter(command.check_each_once(20)) == Counter(ok=19, unreadable=1)
    [row] = [row for row in rows_of(command.out) if row["status"] == "unreadable"]
    assert row["key"] == "004"
    assert row["reason"] == "given up after 2 attempts: no result within 2 s, or the worker process died"
    assert "Traceback" not in done.stderr + done.stdout


def test_a_killed_run_goes_on(command: Command, tmp_path: Path) -> None:
    source = archive(tmp_path, 40, _036="first 9 1")
    killed = command.run(source)
    assert killed.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in command.out.glob("part-*")}
    assert len(kept) >= 2
    assert not (command.out / "_SUCCESS").exists()
    done = command.run(source)
    assert done.returncode == 0, done.stderr
    assert set(command.check_each_once(40)) == {"ok"}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert json.loads(done.stdout)["already_scored"] >= 16


@pytest.mark.usefixtures("hangups_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_run_says_how_to_go_on(command: Command, tmp_path: Path, number: int) -> None:
    source = archive(tmp_path, 40, _036=f"first {int(number)} 1")
    stopped = command.run(source)
    assert stopped.returncode == 130
    assert "moue: interrupted; completed output is intact; the same command goes on\n" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
    assert command.run(source).returncode == 0
    assert set(command.check_each_once(40)) == {"ok"}
