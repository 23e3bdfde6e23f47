"""Several models merged into one graph give the mean of their calibrated logits, in both engines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from members import Make, faces, table
from onnx import TensorProto

from moue.cli.main import main
from moue.data import load
from moue.data.readers.store import save
from moue.data.splits import stratified_split
from moue.ensembles.rank_subsets import SubsetScore, rank_subsets
from moue.ensembles.stacking import stack
from moue.ensembles.voting import merge
from moue.errors import DataError, ModelError, UsageError
from moue.evaluation.calibration import fit_temperature
from moue.evaluation.evaluate_model import rows_of
from moue.evaluation.metrics import negative_log_likelihood
from moue.labels import FERPLUS
from moue.runtime.engine import Engine, open_model
from moue.runtime.results import softmax
from moue.runtime.weights import find_model
from moue.spec import ModelSpec, file_sha256
from moue.trained.split_of import split_of
from moue.training.provenance import data_record


def test_the_graph_gives_the_weighted_mean_of_calibrated_logits(make: Make, tmp_path: Path) -> None:
    paths = [
        make("a", 1, temperature=0.5, views=2, license="MIT", uncertain_below=0.2),
        make("b", 2, temperature=2.0, license="MIT", store="float16", uncertain_below=0.4),
        make("c", 3, license="own; MIT", store="int8", uncertain_below=0.4),
    ]
    out = tmp_path / "full.onnx"
    spec = merge(paths, out, weights=[2, 1, 1])
    each = [softmax(open_model(p).logits(faces()), open_model(p).spec.temperature) for p in paths]
    logits = [open_model(p, engine="onnxruntime").logits(faces()) for p in paths]
    expected = 0.5 * logits[0] / 0.5 + 0.25 * logits[1] / 2.0 + 0.25 * logits[2]
    geometric = np.exp(0.5 * np.log(each[0]) + 0.25 * np.log(each[1]) + 0.25 * np.log(each[2]))
    for engine in ("onnxruntime", "openvino"):
        merged = open_model(out, engine=engine)
        assert np.abs(merged.logits(faces()) - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.abs(merged.logits(faces()[:1]) - expected[:1]).max() < 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(
            softmax(merged.logits(faces())), geometric / geometric.sum(1, keepdims=True), atol=1e-4
        )
    graph = onnx.load(out).graph
    assert [p.name for p in graph.input] == ["images"]
    assert [p.name for p in graph.output] == ["logits"]
    names = [t.name for t in graph.initializer] + [o for node in graph.node for o in node.output]
    assert len(names) == len(set(names))
    assert TensorProto.FLOAT16 in {t.data_type for t in graph.initializer}
    assert find_model(out).spec == spec
    assert (spec.name, spec.network, spec.parameters, spec.views) == ("full", "ensemble", 2100, 2)
    assert (spec.temperature, spec.license) == (1.0, "MIT; own")
    assert spec.uncertain_below == pytest.approx(0.3)
    assert [(m["name"], m["sha256"], m["weight"]) for m in spec.trained["members"]] == [
        (name, file_sha256(path), weight)
        for name, path, weight in zip(("a", "b", "c"), paths, (0.5, 0.25, 0.25), strict=True)
    ]


def test_ensembles_can_be_members(make: Make, tmp_path: Path) -> None:
    a, b = make("a", 1), make("b", 2)
    merge([a, b], tmp_path / "two.onnx")
    merge([tmp_path / "two.onnx", a], tmp_path / "three.onnx")
    expected = 0.75 * open_model(a).logits(faces()) + 0.25 * open_model(b).logits(faces())
    got = open_model(tmp_path / "three.onnx").logits(faces())
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_temperature_is_fitted_on_what_all_members_held_out_after_views(make: Make, tmp_path: Path) -> None:
    whole, (a, b) = table(), (make("a", 1, views=6), make("b", 2))
    splits = [stratified_split(whole, 0.4, seed=seed) for seed in (0, 1)]
    for path, split in zip((a, b), splits, strict=True):
        split.save(path.parent / "split.json")
    spec = merge([a, b], tmp_path / "full.onnx", data=whole)
    rows = np.intersect1d(splits[0].validation, splits[1].validation)
    assert 100 < len(rows) < len(splits[0].validation)
    merged: Engine = open_model(tmp_path / "full.onnx")
    logits, truth = merged.tta_logits(whole.images[rows], 6), whole.labels[rows]
    assert spec.temperature == pytest.approx(fit_temperature(logits, truth), rel=1e-3)
    assert spec.temperature != 1.0
    assert spec.scores == {"validation": round(float((logits.argmax(1) == truth).mean()), 6)}


def test_validation_rows_that_a_member_was_trained_on_do_not_calibrate(make: Make, tmp_path: Path) -> None:
    whole, (a, b, c) = table(), (make("a", 1), make("b", 2), make("c", 3))
    parts = whole.split.astype("<U12")
    parts[:300] = "validation"
    own = dataclasses.replace(whole, split=parts)
    # A run on this set held out these rows; for a file without its run the set's own rows count.
    split = stratified_split(own, 0.4, seed=0)
    split.save(a.parent / "split.json")
    spec = merge([a, c], tmp_path / "full.onnx", data=own)
    logits, truth = open_model(tmp_path / "full.onnx").tta_logits(own.images[:300], spec.views), own.labels[:300]
    assert spec.temperature == pytest.approx(fit_temperature(logits, truth), rel=1e-3)
    # What a member was trained on is left out, whatever the set calls it.
    dataclasses.replace(split, train=np.arange(150, 1200), validation=np.arange(150)).save(b.parent / "split.json")
    spec = merge([a, b], tmp_path / "full.onnx", data=own)
    logits, truth = open_model(tmp_path / "full.onnx").tta_logits(own.images[:150], spec.views), own.labels[:150]
    assert spec.temperature == pytest.approx(fit_temperature(logits, truth), rel=1e-3)
    # The same images before some of them were filed under validation: most of those were trained on.
    stratified_split(whole, 0.4, seed=0).save(a.parent / "split.json")
    with pytest.raises(DataError, match=r"a/model\.onnx: the saved split was not cut.*also work without --data"):
        merge([c, a], tmp_path / "other.onnx", data=own)
    assert not (tmp_path / "other.onnx").exists()


def test_models_of_another_set_are_calibrated_on_images_that_they_have_not_seen(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, (a, b), out = table(), (make("a", 1), make("b", 2)), tmp_path / "full.onnx"
    parts = np.where(np.arange(1200) < 900, "train", "public_test")
    own = dataclasses.replace(whole, split=parts)
    save(own, tmp_path / "set.npz")
    command = [str(a), str(b), "--data", str(tmp_path / "set.npz")]
    assert main(["ensemble", "vote", *command, "-o", str(out)]) == 2
    assert "take --unseen" in capsys.readouterr().err
    assert main(["ensemble", "vote", *command, "-o", str(out), "--unseen"]) == 0
    assert "are taken to have seen no image of" in capsys.readouterr().err
    spec = ModelSpec.load(out.with_suffix(".json"))
    assert spec.trained["gain"]["n"] == 900
    logits = open_model(out).tta_logits(own.images[:900], spec.views)
    assert spec.temperature == pytest.approx(fit_temperature(logits, own.labels[:900]), rel=1e-3)
    assert main(["ensemble", "rank", *command, "--unseen", "--format", "json"]) == 0
    ranked = capsys.readouterr()
    assert {row["n"] for row in json.loads(ranked.out)} == {900}
    assert "are taken to have seen no image of" in ranked.err
    assert stack([a, b], tmp_path / "stack.onnx", own, unseen=True).trained["gain"]["n"] == 900
    # Of a model that was trained on this set, what it held out counts.
    split = stratified_split(own, 0.4, seed=0)
    split.save(a.parent / "split.json")
    assert merge([a, b], out, data=own, unseen=True).trained["gain"]["n"] == len(split.validation)
    # Where all were, nothing is taken to be so.
    split.save(b.parent / "split.json")
    assert "remarks" not in merge([a, b], out, data=own, unseen=True).trained
    assert main(["ensemble", "rank", *command, "--unseen", "--format", "json"]) == 0
    assert "are taken to have seen" not in capsys.readouterr().err
    (b.parent / "split.json").unlink()
    described = ModelSpec.load(b.with_suffix(".json"))
    # The same images, and those that were read in another size or with other labels.
    for record in ({"fingerprint": own.fingerprint}, {"name": "drawn", "train": 800, "validation": 100}):
        described.replace(trained={"data": record}).save(b.with_suffix(".json"))
        with pytest.raises(DataError, match=r"b/model\.onnx was trained on images of drawn"):
            merge([a, b], out, data=own, unseen=True)
    described.replace(trained={"data": {"name": "drawn", "train": 9, "validation": 1}}).save(b.with_suffix(".json"))
    assert merge([a, b], out, data=own, unseen=True).trained["gain"]["n"] == len(split.validation)
    with pytest.raises(UsageError, match="give --data SET"):
        merge([a, b], out, unseen=True)


def test_the_command_reads_the_data_as_the_members_were_trained_on_it(make: Make, tmp_path: Path) -> None:
    paths = [make("a", 1), make("b", 2)]
    split = stratified_split(load("synth:1200:0", size=12), 0.2, seed=0)
    for path in paths:
        split.save(path.parent / "split.json")
    out = tmp_path / "full.onnx"
    assert main(["export", *map(str, paths), "-o", str(out), "--data", "synth:1200:0"]) == 0
    assert 0 < ModelSpec.load(out.with_suffix(".json")).scores["validation"] < 1


def test_members_with_few_held_out_rows_in_common_are_merged_with_a_remark(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, (a, b) = table(), (make("a", 1), make("b", 2))
    with pytest.raises(DataError, match=r"does not say which rows it held out.*moue ensemble vote"):
        merge([a, b], tmp_path / "full.onnx", data=whole)
    # What no other rows would mend is said first.
    other = make("c", 3, labels=FERPLUS.labels)
    for make_one in (merge, stack):
        with pytest.raises(ModelError, match="must share their labels"):
            make_one([a, other], tmp_path / "full.onnx", data=whole)
    first, second = (stratified_split(whole, 0.1, seed=seed) for seed in (0, 1))
    first.save(a.parent / "split.json")
    second.save(b.parent / "split.json")
    n = len(np.intersect1d(first.validation, second.validation))
    assert 0 < n < 50
    spec = merge([a, b], tmp_path / "few.onnx", data=whole)
    assert spec.temperature == 1
    assert spec.trained["remarks"] == [
        f"its temperature stays 1: fitting one takes 50 held-out images, and these were {n}"
    ]
    assert "validation" in spec.scores
    assert {score.n for score in rank_subsets([a, b], whole)} == {n}
    # None at all.
    dataclasses.replace(second, validation=np.setdiff1d(second.validation, first.validation)).save(
        b.parent / "split.json"
    )
    spec = merge([a, b], tmp_path / "none.onnx", data=whole)
    assert (spec.temperature, spec.scores) == (1, {})
    assert "no image was held out by every member" in spec.trained["remarks"][0]
    with pytest.raises(DataError, match="no image that every model held out, to rank them on"):
        rank_subsets([a, b], whole)
    # The command prints it.
    split = stratified_split(load("synth:1200:0", size=12), 0.03, seed=0)
    for path in (a, b):
        split.save(path.parent / "split.json")
    assert main(["export", str(a), str(b), "-o", str(tmp_path / "c.onnx"), "--data", "synth:1200:0"]) == 0
    assert "moue: its temperature stays 1: " in capsys.readouterr().err
    assert main(["ensemble", "rank", str(a), str(b), "--data", "synth:1200:0", "--format", "json"]) == 0
    assert "images are few: the order is mostly chance" in capsys.readouterr().err


def test_a_member_is_never_overwritten_by_the_ensemble(make: Make, tmp_path: Path) -> None:
    a, b = make("a", 1), make("b", 2)
    before = [path.read_bytes() for path in (a, b)]
    (tmp_path / "link.onnx").symlink_to(a)
    for out in (a, b, tmp_path / "link.onnx"):
        with pytest.raises(UsageError, match="is read or written by this command already"):
            merge([a.parent, b], out)
    assert [path.read_bytes() for path in (a, b)] == before
    # The .json that goes beside it counts as well.
    a.with_suffix(".json").rename(tmp_path / "a" / "kept.json")
    a.rename(tmp_path / "a" / "kept.onnx")
    (tmp_path / "out.json").symlink_to(tmp_path / "a" / "kept.json")
    with pytest.raises(UsageError, match=r"out\.json is read or written"):
        merge([tmp_path / "a" / "kept.onnx", b], tmp_path / "out.onnx")


def test_members_that_do_not_fit_together_are_refused(make: Make, tmp_path: Path) -> None:
    out, a = tmp_path / "full.onnx", make("a", 1)
    for field, value in {"labels": FERPLUS.labels, "size": 10, "color": "rgb", "margin": 0.1, "align": False}.items():
        with pytest.raises(ModelError, match=f"must share their {field}"):
            merge([a, make("b", 2, **{field: value})], out)
    with pytest.raises(ModelError, match="operator sets 18 and 17"):
        merge([a, make("b", 2, opset=17)], out)
    with pytest.raises(UsageError, match=r"at least two members\. Got 1"):
        merge([a], out)
    b = make("b", 2)
    for weights in ([1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]):
        with pytest.raises(UsageError, match="2 numbers above 0"):
            merge([a, b], out, weights=weights)
    with pytest.raises(UsageError, match=r"\.onnx"):
        merge([a, b], tmp_path / "full.pt")
    a.write_bytes(a.read_bytes() + b"x")
    with pytest.raises(ModelError, match="damaged"):
        merge([a, b], out)
    assert not list(tmp_path.glob("full*"))


def test_the_spec_of_a_model_without_its_run_tells_its_split(make: Make, tmp_path: Path) -> None:
    whole, (a, b) = table(), (make("a", 1), make("b", 2))
    splits = [stratified_split(whole, 0.4, seed=seed) for seed in (0, 1)]
    for path, split in zip((a, b), splits, strict=True):
        path = path.with_suffix(".json")
        ModelSpec.load(path).replace(trained={"data": data_record(whole, split)}).save(path)
    spec = merge([a, b], tmp_path / "full.onnx", data=whole)
    rows = np.intersect1d(splits[0].validation, splits[1].validation)
    merged = open_model(tmp_path / "full.onnx")
    assert spec.temperature == pytest.approx(
        fit_temperature(merged.tta_logits(whole.images[rows], spec.views), whole.labels[rows]), rel=1e-3
    )
    # An ensemble held out what all its members did, and is scored on that.
    held_out, _ = rows_of(whole, "validation", tmp_path / "full.onnx")
    assert list(held_out.digests) == list(whole.take(rows).digests)
    trained, reference = rows_of(whole, "train", a)
    assert len(trained) == len(splits[0].train)
    assert reference is None
    # With near copies on one side, other rows were held out.
    near = stratified_split(whole, 0.4, duplicates="near")
    recorded = ModelSpec.load(b.with_suffix(".json"))
    recorded.replace(trained={"data": data_record(whole, near)}).save(b.with_suffix(".json"))
    found = split_of(b, whole)
    assert found is not None
    assert found.duplicates == "near"
    assert (found.validation == near.validation).all()
    # Of another set nothing is known, and rows that are no longer drawn so are none.
    assert split_of(a, whole.take(np.arange(1000))) is None
    other = ModelSpec.load(a.with_suffix(".json"))
    other.replace(trained={"data": {**other.trained["data"], "train": 3}}).save(a.with_suffix(".json"))
    assert split_of(a, whole) is None
    with pytest.raises(DataError, match="no validation rows of its own"):
        rows_of(whole, "validation", a)


def test_all_subsets_are_scored_on_what_all_members_held_out(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load("synth:1200:0", size=12)
    paths = [make(name, seed) for seed, name in enumerate("abc", start=1)]
    splits = [stratified_split(whole, 0.5, seed=seed) for seed in (0, 0, 1)]
    for path, split in zip(paths, splits, strict=True):
        split.save(path.parent / "split.json")
    words = ["ensemble", "rank", *map(str, paths), "--data", "synth:1200:0"]
    assert main([*words, "--format", "json"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert len({tuple(row["members"]) for row in rows}) == 7
    assert [row["nll"] for row in rows] == sorted(row["nll"] for row in rows)
    held_out = np.intersect1d(splits[0].validation, splits[2].validation)
    assert {row["n"] for row in rows} == {len(held_out)}
    # What is promised is what the written file does.
    best = next(row for row in rows if len(row["members"]) > 1)
    assert " ".join(best["members"]) in captured.err
    spec = merge(best["members"], tmp_path / "best.onnx", data=whole)
    assert spec.scores["validation"] == pytest.approx(best["accuracy"], abs=1e-5)
    assert spec.parameters == best["parameters"]
    alone = {row["members"][0]: row for row in rows if len(row["members"]) == 1}
    a, b = (open_model(path).logits(whole.images[held_out]).argmax(1) for path in paths[:2])
    assert alone[str(paths[0])]["accuracy"] == pytest.approx((a == whole.labels[held_out]).mean(), abs=1e-5)
    assert alone[str(paths[0])]["disagreement"] is None
    [pair] = [row for row in rows if row["members"] == [str(path) for path in paths[:2]]]
    assert pair["disagreement"] == pytest.approx((a != b).mean(), abs=1e-5)
    assert main([*words, "--top", "2", "--labels", "fer2013"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.endswith("--data synth:1200:0 --labels fer2013\n")


def test_members_that_cannot_be_ranked_are_one_sentence(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, other = make("a", 1), make("b", 2), make("c", 3, labels=FERPLUS.labels)
    for members, message in (
        ([a], "from 2 to 12 models. Got 1"),
        ([a, a], "is given twice"),
        ([a, other], "must share their labels"),
        ([a, b], "does not say which rows it held out"),
    ):
        assert main(["ensemble", "rank", *map(str, members), "--data", "synth:300:0"]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.out == ""


def test_a_majority_counts_the_likeliest_class_of_each_member(make: Make, tmp_path: Path) -> None:
    paths = [make(name, seed) for seed, name in enumerate("abc", start=1)]
    spec = merge(paths, tmp_path / "votes.onnx", weights=[2, 1, 1], kind="majority")
    logits = [open_model(path, engine="onnxruntime").logits(faces()) for path in paths]
    expected = sum(w * np.eye(7)[z.argmax(1)] for w, z in zip((0.5, 0.25, 0.25), logits, strict=True))
    for engine in ("onnxruntime", "openvino"):
        assert np.allclose(open_model(tmp_path / "votes.onnx", engine=engine).logits(faces()), expected, atol=1e-6)
    assert spec.trained["ensemble"] == "majority vote"


def test_weights_are_fitted_by_log_loss_and_a_useless_member_is_left_out(make: Make, tmp_path: Path) -> None:
    whole, paths = table(), [make("good", 1), make("noise", 2), make("other", 3)]
    images = np.random.default_rng(5).integers(0, 256, (1200, 1, 12, 12), dtype=np.uint8)
    # The truth is what the first member says, and sometimes what the third does.
    first, third = (open_model(path).logits(images).argmax(1) for path in (paths[0], paths[2]))
    truth = np.where(np.arange(1200) % 3 == 0, third, first).astype(np.int64)
    truth[:7] = np.arange(7)
    whole = dataclasses.replace(whole, images=images, labels=truth)
    split = stratified_split(whole, 0.4, seed=0)
    for path in paths:
        split.save(path.parent / "split.json")
    spec = merge(paths, tmp_path / "fitted.onnx", fit=True, data=whole)
    weights = {member["name"]: member["weight"] for member in spec.trained["members"]}
    assert set(weights) == {"good", "other"}
    assert sum(weights.values()) == pytest.approx(1)
    assert spec.trained["remarks"][0].startswith("noise is left out")

    def loss(path: Path) -> float:
        model = open_model(path)
        logits = model.tta_logits(images[split.validation], model.spec.views)
        return negative_log_likelihood(softmax(logits, model.spec.temperature), truth[split.validation])

    merge(paths, tmp_path / "equal.onnx", data=whole)
    assert loss(tmp_path / "fitted.onnx") < loss(tmp_path / "equal.onnx")
    with pytest.raises(UsageError, match="give --data SET"):
        merge(paths, tmp_path / "x.onnx", fit=True)
    few = stratified_split(whole, 0.02, seed=0)
    for path in paths:
        few.save(path.parent / "split.json")
    spec = merge(paths, tmp_path / "few.onnx", fit=True, data=whole)
    assert [member["weight"] for member in spec.trained["members"]] == pytest.approx([1 / 3] * 3, abs=1e-5)
    assert spec.trained["remarks"][0].startswith("its weights stay equal: ")


def test_the_command_votes(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = make("a", 1), make("b", 2)
    assert main(["ensemble", "vote", str(a), str(b), "-o", str(tmp_path / "v.onnx"), "--weights", "3,1"]) == 0
    printed = capsys.readouterr()
    assert "vote of 2" in printed.out
    assert "its temperature stays 1" in printed.err
    assert main(["ensemble", "vote", str(a), str(b), "-o", str(tmp_path / "v.onnx"), "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["kind"], [m["weight"] for m in values["members"]]) == ("vote", [0.5, 0.5])


@pytest.mark.parametrize("alone", [True, False])
def test_the_command_says_whether_averaging_is_worth_it(
    alone: bool, make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (str(make(name, seed)) for name, seed in (("a", 1), ("b", 2)))
    one, both = (SubsetScore(m, 200, 0.6, 0.03, 0.5, 0.2, nll, None, 7) for m, nll in (((a,), 1.0), ((a, b), 1.1)))
    found = [one, both] if alone else [both, one]
    monkeypatch.setattr("moue.ensembles.rank_subsets.rank_subsets", lambda *_, **__: found)
    assert main(["ensemble", "rank", a, b, "--data", "synth:200:0"]) == 0
    printed = capsys.readouterr()
    assert "majority_baseline" in printed.out
    if alone:
        assert printed.err.endswith(f"moue: no average is better than {a} alone\n")
    else:
        assert f"moue: to write the best subset as one file: moue ensemble vote {a} {b} -o ensemble.onnx" in printed.err


def test_members_none_of_which_is_better_than_chance_get_no_weights(make: Make, tmp_path: Path) -> None:
    whole, path = table(), make("a", 1)
    unlikeliest = open_model(path).logits(whole.images).argmin(1).astype(np.int64)
    wrong = dataclasses.replace(whole, labels=unlikeliest, split=np.full(len(whole), "validation"))
    with pytest.raises(UsageError, match="no member is better than chance"):
        merge([path, make("b", 1, views=2)], tmp_path / "x.onnx", fit=True, data=wrong)
