"""`moue.preprocess`: what of an image becomes which pixel of a model's input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moue.preprocess import convert, crop_face, in_crop, resize, square_window, to_input, to_inputs

#: Few examples: each takes milliseconds, and the suite has thousands of tests.
FEW = settings(max_examples=15, deadline=None)


def noise(height: int, width: int, *channels: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth in both directions, another value at every place."""
    return (np.arange(height)[:, None] * 2 + np.arange(width)[None] * 3).astype(np.uint8)


def test_gray_is_luma_of_601() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert convert(image, "gray").tolist() == [[76, 150, 29]]
    gray = noise(3, 4)
    assert convert(gray, "gray") is gray
    assert np.array_equal(convert(gray, "rgb"), np.stack([gray] * 3, axis=2))
    rgb = noise(3, 4, 3)
    assert convert(rgb, "rgb") is rgb


def test_resizing_keeps_what_has_the_size_and_averages_when_it_shrinks() -> None:
    image = noise(8, 8)
    assert resize(image, 8) is image
    assert resize(noise(8, 4), 8).shape == (8, 8)
    stripes = np.tile(np.array([0, 200], np.uint8), (16, 8))
    assert np.abs(resize(stripes, 4)[:, 1:-1].astype(int) - 100).max() <= 20


@FEW
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from(["gray", "rgb"]), st.booleans())
def test_an_input_has_the_model_s_shape(height: int, width: int, color: str, is_rgb: bool) -> None:
    image = noise(height, width, *([3] if is_rgb else []))
    made = to_input(image, 12, color)  # type: ignore[arg-type]
    assert made.shape == (3 if color == "rgb" else 1, 12, 12)
    assert made.dtype == np.uint8
    assert made.flags.c_contiguous


def test_channels_come_first_in_their_order() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 1] = 7
    assert to_input(image, 4, "rgb").max((1, 2)).tolist() == [0, 7, 0]


@pytest.mark.parametrize(("channels", "color"), [(1, "gray"), (1, "rgb"), (3, "gray"), (3, "rgb")])
def test_many_inputs_are_each_that_of_one(channels: int, color: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, channels, 10, 10), dtype=np.uint8)
    made = to_inputs(images, 6, color)  # type: ignore[arg-type]
    for image, one in zip(images, made, strict=True):
        plain = image[0] if channels == 1 else image.transpose(1, 2, 0)
        assert np.array_equal(one, to_input(np.ascontiguousarray(plain), 6, color))  # type: ignore[arg-type]
    same = np.zeros((2, 1, 6, 6), np.uint8)
    assert to_inputs(same, 6, "gray") is same


def test_an_upright_crop_is_the_box_grown_by_its_margin() -> None:
    image = ramp(60, 60)
    crop = crop_face(image, (20, 10, 16, 20), margin=0.1, align=False, size=24, color="gray")
    # The center (28, 20), the longer side 20 grown to 24.
    assert np.abs(crop[0].astype(int) - image[8:32, 16:40]).max() <= 1


@FEW
@given(st.integers(0, 40), st.integers(0, 40), st.integers(4, 40), st.integers(4, 40), st.integers(1, 30))
def test_padding_with_edge_pixels_changes_no_crop(x: int, y: int, width: int, height: int, pad: int) -> None:
    image = noise(48, 40, seed=2)
    crop = {"margin": 0.1, "align": False, "size": 16, "color": "gray"}
    plain = crop_face(image, (x, y, width, height), **crop)  # type: ignore[arg-type]
    padded = np.pad(image, pad, mode="edge")
    moved = crop_face(padded, (x + pad, y + pad, width, height), **crop)  # type: ignore[arg-type]
    assert np.array_equal(plain, moved)


def eyes(center: tuple[float, float], angle: float) -> NDArray[np.float64]:
    """Five points of which the eyes are 10 pixels apart, on a line of that angle in radians; the others are below."""
    across = 5 * np.array([np.cos(angle), np.sin(angle)])
    below = np.array(center) + np.array([-across[1], across[0]])
    return np.array([np.array(center) - across, np.array(center) + across, *[below] * 3])


def test_alignment_levels_the_eyes() -> None:
    image = noise(81, 81, seed=3)
    box = (30, 30, 20, 20)
    turned = np.rot90(image).copy()  # counterclockwise
    crop = {"margin": 0.2, "size": 28, "color": "gray"}
    upright = crop_face(image, box, eyes((40, 36), 0), align=True, **crop)  # type: ignore[arg-type]
    again = crop_face(turned, (30, 31, 20, 20), eyes((36, 41), -np.pi / 2), align=True, **crop)  # type: ignore[arg-type]
    assert np.abs(upright.astype(int) - again).max() <= 2
    left_alone = crop_face(image, box, eyes((40, 36), 0.5), align=False, **crop)  # type: ignore[arg-type]
    assert np.array_equal(left_alone, upright)


@FEW
@given(st.floats(-3, 3), st.floats(-0.2, 0.5))
def test_points_are_where_the_crop_has_them(angle: float, margin: float) -> None:
    box, size = (30.0, 28.0, 24.0, 20.0), 48
    corners = np.array([[42.0, 38.0], [30.0, 28.0], [54.0, 48.0]])
    moved = in_crop(corners, box, eyes((42, 36), angle), margin=margin, align=True, size=size)
    assert moved[0] == pytest.approx([size / 2, size / 2])
    scale = size / (24 * (1 + 2 * margin))
    # A distance in the image is that distance, scaled, in the crop; opposite points stay opposite.
    assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(scale * np.hypot(12, 10))
    assert moved[1] + moved[2] == pytest.approx(2 * moved[0])
    level = in_crop(eyes((42, 36), angle)[:2], box, eyes((42, 36), angle), margin=margin, align=True, size=size)
    assert level[0, 1] == pytest.approx(level[1, 1])
    assert level[0, 0] < level[1, 0]


def test_a_point_that_is_bright_in_the_image_is_bright_where_the_crop_has_it() -> None:
    image = np.zeros((100, 100), np.uint8)
    image[28:33, 58:63] = 255
    box, points = (40.0, 30.0, 30.0, 30.0), eyes((55, 40), 0.4)
    arguments = {"margin": 0.1, "align": True, "size": 48}
    crop = crop_face(image, box, points, color="gray", **arguments)[0]  # type: ignore[arg-type]
    [[x, y]] = in_crop(np.array([[60.5, 30.5]]), box, points, **arguments)  # type: ignore[arg-type]
    rows, columns = np.nonzero(crop > 128)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x, y), abs=0.7)


@pytest.mark.parametrize("side", [0.1, 3, 47.5, 48, 200, 900])
def test_any_face_size_gives_a_crop(side: float) -> None:
    image = np.full((900, 900, 3), 77, np.uint8)
    crop = crop_face(image, (5, 5, side, side), margin=0, align=False, size=48, color="rgb")
    assert crop.shape == (3, 48, 48)
    assert (crop == 77).all()


def test_a_large_region_is_averaged_and_not_sampled() -> None:
    image = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (200, 200))
    window = square_window(image, np.array([200.0, 200.0]), 320.0, 0.0, 40)
    assert window.shape == (40, 40)
    assert np.abs(window.astype(int) - 100).max() <= 3
    crop = crop_face(image, (20, 20, 360, 360), margin=0, align=False, size=24, color="gray")
    assert np.abs(crop.astype(int) - 100).max() <= 3


def test_a_window_keeps_its_place_when_it_is_averaged() -> None:
    image = np.repeat(np.arange(200, dtype=np.uint8)[None], 200, axis=0)
    window = square_window(image, np.array([100.0, 100.0]), 160.0, 0.0, 40)
    # Column i is the mean around 20 + 4 i + 2.
    assert np.abs(window[20].astype(int) - (20 + 4 * np.arange(40) + 1.5)).max() <= 1


def test_a_face_of_less_than_a_pixel_is_cut_as_one_pixel() -> None:
    arguments = {"margin": 0.0, "align": False, "size": 48}
    [point] = in_crop(np.array([[11.0, 10.5]]), (10.4, 10.4, 0.2, 0.2), **arguments)  # type: ignore[arg-type]
    # Half a pixel from the center is half of the crop.
    assert point == pytest.approx([48, 24])


@pytest.mark.parametrize("angle", [0.4, 1.2, -2.0])
def test_the_eyes_line_is_from_the_first_to_the_second(angle: float) -> None:
    points = eyes((40, 40), angle)
    moved = in_crop(points[:2], (30, 30, 20, 20), points, margin=0, align=True, size=20)
    assert moved == pytest.approx(np.array([[5, 10], [15, 10]]))


def test_a_crop_that_is_not_scaled_keeps_every_pixel() -> None:
    image = noise(24, 24, seed=4)
    crop = crop_face(image, (0, 0, 24, 24), margin=0, align=False, size=24, color="gray")
    assert np.array_equal(crop[0], image)


@pytest.mark.parametrize(("height", "width"), [(40, 90), (90, 40)])
@pytest.mark.parametrize(("x", "y"), [(4, 4), (4, 16), (16, 4), (60, 20), (20, 60)])
def test_a_crop_of_a_wide_or_tall_image_is_what_is_there(height: int, width: int, x: int, y: int) -> None:
    """Inside of the image, at its lower and its right border, and beyond."""
    image = noise(height, width, seed=5)
    crop = crop_face(image, (x, y, 24, 24), margin=0, align=False, size=24, color="gray")
    rows, columns = (np.clip(np.arange(24) + start, 0, end - 1) for start, end in ((y, height), (x, width)))
    assert np.array_equal(crop[0], image[rows[:, None], columns])


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(-160, 240), st.integers(-160, 240)),
    st.integers(1, 50),
    st.sampled_from(["gray", "rgb", None]),
)
@settings(max_examples=100, deadline=None)
def test_a_window_that_leaves_the_image_is_one_of_the_image_with_its_edges_repeated(
    shape: tuple[int, int], quarters: tuple[int, int], side: int, color: Any
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    padded = np.pad(image, ((120, 120), (120, 120), (0, 0)), mode="edge")
    # Quarters of a pixel are exact wherever they are.
    center = np.array(quarters) / 4
    window = square_window(image, center, side, 0.3, 16, color)
    assert (window == square_window(padded, center + 120, side, 0.3, 16, color)).all()
