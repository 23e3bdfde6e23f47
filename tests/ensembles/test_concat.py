"""Concatenation: the backbones that a run joins, what of them is trained, and on which rows it is validated."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SMALL

from moue.cli.main import main
from moue.cross_validation import cross_validate
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.data.splits import stratified_split
from moue.data.table import ImageTable
from moue.ensembles.bagging import bag
from moue.ensembles.boosting import boost
from moue.ensembles.concatenation import compare_with_members
from moue.errors import UsageError
from moue.evaluation.scoring import score
from moue.export import export
from moue.models import create
from moue.models.concat import Concat
from moue.models.load import load_run
from moue.run_folder import SPEC
from moue.runtime.engine import open_model
from moue.spec import ModelSpec
from moue.trained.open import open_any
from moue.trained.split_of import split_of
from moue.training.config import Config
from moue.training.loop import fit
from moue.training.recipe import load_recipe, resolve_init
from moue.training.run_folder import Run

VGG = {"model.network": "vgg", "model.options": {"widths": [8, 12], "size": 32, "color": "rgb"}}


@pytest.fixture(scope="module")
def table() -> ImageTable:
    drawn = synthetic(300, seed=3)
    return drawn.take(np.concatenate([np.arange(len(drawn)), np.flatnonzero(drawn.split == "train")[:20]]))


@pytest.fixture(scope="module")
def runs(table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished runs that held out the same rows, of two networks."""
    folder = tmp_path_factory.mktemp("backbones")
    short = SMALL.override(["optim.epochs=1", "data.validation=0.25"])
    fit(short, table, folder / "a")
    fit(short.override(changes={"model.network": "vgg", "model.options": {"widths": [8, 12]}}), table, folder / "b")
    return [folder / "a", folder / "b"]


def settings(members: list[Path], **changes: object) -> Config:
    short = {"optim.epochs": 2, "run.threads": 1, "run.precision": "fp32", "model.backbones": [*map(str, members)]}
    return load_recipe("concat").override(changes={**short, **changes})


@pytest.fixture(scope="module")
def joined(runs: list[Path], table: ImageTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(settings(runs), table, tmp_path_factory.mktemp("concat") / "joined").folder


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_run(path, "cpu").network.state_dict()


def test_frozen_backbones_keep_every_weight_and_statistic(joined: Path, runs: list[Path]) -> None:
    own = state(joined)
    for i, run in enumerate(runs):
        theirs = state(run)
        parts = {name: value for name, value in own.items() if name.startswith(f"members.{i}.")}
        assert any("running_mean" in name for name in parts)
        for name, value in parts.items():
            assert torch.equal(value, theirs[name.removeprefix(f"members.{i}.")]), name
    assert not any("classifier" in name for name in own if name.startswith("members."))


def test_the_classifier_is_trained_on_the_features_of_all_side_by_side(joined: Path, runs: list[Path]) -> None:
    network = load_run(joined, "cpu").network
    assert isinstance(network, Concat)
    images = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = []
    for run in runs:
        single = load_run(run, "cpu").network
        single.get_submodule("classifier").register_forward_pre_hook(lambda _, args: features.append(args[0]))
        with torch.no_grad():
            single(images)
    with torch.no_grad():
        expected = network.forward_head(network.norm(torch.cat(features, dim=1)))
        torch.testing.assert_close(network(images), expected)
    assert float(state(joined)["norm.running_mean"].abs().max()) > 0


def test_maps_before_the_last_are_features_too(runs: list[Path], table: ImageTable, tmp_path: Path) -> None:
    options = {"model.options.levels": 3, "model.options.hidden": 16, "optim.mixup": 0.4}
    run = fit(settings(runs, **options), table, tmp_path / "run").folder
    network = load_run(run, "cpu").network
    assert isinstance(network, Concat)
    expected = []
    for path in runs:
        single = load_run(path, "cpu").network
        outputs: list[torch.Tensor] = []
        for layer in single.get_submodule("features").children():
            layer.register_forward_hook(lambda _, __, output, outputs=outputs: outputs.append(output.mean((2, 3))))
        single.get_submodule("classifier").register_forward_pre_hook(
            lambda _, args, outputs=outputs: outputs.append(args[0])
        )
        with torch.no_grad():
            single(torch.from_numpy(table.images[:8]))
        # The maps of the two layers before the last, then what the last layer sees.
        expected += [*outputs[-4:-2], outputs[-1]]
    with torch.no_grad():
        torch.testing.assert_close(
            network.forward_frozen(torch.from_numpy(table.images[:8]))[:, 0], torch.cat(expected, 1)
        )
    export(run, tmp_path / "run.onnx")
    expected_logits = load_run(run, "cpu").logits(table.images[:20])
    logits = open_model(tmp_path / "run.onnx", engine="onnxruntime").logits(table.images[:20])
    assert np.allclose(logits, expected_logits, atol=1e-4)


def test_backbones_are_trained_on_request(runs: list[Path], table: ImageTable, tmp_path: Path) -> None:
    config = settings(
        runs, **{"model.options.frozen": False, "optim.cached_views": 0, "optim.frozen_epochs": 1, "optim.epochs": 1}
    )
    first = fit(config, table, tmp_path / "first")
    own, theirs = state(first.folder), state(runs[0])
    assert all(torch.equal(own[f"members.0.{name}"], theirs[name]) for name in theirs if name.startswith("features"))
    # While the backbones are frozen, all that is new is trained.
    assert float(own["norm.running_mean"].abs().max()) > 0
    both = fit(config.override(changes={"optim.epochs": 2}), table, tmp_path / "both")
    own = state(both.folder)
    changed = [
        name
        for name in theirs
        if name.startswith("features") and not torch.equal(own[f"members.0.{name}"], theirs[name])
    ]
    assert any("running_mean" in name for name in changed)
    assert any("weight" in name for name in changed)


def test_the_run_needs_neither_its_backbones_nor_torch_once_exported(
    joined: Path, runs: list[Path], table: ImageTable, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(joined, copy)
    values = json.loads((copy / "config.json").read_text())
    values["model"]["backbones"] = ["gone/a", "gone/b"]
    (copy / "config.json").write_text(json.dumps(values))
    spec = export(copy, tmp_path / "joined.onnx")
    engine = open_model(tmp_path / "joined.onnx", engine="onnxruntime")
    expected = load_run(copy, "cpu").logits(table.images[:20])
    assert np.allclose(engine.logits(table.images[:20]), expected, atol=1e-4)
    assert np.array_equal(
        engine.logits(table.images[:20]), open_model(tmp_path / "joined.onnx").logits(table.images[:20])
    )
    assert [member["name"] for member in spec.trained["members"]] == ["a", "b"]
    held_out, of_run = split_of(tmp_path / "joined.onnx", table), split_of(joined, table)
    assert held_out is not None
    assert of_run is not None
    assert np.array_equal(held_out.validation, of_run.validation)
    evaluation = score(open_any(tmp_path / "joined.onnx"), table.take(held_out.validation))[0]
    assert evaluation.n == len(of_run.validation)


def test_backbones_of_other_sizes_and_colors_are_joined_in_one_graph(
    runs: list[Path], table: ImageTable, tmp_path: Path
) -> None:
    from moue.data.loading import ReadingOptions

    save(table, tmp_path / "set.npz")
    small = ReadingOptions().load(str(tmp_path / "set.npz"), size=32, color="rgb")
    fit(SMALL.override(["optim.epochs=1", "data.validation=0"], VGG), small, tmp_path / "rgb")
    config = resolve_init(settings([runs[0], tmp_path / "rgb"], **{"optim.epochs": 1, "data.validation": 0}))
    assert (config.model.size, config.model.color) == (48, "rgb")
    wide = ReadingOptions().load(str(tmp_path / "set.npz"), size=48, color="rgb")
    run = fit(config, wide, tmp_path / "run")
    export(run.folder, tmp_path / "wide.onnx")
    expected = load_run(run.folder, "cpu").logits(wide.images[:9])
    assert np.allclose(open_model(tmp_path / "wide.onnx").logits(wide.images[:9]), expected, atol=1e-3)
    # The gray member sees what it saw alone: gray images come back from RGB as they were.
    network = load_run(run.folder, "cpu").network
    assert isinstance(network, Concat)
    network.norm = torch.nn.Identity()
    gray, color = (torch.from_numpy(t.images[:9]).float() for t in (table, wide))
    with torch.no_grad():
        alone = network.networks[0](gray)
        joined = network.forward_features(network.prepare(color))[:, : alone.shape[1]]
    torch.testing.assert_close(joined, alone, atol=1e-3, rtol=1e-3)


def test_it_is_validated_on_rows_that_no_backbone_was_trained_on(
    runs: list[Path], joined: Path, table: ImageTable, tmp_path: Path
) -> None:
    split = Run(joined).split(table)
    assert np.array_equal(split.validation, Run(runs[0]).split(table).validation)
    other = fit(SMALL.override(["optim.epochs=1", "data.validation=0.25", "data.split_seed=5"]), table, tmp_path / "c")
    run = fit(settings([*runs, other.folder], **{"optim.epochs": 1}), table, tmp_path / "three")
    seen = np.union1d(split.train, other.split(table).train)
    validation = run.split(table).validation
    assert len(validation)
    assert not np.isin(validation, seen).any()
    assert np.array_equal(
        np.sort(np.concatenate([validation, run.split(table).train])), np.flatnonzero(table.split == "train")
    )
    export(run.folder, tmp_path / "three.onnx")
    found = split_of(tmp_path / "three.onnx", table)
    assert found is not None
    assert np.array_equal(found.validation, validation)


def test_without_common_held_out_rows_there_is_no_validation(
    runs: list[Path], table: ImageTable, tmp_path: Path
) -> None:
    everything = fit(SMALL.override(["optim.epochs=1", "data.validation=0"]), table, tmp_path / "all").folder
    with pytest.raises(UsageError, match=r"held out no row of .* in common.*data\.validation=0"):
        fit(settings([runs[0], everything]), table, tmp_path / "x")
    run = fit(settings([runs[0], everything], **{"data.validation": 0, "optim.epochs": 1}), table, tmp_path / "y")
    assert "validation" not in run.spec().scores


def test_backbones_of_another_set_hold_out_nothing_of_this_one(runs: list[Path], tmp_path: Path) -> None:
    new = synthetic(200, seed=9)
    run = fit(settings(runs, **{"optim.epochs": 1, "data.validation": 0.2}), new, tmp_path / "new")
    assert len(run.split(new).validation) == len(stratified_split(new, 0.2).validation)
    assert run.spec().labels == new.label_set.labels


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.backbones=[a]"], r"two models or more. Got \['a'\]"),
        (["model.backbones=[a, b, a]"], "a is given twice"),
        (["model.network=compact", "model.backbones=[a, b]"], 'for model.network "concat"'),
        (["model.backbones=[tiny, tinny]"], "no run folder or model .* named 'tinny'"),
        (["model.backbones=[tiny, full]"], "full is an ensemble"),
    ],
)
def test_backbones_that_cannot_be_joined_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_init(load_recipe("concat").override(settings))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": ["compact"]}, "two networks or more. Got 1"),
        ({"members": "compact"}, "a list of networks"),
        ({"members": ["compact", 3]}, "a name, or|network's name"),
        ({"members": ["compact", {"network": "compact", "widths": [8]}]}, "network and options"),
        ({"members": ["compact", "zzz"]}, "no network named 'zzz'"),
        ({"hidden": -1}, "0 or more"),
        ({"levels": 0}, "levels must be 1 or more"),
        ({"levels": 2}, "GoogLeNet gives the map of its last block alone, not of 2"),
        ({"members": ["compact", "vgg"], "levels": 99}, "of which 99 cannot"),
    ],
)
def test_members_that_are_none_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create("concat", 5, **options)


@pytest.mark.parametrize("make", [bag, boost, cross_validate], ids=["bag", "boost", "cross-validate"])
@pytest.mark.parametrize("setting", ["model.backbones", "model.init"])
def test_models_of_the_set_start_nothing_that_scores_rows_they_have_seen(
    make: Callable[..., object], setting: str, runs: list[Path], table: ImageTable, tmp_path: Path
) -> None:
    config = settings(runs) if setting == "model.backbones" else SMALL.override(changes={setting: str(runs[0])})
    with pytest.raises(UsageError, match=rf"scores rows as new that {runs[0]}, of {setting}, was trained on"):
        make(config, table, tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


def test_it_stands_beside_its_members_on_the_rows_that_all_held_out(
    joined: Path, runs: list[Path], table: ImageTable, tmp_path: Path
) -> None:
    shutil.copytree(joined, tmp_path / "joined")
    spec, scored, missing = compare_with_members(Run(tmp_path / "joined"), [*map(str, runs)], table)
    part = table.take(Run(joined).split(table).validation)
    found = spec.trained["gain"]
    assert (scored, missing) == ([*map(str, runs)], [])
    expected = [score(open_any(run), part, views=spec.views)[0].accuracy for run in (*runs, joined)]
    assert [*found["member_accuracies"], found["accuracy"]] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(spec.scores["validation"])
    assert export(tmp_path / "joined", tmp_path / "joined.onnx").trained["gain"] == found
    # A member of other classes cannot be scored.
    shutil.copytree(runs[1], tmp_path / "other")
    other = ModelSpec.load(tmp_path / "other" / SPEC)
    other.replace(labels=tuple(reversed(other.labels))).save(tmp_path / "other" / SPEC)
    members = [str(runs[0]), str(tmp_path / "other")]
    assert compare_with_members(Run(tmp_path / "joined"), members, table)[1] == members[:1]


def test_a_run_whose_members_are_gone_is_still_reported(
    joined: Path, runs: list[Path], table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(table, tmp_path / "set.npz")
    shutil.copytree(runs[0], tmp_path / "gone")
    shutil.copytree(runs[1], tmp_path / "second")
    run, members = tmp_path / "run", [str(tmp_path / "gone"), str(tmp_path / "second")]
    fit(settings([Path(member) for member in members], **{"optim.epochs": 1}), table, run)
    shutil.rmtree(tmp_path / "gone")
    words = ["ensemble", "concat", *members, "--data", str(tmp_path / "set.npz"), "-o", str(run), "--resume"]
    assert main([*words, "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert f"{members[0]} is left out of the comparison: " in printed.err
    values = json.loads(printed.out)
    assert [row["accuracy"] is None for row in values["members"]] == [True, False]
    assert values["gain"]["members"] == ["second"]
    (tmp_path / "second").rename(tmp_path / "away")
    assert main([*words, "--format", "json"]) == 0
    assert "none of them is there that has its classes" in capsys.readouterr().err
    # What is known of all members stays; without any of them, there is nothing to compare with.
    full = shutil.copytree(joined, tmp_path / "full")
    compare_with_members(Run(full), [*map(str, runs)], table)
    before = ModelSpec.load(full / SPEC)
    spec, scored, missing = compare_with_members(Run(full), [members[0], str(runs[1])], table)
    assert (spec.trained["gain"]["members"], scored, len(missing)) == ([runs[1].name], [str(runs[1])], 1)
    spec, scored, missing = compare_with_members(Run(full), members[:1], table)
    assert ("gain" in spec.trained, scored) == (False, [])
    assert ModelSpec.load(full / SPEC) == before


def test_the_command_trains_and_resumes(
    runs: list[Path], table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(table, tmp_path / "set.npz")
    words = ["ensemble", "concat", *map(str, runs), "--data", str(tmp_path / "set.npz"), "-o", str(tmp_path / "run")]
    words += ["--set=optim.epochs=2", "--set=run.threads=1", "--set=model.options.hidden=16"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert re.search(r"run: concat, 2 epochs in .*% on validation", printed)
    assert "its best member" in printed
    assert "McNemar's p" in printed
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["ensemble", "concat", "tiny", "--data", "synth:300:1", "-o", str(tmp_path / "one")]) == 2
    assert "two models or more. Got tiny alone" in capsys.readouterr().err
    whole = (tmp_path / "run" / "weights.safetensors").read_bytes()
    for name in ("weights.safetensors", "spec.json"):
        (tmp_path / "run" / name).unlink()
    # As a run, by `train`, too.
    again = ["train", "concat", "--data", str(tmp_path / "set.npz"), "--out", str(tmp_path / "run"), "--resume"]
    assert main(again) == 0
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == whole
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "set.npz"), "--split", "validation"]) == 0
