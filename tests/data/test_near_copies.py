"""Near copies: the same photo in another form."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moue.data.info import describe
from moue.data.near_copies import near_copies
from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable


def photos(n: int, seed: int) -> NDArray[np.uint8]:
    """Blurred noise ``(N, 1, 48, 48)``: as smooth as photos, and no two alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (n, 6, 6), np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.BICUBIC)) for image in noise])[
        :, None
    ]


def table(images: NDArray[np.uint8], split: str = "train") -> ImageTable:
    n = len(images)
    base = synthetic(max(n, 10), seed=0).take(np.arange(n))
    return replace(base, images=images, split=np.full(n, split))


def changed(image: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    picture = Image.fromarray(image[0])
    match how:
        case "cropped":
            picture = picture.crop((1, 1, 47, 47)).resize((48, 48))
        case "compressed":
            file = BytesIO()
            picture.save(file, "JPEG", quality=20)
            picture = Image.open(file)
        case "mirrored":
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case "lit":
            picture = picture.point(lambda value: 40 + value * 0.7)
        case "marked":
            picture.paste(255, (30, 44, 46, 46))
    return np.asarray(picture)[None]


@pytest.mark.parametrize("how", ["as it is", "cropped", "compressed", "mirrored", "lit", "marked"])
def test_a_photo_in_another_form_is_found(how: str) -> None:
    known, others = photos(40, 1), photos(10, 2)
    copies = np.stack([changed(image, how) for image in known[:20]])
    found = near_copies(table(np.concatenate([copies, others]), "public_test"), table(known))
    assert found[:20].mean() >= 0.9
    assert not found[20:].any()


def test_many_images_of_another_size_and_color_are_compared() -> None:
    known = photos(1500, 3)
    large = known.repeat(2, axis=2).repeat(2, axis=3).repeat(3, axis=1)
    found = near_copies(table(large[600:]), table(known[:1200]))
    assert found[:600].all()
    assert not found[600:].any()


def test_images_without_contrast_are_copies_of_equal_ones_alone() -> None:
    gray = np.stack([np.full((1, 48, 48), value, np.uint8) for value in (0, 100, 255)])
    found = near_copies(table(np.concatenate([gray, photos(2, 4)])), table(np.concatenate([gray[:1], photos(3, 5)])))
    assert found.tolist() == [True, False, False, False, False]
    assert near_copies(table(gray[:0]), table(gray)).shape == (0,)
    assert not near_copies(table(gray), table(gray[:0])).any()


def test_a_set_is_described_with_its_near_copies() -> None:
    known = photos(30, 6)
    copies = np.stack([changed(image, "lit") for image in known[:4]])
    images = np.concatenate([known, copies, known[:1], photos(5, 7)])
    whole = replace(table(images), split=np.array(["train"] * 30 + ["public_test"] * 10))
    assert describe(whole, near=True)["near_copies"] == {"across": {"train-public_test": 5}}
    assert describe(whole)["duplicates"]["across"] == {"train-public_test": 1}
    assert "near_copies" not in describe(whole)
