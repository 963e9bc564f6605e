"""`mien evaluate`, `mien audit` and `mien compare`: what models and data are worth."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.arguments import make_parser, parse


def evaluate(arguments: list[str]) -> int:
    """Measure a model: mien evaluate MODEL --data PATH --out DIR [--split S] [--tta flip|ten-crops]."""
    from mien.verbs.measuring import evaluate as measure

    words = "MODEL --data PATH --out DIR [--split S] [--head H] [--tta T] [--data.KEY VALUE ...]"
    report = _on_faces("evaluate", words, measure, arguments, first="model")
    print(report.table())
    print(f"report  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def audit(arguments: list[str]) -> int:
    """Look for copies, conflicts and bad images in data: mien audit --data PATH --out DIR [--write clean.csv]."""
    from mien.verbs.measuring import audit as inspect

    print(_on_faces("audit", "--data PATH --out DIR [--write FILE] [--data.KEY VALUE ...]", inspect, arguments).table())
    return 0


def compare(arguments: list[str]) -> int:
    """Set finished runs side by side: mien compare RUN ... [--title TEXT] [--format table|json] [--out FILE]."""
    from mien.files import write_whole
    from mien.inference.destinations import make_folder_of
    from mien.verbs.comparing import compare as set_side_by_side

    parser = make_parser("compare", "RUN ... [--title TEXT] [--format table|json] [--out FILE]")
    parser.add_argument(
        "run", type=Path, nargs="+", help="finished runs, reports in their folders, or .json files that this verb wrote"
    )
    parser.add_argument("--title", type=str, help="a heading of the table")
    parser.add_argument("--format", type=str, default="table", help="table (Markdown) or json")
    parser.add_argument("--out", type=Path, help="a file to write instead of standard output")
    command = shlex.join(["mien", "compare", *arguments])
    parsed = parse(parser, arguments)
    text = set_side_by_side(parsed.run, parsed.format, parsed.title, command if parsed.out is not None else None)
    if parsed.out is None:
        print(text, end="")
    else:
        make_folder_of(parsed.out)
        write_whole(parsed.out, lambda part: part.write_text(text, encoding="utf-8"))
    return 0


def _on_faces(verb: str, words: str, function: Callable[..., Any], arguments: list[str], first: str = "") -> Any:
    from mien.data.source import DataSource

    parser = make_parser(verb, words, function, skip=("data", "command"))
    parser.add_argument("--data", type=DataSource, help="labelled faces; --data PATH is short for --data.path PATH")
    return function(**vars(parse(parser, arguments, first)), command=shlex.join(["mien", verb, *arguments]))
