"""Augmentation: seeded, in range, and each change does what its name says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from moue.errors import UsageError
from moue.training.augment import Augment
from moue.training.config import Config, DataConfig, OptimConfig

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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.random_crop=60"], "at most 48"),
        (["data.random_crop=40", "optim.progressive_sizes=[40, 48]"], "Leave out one"),
        (["optim.mixup=0.1", "optim.mixup_until=0.5", "optim.teacher_views=8"], "Leave out one"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Config().override(settings)
