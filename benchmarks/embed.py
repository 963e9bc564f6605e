"""Make a trained run the embedded model: copy its model.onnx into the package and write its card from its own report.

python benchmarks/embed.py runs/mien-s mien-s
"""

import argparse
import json
import shutil
from pathlib import Path

from mien.inference.classifier import MODELS, Classifier

LARGEST = 5_000_000
"""Bytes: what an embedded model may weigh at most."""

CARD = """# {name}

The model that `mien predict` uses where none is named: {parameters:,} parameters, {megabytes:.1f} MB, {size}-pixel
{colour} faces in, calibrated probabilities of {count} expressions out ({labels}).

## Data and protocol

Trained on the {train_count:,} Training rows of FER-2013 (Goodfellow et al., Challenges in Representation Learning,
2013) with their own labels, and nothing else. The epoch and the temperature were chosen on the {validation_count:,}
PublicTest rows. PrivateTest was not read: figures on it are measured apart from development.

PublicTest chose the epoch, so its figure is a little too good; and {copies} of its rows have an exact copy in Training.

## Figures on PublicTest

| | |
| --- | --- |
| accuracy | **{accuracy:.1%}**, 95% interval {low:.1%} to {high:.1%} ({right:,} of {n:,} faces) |
| macro-F1 | {macro_f1:.3f} |
| balanced accuracy | {balanced:.1%} |
| log loss | {log_loss:.3f} |
| expected calibration error, 15 bins | {ece:.3f} |

| label | precision | recall, 95% interval | F1 | faces |
| --- | --- | --- | --- | --- |
{rows}

A person reaches about 65 +- 5% on these faces (Goodfellow et al., 2013).

## How it was made

`{command}`

with mien {version}; {epochs} epochs, the best of which was number {best}. The recipe is written inside the model file
(`mien.recipe`), with a fingerprint of the rows it was trained on. sha256 of the file: `{sha256}`.

## Intended use

Sorting, searching and studying photos and videos of faces by what they show; teaching; research on the method itself;
interfaces that react to an expression with the knowledge and consent of the person in front of them.

## Limits

- **What a face shows is not what a person feels.** The labels are what annotators called photos from the web. People
  show the same feeling differently and the same face for different reasons (Barrett et al., 2019).
- **Not for decisions about people**: hiring, schooling, policing, border control, insurance, credit, medicine, or
  anything else in which a wrong answer harms somebody. Inferring emotions of people at work and in education is
  prohibited in the European Union (Regulation 2024/1689, Article 5(1)(f)); other laws may apply where you are.
- FER-2013 was gathered by web search in 2013. It is not balanced over ages, skin tones, cultures or poses, and no
  figure by such groups has been measured. Expect it to do worse where the web of 2013 was thin.
- The labels are noisy: the crowd's majority in FER+ (Barsoum et al., 2016) agrees with them on 63% of the rows. Disgust is rare
  (436 of 28,709 training rows).
- Still, gray, 48 pixels: no context, no motion, no voice. Faces turned far aside, covered, or very small are guesses.

## Licence

The file: Apache-2.0, as all of mien. The data it learned from are for research use; see that your use agrees with that.
"""


def main() -> None:
    """Copy the model, then write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder of `mien train`")
    parser.add_argument("name", help="the name of the embedded model")
    arguments = parser.parse_args()
    source, target = arguments.run / "model.onnx", MODELS / f"{arguments.name}.onnx"
    if source.stat().st_size > LARGEST:
        raise SystemExit(f"{source} has {source.stat().st_size:,} bytes; an embedded model has at most {LARGEST:,}.")
    shutil.copyfile(source, target)
    target.with_suffix(".md").write_text(card(arguments.run, arguments.name), encoding="utf-8")
    print(f"wrote {target} and {target.with_suffix('.md')}")


def card(run: Path, name: str) -> str:
    """Fill the card from the run's own report and log."""
    model, record = Classifier(run), json.loads((run / "report" / "metrics.json").read_text(encoding="utf-8"))
    figures, data = record["all_rows"], json.loads(model.metadata["mien.data"])
    history = [line.split(",") for line in (run / "log.csv").read_text(encoding="utf-8").splitlines()]
    accuracies = [float(row[history[0].index("validation_accuracy")]) for row in history[1:]]
    return CARD.format(
        name=name,
        parameters=model.parameters,
        megabytes=(run / "model.onnx").stat().st_size / 1e6,
        size=model.size,
        colour="gray" if model.channels == 1 else "colour",
        count=len(model.labels),
        labels=", ".join(model.labels),
        train_count=data["train_count"],
        validation_count=data["validation_count"],
        copies=280,  # counted on these files: exact copies of PublicTest rows in Training
        accuracy=figures["accuracy"]["value"],
        low=figures["accuracy"]["low"],
        high=figures["accuracy"]["high"],
        right=figures["accuracy"]["count"],
        n=figures["n"],
        macro_f1=figures["macro_f1"],
        balanced=figures["balanced_accuracy"],
        log_loss=figures["log_loss"],
        ece=figures["expected_calibration_error"],
        rows="\n".join(_row(label) for label in figures["labels"]),
        command=record["command"],
        version=record["model"]["mien_version"],
        epochs=len(accuracies),
        best=accuracies.index(max(accuracies)) + 1,
        sha256=record["model"]["sha256"],
    )


def _row(label: dict) -> str:
    recall = label["recall"]
    interval = f"{recall['value']:.1%}, {recall['low']:.1%} to {recall['high']:.1%}"
    return f"| {label['label']} | {label['precision']:.1%} | {interval} | {label['f1']:.3f} | {label['support']:,} |"


if __name__ == "__main__":
    main()
