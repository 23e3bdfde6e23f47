"""Any Hugging Face image classifier as a :class:`~moue.models.base.Network`.

Weights come from a local folder (`config.json`, `model.safetensors`, `preprocessor_config.json`) or from the hub.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from moue.errors import ModelError, WeightsMissing, quoted, require, shortened
from moue.labels import label_permutation
from moue.models.base import InputSpec, Network
from moue.silence import silenced
from moue.spec import Color


class HubClassifier(Network):
    """A Hugging Face image classifier.

    Where the published head has ``num_classes`` outputs it is kept (see ``labels``), else it is replaced. Size, mean
    and deviation of the input are the processor's, whether that scales pixels to 0..1 or leaves them in 0..255.

    Args:
        num_classes: number of logits.
        source: the model's name on the hub, or a local folder.
        pretrained: whether to read its weights; without, only the architecture.
        labels: the classes, in output order; a published head of just these is put into this order, and one of others
            is replaced. Without them, and where a model does not end in one classifier, the head is kept unchanged.
        size: side of the input in pixels, scaled inside to the processor's.
        color: "gray" or "rgb".
        architecture: the model's configuration; by default that of ``source``.
        processor: its preprocessing; by default that of ``source``.

    Raises:
        WeightsMissing: when the model cannot be found or fetched.
        ModelError: when it is not an image classifier.
        MissingExtra: without transformers.
    """

    labels: tuple[str, ...] | None
    """The kept head's class names in output order; None for a new head."""

    def __init__(
        self,
        num_classes: int,
        *,
        source: str,
        pretrained: bool = True,
        labels: Sequence[str] = (),
        size: int = 48,
        color: Color = "gray",
        architecture: dict[str, Any] | None = None,
        processor: dict[str, Any] | None = None,
    ) -> None:
        config = read_config(source, architecture)
        processor = read_processor(source) if processor is None else processor
        super().__init__(input_of(processor, config, size, color), num_classes)
        published = {int(key): str(name) for key, name in (config.id2label or {}).items()}
        kept = pretrained and len(published) == num_classes
        config.num_labels = num_classes
        auto = require("transformers", "train").AutoModelForImageClassification
        self.body = build(auto, config, source, pretrained)
        # Most models end in one module from a pooled vector to logits; its input is the features.
        name = next((n for n in ("classifier", "head") if isinstance(getattr(self.body, n, None), nn.Module)), None)
        self.classifier: nn.Module = getattr(self.body, name) if name else nn.Identity()
        if name:
            setattr(self.body, name, nn.Identity())
        self.labels = tuple(published[i] for i in range(num_classes)) if kept else None
        if self.labels is not None and labels:
            self._reorder_head(labels)
        self.rebuild = {
            "pretrained": False,
            "architecture": config_values(config),
            "processor": processor,
        }

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to what enters the classifier, ``(N, D)`` or a map ``(N, D, 1, 1)``.

        For a model that does not end in one classifier module these are its logits, and the head passes them on.
        """
        return cast(Tensor, self.body(pixel_values=x).logits)

    def forward_head(self, features: Tensor) -> Tensor:
        """The model's own classifier."""
        return cast(Tensor, self.classifier(features))

    def _reorder_head(self, target: Sequence[str]) -> None:
        """Put a kept head's outputs into the target order; a head of other classes is initialized anew."""
        last = next(
            (m for m in reversed(list(self.classifier.modules())) if isinstance(m, (nn.Linear, nn.Conv2d))), None
        )
        if last is None:
            return
        order = label_permutation(target, self.labels or ())
        if order is None:
            init_classifier(last)
            self.labels = None
            return
        with torch.no_grad():
            last.weight.copy_(last.weight[order].clone())
            if last.bias is not None:
                last.bias.copy_(last.bias[order].clone())
        self.labels = tuple(target)


def read_config(source: str, architecture: dict[str, Any] | None = None) -> Any:
    """A model's configuration: from its folder or the hub, or from one that was saved.

    Raises:
        WeightsMissing: when it cannot be found or fetched.
    """
    transformers = require("transformers", "train")
    if architecture is not None:
        values = dict(architecture)
        return transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    with _reading(source):
        return transformers.AutoConfig.from_pretrained(source, **_hub_options(source))


def read_processor(source: str) -> dict[str, Any]:
    """A model's preprocessing as plain values: ``size``, ``mean``, ``std`` (after division by 255)."""
    transformers = require("transformers", "train")
    with _reading(source):
        values, _ = transformers.image_processing_utils.ImageProcessingMixin.get_image_processor_dict(
            source, **_hub_options(source)
        )
    size = values.get("crop_size") if values.get("do_center_crop") else None
    size = size or values.get("size") or {}
    side = size if isinstance(size, int) else size.get("height") or size.get("shortest_edge")
    normalize = values.get("do_normalize", True)
    mean = values.get("image_mean") or [0.5] * 3 if normalize else [0.0]
    std = values.get("image_std") or [0.5] * 3 if normalize else [1.0]
    # Processors that do not rescale normalize 0..255; Network.prepare always divides by 255.
    factor = values.get("rescale_factor", 1 / 255) * 255 if values.get("do_rescale", True) else 255.0
    return {"size": side, "mean": [m / factor for m in mean], "std": [s / factor for s in std]}


def input_of(processor: dict[str, Any], config: Any, size: int, color: Color) -> InputSpec:
    """The input of a processor's values, completed by the configuration."""
    side = processor.get("size") or getattr(config, "image_size", None) or 224
    side = side if isinstance(side, int) else max(side)
    channels = int(getattr(config, "num_channels", 3))
    return InputSpec(size, color, side, channels, tuple(processor["mean"]), tuple(processor["std"]))


def build(kind: Any, config: Any, source: str, pretrained: bool) -> nn.Module:
    """A model of a configuration, with or without its published weights.

    Args:
        kind: a transformers model class, or an "Auto" one.
        config: its configuration, with our number of classes.
        source: where weights are.
        pretrained: whether to read them; a head of another size is initialized anew.

    Raises:
        WeightsMissing: when they cannot be found or fetched.
        ModelError: when the configuration is not that of an image classifier.
    """
    try:
        if not pretrained:
            return cast(nn.Module, (getattr(kind, "from_config", None) or kind)(config))
        with _reading(source):
            return cast(
                nn.Module,
                kind.from_pretrained(source, config=config, ignore_mismatched_sizes=True, **_hub_options(source)),
            )
    except (ValueError, KeyError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{source} is not an image classifier that transformers can build: {shortened(error)}"
        ) from error


def init_classifier(head: nn.Linear | nn.Conv2d) -> None:
    """A classifier's weights as transformers draws new ones: those of other classes would have to be unlearned."""
    nn.init.trunc_normal_(head.weight, std=0.02)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def config_values(config: Any) -> dict[str, Any]:
    """A configuration as plain values, without its origin."""
    values = json.loads(config.to_json_string(use_diff=False))
    drop = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    return {key: value for key, value in values.items() if key not in drop}


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn errors of reading a model into :class:`WeightsMissing`, and keep transformers' output off the terminal."""
    log = require("transformers", "train").utils.logging
    enabled = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        # Transformers warns about a new head, which is intended.
        with silenced():
            yield
    # OSError for what cannot be found or fetched, ValueError for names that the hub's client rejects.
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise WeightsMissing(
                f"the folder {source} does not hold a Hugging Face model: {_first_line(error)}"
            ) from error
        if source.startswith((".", "/", "~", "\\")):
            raise WeightsMissing(f"there is no folder {source}: it should hold a Hugging Face model.") from error
        raise WeightsMissing(
            f"the model {quoted(source)} cannot be fetched from here. On a machine with network type: "
            f"hf download {source} --local-dir FOLDER, copy FOLDER here, and set model.options.source=FOLDER; "
            f"or train 'vit-compact', which needs no published weights."
        ) from error
    finally:
        if enabled:
            log.enable_progress_bar()


def _hub_options(source: str) -> dict[str, bool]:
    """Only the local cache where there is no network: the hub's client would go on trying for half a minute."""
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    if Path(source).is_dir() or getproxies():
        return {"local_files_only": Path(source).is_dir()}
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
    except OSError:
        return {"local_files_only": True}
    return {"local_files_only": False}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
