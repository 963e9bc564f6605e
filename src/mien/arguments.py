"""What the words of a command line mean: jsonargparse, with answers to mistakes in one sentence."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mien.errors import MienError


def overview(verbs: Mapping[str, Callable[..., Any]]) -> str:
    """Write what `mien` alone answers: every verb with the first line of its docstring."""
    lines = [f"  {name:<10}{(function.__doc__ or '').splitlines()[0]}" for name, function in verbs.items()]
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


def make_parser(verb: str, words: str, function: Callable[..., Any] | None = None, skip: Sequence[str] = ()) -> Any:
    """Make the parser of a verb.

    Args:
        verb: its name.
        words: what follows `mien VERB` on the usage line.
        function: whose parameters are the flags, and whose docstring is the help.
        skip: parameters that are no flags, or are added otherwise.

    Returns:
        A jsonargparse.ArgumentParser, to be given to `parse`.
    """
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=f"mien {verb}",
        usage=f"mien {verb} {words}".rstrip(),
        exit_on_error=False,
        allow_abbrev=False,
        default_env=False,
    )
    if function is not None:
        parser.add_function_arguments(function, skip=set(skip), fail_untyped=False)
    return parser


def parse(parser: Any, arguments: Sequence[str], first: str = "") -> Any:
    """Parse, turning jsonargparse's complaints into one sentence.

    Args:
        parser: what `make_parser` made.
        arguments: what follows `mien VERB`.
        first: the name of the flag that the first argument without a dash stands for: `mien evaluate MODEL` is
            `mien evaluate --model MODEL`.

    Raises:
        MienError: if the arguments are not as the parser wants them.
    """
    from argparse import ArgumentError

    if first and arguments and not arguments[0].startswith("-"):
        arguments = [f"--{first}", *arguments]
    switches = [
        flag for action in parser._actions if getattr(action, "_typehint", None) is bool for flag in action.option_strings
    ]
    words = _spelled_out(arguments, _flags(parser), switches)
    _check_not_empty(words)
    try:
        return parser.instantiate(parser.parse_args(words))
    except ArgumentError as problem:
        raise MienError(_sentence(parser, str(problem), first, words)) from None


PATHS = ("--data.path", "--data.votes", "--data.drop", "--out", "--model", "--run", "--write")
"""The flags that take paths."""

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list such as [a, b]",
    "dict": "pairs such as {a: [b, c]}",
    "NoneType": "null",
}
"""Types as a person calls them."""


def in_plain_words(problem: str) -> str:
    """Say in one sentence what jsonargparse says of a value that does not fit."""
    words = " ".join(
        line.strip().lstrip("- ") if line.startswith(" ") else line for line in problem.splitlines() if line.strip()
    )
    words = re.sub(r'(?:Parser|Problem with) key "([\w.]+)":', r"--\1:", words)
    if union := re.search(r"^(.*?)Does not validate against any of the Union subtypes Subtypes: (.*?) Errors: .*", words):
        kinds = re.findall(r"int|float|bool|str|list|dict|NoneType", re.sub(r"\[(?:str|str, list\[str\])\]", "", union[2]))
        value = re.search(r"Given value: (.*)$", words) or re.search(r"Got value: (.*?)(?: Expected| Given|$)", words)
        return f"{union[1]}expected {' or '.join(KINDS[kind] for kind in kinds)}" + (f", not {value[1]}" if value else "")
    words = re.sub(r"Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)", _one_of, words)
    return re.sub(
        r"Expected an? <class '(\w+)'>\. Got value: (.*)", lambda m: f"expected {KINDS.get(m[1], m[1])}, not {m[2]}", words
    )


def _one_of(found: re.Match[str]) -> str:
    names = [name.strip(" '") for name in found[1].split(",")]
    near = difflib.get_close_matches(found[2], names, n=1)
    return f"expected one of {', '.join(names)}, not {found[2]}" + (f"; did you mean {near[0]}?" if near else "")


def _check_not_empty(words: Sequence[str]) -> None:
    """Refuse a path that is empty, which would be the current folder; it comes of a variable of the shell that is not set.

    Raises:
        MienError: naming the flag.
    """
    for flag, value in zip(words, [*words[1:], None], strict=False):  # one longer, where there are no words
        flag, value = flag.split("=", 1) if "=" in flag else (flag, value)
        if value == "" and flag in PATHS:
            raise MienError(f"{flag.removesuffix('.path')} is empty; give it a path.")


def _spelled_out(arguments: Sequence[str], flags: Sequence[str], switches: Sequence[str]) -> list[str]:
    """Let `--data PATH` stand for `--data.path PATH`, `--dry-run` for `--dry_run`, and `--resume` for `--resume=true`."""
    words = []
    for number, word in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else ""
        name, equals, value = word.partition("=")
        if name.startswith("--") and name not in flags and (known := "--" + name[2:].replace("-", "_")) in flags:
            word = f"{known}{equals}{value}"
        if word == "--data" or word.startswith("--data="):
            word = word.replace("--data", "--data.path", 1)
        elif word in switches and following.lower() not in ("true", "false"):
            word = f"{word}=true"
        words.append(word)
    return words


def _flags(parser: Any) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]


def _sentence(parser: Any, problem: str, first: str, typed: Sequence[str]) -> str:
    words = in_plain_words(problem)
    words = re.sub(r"the following arguments are required: (.+)", lambda m: f"missing: {_as_typed(parser, m[1], first)}", words)
    hint = ""
    if (unknown := re.search(r"[Uu]nrecognized arguments: (\S+)", words)) and unknown[1].startswith("--"):
        near = difflib.get_close_matches(unknown[1].split("=")[0], _flags(parser), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
    elif unknown and (before := typed[typed.index(unknown[1]) - 1] if unknown[1] in typed[1:] else "").endswith("=true"):
        hint = f" {before.removesuffix('=true')} is true or false."
    elif unknown:
        hint = " Every argument but the first has a name, such as --data PATH." if "--data.path" in _flags(parser) else ""
    end = "" if words.endswith("?") else "."
    return f"{words.rstrip('.')}{end}{hint} `{parser.prog} --help` lists what there is."


def _as_typed(parser: Any, names: str, first: str) -> str:
    """Write names of arguments as they are typed: --out, but SOURCE, and --data for --data.path."""
    flags = {action.dest for action in parser._actions if action.option_strings} - {first}
    return ", ".join(f"--{name.removesuffix('.path')}" if name in flags else name.upper() for name in names.split(", "))
