"""The command line: `mien VERB ...`. Knows no torch; each verb is a function of `mien.verbs` or `mien.inference`."""

import difflib
import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mien import verbs
from mien._version import __version__
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
        where = f" {problem.filename}" if problem.filename else ""
        if problem.errno in FULL_DISK:
            return _complain(f"The disk is full; nothing whole was lost. Free some space and run the same again.{where}")
        if problem.errno in NOT_ALLOWED:
            return _complain(f"Cannot write or read{where}: {os.strerror(problem.errno or 0)}. Choose another path.")
        raise


def _complain(sentence: str) -> int:
    print(f"mien: {sentence}", file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"mien {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        raise MienError(
            f"There is no verb {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}.")
        )
    return VERBS[name](rest)


def _overview() -> str:
    lines = [f"  {name:<10}{function.__doc__.splitlines()[0]}" for name, function in VERBS.items() if function.__doc__]
    return "\n".join(
        [
            "usage: mien VERB ...",
            "",
            "Facial-expression classification: labelled faces in, one model file, a report, answers about photos.",
            "",
            "verbs:",
            *lines,
            "",
            "`mien VERB --help` tells more of each; `mien --version` prints the version.",
        ]
    )


def _parser(verb: str, function: Callable[..., Any] | None = None, skip: Sequence[str] = ()) -> Any:
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    documented: Any = function or VERBS[verb]
    parser = ArgumentParser(
        prog=f"mien {verb}",
        description=documented.__doc__.split("\n\n")[0] if documented.__doc__ else None,
        exit_on_error=False,
        allow_abbrev=False,
        default_env=False,
    )
    if function is not None:
        parser.add_function_arguments(function, skip=set(skip), fail_untyped=False)
    return parser


def _parse(parser: Any, arguments: Sequence[str]) -> Any:
    """Parse, turning jsonargparse's complaints into one sentence."""
    from argparse import ArgumentError

    switches = [
        flag for action in parser._actions if getattr(action, "_typehint", None) is bool for flag in action.option_strings
    ]
    try:
        return parser.instantiate(parser.parse_args(_spelled_out(arguments, switches)))
    except ArgumentError as problem:
        raise MienError(_sentence(parser, str(problem))) from None


def _spelled_out(arguments: Sequence[str], switches: Sequence[str]) -> list[str]:
    """Let `--data PATH` stand for `--data.path PATH`, and a switch such as `--resume` for `--resume=true`."""
    words = []
    for number, word in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else ""
        if word == "--data" or word.startswith("--data="):
            word = word.replace("--data", "--data.path", 1)
        elif word in switches and following.lower() not in ("true", "false"):
            word = f"{word}=true"
        words.append(word)
    return words


def _sentence(parser: Any, problem: str) -> str:
    words = " ".join(
        line.strip(" -") if line.startswith("-") else line.strip() for line in problem.splitlines() if line.strip()
    )
    words = re.sub(r'Parser key "([\w.]+)":', r"--\1:", words)
    words = re.sub(r"<class '(\w+)'>", r"\1", words)
    words = re.sub(r"the following arguments are required: (.+)", lambda m: f"missing: --{m[1].replace(', ', ', --')}", words)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    unknown = "unrecognized" in words
    wrong = next((word.split("=")[0] for word in words.split() if word.startswith("--")), None) if unknown else None
    near = difflib.get_close_matches(wrong, flags, n=1) if wrong else []
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{words.rstrip('.')}.{hint} `{parser.prog} --help` lists what there is."


def _named(arguments: Sequence[str], name: str) -> list[str]:
    """Give a first argument without a dash its name: `mien evaluate MODEL` is `mien evaluate --model MODEL`."""
    return [f"--{name}", *arguments] if arguments and not arguments[0].startswith("-") else list(arguments)


def _train(arguments: list[str]) -> int:
    """Train a classifier: mien train RECIPE --data PATH --out RUN [--recipe.epochs 5 ...]."""
    from mien.data.source import DataSource
    from mien.training.recipe import Recipe, recipe_path

    parser = _parser("train", verbs.train, skip=("recipe", "data", "command"))
    parser.usage = "mien train RECIPE --data PATH --out RUN [--recipe.KEY VALUE ...] [--data.KEY VALUE ...]"
    parser.add_argument("--recipe", type=Recipe, help="RECIPE: a name that `mien recipes` lists, or a YAML file")
    parser.add_argument("--data", type=DataSource, help="labelled faces; --data PATH is short for --data.path PATH")
    command = shlex.join(["mien", "train", *arguments])
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--recipe", str(recipe_path(arguments[0])), *arguments[1:]]
    elif not {"-h", "--help"}.intersection(arguments):
        raise MienError("Say which recipe to train: mien train RECIPE --data PATH --out RUN; `mien recipes` lists them.")
    parsed = _parse(parser, arguments)
    report = verbs.train(**vars(parsed), command=command)
    print(report.table())
    print(f"model   {parsed.out / 'model.onnx'}\nreport  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def _evaluate(arguments: list[str]) -> int:
    """Measure a model: mien evaluate MODEL --data PATH --out DIR [--split S]."""
    from mien.data.source import DataSource

    parser = _parser("evaluate", verbs.evaluate, skip=("data", "command"))
    parser.usage = "mien evaluate MODEL --data PATH --out DIR [--split S] [--data.KEY VALUE ...]"
    parser.add_argument("--data", type=DataSource, help="labelled faces; --data PATH is short for --data.path PATH")
    command = shlex.join(["mien", "evaluate", *arguments])
    parsed = _parse(parser, _named(arguments, "model"))
    report = verbs.evaluate(**vars(parsed), command=command)
    print(report.table())
    print(f"report  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def _demo(arguments: list[str]) -> int:
    """Show the whole way on drawn faces, in about two minutes: mien demo [--out DIR]."""
    from mien.demo import demo

    parser = _parser("demo")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="the folder to make; an earlier demo there is replaced")
    return demo(_parse(parser, arguments).out, main)


def _recipes(arguments: list[str]) -> int:
    """List the recipes that mien brings, or print one: mien recipes [NAME]."""
    from mien.training.recipe import load_recipe, recipe_names, recipe_path

    parser = _parser("recipes")
    parser.usage = "mien recipes [NAME]"
    parser.add_argument("--name", type=str, help="NAME: the recipe whose YAML is to be printed")
    name = _parse(parser, _named(arguments, "name")).name
    if name is not None:
        print(recipe_path(name).read_text(encoding="utf-8"), end="")
        return 0
    for known in recipe_names():
        print(f"{known:<16}{load_recipe(known).description}")
    return 0


def _models(arguments: list[str]) -> int:
    """List the embedded models, with what they tell of themselves: mien models."""
    from mien.inference.classifier import EMBEDDED, Classifier

    _parse(_parser("models"), arguments)
    for path in sorted(EMBEDDED.glob("*.onnx")):
        model = Classifier(path)
        size = f"{model.size} px, {'gray' if model.channels == 1 else 'colour'}"
        print(
            f"{path.stem:<10}{path.stat().st_size / 1e6:.1f} MB  {model.parameters:,} parameters  {size}  {', '.join(model.labels)}"
        )
        print(f"{'':<10}card: {path.with_suffix('.md')}")
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "recipes": _recipes,
    "models": _models,
    "demo": _demo,
}


if __name__ == "__main__":
    sys.exit(main())
