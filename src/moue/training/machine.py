"""Where something was measured: machine, versions and git state. Free of torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moue._version import __version__


def processor() -> str:
    """The processor's name and its number of cores in use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def describe() -> dict[str, Any]:
    """Processor, system, versions and git state, as plain types."""
    versions = {"moue": __version__, "python": platform.python_version()}
    for package in ("torch", "lightning", "numpy", "transformers", "onnxruntime", "openvino"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": processor(), "system": platform.platform(), "versions": versions, "git": git_state()}


def commit(about: Mapping[str, Any]) -> str:
    """The commit of :func:`describe`, and whether the source tree has changes that are in none."""
    git = about["git"]
    return "an installed package" if git is None else git["commit"] + (", with changes" if git["changed"] else "")


def git_state() -> dict[str, Any] | None:
    """Commit of the source tree that runs and whether it has changes; None for an installed package."""
    file = Path(__file__).resolve()
    here = file.parent

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *args], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # An environment may lie in somebody else's repository.
        git("ls-files", "--error-unmatch", "--", str(file))
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--", str(here.parent))),
        }
    except (OSError, subprocess.SubprocessError):
        return None
