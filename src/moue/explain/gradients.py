"""What a network's own gradients say: Grad-CAM and integrated gradients. Both need the network in torch."""

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

#: Points of the path from an empty image to the whole one; more change little.
STEPS = 32


def gradcam(network: Network, image: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
    """Grad-CAM: the last feature map, each channel weighted by its mean gradient.

    Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017. A
    transformer's tokens count as the map that their patches lie in.

    Args:
        network: in evaluation mode.
        image: uint8 ``(C, S, S)``, 0..255, in the network's size and color.
        target: the class.

    Returns:
        float32 ``(S, S)``, 0 to 1 (all 0 where nothing speaks for the class); as coarse as the map.

    Raises:
        UsageError: when the network's features are no map, or its head does not read it.
    """
    with torch.enable_grad():
        features = network.forward_features(network.prepare(_tensor(image, network))).detach().requires_grad_()
        network.forward_head(features)[0, target].backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    values, slopes = _as_map(features.detach()), _as_map(features.grad)
    if not bool(slopes.any()):
        raise UsageError("Grad-CAM sees nothing where the class token alone is read. Take --method occlusion.")
    heat = (values * slopes.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).relu()
    size = image.shape[-1]
    return _scaled(F.interpolate(heat, size=(size, size), mode="bilinear", align_corners=False)[0, 0])


def integrated_gradients(network: Network, image: NDArray[np.uint8], target: int) -> NDArray[np.float32]:
    """Integrated gradients from the image's mean color to the image.

    Sundararajan et al., "Axiomatic attribution for deep networks", 2017: the pixels' parts add up to what the image
    adds to the class's logit.

    Args:
        network: in evaluation mode.
        image: uint8 ``(C, S, S)``, 0..255, in the network's size and color.
        target: the class.

    Returns:
        float32 ``(S, S)`` in logits, summed over the colors; below 0 where a pixel speaks against the class.
    """
    whole = _tensor(image, network)
    empty = _tensor(mean_color(image), network).expand_as(whole)
    # The middles of equal parts: an integral by a sum errs least there.
    parts = (torch.arange(STEPS, device=whole.device, dtype=whole.dtype) + 0.5).view(-1, 1, 1, 1) / STEPS
    with torch.enable_grad():
        path = (empty + parts * (whole - empty)).detach().requires_grad_()
        network(path)[:, target].sum().backward()
    assert path.grad is not None
    parts_of_logit: NDArray[np.float32] = ((whole - empty)[0] * path.grad.mean(dim=0)).sum(dim=0).cpu().numpy()
    return parts_of_logit


def _tensor(image: NDArray[np.uint8], network: Network) -> Tensor:
    device = next(network.parameters()).device
    return torch.from_numpy(np.ascontiguousarray(image))[None].to(device, torch.float32)


def _as_map(features: Tensor) -> Tensor:
    """A map ``(N, D, h, w)`` as it is; tokens ``(N, T, D)`` as one, without the token that stands for the class."""
    if features.ndim == 4 and features.shape[-1] > 1:
        return features
    if features.ndim == 3:
        side = math.isqrt(features.shape[1])
        grid = features[:, features.shape[1] - side * side :]
        return grid.transpose(1, 2).reshape(len(features), -1, side, side)
    raise UsageError(f"Grad-CAM needs a map of features. Got {tuple(features.shape)} instead. Take --method occlusion.")


def _scaled(heat: Tensor) -> NDArray[np.float32]:
    top = heat.max()
    scaled: NDArray[np.float32] = (heat / top if top > 0 else heat).float().cpu().numpy()
    return scaled
