from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.errors import MienError
from mien.training.recipe import (
    RECIPES,
    Recipe,
    describe_overrides,
    flat,
    load_recipe,
    recipe_from_dict,
    recipe_names,
    shared_name,
)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_mien_brings_can_be_read_and_says_what_it_is(name):
    assert load_recipe(name).description


def test_a_recipe_comes_back_from_its_yaml(tmp_path):
    recipe = load_recipe("mien-s")
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "mine.yaml") == recipe


def test_what_a_recipe_does_not_say_is_the_default(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 7\noptimizer: {name: sgd}\n")
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert (recipe.epochs, recipe.optimizer.name, recipe.batch_size) == (7, "sgd", Recipe().batch_size)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"epocs": 3}, "no key epocs; did you mean epochs"),
        ({"optimizer": {"learning_rat": 1}}, "no key optimizer.learning_rat; did you mean optimizer.learning_rate"),
        ({"epochs": "many"}, "epochs"),
        ({"optimizer": {"name": "sdg"}}, "sdg"),
        ({"channels": 2}, "channels"),
        ({"dropout": 1.5}, "dropout must be a share"),
        ({"augmentation": {"flip": 2}}, "augmentation.flip must be a share"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"optimizer": None}, "optimizer must have keys and values, not null"),
        ({"augmentation": []}, "augmentation must have keys and values"),
        ({"balance": {"copies": 3}}, "balance.copies must have keys and values, not 3"),
        ({"seed": 12345678901234567890123}, "seed must be between 0 and 4,294,967,295"),
        ({"enlarge_to": 10**9}, "enlarge_to must be between 1 and 1,024 pixels"),
        ({"optimizer": {"learning_rate": 0}}, "above 0"),
        ({"early_stopping": 0}, "early_stopping"),
        ({"early_stopping": 3, "select_by": "last"}, "early_stopping cannot be used with select_by last"),
        ({"seed": -1}, "seed must be between 0 and"),
    ],
)
def test_a_recipe_that_is_wrong_is_answered_with_what_is_wrong(content, sentence):
    with pytest.raises(MienError, match=sentence):
        recipe_from_dict(content)


NUMBERS = [key for key, value in flat(asdict(Recipe())) if isinstance(value, int | float) and not isinstance(value, bool)]


@pytest.mark.parametrize("value", [-0.5, -1, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", [*NUMBERS, "enlarge_to", "crop", "crop_from", "early_stopping"])
def test_every_number_of_a_recipe_has_a_range(key, value):
    *parts, last = key.split(".")
    content = {last: value}
    for part in reversed(parts):
        content = {part: content}
    with pytest.raises(MienError, match=key):
        recipe_from_dict(content)


WRONG = [2.5, True, "3", None, float("nan"), [1], {}, (1,), b"x", np.int64(3), np.float64(0.5), 10**5000, [10**5000], object()]


@pytest.mark.parametrize("key", [key for key, _ in flat(asdict(Recipe()))] + ["optimizer", "balance", "balance.copies"])
def test_every_field_of_a_recipe_made_in_python_is_checked_for_its_type(key):
    *parts, last = key.split(".")
    owners = [Recipe()]
    for part in parts:
        owners.append(getattr(owners[-1], part))

    def nested(value):
        made = replace(owners[-1], **{last: value})
        for part, owner in zip(reversed(parts), reversed(owners[:-1]), strict=True):
            made = replace(owner, **{part: made})

    kind = next(field.type for field in fields(owners[-1]) if field.name == last)
    fits = {
        **{int: [int], float: [float, int], str: [str], bool: [bool], int | None: [type(None), int]},
        int | float: [int, float],
    }
    fits |= {
        dict[Any, Any] | None: [dict, type(None)],
        dict[str, Any] | None: [dict, type(None)],
        str | None: [str, type(None)],
    }
    fits |= {list[str]: [], list[str] | None: [type(None)]}
    for value in (value for value in WRONG if type(value) not in fits.get(kind, []) or value == 10**5000):
        with pytest.raises(MienError, match=rf"^The recipe's {key} must be [^\n]*\.$"):
            nested(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("keep", ["happy", "sad"]), ("keep", ("happy", "sad")), ("dropout", 0), ("carve", 5), ("carve", 0.5), ("channels", 3)],
)
def test_a_recipe_of_the_right_types_can_be_written(field, value, tmp_path):
    (tmp_path / "own.yaml").write_text(Recipe(**{field: value}).to_yaml())
    read = getattr(load_recipe(tmp_path / "own.yaml"), field)
    assert (list(read) if field == "keep" else read) == (list(value) if field == "keep" else value)


def test_a_misspelt_recipe_is_answered_with_the_nearest_names():
    with pytest.raises(MienError, match="did you mean wide-cnn"):
        load_recipe("wide-cn")


def test_a_recipe_file_that_is_not_there_or_not_yaml_is_named(tmp_path):
    with pytest.raises(MienError, match="no recipe file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("epochs: [1\n")
    with pytest.raises(MienError, match="not valid YAML"):
        load_recipe(tmp_path / "broken.yaml")
    (tmp_path / "misspelt.yaml").write_text("epoch: 3\n")
    with pytest.raises(MienError, match=r"misspelt\.yaml: .* no key epoch; did you mean epochs"):
        load_recipe(tmp_path / "misspelt.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(MienError, match="must contain keys and values"):
        load_recipe(tmp_path / "list.yaml")


def test_recipes_lie_where_they_are_looked_for():
    assert recipe_names() == sorted(path.stem for path in RECIPES.iterdir())


def test_the_description_tells_what_was_changed():
    base = load_recipe("mien-s")
    assert describe_overrides(base, base, "mien-s") == base
    changed = replace(base, epochs=4, weights="somewhere/on/this/machine/w.safetensors")
    changed = replace(changed, votes=replace(base.votes, head=0.5))
    told = describe_overrides(changed, base, "mien-s")
    assert told.description == "mien-s with weights w.safetensors, epochs 4, votes.head 0.5"
    assert replace(told, description=base.description) == changed
    own = replace(changed, description="my own")
    assert describe_overrides(own, base, "mien-s") == own


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/first/weights.safetensors", "first"),
        ("runs/first", "first"),
        ("../runs/../weights.safetensors", Path.cwd().parent.name),
        (".", Path.cwd().name),
        ("/downloads/mobilenet.safetensors", "mobilenet.safetensors"),
        ("hub", "hub"),
    ],
)
def test_what_a_recipe_names_is_told_without_its_folders(path, name):
    assert shared_name(path) == name
