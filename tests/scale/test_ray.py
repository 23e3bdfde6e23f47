"""`moue score --engine ray` on a cluster of its own: an actor is killed, and one input kills every actor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from shards import image, rows_of, samples, tar_of

#: The command, whose actors die by SIGKILL at an input "KILL ONCE", and each time at one "KILL ALWAYS".
SCRIPT = """
import os, pathlib, sys
from moue.scale import ray_data
from moue.cli.main import main

MARK, IMAGE = pathlib.Path(os.environ["MARK"]), bytes.fromhex(os.environ["IMAGE"])

class Mortal(ray_data.Actor):
    def __init__(self, job):
        super().__init__(job)
        from moue.runtime.recognizer import Recognizer
        opened = Recognizer.open
        def obey(recognizer, x, *rest):
            if x == b"KILL ALWAYS" or (x == b"KILL ONCE" and not MARK.exists()):
                MARK.touch()
                os.kill(os.getpid(), 9)
            return opened(recognizer, IMAGE if x.startswith(b"KILL") else x, *rest)
        Recognizer.open = obey

ray_data.Actor = Mortal
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.cluster
def test_killed_actors_lose_nothing(tmp_path: Path, tiny_onnx: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    source = tar_of(tmp_path / "a.tar", samples(40) | {"005.png": b"KILL ONCE", "020.png": b"KILL ALWAYS"})
    command = [sys.executable, str(tmp_path / "script.py"), "score", str(source), "--out", str(tmp_path / "out")]
    command += ["--engine", "ray", "--workers", "2", "--model", str(tiny_onnx), "--detector", "none"]
    done = subprocess.run(
        [*command, "--format", "json"],
        capture_output=True,
        text=True,
        env={**os.environ, "MARK": str(tmp_path / "mark"), "IMAGE": image().hex()},
        timeout=280,
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["statuses"] == {"ok": 39, "unreadable": 1}
    rows = rows_of(tmp_path / "out")
    assert Counter(row["key"] for row in rows) == Counter({f"{i:03d}": 1 for i in range(40)})
    [row] = [row for row in rows if row["status"] == "unreadable"]
    assert (row["key"], row["reason"]) == ("020", "given up after 2 attempts: the worker process died")
    assert (tmp_path / "mark").exists()
    assert (tmp_path / "out" / "_SUCCESS").exists()
