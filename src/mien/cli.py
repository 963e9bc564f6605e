"""The command line: `mien VERB ...`. Knows no torch; each verb is a function of `mien.verbs` or `mien.inference`."""

import difflib
import errno
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mien._version import __version__
from mien.arguments import make_parser, overview, parse
from mien.errors import MienError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what follows `mien` on the command line; taken from there, if not given.

    Returns:
        0 done, 1 done but some inputs failed, 2 the user's mistake, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(arguments)
    except MienError as mistake:
        return _complain(str(mistake))
    except KeyboardInterrupt:
        _complain("stopped" + (" (the same command with --resume goes on)" if arguments[:1] == ["train"] else ""))
        return 130
    except BrokenPipeError:
        # whoever read our output has closed it, as `head` does; Python must not complain of it at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        where = f" ({problem.filename})" if problem.filename else ""
        if problem.errno in FULL_DISK:
            again = "the same command with --resume goes on" if arguments[:1] == ["train"] else "run the same again"
            return _complain(f"The disk is full{where}; free some space, then {again}.")
        if problem.errno in NOT_ALLOWED:
            return _complain(
                f"A file cannot be written or read{where}: {os.strerror(problem.errno or 0)}; choose another path."
            )
        raise


def _complain(sentence: str) -> int:
    print(f"mien: {sentence}", file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"] and arguments[1:2]:
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(VERBS))
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"mien {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        raise MienError(
            f"There is no verb {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}.")
        )
    return VERBS[name](rest)


def _train(arguments: list[str]) -> int:
    """Train a classifier: mien train RECIPE --data PATH --out RUN [--recipe.epochs 5 ...]."""
    from mien import verbs
    from mien.data.source import DataSource
    from mien.training.recipe import Recipe
    from mien.training.recipe_files import load_recipe, recipe_path

    parser = make_parser(
        "train",
        "RECIPE --data PATH --out RUN [--resume] [--recipe.KEY VALUE ...] [--data.KEY VALUE ...]",
        verbs.train,
        skip=("recipe", "data", "command"),
    )
    parser.add_argument("--recipe", type=Recipe, help="RECIPE: a name that `mien recipes` lists, or a YAML file")
    parser.add_argument("--data", type=DataSource, help="labelled faces; --data PATH is short for --data.path PATH")
    command = shlex.join(["mien", "train", *arguments])
    if arguments and not arguments[0].startswith("-"):
        path = recipe_path(arguments[0])
        load_recipe(path)  # its mistakes are better told by itself than by the parser of the command line
        arguments = ["--recipe", str(path), *arguments[1:]]
    elif not {"-h", "--help"}.intersection(arguments):
        raise MienError("Say which recipe to train: mien train RECIPE --data PATH --out RUN; `mien recipes` lists them.")
    parsed = parse(parser, arguments)
    report = verbs.train(**vars(parsed), command=command)
    print(report.table())
    print(f"model   {Path(parsed.out) / 'model.onnx'}\nreport  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def _evaluate(arguments: list[str]) -> int:
    """Measure a model: mien evaluate MODEL --data PATH --out DIR [--split S] [--tta flip|ten-crops]."""
    from mien import verbs

    words = "MODEL --data PATH --out DIR [--split S] [--head H] [--tta T] [--data.KEY VALUE ...]"
    report = _on_faces("evaluate", words, verbs.evaluate, arguments, first="model")
    print(report.table())
    print(f"report  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def _audit(arguments: list[str]) -> int:
    """Look for copies, conflicts and bad images in data: mien audit --data PATH --out DIR [--write clean.csv]."""
    from mien import verbs

    print(_on_faces("audit", "--data PATH --out DIR [--write FILE] [--data.KEY VALUE ...]", verbs.audit, arguments).table())
    return 0


def _on_faces(verb: str, words: str, function: Callable[..., Any], arguments: list[str], first: str = "") -> Any:
    from mien.data.source import DataSource

    parser = make_parser(verb, words, function, skip=("data", "command"))
    parser.add_argument("--data", type=DataSource, help="labelled faces; --data PATH is short for --data.path PATH")
    return function(**vars(parse(parser, arguments, first)), command=shlex.join(["mien", verb, *arguments]))


def _predict(arguments: list[str]) -> int:
    """Find faces in photos and say what they show: mien predict SOURCE ... [--model M] [--format F] [--draw DIR]."""
    from mien.files import write_whole
    from mien.inference.destinations import check_out, make_folder_of
    from mien.inference.detection import DETECTORS
    from mien.inference.output import WRITERS, Tally, choose_format, write
    from mien.inference.prediction import predict
    from mien.inference.sources import check_names

    parser = make_parser(
        "predict",
        "SOURCE ... [--model M] [--head H] [--detector D] [--format F] [--out FILE] [--draw DIR] [--batch_size N]",
        predict,
        skip=("source", "model", "detector", "draw"),
    )
    parser.add_argument("source", type=str, nargs="+", help="photos, folders or patterns")
    parser.add_argument(
        "--model", type=str, default="mien-s", help="a model file, a run folder, or a name that `mien models` lists"
    )
    parser.add_argument("--detector", type=str, default="auto", help=f"{', '.join(DETECTORS)}, or a YuNet .onnx file")
    parser.add_argument("--format", type=str, help=f"{', '.join(WRITERS)}; without it, what --out ends in, else table")
    parser.add_argument("--out", type=str, help="a file to write instead of standard output")
    parser.add_argument("--draw", type=str, help="a folder for copies of the images with the answers drawn in")
    wanted = vars(parse(parser, arguments))
    named = wanted.pop("out")
    out = None if named is None else check_out(named, wanted["source"])
    form = choose_format(wanted.pop("format"), out)
    check_names(wanted["source"])
    predictions = predict(**wanted)
    if out is not None:
        make_folder_of(out)

    def write_into(part: Path) -> Tally:
        with part.open("w", encoding="utf-8", newline="") as stream:
            return write(predictions, form, stream)

    tally = write(predictions, form, sys.stdout) if out is None else write_whole(out, write_into)
    print(f"mien: {tally}", file=sys.stderr)
    # where nothing at all could be read, the user named the wrong thing
    return 2 if tally.failed == tally.images else 1 if tally.failed else 0


def _demo(arguments: list[str]) -> int:
    """Show the whole way on drawn faces, in about two minutes: mien demo [--out DIR]."""
    from mien.demo import demo

    parser = make_parser("demo", "[--out DIR]")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="the folder to make; an earlier demo there is replaced")
    return demo(parse(parser, arguments).out, main)


def _compare(arguments: list[str]) -> int:
    """Set finished runs side by side: mien compare RUN ... [--title TEXT] [--format table|json] [--out FILE]."""
    from mien import verbs
    from mien.files import write_whole
    from mien.inference.destinations import make_folder_of

    parser = make_parser("compare", "RUN ... [--title TEXT] [--format table|json] [--out FILE]")
    parser.add_argument(
        "run", type=Path, nargs="+", help="finished runs, reports in their folders, or .json files that this verb wrote"
    )
    parser.add_argument("--title", type=str, help="a heading of the table")
    parser.add_argument("--format", type=str, default="table", help="table (Markdown) or json")
    parser.add_argument("--out", type=Path, help="a file to write instead of standard output")
    command = shlex.join(["mien", "compare", *arguments])
    parsed = parse(parser, arguments)
    text = verbs.compare(parsed.run, parsed.format, parsed.title, command if parsed.out is not None else None)
    if parsed.out is None:
        print(text, end="")
    else:
        make_folder_of(parsed.out)
        write_whole(parsed.out, lambda part: part.write_text(text, encoding="utf-8"))
    return 0


def _recipes(arguments: list[str]) -> int:
    """List the recipes that mien brings, or print one with its network's layers: mien recipes [NAME]."""
    from mien import verbs
    from mien.training.recipe_files import load_recipe, recipe_names, recipe_path

    parser = make_parser("recipes", "[NAME]")
    parser.add_argument("--name", type=str, help="NAME: the recipe whose YAML is to be printed")
    name = parse(parser, arguments, first="name").name
    if name is not None:
        print(recipe_path(name).read_text(encoding="utf-8"))
        try:
            print(verbs.describe_network(name))
        except MienError as missing:
            print(f"mien: without the network's layers: {missing}", file=sys.stderr)
        return 0
    width = max(map(len, recipe_names())) + 2
    for known in recipe_names():
        print(f"{known:<{width}}{load_recipe(known).description}")
    return 0


def _models(arguments: list[str]) -> int:
    """List the embedded models, with what they tell of themselves: mien models."""
    from mien.inference.listing import describe_models

    parse(make_parser("models", ""), arguments)
    print(describe_models())
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "audit": _audit,
    "compare": _compare,
    "recipes": _recipes,
    "models": _models,
    "demo": _demo,
}


if __name__ == "__main__":
    sys.exit(main())
