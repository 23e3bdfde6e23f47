"""Networks, by name. The table is free of torch; :func:`create` loads what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moue.errors import MoueError, UnknownName, UsageError, quoted
from moue.registry import Registry

if TYPE_CHECKING:
    from moue.models.base import Network

__all__ = ["NETWORKS", "builder", "create", "options_of"]

NETWORKS = Registry(
    "network",
    {
        "googlenet": "moue.models.googlenet:GoogLeNet",
        "resnet50v2": "moue.models.resnet50v2:resnet50v2",
        "resnet50v2-small": "moue.models.resnet50v2:resnet50v2_small",
        "vit": "moue.models.vit:ViT",
        "vit-compact": "moue.models.vit_compact:ViTCompact",
        "conv-vit": "moue.models.conv_vit:ConvViT",
        "effnet-lite0": "moue.models.effnet_lite:effnet_lite0",
        "effnet-lite1": "moue.models.effnet_lite:effnet_lite1",
        "effnet-lite2": "moue.models.effnet_lite:effnet_lite2",
        "compact": "moue.models.compact:Compact",
        "vgg": "moue.models.vgg:VGG",
        "face-mobilenet": "moue.models.face_mobilenet:FaceMobileNet",
        "face-resnet": "moue.models.face_resnet:FaceResNet",
        "concat": "moue.models.concat:Concat",
    },
)


def create(name: str, num_classes: int, **options: Any) -> Network:
    """Build a network.

    Args:
        name: a name of :data:`NETWORKS`, or "hf:<name or folder>" for any Hugging Face image classifier.
        num_classes: number of logits.
        **options: the network's own keyword arguments.

    Raises:
        UnknownName: when there is no such network, or it has no such option.
        UsageError: when it does not take an option with that value.
        WeightsMissing: when it needs published weights that cannot be found or fetched.
    """
    if num_classes < 1:
        raise UsageError(f"a network needs at least 1 class. Got {quoted(num_classes)} instead.")
    build = builder(name)
    if name.startswith("hf:"):
        options = {"source": name[3:], **options}
    known = options_of(name)
    for option in options:
        if option not in known:
            raise UnknownName(f"option of the network {quoted(name)}", option, known)
    built = options
    if "members" in known:
        members = options.get("members", known["members"])
        if not isinstance(members, (list, tuple)):
            raise UsageError(f"members must be a list of networks. Got {quoted(members)} instead.")
        built = {**options, "members": [_member(member, num_classes) for member in members]}
    try:
        network: Network = build(num_classes=num_classes, **built)
    except MoueError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        # The first line of torch's or Python's message names the wrong value; torch's further lines are internals.
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the network {quoted(name)} cannot be built with {quoted(options)}: {reason}") from error
    return network


def _member(member: Any, num_classes: int) -> Network:
    """A network that is a part of another one, from its name, or from a mapping with its name and options."""
    match {"network": member} if isinstance(member, str) else member:
        case {"network": str() as name, **others} if others.keys() <= {"options"}:
            options = others.get("options") or {}
            if isinstance(options, dict):
                return create(name, num_classes, **options)
    raise UsageError(
        f"a member is a network's name, or a section with network and options. Got {quoted(member)} instead."
    )


def builder(name: str) -> Callable[..., Network]:
    """What :func:`create` calls for a name: a class, or a function whose signature shows the network's options.

    Raises:
        UnknownName: when there is no such network.
    """
    build: Callable[..., Network]
    if name.startswith("hf:"):
        from moue.models.hub import HubClassifier

        build = HubClassifier
    else:
        build = NETWORKS.load(name)
    return build


def options_of(name: str) -> dict[str, Any]:
    """A network's options with their defaults; None where there is no default, as for the source of "hf:…".

    Raises:
        UnknownName: when there is no such network.
    """
    build = builder(name)
    # What a partial has bound is part of the name's meaning.
    bound = {"num_classes", *getattr(build, "keywords", {})}
    found = inspect.signature(build).parameters.values()
    return {p.name: None if p.default is p.empty else p.default for p in found if p.name not in bound}
