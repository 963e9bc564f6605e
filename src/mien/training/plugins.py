"""A user's own code, named module:name: networks, augmentation and callbacks."""

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
def opened_callbacks(callbacks: Sequence[Any], settings: dict[str, Any]) -> Iterator[Callable[[dict[str, float]], None]]:
    """Open callbacks, which are functions, or Lightning's loggers or their classes; give a function that hands them figures."""
    opened = [(each, call_own(each) if isinstance(load_own(each), type) else load_own(each)) for each in callbacks]

    def tell(method: str, *arguments: Any) -> None:
        for name, own in opened:
            with own_mistakes(name), suppress(NotImplementedError):  # Fabric's CSVLogger takes no settings
                getattr(own, method, lambda *_: None)(*arguments)

    def tell_epoch(row: dict[str, float]) -> None:
        for name, own in opened:
            with own_mistakes(name):
                if hasattr(own, "log_metrics"):
                    own.log_metrics(row, int(row["epoch"]))
                else:
                    own(row.copy())

    tell("log_hyperparams", settings)
    yield tell_epoch
    tell("finalize", "success")
