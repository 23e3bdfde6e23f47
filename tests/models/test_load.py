"""Networks to files and back, and Hugging Face models from folders that the tests make."""

import json
import socket

import numpy as np
import pytest
import torch
import transformers

from moue.errors import ModelError, UsageError, WeightsMissing
from moue.models import create
from moue.models.load import load_run, save_weights
from moue.spec import ModelSpec

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny ViT that knows seven expressions, in an order and spelling of its own."""
    path = tmp_path_factory.mktemp("hub") / "faces"
    names = ("happiness", "sadness", "anger", "disgust", "fear", "surprise", "neutral")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(names)),
    )
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(path)
    values = {
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
    }
    (path / "preprocessor_config.json").write_text(json.dumps(values))
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 1, 48, 48)).astype(np.uint8)


def save_run(path, network, name, options, labels=LABELS):
    path.mkdir(exist_ok=True)
    save_weights(network.state_dict(), path / "weights.safetensors", network.rebuild)
    ModelSpec("mine", name, labels).save(path / "spec.json")
    (path / "config.json").write_text(json.dumps({"model": {"network": name, "options": options}}))
    return path


@pytest.mark.parametrize("name", ["compact", "vit", "hf"])
def test_a_run_gives_its_networks_logits_without_the_published_source(name, folder, pixels, tmp_path):
    gone = tmp_path / "gone"
    options = {} if name == "compact" else {"source": str(folder)}
    network = create("vit" if name == "hf" else name, 7, **options).eval()
    if name == "hf":
        network = create(f"hf:{folder}", 7).eval()
    network_name = f"hf:{gone}" if name == "hf" else name
    run = save_run(tmp_path / "run", network, network_name, {} if name != "vit" else {"source": str(gone)})
    model = load_run(run, device="cpu")
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(model.logits(pixels, batch=2), expected, atol=1e-5)
    assert model.spec.labels == LABELS
    assert model.logits(pixels[:0]).shape == (0, 7)
    assert not load_run(run).network.training


def test_images_of_another_shape_are_refused(pixels, tmp_path):
    model = load_run(save_run(tmp_path / "run", create("compact", 7), "compact", {}))
    with pytest.raises(UsageError, match="1, 48, 48"):
        model.logits(pixels[:, :, :40])


def test_errors_of_a_run_name_the_cause(tmp_path):
    with pytest.raises(ModelError, match="no run folder"):
        load_run(tmp_path / "none")
    run = save_run(tmp_path / "run", create("compact", 7), "compact", {})
    (run / "config.json").write_text(json.dumps({"model": {"network": "vit-compact"}}))
    with pytest.raises(ModelError, match="does not fit"):
        load_run(run)
    (run / "config.json").write_text(json.dumps({"model": {"network": "nothing"}}))
    with pytest.raises(ModelError, match="no network named"):
        load_run(run)
    (run / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="configuration"):
        load_run(run)
    (run / "weights.safetensors").write_bytes(b"half a fi")
    with pytest.raises(ModelError):
        load_run(run)
    (run / "spec.json").unlink()
    with pytest.raises(ModelError, match="not finished"):
        load_run(run)


def test_a_hub_model_gives_the_logits_of_transformers(folder):
    network = create(f"hf:{folder}", 7, size=32, color="rgb").eval()
    model = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    std = torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    with torch.no_grad():
        expected = model(pixel_values=(pixels / 255 - mean) / std).logits
        torch.testing.assert_close(network(pixels), expected, atol=1e-5, rtol=1e-4)
    assert network.labels[0] == "happiness"


def test_a_kept_head_is_reordered(folder, pixels):
    x = torch.from_numpy(pixels)
    with torch.no_grad():
        theirs = create(f"hf:{folder}", 7).eval()(x)
        ours = create(f"hf:{folder}", 7, labels=LABELS).eval()(x)
    torch.testing.assert_close(ours[:, LABELS.index("happy")], theirs[:, 0])
    torch.testing.assert_close(ours[:, LABELS.index("neutral")], theirs[:, 6])


def test_a_head_of_other_classes_is_new(folder):
    published = transformers.ViTForImageClassification.from_pretrained(folder).classifier.weight
    other = create(f"hf:{folder}", 7, labels=["a", "b", "c", "d", "e", "f", "g"])
    assert other.labels is None
    vit = create("vit", 7, source=str(folder))
    for head in (other.classifier, vit.model.classifier):
        assert not torch.isclose(head.weight, published).any(1).all()
        assert head.weight.std().item() == pytest.approx(0.02, rel=0.3)
        assert not head.bias.any()


def test_a_head_of_another_size_is_new(folder):
    network = create(f"hf:{folder}", 3)
    assert network.labels is None
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 3)


def test_vit_trains_its_last_layer_norm_and_classifier_alone(folder):
    network = create("vit", 7, source=str(folder))
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    last = {f"model.vit.layers.2.{n}" for n, _ in network.layers[2].named_parameters()}
    rest = {n for n in trained if "layers." not in n}
    assert rest == {"model.vit.layernorm.weight", "model.vit.layernorm.bias"} | {
        f"model.classifier.{n}" for n in ("weight", "bias")
    }
    assert len(trained - rest) == len(last)


def test_without_the_hub_the_error_says_what_to_do(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr("moue.models.hub.getproxies", dict)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"hf download nobody/nothing .*source=FOLDER.*vit-compact"):
        create("vit", 7, source="nobody/nothing")
    with pytest.raises(WeightsMissing, match="no folder"):
        create("hf:/none/such", 7)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsMissing, match="does not hold"):
        create(f"hf:{tmp_path / 'empty'}", 7)
