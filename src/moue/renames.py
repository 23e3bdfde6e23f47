"""Names that version 0.1.0 wrote into specs and run folders, and what they are called now.

Reading goes through these two functions, so that models and runs of that version still open; nothing writes the old
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Fields of a model's spec.
SPEC = {"colour": "color", "level": "align", "licence": "license", "uncertain": "uncertain_below"}

#: Parts of a spec's score names.
SCORES = {"twin_free": "deduplicated"}

#: Settings of a run, by section; "model.options" holds those of the network.
SETTINGS = {
    "data": {"erase": "random_erasing", "erase_size": "random_erasing_size"},
    "model.options": {"colour": "color", "fold": "space_to_depth", "folded": "fuse_bn"},
    "optim": {
        "batch": "batch_size",
        "clip": "grad_clip",
        "sizes": "progressive_sizes",
        "votes": "votes_weight",
    },
}

#: Values, of the keys that they belong to.
VALUES = {"color": {"grey": "gray"}}


def current_spec(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a spec under their current names."""
    fields = _renamed(values, SPEC)
    scores = fields.get("scores")
    if isinstance(scores, dict):
        for old, new in SCORES.items():
            scores = {name.replace(old, new) if isinstance(name, str) else name: v for name, v in scores.items()}
        fields["scores"] = scores
    return fields


def current_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration, nested as in its file, under the current names."""
    renamed = {
        section: _renamed(keys, SETTINGS.get(section, {})) if isinstance(keys, Mapping) else keys
        for section, keys in values.items()
    }
    model = renamed.get("model")
    if isinstance(model, dict) and isinstance(model.get("options"), Mapping):
        model["options"] = current_options(model["options"])
    return renamed


def current_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A network's options under their current names."""
    return _renamed(options, SETTINGS["model.options"])


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    renamed = {}
    for key, value in values.items():
        name = names.get(key, key)
        known = VALUES.get(name, {})
        renamed[name] = known.get(value, value) if isinstance(value, str) else value
    return renamed
