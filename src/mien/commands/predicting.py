"""`mien predict` and `mien models`: answers about photos, and by which model."""

import sys
from pathlib import Path

from mien.arguments import make_parser, parse


def predict(arguments: list[str]) -> int:
    """Find faces in photos and say what they show: mien predict SOURCE ... [--model M] [--format F] [--draw DIR]."""
    from mien.files import write_whole
    from mien.inference.destinations import check_out, make_folder_of
    from mien.inference.detection import DETECTORS
    from mien.inference.output import WRITERS, Tally, choose_format, write
    from mien.inference.prediction import predict
    from mien.inference.sources import check_names

    parser = make_parser(
        "predict",
        "SOURCE ... [--model M] [--head H] [--detector D] [--format F] [--out FILE] [--draw DIR] [--batch_size N]",
        predict,
        skip=("source", "model", "detector", "draw"),
    )
    parser.add_argument("source", type=str, nargs="+", help="photos, folders or patterns")
    parser.add_argument(
        "--model", type=str, default="mien-s", help="a model file, a run folder, or a name that `mien models` lists"
    )
    parser.add_argument("--detector", type=str, default="auto", help=f"{', '.join(DETECTORS)}, or a YuNet .onnx file")
    parser.add_argument("--format", type=str, help=f"{', '.join(WRITERS)}; without it, what --out ends in, else table")
    parser.add_argument("--out", type=str, help="a file to write instead of standard output")
    parser.add_argument("--draw", type=str, help="a folder for copies of the images with the answers drawn in")
    wanted = vars(parse(parser, arguments))
    named = wanted.pop("out")
    out = None if named is None else check_out(named, wanted["source"])
    form = choose_format(wanted.pop("format"), out)
    check_names(wanted["source"])
    predictions = predict(**wanted)
    if out is not None:
        make_folder_of(out)

    def write_into(part: Path) -> Tally:
        with part.open("w", encoding="utf-8", newline="") as stream:
            return write(predictions, form, stream)

    tally = write(predictions, form, sys.stdout) if out is None else write_whole(out, write_into)
    print(f"mien: {tally}", file=sys.stderr)
    # where nothing at all could be read, the user named the wrong thing
    return 2 if tally.failed == tally.images else 1 if tally.failed else 0


def models(arguments: list[str]) -> int:
    """List the embedded models, with what they tell of themselves: mien models."""
    from mien.inference.listing import describe_models

    parse(make_parser("models", ""), arguments)
    print(describe_models())
    return 0
