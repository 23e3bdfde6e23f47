"""The device, precision and CPU threads of a network, and its peak memory."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from moue.errors import UsageError, quoted

Precision = Literal["bf16", "fp32"]


def choose(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: when torch knows no such device, the machine has none, or none of that number.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"run.device must be auto, cpu, cuda or mps. Got {quoted(name)} instead.") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"run.device must be auto, cpu, cuda or mps. Got {quoted(name)} instead.")
    absent = (chosen.type == "cuda" and not torch.cuda.is_available()) or (
        chosen.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise UsageError(
            f"run.device is {quoted(name)}, and torch finds none on this machine. Type: --set run.device=auto"
        )
    if chosen.index is not None:
        if chosen.type == "cpu":
            raise UsageError(f"the processor has no number. Got {quoted(name)} instead. Type: --set run.device=cpu")
        count = torch.cuda.device_count() if chosen.type == "cuda" else 1
        if chosen.index >= count:
            raise UsageError(
                f"run.device must be one of the {count} that torch finds, counted from {chosen.type}:0. "
                f"Got {quoted(name)} instead."
            )
    return chosen


def precision(setting: str, device: torch.device, network: nn.Module) -> Precision:
    """bf16 or fp32; "auto" takes bf16 only where the hardware trains the network faster in it.

    Emulated bf16 is a trap: on two cores of a Xeon with plain AVX-512, 3×3 convolutions ran at a third of float32's
    rate. With AVX512-BF16 (AMD from Zen 4 on) they run at almost twice that rate, with AMX at more. Depthwise
    convolutions with a stride are the exception: torch has no fast gradient of them in bf16, see
    :func:`has_strided_depthwise`.

    Args:
        setting: "auto", "bf16" or "fp32".
        device: that trains.
        network: that is trained.
    """
    if setting != "auto":
        return "bf16" if setting == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if device.type == "cpu":
        return "bf16" if multiplies_bf16() and not has_strided_depthwise(network) else "fp32"
    return "fp32"


def has_strided_depthwise(network: nn.Module) -> bool:
    """Whether a network has depthwise convolutions with a stride, as EfficientNet and MobileNet have.

    On an AMD EPYC (Zen 4) their backward pass took 9 to 12 times as long in bf16 as in float32 (3×3 of 144 channels,
    5×5 of 240), where those without a stride, as in ConvNeXt, took about as long, and dense ones half as long.
    """
    return any(
        isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels and max(layer.stride) > 1
        for layer in network.modules()
    )


def multiplies_bf16() -> bool:
    """Whether the processor has instructions that multiply bf16: AMX or AVX512-BF16."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


@contextlib.contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Torch with that many CPU threads, 0 for as many as it has; the number is the process's, so it is put back."""
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextlib.contextmanager
def tuned(device: torch.device) -> Iterator[None]:
    """On CUDA: float32 matrix products with TF32's 10 bits of mantissa, which are plenty for optimizers; the setting is
    the process's, so it is put back.

    cuDNN's search for the fastest algorithms is left off: on an H200 it took 9 seconds for `compact`, 5 more at its
    second size, and over 40 for the depthwise convolutions of `effnet-lite0`.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def put(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on a device. A GPU takes it without the CPU waiting for what the GPU has still to do."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def describe(device: torch.device) -> dict[str, Any]:
    """The device for a run's record: its name, whether the processor multiplies bf16, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"accelerator": name, "bf16": multiplies_bf16(), "threads": torch.get_num_threads()}


def peak_memory(device: torch.device) -> dict[str, float]:
    """Peak memory of this process (not known on Windows) and of the device, in GB."""
    peak = {}
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device) / 1e9
    return peak
