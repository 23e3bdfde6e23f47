"""Recipes and settings: what a wrong word gets told, and that every shipped recipe holds."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from damage import damaged, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from moue.errors import UnknownName, UsageError
from moue.training.config import Config
from moue.training.recipe import load_recipe, recipes


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_shipped_recipe_loads_and_names_its_command(name: str) -> None:
    config = load_recipe(name)
    assert config.model.network
    head = recipes()[name].read_text(encoding="utf-8").splitlines()
    comments = [line for line in head if line.startswith("#")]
    assert any(f"moue train {name} " in line for line in comments), "the head must give the command"


def test_the_studys_recipes_hold_the_studys_settings() -> None:
    for name, epochs in (("study/googlenet", 60), ("study/resnet50v2", 25), ("study/vit", 30)):
        config = load_recipe(name)
        assert (config.optim.name, config.optim.lr, config.optim.epochs) == ("adam", 1e-3, epochs)
        assert config.data.validation == 0.2
        assert config.data.class_weights
        assert config.data.flip
        assert config.data.scale > 0
        assert config.data.brightness > 0


def test_settings_override_and_keep_their_types() -> None:
    config = Config().override(
        [
            "optim.lr=3e-4",
            "optim.epochs=3",
            "data.flip=false",
            "model.options.width=0.5",
            "optim.progressive_sizes=[32, 48]",
        ]
    )
    assert config.optim.lr == 3e-4
    assert config.optim.epochs == 3
    assert config.data.flip is False
    assert config.model.options == {"width": 0.5}
    assert config.optim.progressive_sizes == (32, 48)
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("number", ["1e-1", "+1E-1", ".1", "1.e-1", "0.1"])
def test_numbers_are_numbers_however_deep_and_however_written(number: str, tmp_path: Path) -> None:
    config = Config().override([f"model.options={{dropout: {number}, name: 1e, place: 12e3x}}"])
    assert config.model.options == {"dropout": 0.1, "name": "1e", "place": "12e3x"}
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"model: {{options: {{dropout: {number}}}}}\noptim: {{lr: {number}}}\n", encoding="utf-8")
    assert load_recipe(recipe).model.options == {"dropout": 0.1}
    assert load_recipe(recipe).optim.lr == 0.1


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optim.learning_rate=1", "optim.learning_rate"),
        ("optim.epoch=1", "epochs"),
        ("optim.lr=fast", "optim.lr must be a number"),
        ("optim.lr=0", "above 0"),
        ("optim.epochs=2.5", "whole number"),
        ("optim.name=adamax", "'adam', 'adamw', 'sgd'"),
        ("data.validation=1.5", "between 0 and 0.9"),
        ("optim.lr", "section.key=value"),
        ("data.flip=perhaps", "true or false"),
        ("run.seed=2024-13-45", "'2024-13-45' is not a value as YAML"),
        ("model.init=2024-02-30", "Put a text into quotes"),
        ("optim=", "optim is a section"),
        ("optim=0", "optim is a section"),
        ("optim={lr: 0.1}", "optim is a section"),
        ("optim.progressive_sizes=[4]", "optim.progressive_sizes must be between 8"),
        ("optim.batch_size=1", "between 2"),
        ("optim.steps=-3", "between 1"),
        ("optim.lr=[1", "not a value as YAML"),
        ("run.seed=-1", "run.seed must be between 0"),
        ("run.threads=-1", "run.threads must be between 0"),
        ("run.minutes=.inf", "above 0"),
        ("data.split_seed=-1", "split_seed must be between 0"),
        ("model.options.size=big", "model.options.size must be between 8"),
        ("model.options=3", "model.options must be a section"),
        ("model.options={1: 2}", "keys that are texts. Got {1: 2}"),
        ("model.options.color=green", "'gray' or 'rgb'"),
    ],
)
def test_a_wrong_setting_says_what_was_wanted(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        Config().override([setting])


def test_layer_decay_needs_steps_that_have_a_length() -> None:
    with pytest.raises(UsageError, match="layer_decay"):
        Config().override(["optim.name=muon", "optim.layer_decay=0.8"])


def test_values_that_an_option_gives_are_not_read_as_yaml() -> None:
    config = Config().override(["data.votes=other.csv"], {"data.votes": "my set #1: votes.csv", "run.seed": 3})
    assert config.data.votes == "my set #1: votes.csv"
    assert config.get("run.seed") == 3
    assert config.get("model.options.width") is None


def test_an_unknown_recipe_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="study/googlenet"):
        load_recipe("study/googlenett")
    with pytest.raises(UnknownName):
        load_recipe(tmp_path / "absent.yaml")


def test_a_file_that_is_no_recipe_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("be good")
    with pytest.raises(
        UsageError, match=r"a recipe is a file whose name ends in .yaml or .yml or .json. Got .*notes.txt"
    ):
        load_recipe(tmp_path / "notes.txt")
    path = tmp_path / "r.yaml"
    path.write_text("- 1\n- 2\n")
    with pytest.raises(UsageError, match="not a recipe"):
        load_recipe(path)
    path.write_text("run: {seed: 2024-13-45}")
    with pytest.raises(UsageError, match="not a recipe: month must be"):
        load_recipe(path)
    for nothing in ("0", "[]", "false"):
        path.write_text(f"optim: {nothing}")
        with pytest.raises(UsageError, match="must be a section of keys"):
            load_recipe(path)
    path.write_text("optim:\n")
    assert load_recipe(path) == Config()
    path.write_text("optim: {lr: [")
    with pytest.raises(UsageError, match="not a recipe"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: &a\n  options: *a\n", "line 1 has an anchor or alias"),
        ("data: {}\nmodel: {options: {a: &x [1], b: *x}}\n", "line 2 has an anchor"),
        ("model: {options: " + "{a: " * 5000, "line 1 is nested more than 16 deep"),
        ("model:\n" + "".join(f"{' ' * i}a:\n" for i in range(1, 30)), "line 17 is nested more than 16 deep"),
        ("- x\n" * 3000, "more than 2,000 values"),
        ("a" * 70_000, "longer than 65,536 characters"),
    ],
    ids=["recursive", "alias", "deep flow", "deep block", "many", "long"],
)
def test_a_recipe_has_limits_and_no_aliases(text: str, words: str, tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words) as raised:
        load_recipe(recipe)
    assert len(str(raised.value)) < 200 + len(str(recipe))
    with pytest.raises(UsageError, match="is not a value as YAML writes it") as raised:
        Config().override([f"model.options={text}"])
    assert len(str(raised.value)) < 200


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="&*a:-[]{}!|>'\"#%@\n\t ,?~01.e", max_size=60))
def test_any_text_is_a_value_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        Config().override([f"model.options={text}"])


def test_a_damaged_recipe_is_read_or_one_sentence(tmp_path: Path) -> None:
    path, outcomes = tmp_path / "recipe.yaml", set()
    for shipped in list(recipes().values())[:4]:
        for data in damaged(shipped.read_bytes(), 40):
            path.write_bytes(data)
            outcomes.add(survives(lambda: load_recipe(path), str(path)))
    assert outcomes == {True, False}
