"""Which device and precision suit a run, and what it took of them."""

from __future__ import annotations

import sys
from typing import Any, Literal

import torch

from moue.errors import UsageError

Precision = Literal["bf16", "fp32"]


def choose(name: str = "auto") -> torch.device:
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
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"run.device must be auto, cpu, cuda or mps. Got {name!r} instead.")
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
        return "bf16" if has_amx() else "fp32"
    return "fp32"


def has_amx() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def describe(on: torch.device) -> dict[str, Any]:
    """The device for a run's record: its name, threads, AMX."""
    name = torch.cuda.get_device_name(on) if on.type == "cuda" else on.type
    return {"accelerator": name, "amx": has_amx(), "threads": torch.get_num_threads()}


def peak_memory(on: torch.device) -> dict[str, float]:
    """Peak memory of this process (not known on Windows) and of the device, in GB."""
    peak = {}
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    if on.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(on) / 1e9
    return peak
