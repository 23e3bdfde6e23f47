"""Near copies: the same photo in another form."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moue.data.duplicates import deduplicated
from moue.data.holdout import hold_out_test
from moue.data.info import describe
from moue.data.near_copies import near_copies, near_copy_groups
from moue.data.readers.synth import synthetic
from moue.data.splits import Split, stratified_split
from moue.data.table import ImageTable
from moue.errors import DataError


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


def forms(n: int) -> ImageTable:
    """``n`` photos of two classes, each followed by itself in another light and mirrored, all of Training."""
    images = [form for image in photos(n, 8) for form in (image, changed(image, "lit"), changed(image, "mirrored"))]
    return replace(table(np.stack(images)), labels=np.arange(3 * n) // 3 % 2)


def test_groups_join_what_copies_connect() -> None:
    first = photos(1, 9)[0]
    second = changed(changed(first, "cropped"), "mirrored")
    images = np.stack([photos(1, 10)[0], first, *photos(1100, 11), second, first, changed(second, "lit")])
    groups = near_copy_groups(table(images))
    assert (groups[[1, -3, -2, -1]] == groups[1]).all()
    assert len(np.unique(groups)) == len(images) - 3
    assert near_copy_groups(table(images[:0])).shape == (0,)


def test_near_copies_are_held_out_together() -> None:
    whole = forms(60)
    exact, near = stratified_split(whole, 0.2), stratified_split(whole, 0.2, duplicates="near")
    assert near_copies(whole.take(exact.validation), whole.take(exact.train)).any()
    assert not near_copies(whole.take(near.validation), whole.take(near.train)).any()
    assert len(near.validation) >= 24
    folds = [stratified_split(whole, 0.25, fold=fold, duplicates="near").validation for fold in range(4)]
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(whole)))


def test_training_has_no_near_copy_of_the_sets_own_validation_part() -> None:
    whole = replace(forms(10), split=np.array(["validation", "train", "train"] * 10))
    spare = table(photos(5, 12))
    joined = replace(
        whole,
        images=np.concatenate([whole.images, spare.images]),
        labels=np.concatenate([whole.labels, spare.labels]),
        split=np.concatenate([whole.split, spare.split]),
        source=(*whole.source, *spare.source),
    )
    assert len(stratified_split(joined).train) == 25
    assert stratified_split(joined, duplicates="near").train.tolist() == list(range(30, 35))


def test_a_test_part_without_near_copies_of_training() -> None:
    whole = forms(60)
    cut = hold_out_test(whole, 0.2, duplicates="near")
    tested = cut.split == "test"
    assert deduplicated(cut.take(tested), cut.take(~tested)).all()
    assert not near_copies(cut.take(tested), cut.take(~tested)).any()


def test_a_saved_split_says_what_was_kept_together(tmp_path: Path) -> None:
    split = stratified_split(forms(20), 0.2, duplicates="near")
    split.save(tmp_path / "split.json")
    again = Split.load(tmp_path / "split.json")
    assert again.duplicates == "near"
    assert (again.validation == split.validation).all()
    text = (tmp_path / "split.json").read_text()
    (tmp_path / "split.json").write_text(text.replace('"near"', '"all"'))
    with pytest.raises(DataError, match='duplicates must be "exact" or "near"'):
        Split.load(tmp_path / "split.json")
    (tmp_path / "split.json").write_text(text.replace('"duplicates": "near", ', ""))
    assert Split.load(tmp_path / "split.json").duplicates == "exact"
