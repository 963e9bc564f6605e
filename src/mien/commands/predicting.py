"""`mien predict` and `mien models`: answers about photos and videos, and by which model."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mien.arguments import make_parser, parse
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.inference.output import Tally
    from mien.inference.prediction import Prediction
    from mien.labels import LabelSet

SETTINGS = ("model", "head", "detector", "faces", "margin", "min_size", "min_score", "threshold", "every", "track", "smoothing")
"""The options that decide the answers: a run that goes on must have those of the run before."""


def predict(arguments: list[str]) -> int:
    """Find faces in photos and videos and say what they show: mien predict SOURCE ... [--model M] [--format F] [--draw DIR]."""
    from mien.inference.classifier import Classifier
    from mien.inference.detection import DETECTORS
    from mien.inference.output import WRITERS, check_out, check_parquet, choose_format, make_folder_of
    from mien.inference.pipeline import predict
    from mien.inference.resume import ResumeLog, log_path
    from mien.inference.sources import check_names, listed

    parser = make_parser(
        "predict",
        "SOURCE ... [--model M] [--head H] [--detector D] [--faces] [--every N] [--smoothing SECONDS]\n"
        "                    [--threshold C] [--threads N] [--format F] [--out FILE] [--resume] [--draw DIR] ...",
        predict,
        skip=("source", "model", "detector", "draw"),
    )
    parser.add_argument(
        "source",
        type=str,
        nargs="+",
        help="photos, folders, patterns, zips, videos, numbers of cameras; - reads paths on stdin",
    )
    parser.add_argument(
        "--model",
        type=str,
        default="mien-s",
        help="a model file, a run folder, a name that `mien models` lists, or hf:owner/name",
    )
    parser.add_argument("--detector", type=str, default="auto", help=f"{', '.join(DETECTORS)}, or a YuNet .onnx file")
    parser.add_argument("--format", type=str, help=f"{', '.join(WRITERS)}; without it, what --out ends in, else table")
    parser.add_argument("--out", type=str, help="a file to write instead of standard output")
    parser.add_argument("--resume", type=bool, default=False, help="go on with a run into --out that was stopped")
    parser.add_argument("--null", type=bool, default=False, help="a zero byte ends each path on stdin, as of find -print0")
    parser.add_argument("--draw", type=str, help="a folder for copies of the photos and videos with the answers drawn in")
    wanted = vars(parse(parser, arguments))
    names, named, resume, null = (wanted.pop(name) for name in ("source", "out", "resume", "null"))
    out = None if named is None else check_out(named, names)
    form = choose_format(wanted.pop("format"), out)
    if form == "parquet":
        check_parquet()
    if resume and out is None:
        raise MienError("--resume goes on with a file of answers; name it with --out.")
    if resume and wanted["draw"] is not None:
        raise MienError("--resume draws no pictures, for it does not know which are drawn; leave out --draw, or --resume.")
    if "-" not in names:
        check_names(names)
    opened = Classifier(wanted["model"], threads=1, head=wanted["head"])
    settings = {name: wanted[name] for name in SETTINGS}
    source = names if "-" not in names else _paths(names, null)
    if out is None:
        with closing(predict(source, **wanted | {"model": opened})) as predictions:
            return _exit_status(_to_standard_output(_until_stopped(predictions, names), form, opened.labels))
    if resume and out.exists() and not log_path(out).exists():
        print(f"mien: {str(out)!r} is whole, there is nothing to go on with; without --resume it is made anew", file=sys.stderr)
        return 0
    log = ResumeLog(out, opened.labels, settings, names, resume)
    if resume:
        source = listed(source, wanted["every"], log.skip)
    with closing(predict(source, **wanted | {"model": opened})) as predictions:
        make_folder_of(out)
        try:
            log.write(_until_stopped(predictions, names))
        except KeyboardInterrupt:
            print("mien: stopped (the same command with --resume goes on)", file=sys.stderr)
            return 130
    return _exit_status(log.finish(form))


def _paths(names: list[str], null: bool) -> Iterator[str]:
    """Give the names, and the paths on standard input where a dash stands."""
    from mien.inference.sources import read_paths, standard_input

    for name in names:
        if name == "-":
            yield from read_paths(standard_input(), null)
        else:
            yield name


def _until_stopped(predictions: "Iterator[Prediction]", names: list[str]) -> "Iterator[Prediction]":
    """Let the end of a camera be that somebody stops it: what it gave is whole then."""
    from mien.inference.sources import camera_number

    try:
        yield from predictions
    except KeyboardInterrupt:
        if all(camera_number(name) is None for name in names):
            raise


def _to_standard_output(predictions: "Iterator[Prediction]", format: str, labels: "LabelSet") -> "Tally":
    from mien.inference.output import write, write_file

    if format != "parquet":
        return write(predictions, labels, format, sys.stdout)
    if sys.stdout.isatty():
        raise MienError("Parquet is nothing to read on a terminal; name a file with --out.")
    with tempfile.TemporaryDirectory() as folder:  # a Parquet file cannot be written into a pipe as it comes
        path = Path(folder) / "answers.parquet"
        tally = write_file(predictions, labels, format, path)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return tally


def _exit_status(tally: "Tally") -> int:
    print(f"mien: {tally}", file=sys.stderr)
    # where nothing at all could be read, the user named the wrong thing
    return 2 if 0 < tally.images == tally.failed else 1 if tally.failed else 0


def models(arguments: list[str]) -> int:
    """List the embedded models, with what they tell of themselves: mien models."""
    from mien.inference.classifier import describe_models

    parse(make_parser("models", ""), arguments)
    print(describe_models())
    return 0
