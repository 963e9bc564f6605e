"""`mien train` and `mien recipes`: what is trained, and how."""

import shlex
import sys
from pathlib import Path

from mien.arguments import make_parser, parse
from mien.commands.labelled_faces import parser_with_data
from mien.errors import MienError


def train(arguments: list[str]) -> int:
    """Train a classifier: mien train RECIPE --data PATH --out RUN [--recipe.epochs 5 ...]."""
    from mien.training.recipe import Recipe, describe_overrides, load_recipe, recipe_path
    from mien.verbs.train import train as train_model

    parser = parser_with_data(
        "train",
        "RECIPE --data PATH --out RUN [--resume] [--recipe.KEY VALUE ...] [--data.KEY VALUE ...]",
        train_model,
        skip=("recipe", "command"),
    )
    parser.add_argument("--recipe", type=Recipe, help="RECIPE: a name that `mien recipes` lists, or a YAML file")
    command = shlex.join(["mien", "train", *_unbroken(arguments)])
    base, path = Recipe(), Path()
    if arguments and not arguments[0].startswith("-"):
        path = recipe_path(arguments[0])
        base = load_recipe(path)  # its mistakes are better told by itself than by the parser of the command line
        arguments = ["--recipe", str(path), *arguments[1:]]
    elif not {"-h", "--help"}.intersection(arguments):
        raise MienError("Say which recipe to train: mien train RECIPE --data PATH --out RUN; `mien recipes` lists them.")
    parsed = parse(parser, arguments)
    parsed.recipe = describe_overrides(parsed.recipe, base, path.stem)
    report = train_model(**vars(parsed), command=command)
    print(report.table())
    print(f"model   {Path(parsed.out) / 'model.onnx'}\nreport  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def quantize(arguments: list[str]) -> int:
    """Make a smaller, faster int8 model file of a model: mien quantize MODEL --data PATH --out FILE."""
    from mien.verbs.publish import quantize as make_int8

    parser = parser_with_data(
        "quantize", "MODEL --data PATH --out FILE [--faces N] [--labels MAP] [--data.KEY VALUE ...]", make_int8
    )
    made = make_int8(**vars(parse(parser, arguments, first="model")))
    print(made.table())
    print(f"model   {made.out}", file=sys.stderr)
    return 0


def _unbroken(arguments: list[str]) -> list[str]:
    """Leave out --resume: a resumed run ends as an unbroken one, and the command that is noted shall work on its own."""
    kept: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        is_value = before == "--resume" and word.lower() in ("true", "false")
        if not is_value and word.split("=")[0] != "--resume":
            kept.append(word)
    return kept


def recipes(arguments: list[str]) -> int:
    """List the recipes that mien brings, or print one with its network's layers: mien recipes [NAME]."""
    from mien.training.recipe import load_recipe, recipe_names, recipe_path
    from mien.verbs.train import describe_network

    parser = make_parser("recipes", "[NAME]")
    parser.add_argument("--name", type=str, help="NAME: the recipe whose YAML is to be printed")
    name = parse(parser, arguments, first="name").name
    if name is not None:
        print(recipe_path(name).read_text(encoding="utf-8"))
        try:
            print("\n".join(f"# {line}".rstrip() for line in describe_network(name).splitlines()))  # all of it stays YAML
        except MienError as missing:
            print(f"mien: without the network's layers: {missing}", file=sys.stderr)
        return 0
    width = max(map(len, recipe_names())) + 2
    for known in recipe_names():
        print(f"{known:<{width}}{load_recipe(known).description}")
    return 0
