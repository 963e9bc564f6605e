"""Labels of the data that the model does not know: each is decided by itself, from the command line."""

import json

import pytest

from mien.data.faceset import FaceSet
from mien.errors import MienError
from mien.evaluation.label_match import fit_to_model, with_labels
from mien.labels import LabelSet
from mien.verbs.train import evaluate


@pytest.fixture
def labelled(answered):
    """Make two rows of each label."""
    return lambda *names: answered(
        [(80, 10, 10)] * 2 * len(names), [i // 2 for i in range(2 * len(names))], labels=LabelSet(names)
    )


@pytest.mark.parametrize("unknown", ["Unknown", "contempt", "other", "No face", "8-uncertain", "bored"])
def test_an_unknown_label_does_not_switch_the_others_off(unknown, labelled, model, tmp_path, capsys, blank_pictures):
    report = evaluate(model.path, labelled("Happiness", "1-sad", "neutral", unknown), tmp_path / "report", quiet=True)
    assert report.metrics.n == 6
    said = capsys.readouterr().err
    assert f"the model knows happy, sad, neutral: 2 rows of other labels left out ({unknown})" in said
    assert said.count("--labels") == 1
    found = json.loads((tmp_path / "report/metrics.json").read_text())
    assert found["data"]["kind"].endswith(f", without {unknown}")
    assert set(found["data"]["labels"]) == {"happy", "sad", "neutral"}


def test_a_label_may_be_missing_when_others_are_unknown(labelled, model, tmp_path, blank_pictures):
    assert evaluate(model.path, labelled("HA", "NE", "Unknown"), tmp_path / "report", quiet=True).metrics.n == 4


def test_one_known_label_beside_unknown_is_measured(labelled, model, tmp_path, blank_pictures):
    assert evaluate(model.path, labelled("happy", "Unknown"), tmp_path / "report", quiet=True).metrics.n == 2


@pytest.mark.parametrize(
    ("names", "flag"),
    [(("happy", "neutral", "grief"), '"sad": ["grief"]'), (("happy", "neutral", "gloom"), '"sad": ["gloom"]')],
)
def test_a_label_that_may_be_one_of_the_model_s_is_asked_for(names, flag, labelled, model, tmp_path):
    with pytest.raises(MienError, match="The labels differ") as said:
        evaluate(model.path, labelled(*names), tmp_path / "report", quiet=True)
    assert flag in str(said.value)
    given = evaluate(model.path, labelled(*names), tmp_path / "report", labels={names[-1]: None}, quiet=True)
    assert given.metrics.n == 4


@pytest.mark.parametrize(
    ("labels", "rows", "merged"),
    [
        ({"contempt": None}, 6, {"contempt": None}),
        ({"contempt": "neutral"}, 8, {"neutral": ["contempt"]}),
        ({"Contempt": "neutral", "happiness": "happy"}, 8, {"neutral": ["Contempt"], "happy": ["happiness"]}),
        ({"neutral": ["neutral", "contempt"], "sad": None}, 6, {"neutral": ["neutral", "contempt"], "sad": None}),
    ],
)
def test_the_user_decides_what_becomes_of_labels(labels, rows, merged, labelled, model, tmp_path, blank_pictures):
    faces = labelled("happy", "sad", "neutral", "contempt")
    assert evaluate(model.path, faces, tmp_path / "report", labels=labels, quiet=True).metrics.n == rows
    assert json.loads((tmp_path / "report/metrics.json").read_text())["data"]["merged"] == merged


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"contemt": None}, "no label 'contemt' among .*Did you mean 'contempt'"),
        ({"contempt": "neutrl"}, "no label 'neutrl' among happy, sad, neutral. Did you mean 'neutral'"),
        ({"contempt": 3}, "'contempt' cannot become 3"),
        ({"contempt": "sad", "sad": ["neutral"]}, "'sad' has the name of a label that stays"),
        ({"happy": ["happy", "hapy"]}, "no label 'hapy' among happy, sad, neutral, contempt. Did you mean 'happy'"),
        ({"sad": "low", "contempt": "lo"}, "no label 'lo' among happy, low, neutral. Did you mean 'low'"),
    ],
)
def test_a_mistake_is_answered_with_the_nearest_label(labels, sentence, labelled, model, tmp_path):
    with pytest.raises(MienError, match=sentence):
        evaluate(model.path, labelled("happy", "sad", "neutral", "contempt"), tmp_path / "report", labels=labels, quiet=True)
    assert not (tmp_path / "report").exists()


def test_a_recipe_s_merge_is_applied_label_by_label(labelled):
    recipe = "merge: {low: [sad, fear], happy: glad, contempt: null}"
    fitted = fit_to_model(recipe, LabelSet(["glad", "low"]), labelled("happy", "sadness", "contempt"))
    assert fitted.labels.names == ("glad", "low")
    assert len(fitted) == 4


def test_a_model_s_own_names_are_used(labelled):
    fitted = fit_to_model("", LabelSet(["Happiness", "Sadness"]), labelled("happy", "sad"))
    assert fitted.labels.names == ("Happiness", "Sadness")


@pytest.mark.parametrize(
    ("recipe", "of_model", "given", "of_data", "expected", "rows"),
    [
        ("", "happy sad neutral", {"low": ["sad", "fear"]}, "happy sadness fear", "happy low", 6),  # each knows other members
        ("", "happy sad neutral", {"sad": None}, "happy neutral", "happy neutral", 4),  # only the model has it
        ("", "happy sad neutral", {"sad": None}, "happy sad neutral", "happy neutral", 4),
        ("", "happy sad neutral", {"happiness": "glad"}, "joy happy sad", "joy glad sad", 6),  # joy is to be asked for
        ("merge: {low: [sad, fear]}", "happy low", {"low": "bad", "gloom": "fear"}, "happy sad gloom", "happy bad", 6),
        ("merge: {low: [sad, fear]}\nkeep: [low, happy]", "low happy", {"low": "bad"}, "happy sad angry", "bad happy", 4),
        ("", "happy sad", {"happy": "sad", "sad": "happy"}, "happy sad", "sad happy", 4),
    ],
)
def test_labels_of_the_data_and_of_the_model_are_changed_alike(recipe, of_model, given, of_data, expected, rows, labelled):
    fitted = fit_to_model(recipe, LabelSet(of_model.split()), labelled(*of_data.split()), given)
    assert (fitted.labels.names, len(fitted)) == (tuple(expected.split()), rows)


def test_with_labels_in_python_takes_all_forms(labelled):
    faces: FaceSet = labelled("happy", "joy", "smile", "contempt")
    merged = with_labels(faces, {"joy": "happy", "contempt": None, "smile": "happy"})
    assert merged.labels.names == ("happy",)
    assert len(merged) == 6
