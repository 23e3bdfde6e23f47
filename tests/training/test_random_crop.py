"""A network that is trained on random crops: what it is given when it reads, from the training's own images to ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from moue.data.table import ImageTable
from moue.errors import ModelError
from moue.export import export
from moue.models.load import load_run
from moue.runtime.engine import open_model
from moue.spec import ModelSpec
from moue.training.augment import Augment
from moue.training.config import Config, DataConfig
from moue.training.loop import fit
from moue.tta import make_views


def test_training_sees_crops_of_the_scale_and_side_that_ten_views_have() -> None:
    plain = DataConfig(random_crop=40, rotation=0, scale=0, shift=0, flip=False, brightness=0, contrast=0)
    ramp = np.tile((5 * np.arange(48)).astype(np.uint8), (48, 1))[None, None]
    seen = Augment(plain)(torch.from_numpy(ramp).repeat(20, 1, 1, 1), torch.Generator().manual_seed(0)).numpy()
    views = make_views(ramp, 10, 40)
    assert seen.shape[1:] == views.shape[1:] == (1, 40, 40)
    np.testing.assert_allclose(np.diff(seen, axis=3), 5, atol=0.01)
    assert (np.diff(views[:5].astype(int), axis=3) == 5).all()
    assert seen[:, 0, 0, 0].min() >= 0
    assert seen[:, 0, 0, 0].max() <= views[:5, 0, 0, 0].max() == 5 * 8


def test_the_spec_says_so_and_the_exported_graph_takes_both(table: ImageTable, tmp_path: Path) -> None:
    settings = ["model.network=vgg", "model.options={widths: [4, 8]}", "optim.epochs=1", "optim.steps=1"]
    config = Config().override([*settings, "data.random_crop=40", "run.device=cpu", "run.precision=fp32"])
    run = fit(config, table, tmp_path / "run")
    model = load_run(run.folder, device="cpu")
    assert model.spec.crop_size == 40
    export(run.folder, tmp_path / "m.onnx")
    engine = open_model(tmp_path / "m.onnx", engine="onnxruntime")
    images = table.images[:3]
    crops = make_views(images, 10, 40)
    np.testing.assert_allclose(engine.logits(images), model.logits(images), atol=1e-4)
    mean = model.logits(crops).reshape(3, 10, -1).mean(axis=1)
    np.testing.assert_allclose(engine.tta_logits(images, 10), mean, atol=1e-4)
    with pytest.raises(ModelError, match="crop_size must be at most the size, 48"):
        ModelSpec("m", "vgg", ("a", "b"), crop_size=49)
