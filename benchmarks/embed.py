"""Make a trained run the embedded model: copy its model.onnx into the package, quantize it to int8, and write both cards.

    python benchmarks/embed.py runs/models/mien-s mien-s --data fer2013.csv --votes fer2013new.csv

The run has two heads, both measured again on PublicTest by both judges. --command made the run, if not its own `mien train`.
"""

import hashlib
import platform
import re
import shutil
from functools import partial
from pathlib import Path
from timeit import timeit

import jinja2
import numpy as np
import yaml

import mien
from mien.evaluation.comparison import summarise
from mien.evaluation.metrics import proportion
from mien.evaluation.record import read_report
from mien.inference.classifier import MODELS, Classifier
from shared import parse

MAX_SIZE = 5_000_000  # bytes of an embedded model
PROCESSOR = (re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE) or [platform.machine()])[0]
LOADER = jinja2.FileSystemLoader(Path(__file__).parent)
CARDS = jinja2.Environment(loader=LOADER, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)


def card(folder: Path, faces: mien.FaceSet, name: str, command: str) -> str:
    """Fill the card from the run's reports, its log, and both heads' answers."""
    model, summary = Classifier(folder, threads=1), summarise(folder)
    report, crowd_report = (read_report(folder / each / "metrics.json") for each in ("report", "report-crowd"))
    voted, has_votes = faces.judged_by_votes(), faces.votes.any(axis=1)
    agreeing = int((faces.votes[has_votes].argmax(1) == faces.classes[has_votes]).sum())
    judges = {"FER-2013's labels": faces, "FER+'s votes: what most of ten people said": voted}
    return CARDS.get_template("card.md.j2").render(
        name=name,
        model=model,
        size=(folder / "model.onnx").stat().st_size,
        agreement=agreeing / len(voted),
        judges=[(judge, len(rows), *accuracies(model, rows)) for judge, rows in judges.items()],
        without_votes=len(faces) - len(voted),
        report=report,
        reports=(report["all_rows"], crowd_report["all_rows"]),
        one=milliseconds(model, faces.images[:200], 1),
        many=milliseconds(model, faces.images[:1280], 64),
        processor=PROCESSOR,
        command=command or report["command"],
        summary=summary,
        start=yaml.safe_load(model.metadata["mien.recipe"])["weights"],
    )


def accuracies(model: Classifier, faces: mien.FaceSet) -> list[str]:
    right = [model.with_head(head).predict_proba(faces.images).argmax(1) == faces.classes for head in model.heads]
    return [f"{share} ({share.interval})" for share in (proportion(int(each.sum()), len(faces)) for each in right)]


def milliseconds(model: Classifier, faces: np.ndarray, batch: int) -> float:
    """Measure the time of a face: the median over batches."""
    parts = (faces[start : start + batch] for start in range(0, len(faces), batch))
    return 1000 * float(np.median([timeit(partial(model.predict_proba, part, batch), number=1) for part in parts])) / batch


if __name__ == "__main__":
    arguments = parse(__doc__, "run", "name", data=str, votes=str, command="")
    folder = Path(arguments.run)
    source, target = folder / "model.onnx", MODELS / f"{arguments.name}.onnx"
    if source.stat().st_size > MAX_SIZE:
        raise mien.MienError(f"{source} has {source.stat().st_size:,} bytes; an embedded model has at most {MAX_SIZE:,}.")
    if (heads := Classifier(source).heads) != ("label", "crowd"):
        raise mien.MienError(f"{source} has the head {heads[0]} alone; train it with --recipe.votes.head 0.5.")
    data = mien.DataSource(arguments.data, votes=arguments.votes, votes_as="beside")
    text = card(folder, mien.read_faces(data).split("validation"), arguments.name, arguments.command)
    shutil.copyfile(source, target)
    small = target.with_name(f"{arguments.name}-int8.onnx")
    quantized = mien.quantize(target, arguments.data, small)
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    fields = {"name": target.stem, "small": small.stem, "made": quantized, "processor": PROCESSOR, "sha256": digest}
    small_text = CARDS.get_template("int8.md.j2").render(fields)
    for path, words in ((target, text), (small, small_text)):
        path.with_suffix(".md").write_text(words, encoding="utf-8")
        print(f"wrote {path}\nwrote {path.with_suffix('.md')}")
