"""The blocks of a network, in the order in which an image passes them: what its diagram and its table of weights show.

They are read from the modules themselves, by a pass through the network that computes no pixel.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moue.errors import UsageError, quoted, shortened
from moue.models import builder, create
from moue.models.load import without_weights
from moue.spec import channels_of

#: Modules that only hold others.
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

#: A block with a larger share of the weights is shown as its parts, until there are :data:`MOST` blocks.
LARGE, MOST = 0.9, 40


@dataclass(frozen=True)
class Block:
    """One block, or several alike in a row."""

    name: str
    """As the module is called ("inceptions.3a"); of several, the first and the last."""
    kind: str
    """Its class, or what it consists of."""
    output: str
    """Shape of its output for one image: "64×24×24"."""
    parameters: int
    """Weights of all of them."""
    repeats: int = 1


@dataclass(frozen=True)
class Architecture:
    """A network as a report shows it."""

    network: str
    summary: str
    """What it is, and after which paper: the text at the head of its module."""
    input: str
    """"1×48×48"."""
    inside: str | None
    """The input as it is scaled up inside; None where it is not."""
    blocks: tuple[Block, ...]
    parameters: int
    """Those that inference uses."""
    classes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {**vars(self), "blocks": [vars(block) for block in self.blocks]}


def architecture(name: str, num_classes: int, **options: Any) -> Architecture:
    """Read the blocks of a network; no weight is read and no pixel computed.

    Args:
        name: as for :func:`moue.models.create`.
        num_classes: number of logits.
        **options: the network's own.

    Raises:
        UnknownName, UsageError, WeightsMissing: as :func:`moue.models.create`; UsageError, too, where it cannot be run
            without its weights.
    """
    with torch.device("meta"):
        network = create(name, num_classes, **{**options, **without_weights(name)}).eval()
    channels, size = channels_of(network.input.color), network.input.size
    outputs: dict[nn.Module, str] = {}
    # The order is that in which blocks begin: a block ends after its parts.
    started: dict[nn.Module, int] = {}

    def begin(module: nn.Module, inputs: Any) -> None:
        started.setdefault(module, len(started))

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs.setdefault(module, _shape(output))

    inner = [module for module in network.modules() if module is not network]
    hooks = [module.register_forward_pre_hook(begin) for module in inner]
    hooks += [module.register_forward_hook(end) for module in inner]
    try:
        with torch.no_grad():
            network(torch.zeros(1, channels, size, size, device="meta"))
    except Exception as error:  # Networks that users bring raise of all kinds.
        raise UsageError(f"the network {quoted(name)} cannot be followed: {shortened(str(error))}") from error
    finally:
        for hook in hooks:
            hook.remove()
    total = sum(p.numel() for p in network.inference_parameters())
    parts = _parts(network, started, total)
    blocks = [
        Block(name, _kind(module), outputs[module], _weights(module))
        for name, module in sorted(parts.items(), key=lambda item: started[item[1]])
    ]
    # Those that no module below has, as a positional encoding that is learned.
    if rest := total - sum(block.parameters for block in blocks):
        blocks.append(Block("further weights", "outside of the blocks", "–", rest))
    inside = network.input.upsample
    build = builder(name)
    return Architecture(
        name,
        _summary(getattr(build, "func", build)),
        f"{channels}×{size}×{size}",
        f"{network.input.channels}×{inside}×{inside}" if inside and inside != size else None,
        tuple(_merged(blocks)),
        total,
        num_classes,
    )


def _parts(network: nn.Module, started: dict[nn.Module, int], total: int) -> dict[str, nn.Module]:
    """The modules to show, by name: containers and large blocks as what is in them."""
    parts = {name: child for name, child in network.named_children() if _runs(child, started)}
    while len(parts) < MOST:
        opened = next((name for name, module in parts.items() if _opens(module, started, total)), None)
        if opened is None:
            break
        module = parts.pop(opened)
        parts |= {f"{opened}.{n}": child for n, child in module.named_children() if _runs(child, started)}
    # What changes neither the shape nor has weights, as dropout in evaluation, says nothing.
    return {name: module for name, module in parts.items() if _weights(module) or "Pool" in type(module).__name__}


def _runs(module: nn.Module, started: dict[nn.Module, int]) -> bool:
    """Whether it, or what it holds, has been run: auxiliary classifiers have not."""
    return any(child in started for child in module.modules())


def _opens(module: nn.Module, started: dict[nn.Module, int], total: int) -> bool:
    children = list(module.children())
    if not children:
        return False
    if module not in started:  # Lists and dictionaries of modules are never run themselves.
        return True
    if not all(child in started or isinstance(child, CONTAINERS) for child in children if _weights(child)):
        return False
    composite = any(list(child.children()) for child in children)
    return composite and (type(module) is nn.Sequential or _weights(module) > LARGE * total)


def _merged(blocks: list[Block]) -> list[Block]:
    """Blocks that are alike and follow one another as one, as the layers of a transformer."""
    merged: list[Block] = []
    for block in blocks:
        if merged and _alike(merged[-1], block):
            last = merged[-1]
            name = f"{last.name.split(' to ')[0]} to {block.name}"
            parameters = last.parameters + block.parameters
            merged[-1] = Block(name, block.kind, block.output, parameters, last.repeats + 1)
        else:
            merged.append(block)
    return merged


def _alike(several: Block, one: Block) -> bool:
    same = (several.kind, several.output) == (one.kind, one.output)
    return same and several.parameters == one.parameters * several.repeats and one.parameters > 0


def _kind(module: nn.Module) -> str:
    """Its class; of a plain sequence and of a convolution, what is in it."""
    if isinstance(module, nn.Conv2d):
        return f"convolution {'×'.join(map(str, module.kernel_size))}"
    if isinstance(module, nn.Linear):
        return "fully connected"
    if type(module) is nn.Sequential:
        return ", ".join(dict.fromkeys(_kind(child) for child in module.children()))
    return type(module).__name__


def _weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _shape(output: Any) -> str:
    """The shape of an output without its batch; of several, that of the first tensor."""
    while not isinstance(output, Tensor):
        # Tuples, and the outputs of transformers, which are dictionaries in order.
        output = next(iter(output.values() if hasattr(output, "values") else output))
    return "×".join(map(str, output.shape[1:]))


def _summary(build: Any) -> str:
    """The head of the module that defines a network, on one line."""
    text = sys.modules[build.__module__].__doc__ or ""
    return " ".join(text.replace("`", "").split())
