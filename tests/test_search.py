"""`search`: draws within its space, halves, resumes, and writes a recipe that trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from moue.cli.main import main
from moue.data.readers.store import save
from moue.data.readers.synth import synthetic
from moue.data.table import ImageTable
from moue.errors import UsageError
from moue.search import BEST, STATE, Choice, Interval, parse_space, rung_sizes, search
from moue.training.config import Config
from moue.training.recipe import load_recipe
from moue.training.run_folder import Run

SETTINGS = {
    "optim.epochs": 1,
    "optim.steps": 2,
    "run.threads": 1,
    "data.augment": False,
    "model.options": {"widths": [8, 8, 8], "blocks": [1, 1]},
}
SPACE: dict[str, Interval | Choice] = {
    "optim.lr": Interval(1e-4, 1e-1, whole=False),
    "optim.name": Choice(("adam", "sgd")),
}


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return synthetic(200, seed=3)


def test_the_texts_say_what_is_searched_and_what_is_fixed() -> None:
    space, fixed = parse_space(
        [
            *(
                "optim.lr=1e-4..1e-2",
                "optim.epochs=5..9",
                "optim.name=adam,sgd",
                "data.flip=false",
                "model.init=runs/a",
            ),
            "optim.progressive_sizes=[40, 48]",
        ]
    )
    assert space == {
        "optim.lr": Interval(1e-4, 1e-2, whole=False),
        "optim.epochs": Interval(5, 9, whole=True),
        "optim.name": Choice(("adam", "sgd")),
    }
    assert fixed == ["data.flip=false", "model.init=runs/a", "optim.progressive_sizes=[40, 48]"]
    for wrong in ("optim.lr=1..a", "optim.lr=2..1", "optim.lr=1.."):
        with pytest.raises(UsageError, match=r"k=LOW\.\.HIGH"):
            parse_space([wrong])
    paths = ["model.init=runs/../r/v1.2", "model.init=../a"]
    assert parse_space(paths) == ({}, paths)
    for minutes in ("run.minutes=5", "run.minutes=1..5"):
        with pytest.raises(UsageError, match="its share of --minutes"):
            parse_space([minutes])


def test_intervals_over_a_factor_of_ten_are_drawn_on_a_logarithmic_scale() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([Interval(1e-5, 1e-1, whole=False).draw(rng) for _ in range(400)])
    assert rates.min() >= 1e-5
    assert rates.max() <= 1e-1
    assert 0.4 < (rates < 1e-3).mean() < 0.6
    even = np.array([Interval(0.1, 0.5, whole=False).draw(rng) for _ in range(400)])
    assert 0.4 < (even < 0.3).mean() < 0.6


@pytest.mark.parametrize("high", [3, 30])
def test_whole_numbers_are_drawn_as_often_at_the_ends_as_between_them(high: int) -> None:
    rng = np.random.default_rng(0)
    drawn = [Interval(1, high, whole=True).draw(rng) for _ in range(6000)]
    assert set(drawn) == set(range(1, high + 1))
    edges = np.arange(1, high + 2) - 0.5
    widths = np.diff(np.log(edges) if high >= 10 else edges)
    shares = np.bincount(drawn)[1:] / len(drawn)
    assert np.abs(shares - widths / widths.sum()).max() < 0.02, "even on the scale of the interval, the ends included"


def test_rungs_halve_to_the_end() -> None:
    assert rung_sizes(9) == [9, 3, 1]
    assert rung_sizes(20) == [20, 6, 2]
    assert rung_sizes(2) == [2]


def test_the_best_third_goes_on_with_more_minutes_and_the_search_resumes(table: ImageTable, tmp_path: Path) -> None:
    config = Config().override(changes=SETTINGS)
    lines: list[str] = []
    trials = search(config, table, tmp_path / "s", SPACE, 60, trials=4, log=lines.append)
    first, second = [t for t in trials if t.rung == 0], [t for t in trials if t.rung == 1]
    assert (len(first), len(second)) == (4, 1)
    assert second[0].number == max(first, key=lambda t: t.accuracy or 0).number
    assert sum(t.minutes for t in trials) == pytest.approx(60)
    assert second[0].minutes == pytest.approx(4 * first[0].minutes)
    for trial in trials:
        assert Run(trial.run).config().optim.lr == trial.settings["optim.lr"]
        assert trial.accuracy == Run(trial.run).spec().scores["validation"]
    recipe = load_recipe(tmp_path / "s" / BEST)
    assert (recipe.optim.lr, recipe.optim.name) == (trials[0].settings["optim.lr"], trials[0].settings["optim.name"])
    assert recipe.model.options == SETTINGS["model.options"]
    assert recipe.run.minutes is None
    # Killed in the second rung: the same trials again, and those of the first rung are taken.
    kept = (first[0].run / "config.json").stat().st_mtime_ns
    shutil.rmtree(second[0].run)
    again = search(config, table, tmp_path / "s", SPACE, 60, trials=4)
    assert [(t.number, t.rung, t.accuracy) for t in again] == [(t.number, t.rung, t.accuracy) for t in trials]
    assert (first[0].run / "config.json").stat().st_mtime_ns == kept
    assert len(lines) == 5
    with pytest.raises(UsageError, match="another search: its minutes differ"):
        search(config, table, tmp_path / "s", SPACE, 90, trials=4)


def test_a_search_of_choices_that_an_older_version_began_goes_on(table: ImageTable, tmp_path: Path) -> None:
    config = Config().override(changes=SETTINGS)
    space, _ = parse_space(["optim.lr=0.001,0.01"])
    trials = search(config, table, tmp_path / "s", space, 60, trials=2)
    state = json.loads((tmp_path / "s" / STATE).read_text())
    # It knew neither this setting nor what was drawn.
    del state["settings"], state["recipe"]["data"]["duplicates"]
    (tmp_path / "s" / STATE).write_text(json.dumps(state))
    again = search(config, table, tmp_path / "s", space, 60, trials=2)
    assert [(t.number, t.accuracy) for t in again] == [(t.number, t.accuracy) for t in trials]
    for damaged in ({}, {**state, "recipe": 7}):
        (tmp_path / "s" / STATE).write_text(json.dumps(damaged))
        with pytest.raises(UsageError, match="is damaged"):
            search(config, table, tmp_path / "s", space, 60, trials=2)


def test_mistakes_are_found_before_the_first_training(table: ImageTable, tmp_path: Path) -> None:
    config = Config().override(changes=SETTINGS)
    wrong: dict[str, tuple[dict[str, Interval | Choice], Config]] = {
        "needs something to search": ({}, config),
        r"optim\.lrr": ({"optim.lrr": Interval(0.1, 1, whole=False)}, config),
        r"data\.validation must be above 0": (SPACE, config.override(changes={"data.validation": 0})),
    }
    for name in ("data.validation", "data.fold", "data.split_seed", "data.duplicates", "run.minutes"):
        wrong[rf"cannot vary {name}"] = ({name: Choice((0.1, 0.2))}, config)
    for message, (space, asked) in wrong.items():
        with pytest.raises(UsageError, match=message):
            search(asked, table, tmp_path / "s", space, 60)
    few = table.take(
        np.concatenate([np.flatnonzero((table.split == "train") & (table.labels == k))[:2] for k in (0, 1)])
    )
    with pytest.raises(
        UsageError, match=r"data\.validation=0\.2 holds out none of .*angry 2.*Set data\.validation higher"
    ):
        search(config, few, tmp_path / "s", SPACE, 60)
    assert not (tmp_path / "s").exists()


def test_a_training_that_diverges_is_a_trial_like_any_other(table: ImageTable, tmp_path: Path) -> None:
    config = Config().override(changes=SETTINGS | {"optim.steps": 4})
    space: dict[str, Interval | Choice] = {"optim.lr": Choice((1e-3, 1e30)), "optim.name": Choice(("sgd",))}
    lines: list[str] = []
    trials = search(config, table, tmp_path / "s", space, 60, trials=6, log=lines.append)
    # None is trained twice.
    assert [t.settings["optim.lr"] for t in trials if t.rung == 0] == [1e-3, 1e30]
    assert lines[0] == "what is searched has 2 different settings: 2 trials instead of 6"
    failed = [t for t in trials if t.settings["optim.lr"] == 1e30]
    assert failed
    assert all(t.accuracy is None and "no longer finite" in t.reason for t in failed)
    assert trials[0].accuracy is not None


def test_the_command_searches(table: ImageTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(table, tmp_path / "set.npz")
    settings = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    settings += ["--set=optim.votes_weight=0", "--set=optim.progressive_sizes=[]", "--set=optim.lr=1e-3..1e-1"]
    command = ["search", "compact", "--data", str(tmp_path / "set.npz"), "--out", str(tmp_path / "out"), *settings]
    assert main(command) == 2
    assert "--minutes" in capsys.readouterr().err
    assert main([*command, "--minutes", "30", "--trials", "2", "--format", "json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert len(found) == 2
    baseline = Run(Path(found[0]["run"])).spec().scores["validation_majority_baseline"]
    assert 0 < baseline < 1
    assert ("is no better than the majority baseline" in printed.err) == (found[0]["accuracy"] <= baseline)
    assert "held-out images are few" in printed.err
    assert "under 5 settings say little" in printed.err
