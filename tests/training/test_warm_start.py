"""Weights from one network to another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import SMALL

from moue.data.table import ImageTable
from moue.errors import MissingExtra, UsageError
from moue.labels import LabelSet
from moue.models.load import load_run
from moue.runtime import weights
from moue.trained import load_network
from moue.trained.network import network_spec
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.progress import Status


def test_a_run_starts_from_another_ones_weights_and_a_new_last_layer_where_classes_differ(
    table: ImageTable, tmp_path: Path
) -> None:
    first = fit(SMALL.override(["optim.steps=2"]), table, tmp_path / "first")
    assert first.spec().license == "", "drawn faces bind nobody"
    first.spec().replace(license="for research").save(first.folder / "spec.json")
    still = ["optim.epochs=1", "optim.steps=1", "optim.lr=1e-12", "optim.ema=0", f"model.init={tmp_path / 'first'}"]
    second = fit(SMALL.override(still), table, tmp_path / "second")
    a, b = (load_file(run.folder / "weights.safetensors") for run in (first, second))
    learned = [name for name in a if name.endswith("weight")]
    assert all(np.allclose(a[name], b[name], atol=1e-6) for name in learned)
    two = LabelSet("folders", ("smile", "none"))
    happy = (table.labels == table.label_set.index("happy")).astype(np.int64)
    own = ImageTable(table.images, 1 - happy, table.split, table.source, two)
    third = fit(SMALL.override(still), own, tmp_path / "third")
    c = load_file(third.folder / "weights.safetensors")
    assert third.spec().labels == two.labels
    assert third.spec().license == "for research", "weights keep what binds those that they come from"
    assert c["classifier.weight"].shape == (2, 16)
    assert all(np.allclose(a[name], c[name], atol=1e-6) for name in learned if name != "classifier.weight")
    with pytest.raises(UsageError, match="same network"):
        fit(SMALL.override([*still, "model.options={widths: [8, 24], blocks: [1]}"]), table, tmp_path / "fourth")


@pytest.mark.parametrize("votes", [0, 0.5])
def test_a_run_keeps_a_share_of_the_weights_that_it_starts_from(
    votes: float, table: ImageTable, tmp_path: Path
) -> None:
    table = replace(table, votes=np.full((len(table), 8), 1 / 8, np.float32))
    first = fit(SMALL.override(["optim.steps=2"]), table, tmp_path / "first")
    # Classes of another order, one of them new.
    known = [name for name in table.label_set.labels if name != "happy"]
    other = replace(table, label_set=LabelSet("folders", ("bored", *known)))
    settings = ["optim.epochs=2", "optim.steps=2", "optim.lr=0.05", f"model.init={first.folder}"]
    config = SMALL.override([*settings, f"optim.votes_weight={votes}"])
    other = table if votes else other
    trained = fit(config, other, tmp_path / "trained")
    a, b = (load_file(run.folder / "weights.safetensors") for run in (first, trained))

    def stop(status: Status) -> None:
        if status.epoch == 1 and not status.ended:
            raise KeyboardInterrupt

    shared = config.override(["model.init_share=0.25"])
    with pytest.raises(KeyboardInterrupt):
        fit(shared, other, tmp_path / "shared", progress=stop)
    run = fit(shared, other, tmp_path / "shared", resume=True)
    c = load_file(run.folder / "weights.safetensors")
    head = "classifier.weight"
    order = range(7) if votes else [table.label_set.index(name) for name in known]
    rows = slice(0 if votes else 1, None)
    assert torch.allclose(c[head][rows], 0.25 * a[head][list(order)] + 0.75 * b[head][rows], atol=1e-6)
    if not votes:
        assert torch.equal(c[head][0], b[head][0]), "of a new class there is nothing to share"
    for name in a.keys() - {head, "classifier.bias"}:
        if a[name].is_floating_point():
            assert torch.allclose(c[name], 0.25 * a[name] + 0.75 * b[name], atol=1e-5), name
    assert sum(float((a[name] - b[name]).abs().mean()) > 1e-4 for name in a if name.endswith("weight")) > 2
    assert run.spec().trained["init_share"] == 0.25
    with pytest.raises(UsageError, match=r"model\.init_share is a share of model.init"):
        SMALL.override(["model.init_share=0.5"])


@pytest.mark.parametrize("network", ["compact", "googlenet"])
def test_a_last_layer_is_mapped_by_its_classes_names(network: str, table: ImageTable, tmp_path: Path) -> None:
    options = {"compact": "{widths: [7, 14], blocks: [1]}", "googlenet": "{width: 0.125}"}[network]
    base = SMALL.override([f"model.network={network}", f"model.options={options}", "optim.epochs=1", "optim.steps=1"])
    first = fit(base, table, tmp_path / "first")
    still = base.override(["optim.lr=1e-12", "optim.ema=0", f"model.init={first.folder}"])
    a = load_file(first.folder / "weights.safetensors")
    a = {name: value for name, value in a.items() if name.endswith(("weight", "bias"))}
    heads = [name for name in a if "classifier" in name and len(a[name]) == 7]
    assert len(heads) == (1 if network == "compact" else 6)
    turned = LabelSet("folders", ("Happiness", *(x for x in reversed(table.label_set.labels) if x != "happy")))
    order = [table.label_set.index(name) for name in turned.labels]
    own = replace(table, label_set=turned, labels=np.argsort(order)[table.labels])
    b = load_file(fit(still, own, tmp_path / "turned").folder / "weights.safetensors")
    for name in a:
        assert np.allclose(a[name][order] if name in heads else a[name], b[name], atol=1e-6), name
    others = replace(table, label_set=LabelSet("folders", tuple("abcdefg")))
    c = load_file(fit(still, others, tmp_path / "others").folder / "weights.safetensors")
    assert not any(np.isclose(a[name], c[name]).all() for name in heads if name.endswith("weight"))
    assert all(np.allclose(a[name], c[name], atol=1e-6) for name in a if name not in heads)


@pytest.mark.parametrize("network", ["hf", "vit"])
def test_a_published_head_is_put_into_the_data_s_order(network: str, table: ImageTable, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = ("happiness", "sadness", "neutral", "angry", "disgust", "fear", "surprise")
    published = transformers.ViTConfig(**shape, image_size=16, patch_size=8, id2label=dict(enumerate(names)))
    model = transformers.ViTForImageClassification(published)
    model.classifier.bias.data = torch.arange(1.0, 8)
    model.save_pretrained(tmp_path / "published")
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "published")
    source = str(tmp_path / "published")
    config = SMALL.override(["optim.epochs=1", "optim.steps=1", "optim.lr=1e-9", "optim.ema=0"])
    chosen = ("vit", {"source": source}) if network == "vit" else (f"hf:{source}", {})
    config = replace(config, model=replace(config.model, network=chosen[0], options=chosen[1]))
    run = fit(config, table, tmp_path / "run")
    assert run.config().model.options == chosen[1]
    bias = load_file(run.folder / "weights.safetensors")[f"{'model.' if network == 'vit' else ''}classifier.bias"]
    kept = [4, 5, 6, 1, 2, 7, 3] if network == "hf" else [0] * 7
    assert np.allclose(bias, kept, atol=1e-5)
    (tmp_path / "published").rename(tmp_path / "gone")
    assert load_run(run.folder).logits(table.images[:2]).shape == (2, 7)
    again = replace(config, model=replace(config.model, init=str(run.folder)))
    assert fit(again, table, tmp_path / "again").finished


def test_classes_that_both_know_keep_their_rows(table: ImageTable, tmp_path: Path) -> None:
    first = fit(SMALL.override(["optim.epochs=1", "optim.steps=1"]), table, tmp_path / "first")
    labels = table.label_set.labels
    still = ["optim.epochs=1", "optim.steps=1", "optim.lr=1e-12", "optim.ema=0", f"model.init={first.folder}"]
    # "joy" is another class here, as "happy" is there by its own name.
    own = LabelSet("folders", ("bored", "joy", "Sadness", "happy"))
    part = table.take(np.isin(table.labels, [labels.index(name) for name in ("angry", "fear", "sad", "happy")]))
    names = {"angry": 0, "fear": 1, "sad": 2, "happy": 3}
    part = replace(part, label_set=own, labels=np.array([names[labels[i]] for i in part.labels]))
    second = fit(SMALL.override(still), part, tmp_path / "second")
    a, b = (load_file(run.folder / "weights.safetensors")["classifier.weight"] for run in (first, second))
    assert b.shape[0] == 4
    for row, name in ((2, "sad"), (3, "happy")):
        assert torch.allclose(b[row], a[labels.index(name)], atol=1e-6)
    for row in (0, 1):
        assert not any(torch.allclose(b[row], other, atol=1e-3) for other in a)


@pytest.mark.parametrize(
    ("name", "network"), [("tiny", "compact"), ("ferplus", "face-mobilenet"), ("googlenet", "googlenet")]
)
def test_a_shipped_model_s_trunk_goes_on_and_other_classes_get_a_new_head(
    name: str, network: str, table: ImageTable, tmp_path: Path
) -> None:
    own = replace(table, label_set=LabelSet("folders", tuple("abcdefg")))
    settings = ["optim.lr=1e-12", "optim.ema=0", "optim.steps=1", "optim.epochs=1", "optim.batch_size=8"]
    config = Config().override([*settings, "model.network=init", f"model.init={name}", "run.precision=fp32"])
    run = fit(config, own, tmp_path / "run")
    assert run.config().model.network == network, "the run can be opened without what it started from"
    own_weights, shipped = load_file(run.folder / "weights.safetensors"), load_network(name).state_dict()
    learned = [name for name in shipped if not name.endswith(("running_mean", "running_var", "tracked"))]
    heads = [name for name in learned if name.startswith("classifier")]
    assert heads
    assert all(torch.allclose(own_weights[name], shipped[name], atol=1e-6) for name in learned if name not in heads)
    assert all(len(own_weights[name]) == 7 for name in heads)
    assert not any(torch.allclose(own_weights[n][:7], shipped[n][:7], atol=1e-3) for n in heads if n.endswith("weight"))
    spec = run.spec()
    assert spec.trained["init"] == name
    assert spec.license == network_spec(name).license, "what bound the shipped weights binds these"


def test_ferplus_s_seven_expressions_start_as_fer2013_s(table: ImageTable, tmp_path: Path) -> None:
    settings = ["optim.lr=1e-12", "optim.ema=0", "optim.steps=1", "optim.epochs=1", "optim.batch_size=8"]
    config = Config().override([*settings, "model.network=init", "model.init=ferplus", "run.precision=fp32"])
    head = load_file(fit(config, table, tmp_path / "run").folder / "weights.safetensors")["classifier.weight"]
    shipped = load_network("ferplus")
    assert shipped.spec is not None
    order = [shipped.spec.labels.index(name) for name in table.label_set.labels]
    assert torch.allclose(head, shipped.state_dict()["classifier.weight"][order], atol=1e-6)


def test_another_network_than_that_of_init_is_refused(table: ImageTable, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"googlenet is a googlenet whose weights do not fit this compact.*network=init"
    ):
        fit(SMALL.override(["model.init=googlenet"]), table, tmp_path / "run")
    with pytest.raises(UsageError, match="Did you mean ferplus"):
        fit(SMALL.override(["model.init=ferpls"]), table, tmp_path / "run")
    with pytest.raises(UsageError, match="set that, too"):
        SMALL.override(["model.network=init"])
    assert not (tmp_path / "run").exists()


def test_frozen_epochs_train_the_last_layer_alone(table: ImageTable, tmp_path: Path) -> None:
    base = SMALL.override(["optim.steps=2", "optim.epochs=1", "optim.ema=0", "optim.lr=0.01"])
    first = fit(base, table, tmp_path / "first")
    frozen = base.override([f"model.init={first.folder}", "optim.frozen_epochs=1"])
    a, b, c, d = (
        load_file(run.folder / "weights.safetensors")
        for run in (
            first,
            fit(frozen, table, tmp_path / "frozen"),
            fit(frozen.override(["optim.epochs=2"]), table, tmp_path / "both"),
            fit(frozen.override(["optim.epochs=2", "optim.trunk_lr=0"]), table, tmp_path / "slow"),
        )
    )
    learned = [name for name in a if name.endswith((".weight", ".bias"))]
    head = "classifier.weight"
    assert not torch.equal(a[head], b[head])
    assert all(torch.equal(a[name], b[name]) for name in a if name != head), "batch norms' statistics among them"
    assert not any(torch.equal(a[name], c[name]) for name in learned)
    assert all(torch.equal(a[name], d[name]) for name in learned if name != head), "a factor of 0 on the trunk's rate"


def test_an_interrupted_run_goes_on_without_what_it_started_from(
    table: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(status: Status) -> None:
        if status.epoch == 2:
            raise Interrupted

    settings = ["optim.steps=1", "optim.epochs=2", "optim.batch_size=8", "run.precision=fp32", "run.threads=1"]
    config = Config().override([*settings, "model.network=init", "model.init=tiny"])
    whole = fit(config, table, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(config, table, tmp_path / "run", progress=interrupt)
    monkeypatch.setattr(weights, "models_folder", lambda: None)
    run = fit(config, table, tmp_path / "run", resume=True)
    a, b = (load_file(r.folder / "weights.safetensors") for r in (whole, run))
    assert all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(MissingExtra, match=r"Type: pip install 'moue\[models\]'"):
        fit(config, table, tmp_path / "other")


def test_training_stops_when_validation_no_longer_improves(table: ImageTable, tmp_path: Path) -> None:
    config = SMALL.override(["optim.epochs=9", "optim.steps=1", "optim.lr=1e-12", "optim.ema=0", "optim.patience=2"])
    run = fit(config, table, tmp_path / "run")
    assert len(run.history()) == 3, "the first epoch is the best, and two more are not better"
    assert run.spec().trained["epochs"] == 3
    assert fit(config, table, tmp_path / "run", resume=True).spec() == run.spec()
    with pytest.raises(UsageError, match=r"optim.patience needs a validation part"):
        SMALL.override(["optim.patience=2", "data.validation=0"])
    few = table.take(np.concatenate([np.flatnonzero(table.labels == k)[:2] for k in range(7)]))
    few = replace(few, split=np.full(len(few), "train"))
    with pytest.raises(UsageError, match=r"optim\.patience watches .* holds out none of .*Set data\.validation higher"):
        fit(config, few, tmp_path / "few")
    assert not (tmp_path / "few").exists()
