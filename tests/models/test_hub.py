"""What a Hugging Face model's files may say: its preprocessing, code of its own, and damage."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from moue.errors import ModelError
from moue.models import create
from moue.models.base import Network
from moue.models.hub import input_of, read_processor

PROCESSOR = {"size": 32, "mean": [0.5], "std": [0.5]}
VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}


def write(folder, config, code=""):
    """The files of a model; its code, where it has some, leaves a file named "ran"."""
    (folder / "config.json").write_text(json.dumps(config))
    if code:
        (folder / code).write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    return folder


@pytest.mark.parametrize(
    "processor",
    [
        "BeitImageProcessor",
        "BitImageProcessor",
        "CLIPImageProcessor",
        "ConvNextImageProcessor",
        "DeiTImageProcessor",
        "EfficientNetImageProcessor",
        "LevitImageProcessor",
        "MobileNetV2ImageProcessor",
        "MobileViTImageProcessor",
        "PerceiverImageProcessor",
        "PoolFormerImageProcessor",
        "PvtImageProcessor",
        "SegformerImageProcessor",
        "SiglipImageProcessor",
        "ViTImageProcessor",
    ],
)
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_network_prepares_pixels_as_the_model_s_processor_does(processor, color, tmp_path):
    theirs = getattr(transformers, processor)()
    theirs.save_pretrained(tmp_path)
    if (processor, color) == ("MobileViTImageProcessor", "rgb"):
        with pytest.raises(ModelError, match=r"channels in another order.*model\.options\.color=gray"):
            read_processor(str(tmp_path), color)
        return
    pixel = (200, 100, 40) if color == "rgb" else (90, 90, 90)
    image = Image.new("RGB", (96, 96), pixel)
    expected = np.asarray(theirs(image, return_tensors="np")["pixel_values"])[0]
    prepare = Network(input_of(read_processor(str(tmp_path), color), object(), 48, color), 7).prepare
    ours = prepare(torch.from_numpy(np.array(image)[None, :48, :48].transpose(0, 3, 1, 2))).numpy()[0]
    assert ours.shape == expected.shape
    # Some crop more than they scale to: black borders.
    middle = expected.shape[-1] // 2
    np.testing.assert_allclose(ours[:, middle, middle], expected[:, middle, middle], atol=1e-3)


def test_numbers_of_a_processor_are_those_of_its_file(tmp_path):
    values = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.485, 0.456, 0.406]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**values, "size": 32}))
    assert read_processor(str(tmp_path)) == {"size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.5] * 3}


def test_without_a_processor_the_error_says_how_to_give_one(tmp_path):
    write(tmp_path, VIT)
    with pytest.raises(ModelError, match=r"--set 'model\.options\.processor={size: 224"):
        create(f"hf:{tmp_path}", 7, pretrained=False)
    assert create(f"hf:{tmp_path}", 7, pretrained=False, processor=PROCESSOR).input.upsample == 32


@pytest.fixture
def _yes(monkeypatch):
    """What transformers asks is answered with yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")


@pytest.mark.usefixtures("_yes")
@pytest.mark.parametrize("network", ["hf:own", "vit"])
def test_code_in_the_folder_of_a_model_is_not_run(network, tmp_path):
    config = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    write(tmp_path, config, "configuration_own.py")
    with pytest.raises(ModelError, match="code of its own, which moue does not run"):
        create(network, 7, source=str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("_yes")
def test_code_that_a_run_names_is_not_run(tmp_path):
    write(tmp_path, {}, "modeling_own.py")
    code = {"auto_map": {"AutoModelForImageClassification": f"{tmp_path}--modeling_own.Own"}}
    with pytest.raises(ModelError, match="code of its own, which moue does not run"):
        create("hf:x", 7, pretrained=False, architecture={"model_type": "bert", **code}, processor=PROCESSOR)
    network = create("hf:x", 7, pretrained=False, architecture={**VIT, **code}, processor=PROCESSOR)
    assert "auto_map" not in network.rebuild["architecture"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("_yes")
def test_code_of_a_processor_is_not_run(tmp_path):
    write(tmp_path, VIT, "processing_own.py")
    values = {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "processing_own.Own"}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="preprocessing"):
        create(f"hf:{tmp_path}", 7, pretrained=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "architecture",
    [
        5,
        {"hidden_size": 3},
        {"model_type": ["vit"]},
        {"model_type": "resnet", "hidden_sizes": "abc"},
        {"model_type": "resnet", "depths": [1, {}]},
        {**VIT, "num_attention_heads": 0},
    ],
    ids=str,
)
def test_a_damaged_architecture_is_an_error_that_names_the_model(architecture):
    with pytest.raises(ModelError, match="mine is not an image classifier that transformers can build"):
        create("hf:mine", 7, pretrained=False, architecture=architecture, processor=PROCESSOR)


def test_files_that_were_found_are_not_said_to_be_out_of_reach(tmp_path, monkeypatch):
    folder = tmp_path / "models--some--vit"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    write(folder / "snapshots" / "abc", VIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("moue.models.hub._hub_options", lambda source: {"local_files_only": True})
    with pytest.raises(ModelError, match="cannot be read: some/vit does not appear to have a file named"):
        create("hf:some/vit", 7, processor=PROCESSOR)
