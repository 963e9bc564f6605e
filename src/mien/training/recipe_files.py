"""Recipes by name and from YAML files; every mistake in one is told in a sentence."""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mien.arguments import in_plain_words
from mien.errors import MienError
from mien.inference.hub import is_on_hub
from mien.training.recipe import Recipe

RECIPES = Path(__file__).parent.parent / "recipes"


def recipe_names() -> list[str]:
    """List the recipes that mien brings."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_path(name: str | Path) -> Path:
    """Find a recipe by its name, or take a YAML file as it is.

    Raises:
        MienError: if there is neither; the sentence names the nearest recipes.
    """
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise MienError(f"There is no recipe file {str(name)!r}; `mien recipes` lists the recipes that mien brings.")
        return path
    if str(name) in recipe_names():
        return RECIPES / f"{name}.yaml"
    near = difflib.get_close_matches(str(name).lower(), recipe_names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(recipe_names())}."
    raise MienError(f"There is no recipe {str(name)!r}; {hint} A file of yours ends in .yaml.")


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by its name or from a YAML file.

    Raises:
        MienError: if it is not there, is not YAML, or has an unknown key or a value of another type.
    """
    path = recipe_path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        place = getattr(problem, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        raise MienError(f"The recipe {path} is not valid YAML{where}: {getattr(problem, 'problem', problem)}.") from None
    if not isinstance(content, dict):
        raise MienError(f"The recipe {path} must be keys and values, such as `epochs: 30`.")
    try:
        return recipe_from_dict(content)
    except MienError as problem:
        raise MienError(f"{path}: {problem}") from None


def recipe_from_dict(content: Mapping[str, Any]) -> Recipe:
    """Make a recipe from plain values, nested as in its YAML.

    Raises:
        MienError: if a key is unknown (the sentence names the nearest) or a value is of another type.
    """
    _check_keys(Recipe, content, "")
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe)
    try:
        namespace = parser.parse_object({"recipe": dict(content)})
        recipe: Recipe = parser.instantiate_classes(namespace).recipe
    except ArgumentError as problem:
        raise MienError(f"{in_plain_words(str(problem)).rstrip('.')}.") from None
    return recipe


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give nested keys with dots between them, and their values."""
    for key, value in content.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


def telling_changes(recipe: Recipe, base: Recipe, name: str) -> Recipe:
    """Describe a recipe by the one that it was made of and what differs, so that no card claims what was changed.

    Args:
        recipe: the recipe as it is to be trained; one with a description of its own keeps it.
        base: the recipe before the changes.
        name: its name.
    """
    if recipe.description != base.description:
        return recipe
    before, now = (dict(flat(dataclasses.asdict(each))) for each in (base, recipe))
    changed = [f"{key} {_as_told(value)}" for key, value in now.items() if before.get(key) != value]
    return dataclasses.replace(recipe, description=f"{name} with {', '.join(changed)}") if changed else recipe


def _as_told(value: Any) -> str:
    """Write a value in words; of files and folders only the names, for the others are this machine's."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_told, value))}]"
    return shared_name(value) if isinstance(value, str) else json.dumps(value)


def shared_name(path: str) -> str:
    """Name a file or folder without the folders it lies in; the weights of a run by its name, one on the hub whole."""
    if is_on_hub(path):
        return path
    own = Path(path).resolve()
    return own.parent.name if own.name == "weights.safetensors" else own.name


def _check_keys(kind: type, content: Mapping[str, Any], prefix: str) -> None:
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"it has {', '.join(known)}."
            raise MienError(f"The recipe has no key {prefix}{key}; {hint}")
        inner = known[key].type
        if isinstance(inner, type) and dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            _check_keys(inner, value, f"{prefix}{key}.")
