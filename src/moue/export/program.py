"""A torch network as a `torch.export` program: raw pixels in, logits out, as in the ONNX graph; its spec inside."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram

from moue.errors import ModelError, quoted
from moue.files import atomic_write_many
from moue.silence import silenced
from moue.spec import ModelSpec

#: The name of the spec in the file, for ``torch.export.load(path, extra_files={"spec.json": ""})``.
SPEC_FILE = "spec.json"


def program_of(network: nn.Module, spec: ModelSpec) -> ExportedProgram:
    """Trace a network in evaluation mode.

    Args:
        network: on the CPU.
        spec: its spec.

    Returns:
        A program with one input, uint8 ``(N, C, size, size)`` with any N of at least 1, and one output, logits float32
        ``(N, K)``. It names no files of the machine that it was made on.
    """
    network.eval()
    example = torch.zeros(2, spec.channels, spec.size, spec.size, dtype=torch.uint8)
    with silenced():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("N")},))
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def write_program(path: Path, program: ExportedProgram, spec: ModelSpec) -> ModelSpec:
    """Write a program with its spec inside, as one file, atomically.

    Returns:
        The spec with the file's hash, which the one inside cannot have.
    """
    file = io.BytesIO()
    with silenced():
        torch.export.save(program, file, extra_files={SPEC_FILE: json.dumps(spec.to_dict(), ensure_ascii=False)})
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_many({path: file.getvalue()})
    return spec.replace(sha256=hashlib.sha256(file.getvalue()).hexdigest())


def check_program(
    spec: ModelSpec,
    program: ExportedProgram,
    samples: NDArray[np.uint8],
    exact: NDArray[np.float32],
    tolerance: float,
) -> None:
    """Check that a program gives these logits, for one image and for several.

    Args:
        spec, samples, exact, tolerance: as of :func:`moue.export.parity.check_parity`.
        program: what will be written.

    Raises:
        ModelError: where they differ by more.
    """
    module = program.module()
    allowed = tolerance * max(1.0, float(np.abs(exact).max()))
    with torch.inference_mode():
        for batch in (64, 5, 1):
            parts = [module(part) for part in torch.split(torch.from_numpy(samples), batch)]
            worst = float(np.abs(torch.cat(parts).numpy() - exact).max())
            if not worst <= allowed:
                raise ModelError(
                    f"the exported program of {quoted(spec.name)} differs from its network by {worst:.2g}, where "
                    f"{allowed:.2g} is allowed: nothing was written."
                )
