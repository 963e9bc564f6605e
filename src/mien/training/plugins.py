"""A user's own code, named module:name: networks, augmentation, callbacks and loggers."""

import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mien.errors import MienError, first_line, load_table

MISTAKES = load_table(__file__, "mistakes")
Watchers = tuple[Sequence[str | Callable[..., Any]], Sequence[Any]]  # callbacks, and loggers or the names of their classes


def load_own(name: str | Callable[..., Any]) -> Any:
    """Import a user's function or class, module:name, also from the current folder; what is not a name is returned."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the module may be a file of the user's, but hides no installed one
    with own_mistakes(name):
        return pkgutil.resolve_name(name) if isinstance(name, str) else name


def call_own(name: str | Callable[..., Any], *arguments: Any, known: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Call a user's function or class with those of the `known` values that it has parameters for."""
    function = load_own(name)
    with own_mistakes(name):
        named = {key: known[key] for key in inspect.signature(function).parameters if key in known} if known else {}
        return function(*arguments, **named, **options)


@contextmanager
def own_mistakes(name: object) -> Iterator[None]:
    """Turn whatever a user's code raises into a MienError with its name and the line."""
    try:
        yield
    except Exception as problem:  # whatever the module does
        *_, line = traceback.extract_tb(problem.__traceback__)
        is_python = line.filename in (pkgutil.__file__, importlib.__file__) or line.filename.startswith("<")  # it found none
        place = "" if is_python else f", in line {line.lineno} of {line.filename}"
        raise MienError(MISTAKES["own function"].format(name, type(problem).__name__, first_line(problem), place)) from problem


@contextmanager
def opened_watchers(watchers: Watchers, settings: dict[str, Any]) -> Iterator[Callable[[dict[str, float]], None]]:
    """Open the loggers, and give a function that hands an epoch's figures to them and to the callbacks."""
    callbacks, loggers = watchers
    opened = [(name, call_own(name) if isinstance(name, str) else name) for name in loggers]

    def tell(method: str, *arguments: Any) -> None:
        for name, logger in opened:
            with own_mistakes(name), suppress(NotImplementedError):  # Fabric's CSVLogger takes no settings
                getattr(logger, method)(*arguments)

    def watch(row: dict[str, float]) -> None:
        for each in callbacks:
            call_own(each, row.copy())
        tell("log_metrics", row, int(row["epoch"]))

    tell("log_hyperparams", settings)
    yield watch
    tell("finalize", "success")
