"""Engines on a GPU: what brings each of them, how it is set up, and whether this machine has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import platform

from moue.errors import UsageError
from moue.telemetry import import_onnxruntime, import_openvino


@dataclass(frozen=True)
class Accelerator:
    """An engine that does not compute on the CPU."""

    device: str
    """ONNX Runtime's name of its provider; OpenVINO's of its device, "GPU"."""
    brought_by: str
    """What to install for it."""
    needs: str
    """What it needs in order to start."""
    batch_size: int
    """How many images it is given at once, where a caller leaves it open. The results do not depend on it."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the provider: those that keep the results those of the CPU, in float32."""
    platform: str | None = None
    """The one that it exists for, as ``sys.platform`` has it."""
    shares_session: bool = True
    """Whether several threads may run one graph at a time."""


ACCELERATORS: dict[str, Accelerator] = {
    "cuda": Accelerator(
        "CUDAExecutionProvider",
        "pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'",
        "an NVIDIA GPU, its driver, and CUDA and cuDNN of the versions that this ONNX Runtime was built for, which "
        "pip install 'onnxruntime-gpu[cuda,cudnn]' brings",
        256,
        # TF32 keeps 10 bits of 23. The default search tries every algorithm anew for each size of image.
        {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
    ),
    "directml": Accelerator(
        "DmlExecutionProvider",
        "pip uninstall -y onnxruntime && pip install onnxruntime-directml",
        "Windows and a GPU that knows DirectX 12",
        256,
        platform="win32",
        shares_session=False,
    ),
    "coreml": Accelerator(
        "CoreMLExecutionProvider",
        "pip install onnxruntime",
        "macOS 12 or later",
        64,
        # The Neural Engine computes in float16.
        {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"},
        platform="darwin",
    ),
    "openvino-gpu": Accelerator(
        "GPU",
        "pip install 'moue[fast]'",
        "a GPU of Intel's and its driver for OpenCL or Level Zero",
        64,
    ),
}

#: Those that "auto" takes: whoever has them installed their package for that alone. Every ONNX Runtime for macOS has
#: CoreML, and every OpenVINO the other, whose speed depends on the machine: they are to be asked for.
AUTOMATIC = ("cuda", "directml")

#: The engines that did not start in this process.
_GIVEN_UP: set[str] = set()


def is_available(name: str) -> bool:
    """Whether the installed ONNX Runtime or OpenVINO has an accelerator; not whether it starts."""
    return ACCELERATORS[name].device in _devices(name)


def automatic() -> str | None:
    """The accelerator that "auto" takes; None where there is none, or it was given up."""
    return next((name for name in AUTOMATIC if not is_given_up(name) and is_available(name)), None)


def give_up(name: str) -> None:
    """Let "auto" take an engine no more, which did not start."""
    _GIVEN_UP.add(name)


def is_given_up(name: str) -> bool:
    """Whether "auto" leaves an engine out, as it did not start."""
    return name in _GIVEN_UP


def require_accelerator(name: str) -> None:
    """Refuse an accelerator that the installed packages do not have.

    Raises:
        MissingExtra: when OpenVINO is not installed.
        UsageError: says what is installed and what to install instead.
    """
    if is_available(name):
        return
    accelerator = ACCELERATORS[name]
    if accelerator.device == "GPU":
        raise UsageError(
            f"the engine {name} needs {accelerator.needs}. OpenVINO finds {_listed(_devices(name))} on this machine."
        )
    if accelerator.platform not in (None, platform):
        raise UsageError(f"the engine {name} needs {accelerator.needs}, which this machine does not have.")
    raise UsageError(
        f"the engine {name} needs an ONNX Runtime with {accelerator.device}. The installed one, "
        f"{import_onnxruntime().__version__}, has {_listed(_devices(name))}. Type: {accelerator.brought_by}"
    )


def not_started(name: str) -> UsageError:
    """The error of an accelerator that is installed and does not start."""
    return UsageError(
        f"the engine {name} is installed and does not start. It needs {ACCELERATORS[name].needs}. "
        "The engine auto takes the CPU instead."
    )


def _devices(name: str) -> list[str]:
    if ACCELERATORS[name].device == "GPU":
        # "GPU.0" and "GPU.1" where there are two.
        return [device.split(".")[0] for device in import_openvino().Core().available_devices]
    return list(import_onnxruntime().get_available_providers())


def _listed(devices: list[str]) -> str:
    return " and ".join(devices) or "nothing"
