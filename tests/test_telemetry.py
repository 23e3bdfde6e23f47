"""Packages that report their use do not report it through moue (`make check-privacy` watches longer)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moue.telemetry import OPT_OUT

READ = """
import sys
import numpy as np
import moue
image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
for engine in ("onnxruntime", "openvino"):
    moue.Recognizer(sys.argv[1], engine=engine).read([image, image])
"""

EXPORT = """
import moue.export.parity
import torch.onnx
import onnxruntime  # as the exporter of torch does, unasked
"""

CHILD = """
import multiprocessing, os
import moue
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(os.getenv, ["ORT_DISABLE_TELEMETRY"]))
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    """Run code where nothing has turned telemetry off yet; what it prints."""
    # Continuous integration is one of the places where packages are silent by themselves.
    silent = {*OPT_OUT, "CI", "TF_BUILD", "JENKINS_URL", "MOUE_CACHE", "XDG_CACHE_HOME"}
    given = {k: v for k, v in os.environ.items() if k not in silent}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=given | environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", [READ, EXPORT], ids=["read", "export"])
def test_the_home_directory_gets_moues_own_cache_and_nothing_else(code: str, tmp_path: Path, tiny_onnx: Path) -> None:
    run(code, str(tiny_onnx), HOME=str(tmp_path))
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert not {path for path in written if not path.startswith((".cache/moue/", "Library/Caches/moue/"))}


def test_child_processes_inherit_it() -> None:
    assert run(CHILD).strip() == "1"


def test_what_the_user_has_set_is_kept() -> None:
    code = "import moue.telemetry, os; moue.telemetry.import_onnxruntime(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run("import moue, os; print(os.environ['ORT_DISABLE_TELEMETRY'])", ORT_DISABLE_TELEMETRY="0").strip() == "0"
    assert run(code).strip() == "1"
