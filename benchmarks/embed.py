"""Make a trained run the embedded model: copy its model.onnx into the package, beside it one in int8, and write their cards.

    python benchmarks/embed.py runs/models/mien-s mien-s --data fer2013.csv --votes fer2013new.csv

The run has a head for the label and one for the crowd; both are measured again on PublicTest, each by both judges.
"""

import argparse
import hashlib
import json
import platform
import shutil
import time
from pathlib import Path

import jinja2
import numpy as np
import yaml

import mien
from mien.evaluation.run_summary import summarise
from mien.evaluation.statistics import proportion
from mien.inference.classifier import MODELS, Classifier

LARGEST = 5_000_000
"""Bytes: what an embedded model may weigh at most."""

SHOWN = {
    "macro-F1": ("macro_f1", "{:.3f}"),
    "balanced accuracy": ("balanced_accuracy", "{:.1%}"),
    "log loss": ("log_loss", "{:.3f}"),
    "cross-entropy with the votes": ("cross_entropy", "{:.3f}"),
    "Brier score": ("brier", "{:.3f}"),
    "expected calibration error, 15 bins": ("expected_calibration_error", "{:.3f}"),
}
"""The lines of the card's table below the accuracies: the field of metrics.json, and how it is written."""


def main() -> None:
    """Copy the model, then write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder of `mien train`, of a recipe with votes.head")
    parser.add_argument("name", help="the name of the embedded model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True, help="FER+ votes, fer2013new.csv")
    parser.add_argument("--command", help="what made the run, where it is more than its own `mien train`")
    arguments = parser.parse_args()
    source, target = arguments.run / "model.onnx", MODELS / f"{arguments.name}.onnx"
    if source.stat().st_size > LARGEST:
        raise SystemExit(f"{source} has {source.stat().st_size:,} bytes; an embedded model has at most {LARGEST:,}.")
    if (heads := Classifier(source).heads) != ("label", "crowd"):
        raise SystemExit(f"{source} has the head {heads[0]} alone; train it with --recipe.votes.head 0.5.")
    text = card(arguments)
    shutil.copyfile(source, target)
    target.with_suffix(".md").write_text(text, encoding="utf-8")
    small = target.with_name(f"{arguments.name}-int8.onnx")
    small.with_suffix(".md").write_text(int8_card(arguments, target, small), encoding="utf-8")
    print(*(f"wrote {path}" for path in (target, target.with_suffix(".md"), small, small.with_suffix(".md"))), sep="\n")


def card(arguments: argparse.Namespace) -> str:
    """Fill the card from the run's reports, its log, and both heads' answers."""
    run: Path = arguments.run
    model = Classifier(run, threads=1)
    reports = [json.loads((run / name / "metrics.json").read_text(encoding="utf-8")) for name in ("report", "report-crowd")]
    by_label, by_crowd = (report["all_rows"] for report in reports)
    summary = summarise(run)
    faces = mien.read_faces(mien.DataSource(arguments.data, votes=arguments.votes, votes_as="beside")).split("validation")
    voted = faces.judged_by_votes()
    agreeing = int((faces.votes[faces.votes.any(axis=1)].argmax(1) == faces.classes[faces.votes.any(axis=1)]).sum())
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("card.md.j2")
    return template.render(
        name=arguments.name,
        model=model,
        multiply_adds=f"{int(model.metadata['mien.multiply_adds']) / 1e6:.0f}M",
        megabytes=f"{(run / 'model.onnx').stat().st_size / 1e6:.1f}",
        agreement=f"{agreeing / len(voted):.0%}",
        judges=[
            {"name": "FER-2013's labels", **judged(model, faces)},
            {"name": "FER+'s votes: what most of ten people said", **judged(model, voted)},
        ],
        without_votes=f"{len(faces) - len(voted):,}",
        trained=json.loads(model.metadata["mien.data"]),
        figures=[
            (name, *("–" if each[field] is None else form.format(each[field]) for each in (by_label, by_crowd)))  # noqa: RUF001
            for name, (field, form) in SHOWN.items()
        ],
        copies=copies(reports[0]),
        label_rows=[row(each) for each in by_label["labels"]],
        crowd_rows=[row(each) for each in by_crowd["labels"]],
        one=f"{milliseconds(model, faces.images[:200], 1):.2f}",
        many=f"{milliseconds(model, faces.images[:1280], 64):.2f}",
        processor=processor(),
        command=arguments.command or reports[0]["command"],
        version=reports[0]["model"]["mien_version"],
        epochs=summary.epochs,
        kept=summary.best_epoch,
        start=yaml.safe_load(model.metadata["mien.recipe"])["weights"],
        sha256=reports[0]["model"]["sha256"],
    )


INT8 = """# {small}

[{name}]({name}.md) in int8 (`mien quantize`): {ratio:.1f} times smaller, and {speed:.1f} times as fast at batch size 1
on one thread ({processor}).

| PublicTest, n = {rows:,} | accuracy of the `label` head, 95% interval | megabytes |
| --- | --- | --- |
| `{name}` | {before.value:.2%}, {before.low:.1%} to {before.high:.1%} | {large:.2f} |
| `{small}` | {after.value:.2%}, {after.low:.1%} to {after.high:.1%} | {little:.2f} |

{only_after} faces are classified correctly only by this model, and {only_before} only by `{name}`: a change of
{change:+.2f} points ({low:+.2f} to {high:+.2f}, Newcombe).

The sections on data, use and limits in {name}'s card apply here too.

sha256 of the file: `{sha256}`.
"""


def int8_card(arguments: argparse.Namespace, target: Path, small: Path) -> str:
    """Write the model in int8, measure it, and fill its card."""
    made = mien.quantize(target, arguments.data, small)
    return INT8.format(
        name=target.stem,
        small=small.stem,
        ratio=made.sizes[0] / made.sizes[1],
        speed=made.speed,
        processor=processor(),
        rows=made.paired.rows,
        before=made.accuracies[0],
        after=made.accuracies[1],
        large=made.sizes[0] / 1e6,
        little=made.sizes[1] / 1e6,
        only_before=made.paired.only_first,
        only_after=made.paired.only_second,
        change=100 * made.paired.difference,
        low=100 * made.paired.low,
        high=100 * made.paired.high,
        sha256=hashlib.sha256(small.read_bytes()).hexdigest(),
    )


def judged(model: Classifier, faces: mien.FaceSet) -> dict[str, str | int]:
    """Write the accuracy of both heads by one judge."""
    found: dict[str, str | int] = {"n": len(faces)}
    for head in model.heads:
        answers = model.with_head(head).predict_proba(faces.images).argmax(1)
        share = proportion(int((answers == faces.classes).sum()), len(faces))
        found[head] = f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
    return found


def copies(report: dict) -> str:
    """Say what copies of training rows are worth, from the report."""
    found = report["training_copies"]
    without, worth = found["without"], found["worth"]
    share = without["accuracy"]
    return (
        f"{found['exact']:,} of the {report['data']['rows']:,} rows have an exact copy in Training, and {found['near']:,} "
        "others have a near copy. "
        f"Without them, the `label` head's accuracy is **{share['value']:.1%}** ({share['low']:.1%} to {share['high']:.1%}, "
        f"n = {share['of']:,}), its macro-F1 {without['macro_f1']:.3f}: "
        f"the copies contribute {100 * worth['value']:+.1f} points ({100 * worth['low']:+.1f} to {100 * worth['high']:+.1f})."
    )


def row(label: dict) -> tuple[str, ...]:
    """Write a label's figures."""
    recall, precision = label["recall"], label["precision"]
    interval = f"{recall['value']:.1%}, {recall['low']:.1%} to {recall['high']:.1%}"
    shown = "–" if precision is None else f"{precision:.1%}"  # noqa: RUF001
    return (label["label"], shown, interval, f"{label['f1']:.3f}", f"{label['support']:,}")


def milliseconds(model: Classifier, faces: np.ndarray, batch: int) -> float:
    """Time a face, by the median over batches."""
    times = []
    for start in range(0, len(faces), batch):
        begun = time.perf_counter()
        model.predict_proba(faces[start : start + batch], batch)
        times.append((time.perf_counter() - begun) / batch)
    return 1000 * float(np.median(times))


def processor() -> str:
    """Name the processor, without naming the machine."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
