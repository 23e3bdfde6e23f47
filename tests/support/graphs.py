"""CUDA graphs without CUDA: they record what torch runs on the CPU, and run it again on the same memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Ops that wait for the device, or copy from the CPU's ordinary memory: no graph can hold them.
REFUSED = ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "unique", "equal")


class Refusing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises where an op cannot be captured, as CUDA does. The "meta" device, too, has memory of its own."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        by_mask = name.startswith("index") and any(
            isinstance(value, Tensor) and value.dtype in (torch.bool, torch.uint8) for value in tree_leaves(args[1:2])
        )
        if by_mask or name.partition(".")[0] in REFUSED:
            raise RuntimeError(f"{name} is not permitted when the stream is capturing")
        result = func(*args, **(kwargs or {}))
        copies = name.partition(".")[0] in ("_to_copy", "copy_") and result.device.type != "cpu"
        if copies and any(tensor.device.type == "cpu" for tensor in _tensors(args)):
            raise RuntimeError(f"{name} from memory that is not pinned is not permitted when capturing")
        return result


class _Recording(Refusing):  # type: ignore[no-untyped-call]
    """Keeps the ops, and what the tensors that were there before held."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[tuple[Any, Any, Any, list[Tensor], list[bool]]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        for tensor in given:
            if id(tensor) not in self.known:
                self.known.add(id(tensor))
                self.before.append((tensor, tensor.detach().clone()))
        result = super().__torch_dispatch__(func, types, args, kwargs)
        made, memory = _tensors(result), {_memory(tensor) for tensor in given}
        self.known.update(id(tensor) for tensor in made)
        # Views, and what is changed in place, need no copy.
        self.ops.append((func, args, kwargs or {}, made, [_memory(tensor) not in memory for tensor in made]))
        return result


class Graph:
    """As ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.recording = _Recording()
        self.replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, made, own in self.recording.ops:
            for old, new, is_own in zip(made, _tensors(func(*args, **kwargs)), own, strict=True):
                if is_own:
                    old.copy_(new)


class Stream:
    """As ``torch.cuda.Stream``: all run in order."""

    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, other: Stream) -> None:
        pass


@contextmanager
def _capture(graph: Graph, stream: Stream) -> Iterator[None]:
    """As ``torch.cuda.graph``: what is captured does not run."""
    drawn = torch.get_rng_state()
    try:
        with graph.recording:
            yield
    finally:
        torch.set_rng_state(drawn)
        with torch.no_grad():
            for tensor, value in reversed(graph.recording.before):
                tensor.copy_(value)


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these in the place of CUDA's."""
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", _capture)


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
