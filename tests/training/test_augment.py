"""Augmentation: seeded, in range, and each change does what its name says."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from moue.errors import UsageError
from moue.training.augment import Augment
from moue.training.config import Config, DataConfig, OptimConfig
from moue.training.degrade import degrade

STILL = DataConfig(flip=False, rotation=0, scale=0, shift=0, brightness=0, contrast=0, random_erasing=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def faces() -> torch.Tensor:
    """A dark square in the middle of a light image, its left half darker."""
    images = torch.full((64, 1, 48, 48), 200, dtype=torch.uint8)
    images[:, :, 16:32, 16:32] = 50
    images[:, :, 16:32, 16:24] = 0
    return images


def test_without_changes_pixels_pass_as_they_are(faces: torch.Tensor) -> None:
    assert torch.equal(Augment(STILL)(faces, generator()), faces.float())
    assert torch.equal(Augment(replace(DataConfig(), augment=False))(faces, generator()), faces.float())


def test_a_seed_gives_the_same_views_and_another_one_others(faces: torch.Tensor) -> None:
    augment = Augment(DataConfig(random_erasing=0.5))
    once, again, other = augment(faces, generator(1)), augment(faces, generator(1)), augment(faces, generator(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert once.shape == faces.shape
    assert once.min() >= 0
    assert once.max() <= 255


@pytest.mark.parametrize("geometry", [{}, {"shift": 1e-9}])
def test_flips_mirror_the_images_that_are_named(faces: torch.Tensor, geometry: dict[str, Any]) -> None:
    flips = torch.arange(64) % 2 == 0
    out = Augment(replace(STILL, flip=True, **geometry))(faces, generator(), flips)
    assert torch.allclose(out[0], faces[0].float().flip(2), atol=1e-2)
    assert torch.allclose(out[1], faces[1].float(), atol=1e-2)


def test_flips_drawn_by_itself_are_about_half(faces: torch.Tensor) -> None:
    out = Augment(replace(STILL, flip=True))(faces, generator())
    mirrored = (out[:, 0, 24, 17] > out[:, 0, 24, 30]).sum()
    assert 16 < int(mirrored) < 48


def test_shift_moves_and_scale_resizes_within_their_bounds(faces: torch.Tensor) -> None:
    def dark(images: torch.Tensor) -> torch.Tensor:
        return (images < 100).float().sum(dim=(1, 2, 3))

    moved = Augment(replace(STILL, shift=0.1))(faces, generator())
    rows = torch.arange(48.0)
    center = ((moved < 100).float().sum(dim=(1, 3)) * rows).sum(1) / dark(moved)
    assert (center - 23.5).abs().max() <= 4.8 + 0.5
    assert (center - 23.5).abs().max() > 2
    scaled = Augment(replace(STILL, scale=0.2))(faces, generator())
    ratio = dark(scaled) / dark(faces)
    assert ratio.max() > 1.2
    assert ratio.min() < 0.85
    assert ratio.max() < 1.55


def test_brightness_shifts_the_mean_and_contrast_keeps_it(faces: torch.Tensor) -> None:
    faces = (faces // 2 + 60).to(torch.uint8)
    mean = faces.float().mean(dim=(1, 2, 3))
    bright = Augment(replace(STILL, brightness=0.1))(faces, generator()).mean(dim=(1, 2, 3))
    assert (bright - mean).abs().max() > 10
    assert (bright - mean).abs().max() <= 25.5 + 1e-3
    contrast = Augment(replace(STILL, contrast=0.2))(faces, generator())
    assert torch.allclose(contrast.mean(dim=(1, 2, 3)), mean, atol=0.5)
    assert contrast.std(dim=(1, 2, 3)).std() > 1


def test_erasing_covers_part_of_some_images(faces: torch.Tensor) -> None:
    out = Augment(replace(STILL, random_erasing=0.5, random_erasing_size=0.3))(faces, generator())
    covered = (out == 127.5).float().mean(dim=(1, 2, 3))
    assert 16 < int((covered > 0).sum()) < 48
    assert covered.max() <= 0.1 + 0.02


def test_a_random_crop_is_a_part_of_the_image_at_its_own_scale() -> None:
    column, row = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="xy")
    faces = torch.stack([column, row]).expand(64, 2, 48, 48)
    out = Augment(replace(STILL, random_crop=40))(faces, generator())
    assert out.shape == (64, 2, 40, 40)
    # A pixel's step to the right or down is one of the image's, wherever the part lies.
    assert torch.allclose(out[:, 0].diff(dim=2), torch.tensor(1.0), atol=1e-4)
    assert torch.allclose(out[:, 1].diff(dim=1), torch.tensor(1.0), atol=1e-4)
    for start in out[:, :, 0, 0].T:
        assert start.min() >= -1e-4
        assert start.min() < 1
        assert start.max() > 7
        assert start.max() <= 8 + 1e-4
    assert torch.allclose(Augment(replace(STILL, random_crop=48))(faces, generator()), faces, atol=1e-4)


def test_mixing_ends_where_it_is_told_to() -> None:
    optim = OptimConfig(mixup=0.4, mixup_until=0.9, epochs=20)
    assert [optim.mixes_in(epoch) for epoch in (0, 17, 18, 19)] == [True, True, False, False]
    assert not OptimConfig(mixup_until=0.9).mixes_in(0)


def test_degradation_begins_where_it_is_told_to() -> None:
    late = Config().override(["optim.epochs=20", "data.degradation_from=0.8"])
    assert [late.degrades_in(epoch) for epoch in (0, 15, 16, 19)] == [False, False, True, True]
    assert Config().degrades_in(0)
    assert not Config().override(["data.degradation_from=1"]).degrades_in(Config().optim.epochs - 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.random_crop=60"], "at most 48"),
        (["data.random_crop=40", "optim.progressive_sizes=[40, 48]"], "Leave out one"),
        (["optim.mixup=0.1", "optim.mixup_until=0.5", "optim.teacher_views=8"], "Leave out one"),
        (["data.degradation_from=0.5", "optim.cached_views=2"], "Leave out one"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Config().override(settings)


def test_growth_may_go_further_than_shrinking(faces: torch.Tensor) -> None:
    out = Augment(replace(STILL, scale=0.0, scale_up=0.5))(faces, generator())
    dark = (out[:, 0, 24] < 125).sum(dim=1)
    assert int(dark.min()) >= 16
    assert 20 <= int(dark.max()) <= 25


def test_gamma_bends_the_curve_and_leaves_black_and_white(faces: torch.Tensor) -> None:
    faces[:, :, 0, 0], faces[:, :, 0, 1] = 0, 255
    out = Augment(replace(STILL, gamma=1.0))(faces, generator())
    exponents = torch.log(out[:, 0, 40, 40] / 255) / torch.log(torch.tensor(200 / 255))
    assert 0.5 <= float(exponents.min()) < 0.7
    assert 1.6 < float(exponents.max()) <= 2.0001
    assert torch.equal(out[:, 0, 0, 0], torch.zeros(64))
    assert torch.allclose(out[:, 0, 0, 1], torch.full((64,), 255.0))


def textured(n: int = 8, size: int = 48) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=generator()) * 200 + 20


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [48, 40, 45])
def test_a_degradation_grows_with_its_strength(kind: int, size: int) -> None:
    images = textured(size=size)
    kinds = torch.full((8,), kind)

    def change(strength: float) -> float:
        noise = torch.randn(images.shape, generator=generator())
        out = degrade(images, kinds, torch.full((8,), strength), lambda part: noise)
        assert out.shape == images.shape
        return float((out - images).abs().mean())

    assert change(0.05) < change(0.5) < change(1.0)


def test_each_image_is_degraded_in_its_own_way() -> None:
    images = textured(5)
    kinds = torch.arange(5)
    out = degrade(images, kinds, torch.ones(5), lambda part: torch.ones_like(part))
    assert torch.equal(out[0], images[0])
    # The strongest blur and the lowest resolution leave little of fine texture, noise and compression more.
    spread = out.std(dim=(1, 2, 3))
    assert (spread[1:3] < 0.5 * spread[0]).all()
    assert torch.allclose(out[3], images[3] + 30)
    alone = degrade(images[2:3], kinds[2:3], torch.ones(1), lambda part: torch.ones_like(part))
    assert torch.allclose(alone[0], out[2], atol=1e-4)


def test_compression_is_that_of_jpeg() -> None:
    """Against the codec: as far from the original, and close to what it gives."""
    ramp = torch.linspace(0, 255, 48)
    image = ((ramp[None] + ramp[:, None]) / 2 + 20 * torch.sin(torch.arange(48.0))[None]).clamp(0, 255).round()
    strength = torch.full((1,), (50 - 10) / (50 - 8))
    ours = degrade(image[None, None], torch.tensor([4]), strength, torch.zeros_like)[0, 0]
    file = io.BytesIO()
    Image.fromarray(image.numpy().astype(np.uint8)).save(file, "JPEG", quality=10)
    codec = torch.from_numpy(np.asarray(Image.open(file)).astype(np.float32))
    assert float((codec - image).abs().mean()) > 3
    assert float((codec - ours).abs().mean()) < 1


def test_degraded_batches_are_of_their_seed(faces: torch.Tensor) -> None:
    augment = Augment(replace(STILL, degradation=0.5))
    once, again = augment(faces, generator(3)), augment(faces, generator(3))
    assert torch.equal(once, again)
    untouched = sum(torch.equal(a, b.float()) for a, b in zip(once, faces, strict=True))
    assert 20 < untouched < 44
