"""Labels of the data in training: names of expressions, `--labels`, and labels that the model of the weights lacks."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from mien.cli import main
from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.inference.classifier import Classifier
from mien.labels import FER2013, LabelSet
from mien.training.loop import arrange
from mien.training.recipe import load_recipe
from mien.verbs.train import train as train_verb


@pytest.fixture
def labelled():
    """Make ten training faces of each label."""

    def make(*names):
        images = np.zeros((10 * len(names), 48, 48), np.uint8)
        return FaceSet.from_arrays(images, np.arange(len(images)) % len(names), LabelSet(names), ["train"] * len(images))

    return make


@pytest.fixture
def recipe():
    return load_recipe("few-faces")


def test_a_label_of_its_own_is_said_with_how_to_leave_it_out(labelled, recipe, capsys):
    assert arrange(recipe, labelled("happy", "sad", "Unknown")).labels.names == ("happy", "sad", "Unknown")
    assert """labels of their own: Unknown; to leave one out: --labels '{"Unknown": null}'""" in capsys.readouterr().err
    arrange(recipe, labelled("cat", "dog"))
    arrange(recipe, labelled("happy", "contempt"))
    assert "labels of their own" not in capsys.readouterr().err


def test_labels_are_left_out_renamed_and_merged_by_the_recipe(labelled, recipe):
    merge = {"joy": "happy", "Unknown": None, "low": ["sad", "fear"], "Anger": "cross"}
    arranged = arrange(replace(recipe, merge=merge), labelled("happy", "joy", "sad", "fear", "angry", "Unknown"))
    assert arranged.labels.names == ("happy", "low", "cross")
    assert arranged.counts().tolist() == [20, 20, 10]


def test_a_mistake_names_the_nearest_label(labelled, recipe):
    with pytest.raises(MienError, match=r"no label 'Unknwn' among happy, sad, Unknown\. Did you mean 'Unknown'"):
        arrange(replace(recipe, merge={"Unknwn": None}), labelled("happy", "sad", "Unknown"))


def test_what_the_model_of_the_weights_does_not_know_is_left_out_or_said(labelled, capsys):
    recipe = load_recipe("fine-tune")
    arranged = arrange(recipe, labelled(*FER2013, "Unknown", "other"))
    assert arranged.labels == FER2013
    assert (
        """20 rows of Unknown, other left out; to train on them: --labels '{"Unknown": "Unknown"}'""" in capsys.readouterr().err
    )
    arranged = arrange(replace(recipe, merge={"Unknown": "Unknown"}), labelled(*FER2013, "Unknown"))
    assert arranged.labels.names == (*FER2013, "Unknown")
    assert arrange(recipe, labelled(*FER2013, "bored")).labels.names == (*FER2013, "bored")
    assert """labels of their own: bored; to leave one out: --labels '{"bored": null}'""" in capsys.readouterr().err


def test_labels_are_called_as_the_model_of_the_weights_does(labelled):
    arranged = arrange(load_recipe("fine-tune"), labelled(*(name.title() for name in FER2013), "NF"))
    assert arranged.labels == FER2013


@pytest.mark.slow
def test_labels_on_the_command_line_are_kept_in_the_run(faces, tmp_path, quick):
    labels = '{"contempt": null, "happiness": "glad"}'
    words = ["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *quick]
    assert main([*words, "--labels", labels]) == 2  # there is no contempt in the faces
    assert main([*words, "--labels", labels.replace("contempt", "Disgust")]) == 0
    assert Classifier(tmp_path / "run").labels.names == ("angry", "fear", "glad", "sad", "surprise", "neutral")
    assert yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["merge"] == {"Disgust": None, "happiness": "glad"}
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(faces), "--out", str(tmp_path / "report")]) == 0


@pytest.mark.slow
def test_labels_in_a_yaml_recipe_and_in_python_are_the_same(faces, tmp_path):
    base = yaml.safe_load(load_recipe("mien-s").to_yaml()) | {"epochs": 1, "batch_size": 16}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(base | {"merge": {"disgust": None, "angry": "fear"}}))
    train_verb(str(tmp_path / "own.yaml"), faces, tmp_path / "first", threads=1, quiet=True)
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(base))
    labels = {"disgust": None, "angry": "fear"}
    train_verb(str(tmp_path / "plain.yaml"), faces, tmp_path / "second", threads=1, labels=labels, quiet=True)
    names = [Classifier(tmp_path / run).labels.names for run in ("first", "second")]
    assert names == [("fear", "happy", "sad", "surprise", "neutral")] * 2
