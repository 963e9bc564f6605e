"""Write the model card of a run for the Hugging Face hub: what the model is, its figures, and its limits."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from mien.evaluation.report import markdown_table

TAGS = ("facial-expression-recognition", "emotion-recognition", "face", "onnx")

LIMITS = """\
- **What a face shows is not what a person feels.** The labels are the judgement of annotators. People show the same feeling
  differently and the same face for different reasons (Barrett et al., 2019).
- **Not for decisions about people**: hiring, schooling, policing, border control, insurance, credit, medicine, or anything
  else where a wrong answer harms somebody. Inferring emotions of people at work and in education is prohibited in the
  European Union (Regulation 2024/1689, Article 5(1)(f)); other laws may apply where you are.
- The model depends on its training faces. Where ages, skin tones, cultures or poses are rare among them, expect lower figures
  than those above.
- One still face at a time: no context, no motion, no voice. Faces turned far aside, covered or very small are guesses."""


def _with_interval(proportion: dict[str, Any] | None) -> str:
    return "-" if proportion is None else "{value:.1%}, {low:.1%} to {high:.1%}".format(**proportion)


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


FIGURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "faces": lambda figures: f"{figures['n']:,}",
    "accuracy, 95% interval": lambda figures: _with_interval(figures["accuracy"]),
    "macro-F1": lambda figures: _number(figures["macro_f1"]),
    "balanced accuracy": lambda figures: _number(figures["balanced_accuracy"], ".1%"),
    "log loss": lambda figures: _number(figures["log_loss"]),
    "calibration error": lambda figures: _number(figures["expected_calibration_error"]),
}
"""Columns of the figures of a report."""


def model_card(
    repository: str, metadata: Mapping[str, str], records: Sequence[dict[str, Any]], licence: str | None = None
) -> str:
    """Write the README.md of a model on the hub.

    Args:
        repository: owner/name there.
        metadata: the text in the model file.
        records: of the run's reports on this model, as `read_record` gives them, that of its training first.
        licence: the hub's identifier of a licence, such as apache-2.0.
    """
    model, name = records[0]["model"], repository.partition("/")[2]
    recipe = yaml.safe_load(metadata.get("mien.recipe") or "{}") or {}
    description = f"{recipe['description']}. " if recipe.get("description") else ""
    parameters = f"{model['parameters']:,} parameters, " if model["parameters"] else ""
    figures = [["measured on", *FIGURES]]
    figures += [[_measured_on(each), *(write(each["all_rows"]) for write in FIGURES.values())] for each in records]
    shown = next((record for record in records if record["data"]["split"] == "test"), records[0])
    parts = [
        f"---\n{_header(name, records, licence)}---",
        f"# {name}",
        f"{description}{parameters}{model['size']}-pixel {'gray' if model['channels'] == 1 else 'colour'} faces in, calibrated "
        f"probabilities of {len(model['labels'])} expressions out: {', '.join(model['labels'])}.",
        f"## Use\n\n```\npip install 'mien[hub]'\nmien predict photo.jpg --model hf:{repository}\n```",
        f'```python\nimport mien\n\nfor face in mien.predict("photo.jpg", "hf:{repository}"):\n'
        "    print(face.box, face.label, face.confidence)\n```",
        "The file `model.onnx` takes uint8 faces; normalisation, softmax and temperature are part of its graph.",
        f"## Figures\n\n{markdown_table(figures)}",
        *_cautions(records),
        f"On {_measured_on(shown)}:\n\n{_labels(shown)}",
        f"## How it was made\n\n{_making(metadata, records[0])}",
        f"## Limits\n\n{LIMITS}",
        f"## Licence\n\n{f'`{licence}`.' if licence else 'None was named; ask the owner before you use it.'} The training data "
        "may have terms of their own.",
    ]
    return "\n\n".join(parts) + "\n"


def _header(name: str, records: Sequence[dict[str, Any]], licence: str | None) -> str:
    """Write the YAML that the hub reads: https://huggingface.co/docs/hub/model-cards."""
    header: dict[str, Any] = {"license": licence} if licence else {}
    header |= {"library_name": "mien", "pipeline_tag": "image-classification", "tags": list(TAGS)}
    if results := [_result(record) for record in records if not record["data"]["same_as_training"]]:
        header["model-index"] = [{"name": name, "results": results}]
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True)


def _result(record: dict[str, Any]) -> dict[str, Any]:
    data, figures = record["data"], record["all_rows"]
    accuracy = figures["accuracy"] and figures["accuracy"]["value"]
    values = (("accuracy", "Accuracy", accuracy), ("f1", "Macro F1", figures["macro_f1"]))
    return {
        "task": {"type": "image-classification", "name": "Facial-expression classification"},
        "dataset": {
            "type": re.sub(r"[^a-z0-9]+", "-", data["kind"].lower()).strip("-") or "faces",
            "name": _measured_on(record),
            "split": data["split"],
        },
        "metrics": [
            {"type": kind, "name": name, "value": round(value, 4)} for kind, name, value in values if value is not None
        ],
    }


def _measured_on(record: dict[str, Any]) -> str:
    """Describe the faces of a report, the head, and test-time augmentation."""
    data = record["data"]
    words = [f"{data['path'] or data['kind']}", "not divided" if data["split"] == "none" else f"{data['split']} rows"]
    if record["model"].get("head") == "crowd":
        words.append("the crowd head")
    if augmentation := record.get("test_time_augmentation"):
        words.append(f"the mean over views of every face ({augmentation['kind']})")
    return ", ".join(words)


def _cautions(records: Sequence[dict[str, Any]]) -> list[str]:
    """Say which of the figures are too good."""
    found = []
    if seen := [_measured_on(record) for record in records if record["data"]["same_as_training"]]:
        found.append(f"The model was trained on these very rows, so their figures say little: {'; '.join(seen)}.")
    trained_on = (records[0]["model"].get("trained_on") or {}).get("path")
    if any(record["data"]["split"] == "validation" and record["data"]["path"] == trained_on for record in records):
        found.append(
            "The epoch and the temperature were chosen on the validation rows of its data, so figures there are slightly high."
        )
    return found


def _labels(record: dict[str, Any]) -> str:
    rows = [("label", "recall, 95% interval", "precision", "F1", "faces")]
    for each in record["all_rows"]["labels"]:
        precision, f1 = _number(each["precision"], ".1%"), _number(each["f1"])
        rows.append((each["label"], _with_interval(each["recall"]), precision, f1, f"{each['support']:,}"))
    return markdown_table(rows)


def _making(metadata: Mapping[str, str], record: dict[str, Any]) -> str:
    lines = [f"```\n{record['command']}\n```\n"] if record["command"] else []
    if data := json.loads(metadata.get("mien.data") or "{}"):
        names = {"train_count": "training rows", "validation_count": "validation rows"}
        counts = ", ".join(f"{data[key]:,} {name}" for key, name in names.items() if data.get(key))
        lines.append(f"Data: {data.get('path')} ({data.get('kind')}), {counts}.")
        lines.append(f"Fingerprint of the training rows: `{data.get('train_fingerprint')}`.")
    lines.append(f"Made with mien {metadata.get('mien.version')}; the recipe is `recipe.yaml`, and also inside the model file.")
    lines.append(f"sha256 of `model.onnx`: `{record['model']['sha256']}`.")
    return "\n".join(lines)
