"""Attribution by gradients: Grad-CAM and integrated gradients. Both need the network in torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from moue.errors import UsageError
from moue.explain.occlusion import mean_color
from moue.models.base import Network

#: Points of the path from the baseline to the image; more change little.
STEPS = 32


def gradcam(network: Network, image: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
    """Grad-CAM: the last feature map, each channel weighted by its mean gradient.

    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017. A
    transformer's tokens are arranged as the grid of their patches.

    Args:
        network: in evaluation mode.
        image: uint8 ``(C, S, S)``, 0..255, in the network's size and color.
        target: the class.

    Returns:
        float32 ``(S, S)``, 0 to 1 (all 0 without evidence for the class); as coarse as the feature map.

    Raises:
        UsageError: when the network's features are no map, or its head does not use it.
    """
    with torch.enable_grad():
        features = network.forward_features(network.prepare(_tensor(image, network))).detach().requires_grad_()
        network.forward_head(features)[0, target].backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    values, gradients = _as_map(features.detach()), _as_map(features.grad)
    if not bool(gradients.any()):
        raise UsageError("Grad-CAM cannot explain a head that uses the class token alone. Take --method occlusion.")
    heatmap = (values * gradients.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).relu()
    size = image.shape[-1]
    return _scaled(F.interpolate(heatmap, size=(size, size), mode="bilinear", align_corners=False)[0, 0])


def integrated_gradients(network: Network, image: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
    """Integrated gradients from the image's mean color to the image.

    Sundararajan et al., "Axiomatic attribution for deep networks", 2017: the pixels' attributions add up to
    the difference of the class's logit between the image and its mean color.

    Args:
        network: in evaluation mode.
        image: uint8 ``(C, S, S)``, 0..255, in the network's size and color.
        target: the class.

    Returns:
        float32 ``(S, S)`` in logits, summed over the colors; below 0 where a pixel is evidence against the class.
    """
    pixels = _tensor(image, network)
    baseline = _tensor(mean_color(image), network).expand_as(pixels)
    # The midpoint rule.
    alphas = (torch.arange(STEPS, device=pixels.device, dtype=pixels.dtype) + 0.5).view(-1, 1, 1, 1) / STEPS
    with torch.enable_grad():
        path = (baseline + alphas * (pixels - baseline)).detach().requires_grad_()
        network(path)[:, target].sum().backward()
    assert path.grad is not None
    attribution: NDArray[np.float32] = ((pixels - baseline)[0] * path.grad.mean(dim=0)).sum(dim=0).cpu().numpy()
    return attribution


def _tensor(image: NDArray[np.uint8], network: Network) -> Tensor:
    device = next(network.parameters()).device
    return torch.tensor(image, device=device, dtype=torch.float32)[None]


def _as_map(features: Tensor) -> Tensor:
    """A map ``(N, D, h, w)`` unchanged; tokens ``(N, T, D)`` as a map, without the class token."""
    if features.ndim == 4 and features.shape[-1] > 1:
        return features
    if features.ndim == 3:
        side = math.isqrt(features.shape[1])
        grid = features[:, features.shape[1] - side * side :]
        return grid.transpose(1, 2).reshape(len(features), -1, side, side)
    raise UsageError(f"Grad-CAM needs a map of features. Got {tuple(features.shape)} instead. Take --method occlusion.")


def _scaled(heatmap: Tensor) -> NDArray[np.float32]:
    top = heatmap.max()
    scaled: NDArray[np.float32] = (heatmap / top if top > 0 else heatmap).float().cpu().numpy()
    return scaled
