"""Maps over faces: where evidence is known, they find it, and their own test tells good ones from bad ones."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from moue.errors import UnknownName, UsageError
from moue.explain.explainer import Explainer, Explanation
from moue.explain.faithfulness import deletion
from moue.explain.gradients import gradcam, integrated_gradients
from moue.explain.occlusion import mean_color, occlusion
from moue.explain.regions import region_shares
from moue.models import create
from moue.preprocess import crop_face, in_crop

#: The regions that the probabilities of these tests depend on: above and below, to the left of the center.
FOR, AGAINST = np.s_[12:18, 6:12], np.s_[36:42, 6:12]


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (1, 48, 48)).astype(np.uint8)


def bright(images: NDArray[np.uint8]) -> NDArray[np.floating]:
    """The probability of a class with evidence for it in one region and against it in another."""
    pixels = images[:, 0].astype(np.float64) / 255
    seen, unseen = (np.array([image[place].mean() for image in pixels]) for place in (FOR, AGAINST))
    return 0.5 + (seen - unseen) / 2


def spots() -> NDArray[np.uint8]:
    image = np.full((1, 48, 48), 20, np.uint8)
    image[0][FOR] = image[0][AGAINST] = 250
    return image


def test_occlusion_finds_evidence_for_and_against_a_class() -> None:
    image = spots()
    heatmap = occlusion(bright, image)
    assert heatmap.shape == (48, 48)
    assert FOR[0].start - 6 <= np.unravel_index(heatmap.argmax(), heatmap.shape)[0] <= FOR[0].stop + 6
    assert AGAINST[0].start - 6 <= np.unravel_index(heatmap.argmin(), heatmap.shape)[0] <= AGAINST[0].stop + 6
    assert heatmap[:, 30:].max() == pytest.approx(0, abs=1e-6), "the probability does not depend on these pixels"
    # In probability: a square that covers all of it costs what the mean color costs.
    gray = np.broadcast_to(mean_color(image), image.shape)
    cost = (image[0][FOR].mean() - gray[0][FOR].mean()) / 255 / 2
    assert 0 < heatmap.max() <= cost + 1e-6


def test_the_border_counts_as_much_as_the_center() -> None:
    def all_of_it(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        return (images == 255).mean(axis=(1, 2, 3))

    # Pixels of equal importance get equal values, except near the border.
    heatmap = occlusion(all_of_it, np.where(np.indices((48, 48)).sum(0) % 2, 255, 0)[None].astype(np.uint8))
    assert heatmap[20:28, 20:28].std() < 1e-6
    assert heatmap[0, 24] > 0.5 * heatmap[24, 24]


def test_a_faithful_heatmap_passes_the_deletion_test_and_a_wrong_one_does_not() -> None:
    image = spots()
    heatmap = occlusion(bright, image)
    good, wrong, blank = (deletion(bright, image, h) for h in (heatmap, -heatmap, np.zeros_like(heatmap)))
    assert good.deletion < good.random < wrong.deletion
    assert good.random == wrong.random == blank.random, "the same random orders for the same seed"
    remarks = [Explanation("happy", 0.5, "occlusion", heatmap, f).to_dict()["remark"] for f in (good, wrong)]
    assert remarks == [None, "the heatmap is no better than a random one"]


def test_evidence_is_divided_among_the_regions_of_a_face() -> None:
    landmarks = np.array([[15.0, 18], [33, 18], [24, 27], [17, 36], [31, 36]])
    mouth, everywhere = np.zeros((48, 48)), np.ones((48, 48))
    mouth[34:39, 20:28] = 2
    mouth[:10] = -5
    assert region_shares(mouth, landmarks) == {"eyes": 0, "nose": 0, "mouth": 1, "elsewhere": 0}
    spread = region_shares(everywhere, landmarks)
    assert sum(spread.values()) == pytest.approx(1)
    assert min(spread.values()) > 0.05
    assert set(region_shares(-everywhere, landmarks).values()) == {0}


@pytest.mark.parametrize(("turn", "align"), [(0.0, True), (0.4, True), (0.4, False)])
def test_points_lie_in_the_crop_where_the_crop_shows_them(turn: float, align: bool) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    points = np.array([[-20.0, -12], [20, -12], [0, 6], [-14, 24], [14, 24]]) @ np.array([[cos, sin], [-sin, cos]])
    marks = points + np.array([100, 90])
    box = (55.0, 45.0, 90.0, 90.0)
    for point in marks:
        image = np.zeros((200, 220), np.uint8)
        x, y = np.floor(point).astype(int)
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
        crop = crop_face(image, box, marks, margin=0.1, align=align, size=48, color="gray")[0].astype(float)
        rows, columns = np.indices(crop.shape) + 0.5
        seen = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
        found = in_crop(point[None], box, marks, margin=0.1, align=align, size=48)[0]
        assert found == pytest.approx(seen, abs=0.5)


def test_integrated_gradients_add_up_to_the_difference_of_logits(image: NDArray[np.uint8]) -> None:
    network = create("compact", 7, widths=[8, 16]).eval()
    heatmap = integrated_gradients(network, image, 2)
    empty = np.broadcast_to(mean_color(image), image.shape).copy()
    with torch.no_grad():
        whole, nothing = (float(network(torch.from_numpy(x)[None])[0, 2]) for x in (image, empty))
    assert heatmap.sum() == pytest.approx(whole - nothing, abs=0.02 * max(1, abs(whole - nothing)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("compact", {"widths": [8, 16]}),
        ("googlenet", {"width": 0.25}),
        ("vit-compact", {"dim": 48, "depth": 2, "heads": 2}),
        ("conv-vit", {"widths": [8], "dims": [32], "depths": [1]}),
        ("resnet50v2-small", {"width": 0.25, "last_map": 6}),
    ],
)
def test_gradcam_of_networks_with_maps_and_with_tokens(
    name: str, options: dict[str, Any], image: NDArray[np.uint8]
) -> None:
    torch.manual_seed(0)
    network = create(name, 7, **options).eval()
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that are read-only, as decoded images are
        heatmaps = [gradcam(network, image, k) for k in range(7)]
    assert all(heatmap.shape == (48, 48) and heatmap.min() >= 0 for heatmap in heatmaps)
    assert max(heatmap.max() for heatmap in heatmaps) == pytest.approx(1)
    assert len({heatmap.tobytes() for heatmap in heatmaps}) > 1, "heatmaps differ between classes"


def test_gradcam_names_another_method_where_it_cannot_explain(image: NDArray[np.uint8], tmp_path: Path) -> None:
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    shape = transformers.ViTConfig(**tiny, image_size=32, patch_size=8)
    transformers.ViTForImageClassification(shape).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"class token alone.*--method occlusion"):
        gradcam(create("vit", 7, source=str(tmp_path)).eval(), image, 0)
    values = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UsageError, match="Grad-CAM needs a map"):
        gradcam(create(f"hf:{tmp_path}", 7).eval(), image, 0)


def test_the_predicted_or_the_requested_class_is_explained(tiny_onnx: Path, image: NDArray[np.uint8]) -> None:
    explainer = Explainer(tiny_onnx)
    explanation = explainer.explain(image)
    probabilities = explainer.probabilities(image[None])[0]
    assert (explanation.label, explanation.probability) == (
        explainer.spec.labels[probabilities.argmax()],
        probabilities.max(),
    )
    assert "regions" not in explanation.to_dict()
    requested = explainer.explain(image, "Happiness", np.array([[15.0, 18], [33, 18], [24, 27], [17, 36], [31, 36]]))
    assert (requested.label, requested.probability) == ("happy", probabilities[3])
    assert requested.regions is not None
    assert requested.faithfulness.deletion < requested.faithfulness.random
    with pytest.raises(UnknownName, match="joyful"):
        explainer.explain(image, "joyful")
    with pytest.raises(UsageError, match="gradcam needs a run folder, for its gradients"):
        Explainer(tiny_onnx, "gradcam")
    with pytest.raises(UnknownName, match="occlusion"):
        Explainer(tiny_onnx, "oclusion")  # type: ignore[arg-type]
