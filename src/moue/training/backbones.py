"""Trained networks as parts of another one: their architecture and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moue.errors import UsageError
from moue.models.base import Network
from moue.models.concat import Concat
from moue.models.load import without_weights
from moue.trained.network import architecture_of, network_spec, open_network
from moue.training.config import Config


def resolve_backbones(config: Config) -> Config:
    """The configuration with the networks of ``model.backbones`` as the members of its network.

    Size and color are the largest that a backbone takes. Options that the configuration sets have precedence.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`moue.trained.network.open_network`.
    """
    model = config.model
    if not model.backbones or "members" in model.options:
        return config
    specs = [network_spec(name) for name in model.backbones]
    options = {
        "members": [_member(name) for name in model.backbones],
        "frozen": True,
        "size": max(spec.size for spec in specs),
        "color": "rgb" if any(spec.color == "rgb" for spec in specs) else "gray",
        **model.options,
    }
    return replace(config, model=replace(model, options=options))


def load_backbones(network: Network, names: Sequence[str]) -> None:
    """Copy trained networks' weights, all but those of their last layers, into the members of a :class:`Concat`.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`moue.trained.network.open_network`; a
            ``UsageError`` where a member is of another architecture than the model.
    """
    members = network.networks if isinstance(network, Concat) else []
    if len(members) != len(names):
        raise UsageError(f"model.options.members must be the networks of the {len(names)} in model.backbones.")
    for member, name in zip(members, names, strict=True):
        state, own = open_network(name).network.state_dict(), member.state_dict()
        try:
            member.load_state_dict({key: state[key] for key in own})
        except (KeyError, RuntimeError) as error:
            raise UsageError(
                f"{name} does not fit its member of model.options.members. Leave that option out."
            ) from error


def _member(name: str) -> dict[str, Any]:
    network, options = architecture_of(name)
    rebuild = open_network(name).network.rebuild
    return {"network": network, "options": {**options, **without_weights(network), **rebuild}}
