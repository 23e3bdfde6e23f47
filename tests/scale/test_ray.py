"""`moue score --engine ray` on a cluster of its own: one input kills every actor that reads it, another hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from shards import rows_of, samples, tar_of

#: The command, whose actors die by SIGKILL at an input "KILL", and never return from "HANG", with Python's lock held.
SCRIPT = """
import ctypes, os, pathlib, sys, tempfile
from moue.scale import ray_data
from moue.cli.main import main

DEATHS = pathlib.Path(os.environ["DEATHS"])

class Mortal(ray_data.Actor):
    def __init__(self, job):
        super().__init__(job)
        from moue.runtime.recognizer import Recognizer
        opened = Recognizer.open
        def obey(recognizer, x, *rest):
            if x == b"KILL":
                with DEATHS.open("a") as file:
                    file.write("x")
                tempfile.mkstemp()
                os.kill(os.getpid(), 9)
            if x == b"HANG":
                ctypes.PyDLL(None).pause()
            return opened(recognizer, x, *rest)
        Recognizer.open = obey

ray_data.Actor = Mortal
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_killed_actors_lose_nothing(tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    source = tar_of(tmp_path / "a.tar", samples(40) | {"020.png": b"KILL", "036.png": b"HANG"})
    command = [sys.executable, str(tmp_path / "script.py"), "score", str(source), "--out", str(tmp_path / "out")]
    command += ["--engine", "ray", "--workers", "2", "--model", str(tiny_onnx), "--detector", "none", "--timeout", "5"]
    (tmp_path / "temporary").mkdir()
    environment = {"DEATHS": str(tmp_path / "deaths"), "TMPDIR": str(tmp_path / "temporary")}
    # The names of Ray's sockets have to be short. And it gives its workers the lowest priority, with which they take
    # minutes to start where a machine is busy.
    environment |= {"RAY_TMPDIR": tempfile.gettempdir(), "RAY_worker_niceness": "0"}
    done = subprocess.run(
        [*command, "--format", "json"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=800,
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["statuses"] == {"ok": 38, "unreadable": 2}
    rows = rows_of(tmp_path / "out")
    assert Counter(row["key"] for row in rows) == Counter({f"{i:03d}": 1 for i in range(40)})
    killed, hung = [row for row in rows if row["status"] == "unreadable"]
    assert (killed["key"], hung["key"]) == ("020", "036")
    assert killed["reason"].endswith("the worker process died")
    assert hung["reason"] == "given up after 2 attempts: no result within 5 s, or the worker process died"
    # Once without a note of where, twice with one.
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert [path.name for path in (tmp_path / "temporary").iterdir() if path.name.startswith("moue-")] == []
