"""The converter against Keras itself, on its torch backend."""

import hashlib
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import numpy as np
import pytest
import torch

from moue.errors import ModelError, WeightsMissing
from moue.models import create
from moue.models.keras_h5 import read_h5
from moue.models.resnet50v2 import fetch_imagenet, load_keras

SIDE = 96


@pytest.fixture(scope="module")
def keras_model():
    import keras

    model = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    # Fresh batch norms (mean 0, variance 1, gamma 1) and biases (0) would hide a swapped or forgotten array.
    random = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            if variable.name in ("gamma", "moving_variance"):
                variable.assign(random.uniform(0.6, 1.1, shape))
            elif variable.name in ("beta", "bias", "moving_mean"):
                variable.assign(random.normal(0, 0.1, shape))
    return model


@pytest.fixture(scope="module")
def keras_file(keras_model, tmp_path_factory):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    path = tmp_path_factory.mktemp("keras") / "notop.h5"
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, keras_model)
    return path


def test_converted_features_equal_keras(keras_model, keras_file):
    network = create("resnet50v2", 7, weights=keras_file, upsample=SIDE).eval()
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)
    expected = np.asarray(keras_model(pixels / 127.5 - 1, training=False).detach().cpu())
    with torch.no_grad():
        x = network.prepare(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
        features = network.forward_features(x).numpy().transpose(0, 2, 3, 1)
    assert expected.std() > 0.01, "features that are all alike would prove nothing"
    assert features.shape == expected.shape == (2, 3, 3, 2048)
    np.testing.assert_allclose(features, expected, atol=1e-4, rtol=1e-4)


def test_file_holds_the_published_number_of_weights(keras_file):
    assert sum(a.size for layer in read_h5(keras_file).values() for a in layer.values()) == 23_564_800


def test_names_as_tensorflow_wrote_them_and_attributes_in_parts(keras_file, tmp_path):
    """The published file says "conv1_conv/kernel:0", and HDF5 cuts long attributes into parts."""
    weights = read_h5(keras_file)
    path = tmp_path / "parts.h5"
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        names = [n.encode() for n in weights]
        root.attrs["layer_names0"], root.attrs["layer_names1"] = names[:50], names[50:]
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
            for name, array in arrays.items():
                group[f"{layer}/{name}:0"] = array
    again = read_h5(path)
    assert again.keys() == weights.keys()
    np.testing.assert_array_equal(again["conv1_conv"]["kernel"], weights["conv1_conv"]["kernel"])


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(WeightsMissing, match="resnet50v2-small"):
        create("resnet50v2", 7, weights=tmp_path / "none.h5", upsample=32)


def test_files_of_another_kind_are_refused(keras_file, tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes(b"not HDF5")
    with pytest.raises(ModelError, match="legacy H5"):
        read_h5(other)
    with h5py.File(other, "w") as file:
        file.create_group("layers")
    with pytest.raises(ModelError, match="layer_names"):
        read_h5(other)
    with h5py.File(other, "w") as file:
        file.attrs["layer_names"] = [b"conv1_conv"]
        file.create_group("conv1_conv").attrs["weight_names"] = [b"conv1_conv/bias"]
        file["conv1_conv"]["conv1_conv/bias"] = np.zeros(64, np.float32)
    with pytest.raises(ModelError, match="lacks the layer"):
        load_keras(create("resnet50v2", 7, upsample=32), other)


def test_a_wrong_shape_is_named(keras_file):
    network = create("resnet50v2", 7, upsample=32)
    network.post_bn = torch.nn.BatchNorm2d(8)
    with pytest.raises(ModelError, match="post_bn"):
        load_keras(network, keras_file)


def test_published_weights_are_fetched_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    published = tmp_path / "site" / "weights.h5"
    published.parent.mkdir()
    published.write_bytes(b"weights")
    md5 = hashlib.md5(b"weights", usedforsecurity=False).hexdigest()
    fetched = fetch_imagenet(published.as_uri(), md5)
    assert fetched.read_bytes() == b"weights"
    published.unlink()
    assert fetch_imagenet(published.as_uri(), md5) == fetched, "the second time it is at hand"
    fetched.write_bytes(b"damaged")
    with pytest.raises(WeightsMissing, match="resnet50v2-small"):
        fetch_imagenet(published.as_uri(), md5)
    published.write_bytes(b"another")
    with pytest.raises(WeightsMissing, match="another file"):
        fetch_imagenet(published.as_uri(), md5)
    assert not [p for p in fetched.parent.iterdir() if p.name.startswith(".")]
