"""What the words of a command line mean: jsonargparse, with answers to mistakes in one sentence."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from mien.errors import MienError


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


def parse(parser: Any, arguments: Sequence[str]) -> Any:
    """Parse, turning jsonargparse's complaints into one sentence.

    Raises:
        MienError: if the arguments are not as the parser wants them.
    """
    from argparse import ArgumentError

    switches = [
        flag for action in parser._actions if getattr(action, "_typehint", None) is bool for flag in action.option_strings
    ]
    try:
        return parser.instantiate(parser.parse_args(_spelled_out(arguments, switches)))
    except ArgumentError as problem:
        raise MienError(_sentence(parser, str(problem))) from None


def name_first(arguments: Sequence[str], name: str) -> list[str]:
    """Give a first argument without a dash its name: `mien evaluate MODEL` is `mien evaluate --model MODEL`."""
    return [f"--{name}", *arguments] if arguments and not arguments[0].startswith("-") else list(arguments)


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
    words = re.sub(r"the following arguments are required: (.+)", lambda m: f"missing: {_as_typed(parser, m[1])}", words)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    unknown = "unrecognized" in words
    wrong = next((word.split("=")[0] for word in words.split() if word.startswith("--")), None) if unknown else None
    near = difflib.get_close_matches(wrong, flags, n=1) if wrong else []
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{words.rstrip('.')}.{hint} `{parser.prog} --help` lists what there is."


def _as_typed(parser: Any, names: str) -> str:
    """Write names of arguments as they are typed: --out, but SOURCE."""
    flags = {action.dest for action in parser._actions if action.option_strings}
    return ", ".join(f"--{name}" if name in flags else name.upper() for name in names.split(", "))
