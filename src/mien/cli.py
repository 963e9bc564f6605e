"""The command line: `mien VERB ...`. A verb is one function: its signature and docstring are its command line."""

import atexit
import errno
import functools
import inspect
import io
import logging
import os
import re
import shlex
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, get_origin

from mien import __version__
from mien.errors import MESSAGES, MienError, discard, first_line, full_name, in_plain_words, say, show, suggestion
from mien.files import FULL_DISK, missing_path
from mien.inputs import check_yaml, special_kind

_HELP = Path(__file__).with_name("help.txt").read_text(encoding="utf-8")
VERBS = {verb: (f"mien.{module}", line) for verb, module, line in re.findall(r"^  (\w+) +(\S+) +(.*)", _HELP, re.MULTILINE)}
"""Each verb's module, which has a function of its name, and its line in `mien --help`, which ends with its usage."""

PATHS = ("--data", "--data.path", "--data.votes", "--data.drop", "--out", "--model", "--write")  # flags that take paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb with the words after `mien`, by default those of sys.argv, and return the exit status.

    It is 0 if all was done, 1 if some inputs failed, 2 for the user's mistake, 70 for a bug in mien, 130 if interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    writes_file = any(word.partition("=")[0] == "--out" for word in arguments)
    can_resume = arguments[:1] == ["train"] or (arguments[:1] == ["predict"] and writes_file)
    _prepare_streams()
    try:
        try:
            if sys.stdout is None and not writes_file:
                raise MienError("Standard output is closed; leave it open, or redirect it to a file.")
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # shows at the latest here if it cannot be written
    except MienError as mistake:
        is_full = can_resume and getattr(mistake.__cause__, "errno", None) in FULL_DISK
        return _fail(f"{mistake}{' Then the same command with --resume continues.' if is_full else ''}")
    except KeyboardInterrupt:
        again = "" if "--resume" in arguments else " with --resume"
        _fail("stopped" + (f" (the same command{again} continues)" if can_resume else ""))
        return 130
    except Exception as problem:
        return _report_exception(problem, can_resume)


def program() -> NoReturn:
    """Run one verb as the program `mien`, and exit even if a thread is still waiting for input, which may never come."""
    warnings.showwarning = lambda message, category, *_: say(f"{category.__name__}: {message}")
    status = main()
    if has_ray := "ray" in sys.modules:
        atexit._run_exitfuncs()  # which end its processes
    if has_ray or any(thread.daemon and thread.name.startswith("mien-") for thread in threading.enumerate()):
        discard(sys.stdout)
        discard(sys.stderr)
        os._exit(status)  # ending a thread in the middle of native code would abort the process
    sys.exit(status)


def _prepare_streams() -> None:
    for number in range(3):
        try:
            os.set_blocking(number, True)  # whoever started mien may share a stream that is not
        except OSError:
            with suppress(OSError):
                os.fstat(number)
                continue
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the number, so that no file of mien's does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console may lack letters
    if sys.stderr is None:  # it is closed
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: say(record.getMessage())  # type: ignore[method-assign]
    logging.lastResort = handler


def _fail(sentence: str) -> int:
    say(f"mien: {sentence}")
    discard(sys.stdout)
    return 2


def _report_exception(problem: Exception, can_resume: bool) -> int:
    """Report what nothing expected: a file that cannot be used, or a bug, for which 70 is EX_SOFTWARE of BSD's sysexits.h."""
    number, name = getattr(problem, "errno", None), getattr(problem, "filename", None)
    where = f" ({name})" if name else ""
    if isinstance(problem, BrokenPipeError) or (os.name == "nt" and number == errno.EINVAL and not name):
        discard(sys.stdout)
        return 0  # the reader of the output has closed it, as `head` does
    if isinstance(problem, OSError) and number in FULL_DISK:
        again = "the same command with --resume continues" if can_resume else "run the same again"
        return _fail(f"The disk is full{where}; free some space, then {again}.")
    if isinstance(problem, OSError) and errno.errorcode.get(number or 0) in MESSAGES["bad paths"]:
        return _fail(f"A file cannot be written or read{where}: {os.strerror(problem.errno or 0)}; choose another path.")
    if os.environ.get("MIEN_DEBUG"):
        for line in traceback.format_exception(problem):
            say(line.rstrip())
    _fail(MESSAGES["bug"].format(type(problem).__name__, first_line(problem)))
    return 70


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"] and arguments[1:2]:
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show(re.sub(r"^(  \w+ +)\S+ +", r"\1", _HELP.rstrip(), flags=re.MULTILINE))
        return 0
    if arguments[0] in ("--version", "-V"):
        show(f"mien {__version__}")
        return 0
    verb, words = arguments[0], arguments[1:]
    if verb not in VERBS:
        others = f"did you mean mien predict {verb}?" if Path(verb).exists() else f"there are {', '.join(VERBS)}."
        raise MienError(f"There is no verb {verb!r}; {suggestion(verb, (*VERBS, '--version', '--help'), others)}")
    function = getattr(import_module(VERBS[verb][0]), verb)
    result = function(**read_command_line(verb, function, words))
    if isinstance(result, int) or result is None:
        return result or 0
    if text := result if isinstance(result, str) else result.table():
        show(text.removesuffix("\n"))
    return 1 if getattr(result, "failed", 0) else 0


def read_command_line(verb: str, function: Callable[..., Any], words: list[str]) -> dict[str, Any]:
    """Turn the words after `mien VERB` into the arguments of its function."""
    from argparse import ArgumentError

    parameters = inspect.signature(function).parameters
    recipe, path, rest = None, Path(), words
    if "recipe" in parameters and not {"-h", "--help"}.intersection(words[:1]):
        from mien.training.recipe import describe_overrides, load_recipe, recipe_path

        if not words or words[0].startswith("-"):
            raise MienError("Say which recipe to train: mien train RECIPE --data PATH --out RUN; `mien recipes` lists them.")
        path, rest = recipe_path(words[0]), words[1:]
        recipe = load_recipe(path)  # its settings are the defaults of --recipe.KEY
    parser = _make_parser(verb, function, recipe)
    flags = {flag: action.nargs for action in parser._actions for flag in action.option_strings}
    rest = list(_expand_flags(rest, flags))
    try:
        values: dict[str, Any] = vars(parser.instantiate(parser.parse_args(rest)))
    except ArgumentError as problem:
        raise MienError(_explain_mistake(parser, str(problem), flags, rest)) from None
    except UnicodeDecodeError:  # --recipe, --recipe.optimizer and the like may name a file
        raise MienError("A file that should hold settings is not text in UTF-8; give a YAML file.") from None
    if parser.positional is not None:
        named = values[parser.positional.name]
        if "" in (named if isinstance(named, list) else [named]):
            raise MienError(f"{parser.positional.name.upper()} is empty; give it a path or a name.")
    if recipe is not None:
        values["recipe"] = describe_overrides(values["recipe"], recipe, path.stem, "--recipe.network_options" in " ".join(rest))
    if "command" in parameters and values["out"] is not None:
        # a resumed run gives the same result as an unbroken one, so the noted command is one that works on its own
        values["command"] = shlex.join(["mien", verb, *(word for word in words if word != "--resume")])
    if "run_verb" in parameters:
        values["run_verb"] = _run
    return values


@functools.cache
def _bound_yaml() -> None:
    import yaml
    from jsonargparse import get_loader, set_loader

    load = get_loader("yaml")

    def load_bounded(text: str) -> Any:
        check_yaml(text)
        return load(text)

    set_loader("yaml", load_bounded, (yaml.YAMLError,))


def _make_parser(verb: str, function: Callable[..., Any], recipe: Any) -> Any:
    from jsonargparse import ArgumentParser, set_parsing_settings

    parameters = inspect.signature(function).parameters
    first = next(iter(parameters.values()), None)
    has_flag = first is None or first.kind is first.KEYWORD_ONLY or first.name in ("data", "recipe")

    class Parser(ArgumentParser):
        positional = None if has_flag else first

        def add_argument(self, *names: str, **options: Any) -> Any:  # jsonargparse repeats this method in its groups
            positional, text = getattr(self, "positional", None), options.get("help")
            if positional is not None and names[0] == f"--{positional.name}":
                optional = None if positional.default is positional.empty else "?"
                nargs = "+" if get_origin(positional.annotation) in (list, Sequence) else optional
                names, options = (positional.name,), {"metavar": positional.name.upper(), "nargs": nargs, "help": text}
            elif options.get("type") is bool and names[0].startswith("--recipe."):
                options |= {"nargs": "?", "const": True}  # may be followed by false: the recipe file may have switched it on
            elif options.get("type") is bool and options.get("default") is False:
                options = {"action": "store_true", "help": text}
            return super().add_argument(*names, **options)

    _bound_yaml()
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    usage = f"{VERBS[verb][1].rpartition(': ')[2].rstrip('.')} [options]"
    title = (inspect.getdoc(function) or "").partition("\n")[0]
    parser = Parser(prog=f"mien {verb}", usage=usage, description=title, exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(function, as_group=False, skip={"data", "recipe", "command", "run_verb"}, fail_untyped=False)
    if "data" in parameters:
        from mien.data.source import DataSource

        flag = parser.add_argument("--data", type=DataSource, help="labelled faces")
        flag.metavar, flag.help = "PATH", "Short for --data.path PATH."
    if "recipe" in parameters:
        from mien.training.recipe import Recipe

        title = "changes to RECIPE, which is a name that `mien recipes` lists, or a YAML file"
        flag = parser.add_argument("--recipe", type=Recipe, default=recipe, help=title)
        flag.metavar, flag.help = "FILE", "A YAML file with some of these settings."
    return parser


def _expand_flags(words: Sequence[str], flags: Mapping[str, Any]) -> Iterator[str]:
    """Let `--data PATH` stand for `--data.path PATH`, `--dry-run` for `--dry_run`, and a list's flag be repeated."""
    before, given = "", set()
    for word in words:
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag not in flags and (known := f"--{flag[2:].replace('-', '_')}") in flags:
            flag = known
        if (not word and before in PATHS) or (equals and not value and flag in PATHS):
            raise MienError(f"{flag or before} is empty; give it a path.")  # not the current folder: a variable may be unset
        if (flag if equals else before).startswith("--recipe") and special_kind(value or word):  # jsonargparse would wait
            raise MienError(missing_path(Path(value or word)))
        before = flag
        if flag == "--data" and flag in flags:
            flag = "--data.path"
        elif "." not in flag and f"{flag}+" in flags:
            flag = f"{flag}+"  # jsonargparse's flag for one more item of a list
        if flag in given and flags.get(flag, 0) != 0 and not flag.endswith("+"):
            raise MienError(f"{flag.removesuffix('.path')} is given twice; give it once.")
        given.add(flag)
        yield f"{flag}{equals}{value}" if flag.startswith("--") else word


def _explain_mistake(parser: Any, problem: str, flags: Mapping[str, Any], words: Sequence[str]) -> str:
    sentence, hint = in_plain_words(problem), ""
    for pattern, words_for in MESSAGES["arguments"].items():
        sentence = re.sub(pattern, words_for, sentence)
    if missing := re.search(r"the following arguments are required: (.+)", sentence):
        names = [f"--{name.removesuffix('.path')}" if f"--{name}" in flags else name.upper() for name in missing[1].split(", ")]
        sentence = f"missing: {', '.join(names)}"
    if unknown := re.search(r"[Uu]nrecognized arguments: (\S+)", sentence):
        before = words[words.index(unknown[1]) - 1] if unknown[1] in words[1:] else ""
        if unknown[1].startswith("--"):
            name, names = unknown[1].split("=")[0].removeprefix("--"), [flag.removeprefix("--") for flag in flags]
            meant = full_name(name, names)
            hint = f" Did you mean --{meant}?" if meant else suggestion(name, names, phrase=" Did you mean --{}?")
        elif flags.get(before) == 0:
            hint = f" {before} takes no value."
        elif "--data.path" in flags:
            hint = " Every argument but the first has a name, such as --data PATH."
    end = "" if sentence.endswith("?") else "."
    return f"{sentence.rstrip('.')}{end}{hint} `{parser.prog} --help` lists the options."


if __name__ == "__main__":
    program()
