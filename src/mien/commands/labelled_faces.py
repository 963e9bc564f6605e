"""A command line with labelled faces in it: `--data`, the same for every verb that takes them."""

from collections.abc import Callable
from typing import Any

from mien.arguments import make_parser


def parser_with_data(verb: str, words: str, function: Callable[..., Any], skip: tuple[str, ...] = ()) -> Any:
    """Make a verb's parser as `make_parser` does, with `--data` and what belongs to it in place of the parameter `data`."""
    from mien.data.source import DataSource

    parser = make_parser(verb, words, function, skip=("data", *skip))
    parser.add_argument("--data", type=DataSource, help="labelled faces; --data PATH is short for --data.path PATH")
    return parser
