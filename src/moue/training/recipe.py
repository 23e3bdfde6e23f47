"""Recipes: a configuration as a YAML file, of which the package ships one for every trained model.

JSON is YAML, so the ``config.json`` of a run is a recipe, too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from moue.errors import UnknownName, UsageError
from moue.trained.network import architecture_of, network_spec
from moue.training.config import Config
from moue.training.yaml12 import read_yaml

#: What the name of a recipe's file may end in.
RECIPE_SUFFIXES = (".yaml", ".yml", ".json")


def load_recipe(name: str | Path) -> Config:
    """The configuration of a shipped recipe ("study/googlenet") or of a YAML or JSON file of one's own.

    Raises:
        UnknownName: when neither a shipped recipe nor a file has that name.
        UsageError: when the file is not a recipe.
    """
    path = Path(name)
    if path.suffix not in RECIPE_SUFFIXES and path.is_file():
        raise UsageError(f"a recipe is a file whose name ends in {' or '.join(RECIPE_SUFFIXES)}. Got {name} instead.")
    if path.suffix not in RECIPE_SUFFIXES:
        shipped = recipes()
        if str(name) not in shipped:
            raise UnknownName("recipe", str(name), shipped)
        path = shipped[str(name)]
    try:
        values = read_yaml(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise UnknownName("recipe", str(name), recipes()) from None
    except (OSError, UnicodeDecodeError, UsageError) as error:
        raise UsageError(f"{path} is not a recipe: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a recipe: it holds a {type(values).__name__}, not sections.")
    return Config.from_dict(values)


def resolve_init(config: Config) -> Config:
    """The configuration with the network of ``model.init`` by its name, where it says "init", and with those of
    ``model.backbones`` as the members of its network.

    Options that the configuration sets have precedence over those of these models.

    Raises:
        UnknownName, UsageError, ModelError, MissingExtra: as :func:`moue.trained.network.network_spec`, whenever
            ``model.init`` is set.
    """
    model = config.model
    if model.init is not None:
        network_spec(model.init)
    if model.backbones:
        from moue.training.backbones import resolve_backbones

        return resolve_backbones(config)
    if model.init is None or model.network != "init":
        return config
    network, options = architecture_of(model.init)
    return replace(config, model=replace(model, network=network, options={**options, **model.options}))


def recipes() -> dict[str, Path]:
    """The shipped recipes, by name ("default", "study/googlenet")."""
    root = Path(__file__).parent.parent / "recipes"
    return {p.relative_to(root).with_suffix("").as_posix(): p for p in sorted(root.rglob("*.yaml"))}


def about(recipe: Path) -> str:
    """What a shipped recipe is, by its first line."""
    with open(recipe, encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
