import numpy as np
import pytest

from mien.errors import MienError
from mien.evaluation.label_match import match_labels, with_labels
from mien.evaluation.report import evaluate
from mien.labels import FER2013, LabelSet


@pytest.fixture
def labelled(answered):
    """Make a row of each label."""
    return lambda *names: answered([(80, 10, 10)] * len(names), list(range(len(names))), labels=LabelSet(names))


def test_an_unknown_label_is_an_error_that_names_what_either_side_lacks(model, labelled, tmp_path):
    with pytest.raises(MienError) as error:
        evaluate(model, labelled("happy", "sad", "contempt"), tmp_path / "report")
    assert str(error.value) == (
        "The labels differ: the data have contempt, which the model does not know, and lack neutral of the model's labels "
        "(happy, sad, neutral). Map the labels of the data to those of the model: "
        """--labels '{"neutral": ["contempt"]}', if that is correct."""
    )
    assert not (tmp_path / "report").exists()


def test_synonyms_and_likeness_say_which_label_is_meant(labelled):
    faces = labelled("joyous", "grief", "Anger", "disgust", "fear", "surprised", "neutral", "joy")
    with pytest.raises(MienError) as error:
        match_labels(FER2013, faces)
    expected = {"angry": "Anger", "sad": "grief", "surprise": "surprised", "happy": "joy"}
    said = str(error.value)
    assert all(f'"{theirs}": ["{ours}"' in said for theirs, ours in expected.items())
    assert said.endswith(""", "joyous": null}', if that is correct; null leaves joyous out.""")
    assert "and lack angry, happy, sad, surprise of the model's labels" in said


def test_what_cannot_be_guessed_is_left_blank(labelled):
    with pytest.raises(
        MienError, match=r"""--labels '\{"happy": \["\?"\], "sad": \["\?"\]\}', with labels of the data in place of \?\."""
    ):
        match_labels(LabelSet(("happy", "sad", "neutral")), labelled("plus", "minus", "neutral"))


def test_the_flag_that_is_named_brings_them_together(labelled):
    model_labels, faces = LabelSet(("happy", "sad", "neutral")), labelled("joy", "grief", "neutral")
    with pytest.raises(MienError, match=r"""--labels '\{"happy": \["joy"\], "sad": \["grief"\]\}', if that is correct"""):
        match_labels(model_labels, faces)
    renamed = with_labels(faces, {"happy": ["joy"], "sad": ["grief"]})
    assert match_labels(model_labels, renamed).tolist() == np.eye(3).tolist()


def test_the_flag_that_is_named_repeats_what_was_given(model, labelled, tmp_path):
    given = {"happy": ["joy"], "sad": ["sad", "sorrow"]}
    faces = with_labels(labelled("joy", "sad", "sorrow", "grief", "neutral"), given)
    with pytest.raises(MienError) as error:
        evaluate(model, faces, tmp_path / "report", merged=given)
    assert """--labels '{"happy": ["joy"], "sad": ["sad", "sorrow", "grief"]}'""" in str(error.value)


def test_several_labels_are_merged_into_one(labelled):
    merged = with_labels(labelled("happy", "grief", "sadness"), {"sad": ["sadness", "grief"]})
    assert match_labels(LabelSet(("sad", "happy")), merged).tolist() == [[0, 1], [1, 0], [1, 0]]


def test_the_error_about_additional_labels_says_how_to_merge_or_leave_them_out(model, labelled):
    for extra, way in (
        ("bored", "Either count it as another"),
        ("contempt", r"FER\+ votes add it: read the data without --data\.votes"),
    ):
        faces = labelled("happy", "sad", "neutral", extra)
        with pytest.raises(MienError, match=f"the data have {extra}, which the model does not know.*{way}") as error:
            match_labels(model.labels, faces)
        assert f"""--labels '{{"neutral": ["neutral", "{extra}"]}}'""" in str(error.value)
        assert "faces.keep(['happy', 'sad', 'neutral'])" in str(error.value)
        assert '--recipe.keep "[happy, sad, neutral]"' in str(error.value)
        assert match_labels(model.labels, faces.keep(["happy", "sad", "neutral"])).shape == (3, 3)
        assert match_labels(model.labels, with_labels(faces, {"neutral": ["neutral", extra]})).sum(axis=0).tolist() == [1, 1, 2]


def test_a_label_without_rows_needs_no_partner(answered):
    faces = answered([(80, 10, 10)] * 2, [0, 1], labels=LabelSet(("sad", "happy", "contempt")))
    assert match_labels(LabelSet(("happy", "sad")), faces).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"sad": ["grif"]}, "no label 'grif' among joy, grief, sad. Did you mean 'grief'"),
        ({"sad": ["grief"]}, "'sad' has the name of a label that stays; add it to its members"),
        ({"sad": ["grief", "sad"], "happy": ["grief"]}, "'grief' is merged twice"),
    ],
)
def test_merged_labels_that_do_not_fit_the_data_are_an_error(labels, sentence, labelled):
    with pytest.raises(MienError, match=f"--labels does not fit the data, which have joy, grief, sad: .*{sentence}"):
        with_labels(labelled("joy", "grief", "sad"), labels)
