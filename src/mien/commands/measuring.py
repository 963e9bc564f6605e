"""`mien evaluate`, `mien audit` and `mien compare`: what models and data are worth."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.arguments import make_parser, parse
from mien.commands.labelled_faces import parser_with_data


def evaluate(arguments: list[str]) -> int:
    """Measure a model: mien evaluate MODEL --data PATH --out DIR [--split S] [--by COLUMN] [--tta flip|ten-crops]."""
    from mien.verbs.evaluate import evaluate as measure

    words = "MODEL --data PATH --out DIR [--split S] [--head H] [--tta T] [--by COLUMN] [--labels MAP] [--data.KEY VALUE ...]"
    report = _on_faces("evaluate", words, measure, arguments, first="model")
    print(report.table())
    print(f"report  {report.folder / 'index.html'}", file=sys.stderr)
    return 0


def audit(arguments: list[str]) -> int:
    """Look for copies, conflicts and bad images in data: mien audit --data PATH --out DIR [--write clean.csv]."""
    from mien.verbs.evaluate import audit as inspect

    print(_on_faces("audit", "--data PATH --out DIR [--write FILE] [--data.KEY VALUE ...]", inspect, arguments).table())
    return 0


def compare(arguments: list[str]) -> int:
    """Set finished runs side by side: mien compare RUN ... [--title TEXT] [--out FILE.md|.html|.json] [--format F]."""
    from mien.files import write_whole
    from mien.inference.output import make_folder_of
    from mien.verbs.evaluate import compare as set_side_by_side
    from mien.verbs.evaluate import format_of

    parser = make_parser("compare", "RUN ... [--title TEXT] [--format table|json|html] [--out FILE]")
    parser.add_argument("run", type=Path, nargs="+", help="finished runs, reports, or .json files that this verb wrote")
    parser.add_argument("--title", type=str, help="a heading of the table or the page")
    parser.add_argument(
        "--format", type=str, help="table (Markdown), json or html (a page); if not given, by the ending of --out, else table"
    )
    parser.add_argument("--out", type=Path, help="a file to write instead of standard output")
    command = shlex.join(["mien", "compare", *arguments])
    parsed = parse(parser, arguments)
    format = parsed.format or format_of(parsed.out)
    text = set_side_by_side(parsed.run, format, parsed.title, command if parsed.out is not None else None)
    if parsed.out is None:
        print(text, end="")
    else:
        make_folder_of(parsed.out)
        write_whole(parsed.out, lambda part: part.write_text(text, encoding="utf-8"))
    return 0


def _several(arguments: list[str], flag: str) -> list[str]:
    """Let a flag stand more than once: its values become one list."""
    others, values, waiting = [], [], False
    for word in arguments:
        if waiting and word.startswith("--"):
            break
        if waiting or word.startswith(f"{flag}="):
            values.append(word if waiting else word.removeprefix(f"{flag}="))
            waiting = False
        elif word == flag:
            waiting = True
        else:
            others.append(word)
    if waiting:
        return arguments  # the parser says what is missing
    return [*others, f"{flag}={values[0] if len(values) == 1 else json.dumps(values)}"] if values else others


def _on_faces(verb: str, words: str, function: Callable[..., Any], arguments: list[str], first: str = "") -> Any:
    parsed = parse(parser_with_data(verb, words, function, skip=("command",)), _several(arguments, "--by"), first)
    return function(**vars(parsed), command=shlex.join(["mien", verb, *arguments]))
