"""The model card: the hub can read its head, and its figures are those of the reports."""

import copy

import huggingface_hub
import pytest

from mien.verbs.publish import model_card

SHARE = {"value": 0.75, "low": 0.6, "high": 0.85, "count": 30, "of": 40}


def label(name, recall, support):
    return {"label": name, "support": support, "precision": 0.7, "recall": recall, "f1": 0.7213}


@pytest.fixture
def record():
    return {
        "command": "mien train mien-s --data faces --out runs/a",
        "model": {
            "sha256": "ab" * 32, "labels": ["happy", "sad"], "size": 48, "channels": 1, "parameters": 1234567,
            "head": "label", "trained_on": {"path": "faces"},
        },
        "data": {"kind": "a folder", "path": "faces", "split": "validation", "same_as_training": False},
        "all_rows": {
            "n": 40, "accuracy": SHARE, "macro_f1": 0.7012, "balanced_accuracy": 0.71, "log_loss": 0.5,
            "expected_calibration_error": 0.03, "labels": [label("happy", SHARE, 40), label("sad", None, 0)],
        },
    }  # fmt: skip


METADATA = {
    "mien.recipe": "description: a small network\nnetwork: compact_resnet\n",
    "mien.data": '{"kind": "a folder", "path": "faces", "train_fingerprint": "c", "train_count": 2800, "validation_count": 40}',
    "mien.version": "0.1.0",
}


def test_the_hub_reads_the_head(record):
    data = huggingface_hub.ModelCard(model_card("alice/faces", METADATA, [record], "cc-by-nc-4.0")).data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-nc-4.0", "mien", "image-classification")
    assert "onnx" in data.tags
    assert data.model_name == "faces"
    found = {result.metric_type: (result.metric_value, result.dataset_split) for result in data.eval_results}
    assert found == {"accuracy": (0.75, "validation"), "f1": (0.7012, "validation")}


def test_the_card_has_the_interval_over_groups_and_the_name_of_the_data(record):
    record["data"]["path"] = "Studio photos.csv"
    record["over_groups"] = {"count": 10, "accuracy": [0.51, 0.93]}
    text = model_card("alice/faces", METADATA, [record])
    words = "the interval of the accuracy over the 10 groups (people, clips) is 51.0% to 93.0%"
    assert f"On Studio photos.csv, validation rows, {words}" in text
    assert huggingface_hub.ModelCard(text).data.eval_results[0].dataset_type == "studio-photos"


def test_its_words_are_those_of_the_report(record):
    text = model_card("alice/faces", METADATA, [record])
    for words in (
        "1,234,567 parameters",
        "a small network",
        "75.0%, 60.0% to 85.0%",
        "pip install 'mien[hub]'",
        "mien predict photo.jpg --model hf:alice/faces",
        "mien train mien-s --data faces --out runs/a",
        "2,800 training rows, 40 validation rows",
        "chosen on the validation rows",
        "None was named",
        "ab" * 32,
    ):
        assert words in text
    assert next(line for line in text.splitlines() if line.startswith("| sad")).split("|")[2].strip() == "-"


def test_figures_of_test_rows_lead_where_there_are_some(record):
    tested = copy.deepcopy(record)
    tested["data"] |= {"split": "test", "path": "others"}
    text = model_card("alice/faces", METADATA, [record, tested])
    assert "On others, test rows:" in text
    assert len(huggingface_hub.ModelCard(text).data.eval_results) == 4


def test_figures_on_the_training_rows_are_called_that_and_not_given_to_the_hub(record):
    record["data"] |= {"split": "train", "same_as_training": True}
    text = model_card("alice/faces", METADATA, [record])
    assert "trained on these very rows" in text
    assert huggingface_hub.ModelCard(text).data.eval_results is None


def test_a_crowd_head_and_views_of_each_face_are_named(record):
    record["model"]["head"] = "crowd"
    record["test_time_augmentation"] = {"kind": "flip"}
    assert "the crowd head, the mean over views of every face (flip)" in model_card("alice/faces", METADATA, [record])


def test_a_model_that_says_little_of_itself_has_a_card_too(record):
    record["command"] = None
    text = model_card("alice/faces", {}, [record])
    assert text.startswith("---\nlibrary_name: mien\n")
    assert "```\nNone" not in text
