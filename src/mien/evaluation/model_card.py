"""A run's model card for the Hugging Face hub: what the model is, what its own reports say of it, and what it is not for."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mien.evaluation.report import markdown_table

TAGS = ("facial-expression-recognition", "emotion-recognition", "face", "onnx")

FIGURES = ("measured on", "faces", "accuracy, 95% interval", "macro-F1", "balanced accuracy", "log loss", "calibration error")
"""The head of the table with a line for each report."""

ROWS = {"train_count": "training rows", "validation_count": "validation rows"}
"""How the model file's note on its data counts them."""

LIMITS = """\
- **What a face shows is not what a person feels.** The labels are what annotators called photos. People show the same feeling
  differently and the same face for different reasons (Barrett et al., 2019).
- **Not for decisions about people**: hiring, schooling, policing, border control, insurance, credit, medicine, or anything
  else in which a wrong answer harms somebody. Inferring emotions of people at work and in education is prohibited in the
  European Union (Regulation 2024/1689, Article 5(1)(f)); other laws may apply where you are.
- It is no better than the faces it learned from are many and various. Where ages, skin tones, cultures or poses are rare
  among these, expect it to do worse than the figures above.
- One still face at a time: no context, no motion, no voice. Faces turned far aside, covered or very small are guesses."""


def model_card(
    repository: str, metadata: Mapping[str, str], records: Sequence[dict[str, Any]], licence: str | None = None
) -> str:
    """Write the README.md of a model on the hub.

    Args:
        repository: owner/name there.
        metadata: the text that the model file carries.
        records: what `read_record` gives of the run's reports on this model, that of its training first.
        licence: the hub's identifier of a licence, such as apache-2.0; the card says so where there is none.
    """
    model = records[0]["model"]
    kind = "gray" if model["channels"] == 1 else "colour"
    recipe = yaml.safe_load(metadata.get("mien.recipe") or "{}") or {}
    description = f"{recipe['description']}. " if recipe.get("description") else ""
    shown = next((record for record in records if record["data"]["split"] == "test"), records[0])
    parts = [
        f"---\n{_header(repository, records, licence)}---",
        f"# {repository.partition('/')[2]}",
        f"{description}{_parameters(model)}{model['size']}-pixel {kind} faces in, calibrated probabilities of "
        f"{len(model['labels'])} expressions out: {', '.join(model['labels'])}.",
        f"## Use\n\n```\npip install 'mien[hub]'\nmien predict photo.jpg --model hf:{repository}\n```",
        f'```python\nimport mien\n\nfor face in mien.predict("photo.jpg", "hf:{repository}"):\n'
        "    print(face.box, face.label, face.confidence)\n```",
        "The one file `model.onnx` takes uint8 faces; normalisation, softmax and temperature lie inside it.",
        f"## Figures\n\n{_figures(records)}",
        *_cautions(records),
        f"On {_measured_on(shown)}:\n\n{_labels(shown)}",
        f"## How it was made\n\n{_making(metadata, records[0])}",
        f"## Limits\n\n{LIMITS}",
        f"## Licence\n\n{f'`{licence}`.' if licence else 'None was named; ask the owner before you use it.'} The data it "
        "learned from may have terms of their own.",
    ]
    return "\n\n".join(parts) + "\n"


def _header(repository: str, records: Sequence[dict[str, Any]], licence: str | None) -> str:
    """Write the YAML that the hub reads: https://huggingface.co/docs/hub/model-cards."""
    unseen = [record for record in records if not record["data"]["same_as_training"]]
    header: dict[str, Any] = {"license": licence} if licence else {}
    header |= {"library_name": "mien", "pipeline_tag": "image-classification", "tags": list(TAGS)}
    if unseen:
        header["model-index"] = [{"name": repository.partition("/")[2], "results": [_result(record) for record in unseen]}]
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True)


def _result(record: dict[str, Any]) -> dict[str, Any]:
    data, figures = record["data"], record["all_rows"]
    kind = re.sub(r"[^a-z0-9]+", "-", data["kind"].lower()).strip("-") or "faces"
    values = (
        ("accuracy", "Accuracy", figures["accuracy"] and figures["accuracy"]["value"]),
        ("f1", "Macro F1", figures["macro_f1"]),
    )
    return {
        "task": {"type": "image-classification", "name": "Facial-expression classification"},
        "dataset": {"type": kind, "name": _measured_on(record), "split": data["split"]},
        "metrics": [
            {"type": kind, "name": name, "value": round(value, 4)} for kind, name, value in values if value is not None
        ],
    }


def _measured_on(record: dict[str, Any]) -> str:
    """Say which faces a report is about, and what else was not as usual."""
    data = record["data"]
    words = [f"{data['path'] or data['kind']}", "not divided" if data["split"] == "none" else f"{data['split']} rows"]
    if record["model"].get("head") == "crowd":
        words.append("the crowd head")
    if augmentation := record.get("test_time_augmentation"):
        words.append(f"the mean over views of every face ({augmentation['kind']})")
    return ", ".join(words)


def _figures(records: Sequence[dict[str, Any]]) -> str:
    rows = [FIGURES]
    for record in records:
        figures = record["all_rows"]
        rows.append(
            (
                _measured_on(record),
                f"{figures['n']:,}",
                _share(figures["accuracy"]),
                _number(figures["macro_f1"]),
                "-" if figures["balanced_accuracy"] is None else f"{figures['balanced_accuracy']:.1%}",
                _number(figures["log_loss"]),
                _number(figures["expected_calibration_error"]),
            )
        )
    return markdown_table(rows)


def _cautions(records: Sequence[dict[str, Any]]) -> list[str]:
    """Say which of the figures are too good."""
    found = []
    if seen := [_measured_on(record) for record in records if record["data"]["same_as_training"]]:
        found.append(f"The model was trained on these very rows, so their figures say little: {'; '.join(seen)}.")
    trained_on = (records[0]["model"].get("trained_on") or {}).get("path")
    if any(record["data"]["split"] == "validation" and record["data"]["path"] == trained_on for record in records):
        found.append(
            "The epoch and the temperature were chosen on the validation rows of its data, so figures there lie a little high."
        )
    return found


def _labels(record: dict[str, Any]) -> str:
    rows = [("label", "recall, 95% interval", "precision", "F1", "faces")]
    for each in record["all_rows"]["labels"]:
        precision = "-" if each["precision"] is None else f"{each['precision']:.1%}"
        rows.append((each["label"], _share(each["recall"]), precision, _number(each["f1"]), f"{each['support']:,}"))
    return markdown_table(rows)


def _making(metadata: Mapping[str, str], record: dict[str, Any]) -> str:
    data = json.loads(metadata.get("mien.data") or "{}")
    lines = []
    if record["command"]:
        lines.append(f"```\n{record['command']}\n```\n")
    if data:
        rows = [f"{data[key]:,} {words}" for key, words in ROWS.items() if data.get(key)]
        lines.append(f"Data: {data.get('path')} ({data.get('kind')}), {', '.join(rows)}.")
        lines.append(f"Fingerprint of the training rows: `{data.get('train_fingerprint')}`.")
    lines.append(f"Made with mien {metadata.get('mien.version')}; the recipe is `recipe.yaml`, and also inside the model file.")
    lines.append(f"sha256 of `model.onnx`: `{record['model']['sha256']}`.")
    return "\n".join(lines)


def _parameters(model: dict[str, Any]) -> str:
    return f"{model['parameters']:,} parameters, " if model["parameters"] else ""


def _share(proportion: dict[str, Any] | None) -> str:
    if proportion is None:
        return "-"
    return f"{proportion['value']:.1%}, {proportion['low']:.1%} to {proportion['high']:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
