"""ViT-B/16 from Hugging Face, whose last layer, final norm and new classifier are trained.

Dosovitskiy et al., "An image is worth 16×16 words", 2021; weights `google/vit-base-patch16-224` (ImageNet-21k, then
ImageNet).
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from moue.errors import ModelError, UsageError, quoted, require
from moue.models.base import InputSpec, Network
from moue.models.hub import build, config_values, init_classifier, read_config
from moue.spec import Color

SOURCE = "google/vit-base-patch16-224"


class ViT(Network):
    """``ViTForImageClassification`` on pixels that are scaled up inside, normalized to [-1, 1], gray repeated.

    Of the default source 7,094,791 of 85,804,039 weights are trained for seven classes: the last layer, the final
    layer norm and the classifier.

    Args:
        num_classes: number of logits.
        source: the model's name on the hub, or a local folder with its files.
        pretrained: whether to read its weights.
        trainable_layers: how many of the last encoder layers are trained; -1 trains everything, embeddings too.
        size: side of the input in pixels, scaled inside to the model's own (224).
        color: "gray" or "rgb".
        architecture: the model's configuration; by default that of ``source``.

    Raises:
        WeightsMissing: when the weights cannot be found or fetched.
        ModelError: when the source holds another kind of model.
        UsageError: for a ``trainable_layers`` out of range.
        MissingExtra: without transformers.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        source: str = SOURCE,
        pretrained: bool = True,
        trainable_layers: int = 1,
        size: int = 48,
        color: Color = "gray",
        architecture: dict[str, Any] | None = None,
    ) -> None:
        transformers = require("transformers", "train")
        if architecture is None and not pretrained and source == SOURCE:
            # ViTConfig's defaults are this model's, so nothing need be fetched.
            architecture = {"model_type": "vit"}
        config = read_config(source, architecture)
        if config.model_type != "vit":
            raise ModelError(
                f"{source} holds a {quoted(config.model_type)} model, not a ViT. Try the network 'hf:{source}'."
            )
        layers = config.num_hidden_layers
        if not -1 <= trainable_layers <= layers:
            raise UsageError(
                f"trainable_layers must be between -1 and {layers}. Got {quoted(trainable_layers)} instead."
            )
        config.num_labels = num_classes
        channels = config.num_channels
        super().__init__(InputSpec(size, color, config.image_size, channels, mean=(0.5,), std=(0.5,)), num_classes)
        self.model = build(transformers.ViTForImageClassification, config, source, pretrained)
        if pretrained:
            # A published head of as many classes would be loaded too, in an order of its own.
            init_classifier(self._classifier)
        self.rebuild = {"pretrained": False, "architecture": config_values(config)}
        self.trainable_layers = trainable_layers
        if trainable_layers >= 0:
            self._freeze_below(trainable_layers)

    def forward_features(self, x: Tensor) -> Tensor:
        """Prepared input to normalized tokens ``(N, 1 + patches, D)``, the class token first."""
        return cast(Tensor, self._vit(pixel_values=x).last_hidden_state)

    def forward_head(self, features: Tensor) -> Tensor:
        """The class token to logits."""
        return cast(Tensor, self._classifier(features[:, 0]))

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw pixels ``(N, C, H, W)``, or tokens of :meth:`forward_frozen`, to logits ``(N, num_classes)``."""
        if pixels.ndim == 3:
            return self.forward_head(self._forward_trained(pixels))
        return super().forward(pixels)

    @property
    def frozen_shape(self) -> tuple[int, int] | None:
        """All tokens, or the class token alone where only the norm and the classifier are trained."""
        config: Any = self.model.config
        if self.trainable_layers < 0:
            return None
        tokens = 1 + (int(config.image_size) // int(config.patch_size)) ** 2
        return tokens if self.trainable_layers else 1, int(config.hidden_size)

    def forward_frozen(self, pixels: Tensor) -> Tensor:
        """Raw pixels to the tokens that enter the first trained layer."""
        x = self._vit.embeddings(self.prepare(pixels))
        for layer in list(self.layers)[: len(self.layers) - self.trainable_layers]:
            x = _tokens(layer(x))
        return cast(Tensor, x if self.trainable_layers else x[:, :1])

    def _forward_trained(self, x: Tensor) -> Tensor:
        """Tokens that enter the first trained layer to the normalized class token ``(N, 1, D)``."""
        trained = list(self.layers)[len(self.layers) - self.trainable_layers :]
        for layer in trained[:-1]:
            x = _tokens(layer(x))
        for layer in trained[-1:]:
            x = _class_token(layer, x)
        return cast(Tensor, self._vit.layernorm(x[:, :1]))

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers."""
        # Transformers 5 holds them in the model, 4 in its encoder.
        return cast(nn.ModuleList, self._vit.layers if hasattr(self._vit, "layers") else self._vit.encoder.layer)

    @property
    def _vit(self) -> Any:
        return self.model.vit

    @property
    def _classifier(self) -> nn.Linear:
        return cast(nn.Linear, self.model.classifier)

    def _freeze_below(self, trainable: int) -> None:
        self.requires_grad_(False)
        kept = list(self.layers)[len(self.layers) - trainable :]
        for module in (*kept, self._vit.layernorm, self._classifier):
            module.requires_grad_(True)


def _tokens(output: Any) -> Tensor:
    """What an encoder layer gives: tokens, with transformers 4 in a tuple."""
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)


def _class_token(layer: Any, x: Tensor) -> Tensor:
    """The class token ``(N, 1, D)`` behind an encoder layer, whose other tokens the last layer need not compute."""
    attention = layer.attention
    if not hasattr(attention, "q_proj"):  # transformers 4
        return _tokens(layer(x))[:, :1]

    def heads(values: Tensor) -> Tensor:
        return values.view(*values.shape[:2], -1, attention.head_dim).transpose(1, 2)

    normed = layer.layernorm_before(x)
    attended = F.scaled_dot_product_attention(
        heads(attention.q_proj(normed[:, :1])),
        heads(attention.k_proj(normed)),
        heads(attention.v_proj(normed)),
        dropout_p=attention.attention_dropout if attention.training else 0.0,
        scale=attention.scaling,
    )
    x = x[:, :1] + layer.dropout(attention.o_proj(attended.transpose(1, 2).flatten(2)))
    return cast(Tensor, x + layer.dropout(layer.mlp(layer.layernorm_after(x))))
