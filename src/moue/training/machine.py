"""Where a run happened: machine, versions and git state, for its record; and which device and precision suit it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import torch

from moue._version import __version__
from moue.errors import UsageError

Precision = Literal["bf16", "fp32"]


def device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: when torch knows no such device or the machine has none.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"run.device must be auto, cpu, cuda or mps. Got {name!r} instead.") from error
    missing = (chosen.type == "cuda" and not torch.cuda.is_available()) or (
        chosen.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise UsageError(f"run.device is {name!r}, and torch finds none on this machine. Type: --set run.device=auto")
    return chosen


def precision(asked: str, on: torch.device) -> Precision:
    """bf16 or fp32; "auto" takes bf16 only where the hardware multiplies it faster.

    Emulated bf16 is a trap: on two cores of a processor with AVX-512 but without AMX, 3×3 convolutions ran at a third
    of float32's rate.
    """
    if asked != "auto":
        return "bf16" if asked == "bf16" else "fp32"
    if on.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(on)[0] >= 8 else "fp32"
    if on.type == "cpu":
        amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return "bf16" if amx() else "fp32"
    return "fp32"


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


def describe(on: torch.device) -> dict[str, Any]:
    """Machine, versions and git state, as plain types."""
    versions = {"moue": __version__, "python": platform.python_version()}
    for package in ("torch", "lightning", "numpy", "transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name(on) if on.type == "cuda" else on.type,
        "amx": bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """Commit of the source tree that runs and whether it has changes; None for an installed package."""
    here = Path(__file__).resolve().parent

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *args], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--", str(here.parent))),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory(on: torch.device) -> dict[str, float]:
    """Peak memory of this process, and of the device, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    if on.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(on) / 1e9
    return peak
