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

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from moue.errors import ModelError, MoueError, WeightsMissing, quoted, require, shortened
from moue.labels import label_permutation
from moue.models.base import InputSpec, Network
from moue.silence import silenced
from moue.spec import Color

#: Side in pixels of the images that show what a processor does; no processor scales to it.
_PROBE = 61


class HubClassifier(Network):
    """A Hugging Face image classifier.

    Where the published head has ``num_classes`` outputs it is kept (see ``labels``), else it is replaced. Size, mean
    and deviation of the input are the processor's, whatever its scale. Code that comes with a model is never run.

    Args:
        num_classes: number of logits.
        source: the model's name on the hub, or a local folder.
        pretrained: whether to read its weights; without, only the architecture.
        labels: the classes, in output order; a published head of just these is put into this order, and one of others
            is replaced. Without them, and where a model does not end in one classifier, the head is kept unchanged.
        size: side of the input in pixels, scaled inside to the processor's.
        color: "gray" or "rgb".
        architecture: the model's configuration; by default that of ``source``.
        processor: its preprocessing, as of :func:`read_processor`; by default that of ``source``.

    Raises:
        WeightsMissing: when the model cannot be found or fetched.
        ModelError: when it is not an image classifier of transformers, is damaged, or has a preprocessing that networks
            here cannot have.
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
        processor = read_processor(source, color) if processor is None else processor
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
        ModelError: when it is damaged, or not that of an image classifier of transformers.
    """
    transformers = require("transformers", "train")
    names = require("transformers.models.auto.modeling_auto", "train").MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    values = architecture
    if values is None:
        with _reading(source):
            values, _ = transformers.PretrainedConfig.get_config_dict(source, **_hub_options(source))
            if not values:
                raise FileNotFoundError("there is no config.json")
    with _building(source):
        kind = values.get("model_type")
        if kind in names:
            return transformers.CONFIG_MAPPING[kind].from_dict(_without_code(values))
        own = "its classes are code of its own, which moue does not run"
        raise ValueError(own if "auto_map" in values else f"its model_type is {quoted(kind)}")


def read_processor(source: str, color: Color = "gray") -> dict[str, Any]:
    """A model's preprocessing as plain values, from what its processor makes of images of one color.

    Args:
        source: the model's name on the hub, or a local folder.
        color: of the images that it will be given.

    Returns:
        ``size``, the side to which it scales, None where it does not; ``mean`` and ``std`` of each channel, after
        division by 255.

    Raises:
        ModelError: when there is no processor that can be read, or it does more than scale and normalize.
    """
    auto = require("transformers", "train").AutoImageProcessor
    colors = [(0, 0, 0), (255, 255, 255), (255, 0, 0)]
    images = [Image.new("RGB", (_PROBE, _PROBE), each) for each in colors]
    try:
        with _quiet(), torch.device("cpu"):
            process = auto.from_pretrained(source, trust_remote_code=False, **_hub_options(source))
            pixels = np.asarray(process(images, return_tensors="np")["pixel_values"], np.float64)
        height, width = pixels.shape[2:]
    # Processors check their values with exceptions of many kinds.
    except Exception as error:
        raise ModelError(
            f"the preprocessing of {source} cannot be read ({shortened(_first_line(error))}). If its files have "
            "none, give the model's own numbers, as --set 'model.options.processor={size: 224, "
            "mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}'"
        ) from error
    black, white, red = pixels[:, :, height // 2, width // 2]
    if color == "rgb" and not np.allclose(red, [white[0], *black[1:]], atol=1e-4):
        raise ModelError(
            f"{source} takes its channels in another order than red, green, blue, which networks here do not. "
            "Train it on gray images: --set model.options.color=gray"
        )
    scale = white - black
    if not scale.all():
        raise ModelError(f"the processor of {source} makes the same of black and white images.")
    return {
        "size": None if height == _PROBE else height,
        # As many digits as the processor's float32 has.
        "mean": [float(f"{value:.6g}") for value in (0 - black) / scale],
        "std": [float(f"{value:.6g}") for value in 1 / scale],
    }


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
    with _building(source):
        if pretrained:
            with _reading(source):
                options = {"config": config, "ignore_mismatched_sizes": True, "trust_remote_code": False}
                return cast(nn.Module, kind.from_pretrained(source, **options, **_hub_options(source)))
        if hasattr(kind, "from_config"):
            return cast(nn.Module, kind.from_config(config, trust_remote_code=False))
        return cast(nn.Module, kind(config))


def init_classifier(head: nn.Linear | nn.Conv2d) -> None:
    """A classifier's weights as transformers draws new ones: those of other classes would have to be unlearned."""
    nn.init.trunc_normal_(head.weight, std=0.02)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def config_values(config: Any) -> dict[str, Any]:
    """A configuration as plain values, without its origin and the code that came with it."""
    values = _without_code(json.loads(config.to_json_string(use_diff=False)))
    drop = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    return {key: value for key, value in values.items() if key not in drop}


def _without_code(values: Any) -> Any:
    """Values of a configuration without the names of Python files that transformers would run, also in its parts."""
    if isinstance(values, dict):
        return {key: _without_code(value) for key, value in values.items() if key != "auto_map"}
    return values


@contextmanager
def _building(source: str) -> Iterator[None]:
    """Turn what a configuration makes transformers raise into :class:`ModelError`."""
    try:
        yield
    except MoueError:
        raise
    # Classes check their values with exceptions of many kinds, or not at all.
    except Exception as error:
        raise ModelError(
            f"{source} is not an image classifier that transformers can build: {shortened(error, 160)}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' output off the terminal: it warns about a new head, which is intended."""
    log = require("transformers", "train").utils.logging
    enabled = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        with silenced():
            yield
    finally:
        if enabled:
            log.enable_progress_bar()


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn errors of reading a model into :class:`WeightsMissing`, and keep transformers' output off the terminal."""
    try:
        with _quiet():
            yield
    # OSError for what cannot be found or fetched, ValueError for names that the hub's client rejects.
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise WeightsMissing(
                f"the folder {source} does not hold a Hugging Face model: {_first_line(error)}"
            ) from error
        if source.startswith((".", "/", "~", "\\")):
            raise WeightsMissing(f"there is no folder {source}: it should hold a Hugging Face model.") from error
        if not _is_offline(error):
            raise WeightsMissing(f"the model {quoted(source)} cannot be read: {_first_line(error)}") from error
        raise WeightsMissing(
            f"the model {quoted(source)} cannot be fetched from here. On a machine with network type: "
            f"hf download {source} --local-dir FOLDER, copy FOLDER here, and set model.options.source=FOLDER; "
            f"or train 'vit-compact', which needs no published weights."
        ) from error


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


def _is_offline(error: BaseException | None) -> bool:
    """Whether an error is due to a hub that cannot be reached."""
    absent = require("huggingface_hub.utils", "train").LocalEntryNotFoundError
    while error is not None:
        if isinstance(error, (absent, ConnectionError, TimeoutError)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
