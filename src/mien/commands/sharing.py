"""`mien explain`, `mien doctor` and `mien push`: why an answer, whether all is there, and a run for others."""

import sys
from typing import TYPE_CHECKING

from mien.arguments import make_parser, parse

if TYPE_CHECKING:
    from mien.inference.explanation import Explanation


def explain(arguments: list[str]) -> int:
    """Show which part of a face carried the answer: mien explain PHOTO ... --out FILE.png [--label L] [--model M]."""
    from mien.inference.detection import DETECTORS
    from mien.inference.explanation import MOST_FACES, explain
    from mien.inference.output import check_out, make_folder_of
    from mien.inference.sources import check_names

    parser = make_parser(
        "explain",
        "PHOTO ... --out FILE.png [--label L] [--model M] [--head H] [--detector D] [--faces]",
        explain,
        skip=("source", "model", "detector", "out"),
    )
    parser.add_argument("source", type=str, nargs="+", help="photos, folders or patterns; the first 32 faces are explained")
    parser.add_argument("--out", type=str, required=True, help="the picture to write: .png, .jpg or .webp")
    parser.add_argument(
        "--model",
        type=str,
        default="mien-s",
        help="a model file, a run folder, a name of `mien models`, or hf:owner/name",
    )
    parser.add_argument("--detector", type=str, default="auto", help=f"{', '.join(DETECTORS)}, or a YuNet .onnx file")
    wanted = vars(parse(parser, arguments))
    names = wanted.pop("source")
    out = check_out(wanted.pop("out"), names)
    check_names(names)
    make_folder_of(out)
    explained = explain(names, out=out, **wanted)
    for each in explained:
        _tell(each)
    if all(each.heat is None for each in explained):
        print("mien: there is no face to explain, and no picture was written", file=sys.stderr)
        return 2
    if len(explained) == MOST_FACES:
        print(f"mien: no more than the first {MOST_FACES} faces are explained", file=sys.stderr)
    print(f"picture {out}", file=sys.stderr)
    return 1 if any(each.prediction.error for each in explained) else 0


def _tell(each: "Explanation") -> None:
    from mien.inference.output import printable

    found = each.prediction
    moment = "" if found.time is None else f" at {found.time:.2f} s"
    if each.heat is None or found.probabilities is None or each.label is None:
        print(f"mien: {found.error or f'{found.source}: no face found'}", file=sys.stderr)
        return
    shown = float(found.probabilities[found.labels.index(each.label)])
    answer = "" if each.label == found.label else f"  (the answer is {found.label} {found.confidence:.0%})"
    most = f"most of it from the {each.region}; {each.hidden:.0%} without" if each.region else "no part speaks for it"
    print(f"{printable(found.source)}{moment}  face {found.face}  {each.label} {shown:.0%}{answer}  {most}")


def doctor(arguments: list[str]) -> int:
    """Say whether mien works here, with which packages, models and detectors, and what is missing: mien doctor."""
    from mien.verbs.about import doctor

    parser = make_parser("doctor", "[--format table|json]")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="table, or json for programs")
    format = parse(parser, arguments).format
    found = doctor()
    print(found.to_json() if format == "json" else found.table())
    return 0 if found.works else 1


def push(arguments: list[str]) -> int:
    """Upload a finished run to the Hugging Face hub, with a model card: mien push RUN --to owner/name [--dry_run]."""
    from mien.verbs.publish import push

    words = "RUN --to owner/name [--private] [--license L] [--dry_run] [--out DIR]"
    parser = make_parser("push", words, push)
    wanted = vars(parse(parser, arguments, first="run"))
    made = push(**wanted)
    if wanted["dry_run"]:
        print(made.card)
    print(made.table())
    return 0
