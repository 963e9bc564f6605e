"""The error for mistakes that a user can correct, and texts in the form in which they are printed."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO

import yaml

if TYPE_CHECKING:
    import jinja2


class MienError(Exception):
    """A mistake that only the user can correct; the message says what is wrong and what to do about it.

    The command line prints it and exits with 2; a bug raises any other exception, which exits with 70.
    """


def load_table(module: str, name: str | None = None) -> Any:
    """Load the YAML file beside a module, by default that of its name; with libyaml, where there is one, eight times faster."""
    path = Path(module).with_suffix(".yaml") if name is None else Path(module).with_name(f"{name}.yaml")
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def load_templates(module: str, folder: str = "", text: bool = False) -> "jinja2.Environment":
    """Make the environment of the templates beside a module; in text most values stay on a line, in HTML they are escaped."""
    import jinja2

    environment = jinja2.Environment(
        finalize=(lambda value: printable(value) if type(value) is str else value) if text else None,
        loader=jinja2.FileSystemLoader(Path(module).parent / folder),
        autoescape=jinja2.select_autoescape(),  # in HTML, not in Markdown and text
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "printable": lambda cell: printable(str(cell))}
    return environment


LOGGER = logging.getLogger("mien")
MESSAGES = load_table(__file__, "messages")
KINDS = MESSAGES["kinds"]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are full-width


def printable(text: str, encoding: str = "utf-8") -> str:
    """Escape what would break a line or move the cursor, and what the encoding lacks."""
    keep = "\u200c\u200d"  # invisible parts of Persian words and of emoji
    safe = (char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text)
    return "".join(safe).encode(encoding, "backslashreplace").decode(encoding)


def to_json(value: Any, indent: int | None = None) -> str:
    """Write JSON in which everything that would move a terminal's cursor is escaped; readers get the exact value."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[^\n -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def spreadsheet_safe(cell: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula (OWASP, CSV Injection); numbers stay."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA_STARTS) else cell


def say(text: str, quiet: bool = False) -> None:
    """Print a line to stderr, escaped, unless quiet; where stderr is closed or full the line is lost, and the work goes on."""
    if not quiet and sys.stderr is not None:
        try:
            print(printable(text), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            discard(sys.stderr)


def progress(unit: str, total: int | None = None, quiet: bool = False, **options: Any) -> Any:
    """Open tqdm's bar of what is done, with the time left where the total is known; on a terminal only."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():  # without the import, which takes 20 ms
        return nullcontext(SimpleNamespace(disable=True, n=0, total=total, update=lambda *_: None))
    from tqdm import tqdm

    return tqdm(total=total, unit=f" {unit}", leave=False, dynamic_ncols=True, **options)


def show(text: str) -> None:
    """Print the lines of a result to stdout, each escaped."""
    try:
        print(*map(printable, text.split("\n")), sep="\n", flush=True)
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        discard(sys.stdout)


def discard(stream: TextIO | None) -> None:
    """Drop what a stream holds if it cannot be written; Python would complain about it at exit."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def shortened(value: object, most: int = 60, form: Callable[[Any], str] = str) -> str:
    """Shorten what is quoted in a message: a cell may hold thousands of characters, bytes that are no text, or digits."""
    try:
        text = form(value).encode(errors="backslashreplace").decode()
    except ValueError:  # Python refuses to write whole numbers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= most else text[: most - 3] + "..."


def check_number(name: str, value: object, low: float, high: float = 1e9, whole: bool = True) -> None:
    """Raise a MienError unless a value is a number, by default a whole one, in a range; NaN and booleans are none."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real) or value != value:
        raise MienError(f"{name} must be {KINDS['int' if whole else 'float']}, not {shortened(value, form=repr)}.")
    if not low <= value <= high:  # type: ignore[operator]
        limit = f"at least {low:g}" if value < low else f"at most {high:,.0f}"
        raise MienError(f"{name} must be {limit}, not {shortened(value)}.")


def in_plain_words(problem: str) -> str:
    """Turn jsonargparse's message about a value of the wrong type into one sentence, without a full stop."""
    lines = filter(str.strip, problem.splitlines())
    words = " ".join(line.strip().lstrip("- ") if line.startswith(" ") else line for line in lines)
    words = re.sub(r'(?:Parser|Problem with) key "([\w.]+)":', r"--\1:", words)
    if union := re.search(r"^(.*?)Does not validate against any of the Union subtypes Subtypes: (.*?) Errors: (.*)", words):
        if inner := re.match(r"Problem with given class_path '[\w.]+': (.*?)(?: Expected a <class 'NoneType'>|$)", union[3]):
            return f"{union[1]}{in_plain_words(inner[1]).removeprefix('--')}"  # of a dataclass, or null
        types = re.sub(r"\[(?:str|str, list\[str\])\]|\bint\b.*?(?=float)", "", union[2])
        kinds = re.findall(r"int|float|bool|str|list|dict|NoneType", types)
        value = re.search(r"Given value: (.*)$", words) or re.search(r"Got value: (.*?)(?: Expected| Given|$)", words)
        given = f", not {shortened(value[1])}" if value else ""
        return f"{union[1]}expected {' or '.join(KINDS[kind] for kind in kinds)}{given}"
    if literal := re.search(r"^(.*?)Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)", words):
        names = [name.strip(" '") for name in literal[2].split(",")]
        near = suggestion(literal[3], names, phrase="; did you mean {}?")
        return f"{literal[1]}expected one of {', '.join(names)}, not {literal[3]}{near}"
    wrong_type = r"Expected an? <class '(\w+)'>\. Got value: ?(.*)"
    return re.sub(wrong_type, lambda found: f"expected {KINDS.get(found[1], found[1])}, not {found[2] or 'nothing'}", words)


def suggestion(
    name: str, known: Iterable[str], otherwise: str = "", phrase: str = "did you mean {}?", most: int = 1, cutoff: float = 0.6
) -> str:
    """Suggest the known names that are most similar to a misspelt one; return `otherwise` where none is."""
    names = list(known)
    near = get_close_matches(name, names, most, cutoff) or get_close_matches(name.casefold(), names, most, cutoff)
    return phrase.format(" or ".join(near)) if near else otherwise


def full_name(short: str, names: Iterable[str]) -> str:
    """Return the dotted name that a short form such as lr or epochs stands for, or an empty one."""
    meant = MESSAGES["short names"].get(short, short.replace("-", "_"))
    return next((name for name in names if name.rpartition(".")[2] == meant), "")


def first_line(problem: Exception) -> str:
    """Return the first line of an exception's message without its full stop, or its type where it has none."""
    return str(problem).strip().partition("\n")[0].rstrip(".: \r") or type(problem).__name__
