import copy
import dataclasses
import pickle

import pytest

from mien.errors import MienError
from mien.labels import FER2013, FERPLUS, LabelSet, meaning

ABCD = LabelSet(["a", "b", "c", "d"])


def test_names_keep_the_order_given():
    labels = LabelSet(name for name in ("sad", "angry", "happy"))
    assert labels.names == tuple(labels) == ("sad", "angry", "happy")
    assert (len(labels), labels[0], labels[-1]) == (3, "sad", "happy")
    assert "angry" in labels
    assert "Angry" not in labels


def test_a_set_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ABCD.names = ("x",)


def test_sets_are_equal_by_names_and_order():
    assert LabelSet(["a", "b"]) == LabelSet(("a", "b"))
    assert LabelSet(["a", "b"]) != LabelSet(["b", "a"])
    assert len({LabelSet(["a", "b"]), LabelSet(("a", "b")), LabelSet(["b", "a"])}) == 2


def test_a_set_survives_copying_and_pickling():
    assert copy.deepcopy(ABCD) == pickle.loads(pickle.dumps(ABCD)) == ABCD


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "A label set needs at least one label name."),
        (["a", " "], "A label name is empty: ['a', ' ']."),
        ([0, 1], "Label names must be text, not [0, 1]; put quotes around numbers."),
        (["b", "a", "b", "a", "c"], "Duplicate label names: a, b."),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(names, sentence):
    with pytest.raises(MienError) as caught:
        LabelSet(names)
    assert str(caught.value) == sentence


def test_a_label_is_found_by_its_name():
    assert [FER2013.index(name) for name in FER2013] == list(range(7))


def test_a_misspelt_label_is_answered_with_the_nearest():
    with pytest.raises(MienError) as caught:
        LabelSet(["happy", "sad"]).index("Hapy")
    assert str(caught.value) == "There is no label 'Hapy' among happy, sad. Did you mean 'happy'?"


def test_a_label_like_no_other_is_answered_with_all():
    with pytest.raises(MienError) as caught:
        LabelSet(["happy", "sad"]).index("xyz")
    assert str(caught.value) == "There is no label 'xyz' among happy, sad."


def test_keep_takes_the_order_given_and_tells_where_each_label_went():
    assert ABCD.keep(["d", "b"]) == (LabelSet(["d", "b"]), (-1, 1, -1, 0))


def test_keeping_every_label_changes_nothing():
    assert ABCD.keep(ABCD.names) == (ABCD, (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "A label set needs at least one label name."),
        (["a", "e"], "There is no label 'e' among a, b, c, d."),
        (["a", "b", "a"], "Duplicate label names: a."),
        ("abc", "Labels to keep or to merge must be a list, not the one text 'abc'."),
    ],
)
def test_keep_refuses_what_it_cannot_keep(names, sentence):
    with pytest.raises(MienError) as caught:
        ABCD.keep(names)
    assert str(caught.value) == sentence


def test_a_merged_label_takes_the_place_of_its_first_member():
    assert ABCD.merge({"bd": ["d", "b"]}) == (LabelSet(["a", "bd", "c"]), (0, 1, 2, 1))


def test_several_groups_merge_at_once():
    assert ABCD.merge({"late": ["d", "c"], "early": ["b", "a"]}) == (LabelSet(["early", "late"]), (0, 0, 1, 1))


def test_a_group_of_one_is_a_new_name():
    assert ABCD.merge({"x": ["b"]}) == (LabelSet(["a", "x", "c", "d"]), (0, 1, 2, 3))


def test_a_merged_label_may_have_the_name_of_a_member():
    assert ABCD.merge({"c": ["a", "c"]}) == (LabelSet(["c", "b", "d"]), (0, 1, 0, 2))


def test_two_labels_may_swap_their_names():
    assert ABCD.merge({"a": ["b"], "b": ["a"]}) == (LabelSet(["b", "a", "c", "d"]), (0, 1, 2, 3))


def test_a_label_is_renamed_merged_or_left_out_by_its_own_name():
    assert ABCD.merge({"a": "x", "c": "x", "b": None}) == (LabelSet(["x", "d"]), (0, -1, 0, 1))
    assert ABCD.merge({"a": "d"}) == (LabelSet(["d", "b", "c"]), (0, 1, 2, 0))
    assert ABCD.merge({"bc": ["b", "c"], "d": "a"}) == (LabelSet(["a", "bc"]), (0, 1, 1, 0))


def test_labels_are_found_by_another_name_of_the_same_expression():
    labels = LabelSet(["happy", "Sadness", "bored"])
    assert [labels.index(name) for name in ("happiness", "3-Happy", "HA", "sad", "bored")] == [0, 0, 0, 1, 2]
    assert labels.keep(["sad", "Happiness"]) == (LabelSet(["Sadness", "happy"]), (1, 0, -1))
    assert labels.merge({"happiness": "bored", "joyful": ["SA"]})[0] == LabelSet(["bored", "joyful"])
    assert FER2013.merge({"Anger": "angry", "anger": "angry", "happiness": None})[0].names == (
        "angry", "disgust", "fear", "sad", "surprise", "neutral",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("Anger", "angry", "0_angry", "ANG", "1-Anger", " angry "), "angry"),
        (("DI", "disgusted", "02.disgust"), "disgust"),
        (("fearful", "afraid", "AF", "FE"), "fear"),
        (("HAPPINESS", "HA", "3happy"), "happy"),
        (("SA", "sadness"), "sad"),
        (("SU", "Surprised", "suprise"), "surprise"),
        (("1-neutral", "NE", "Neutral"), "neutral"),
        (("7_Contempt", "contemptuous"), "contempt"),
        (("joy", "Unknown", "7", "", "happy dog", "unhappy", "other"), ""),
    ],
)
def test_words_of_data_sets_have_a_meaning(words, name):
    assert {meaning(word) for word in words} == {name}


def test_merging_nothing_changes_nothing():
    assert ABCD.merge({}) == (ABCD, (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({"x": []}, "The merged label 'x' has no members."),
        ({"x": ["a", "e"]}, "There is no label 'e' among a, b, c, d."),
        ({"x": ["a", "b"], "y": ["b"]}, "The label 'b' is merged twice: into 'x' and into 'y'."),
        ({"x": ["a", "a"]}, "The label 'a' is merged twice: into 'x' and into 'x'."),
        ({"c": ["a", "b"]}, "The merged label 'c' has the name of a label that stays; add it to its members."),
        ({" ": ["a", "b"]}, "A label name is empty: [' ', 'c', 'd']."),
        ({"x": "ab"}, "There is no label 'x' among a, b, c, d."),
        ({"x": None}, "There is no label 'x' among a, b, c, d."),
        ({"a": "x", "y": ["a"]}, "The label 'a' is merged twice: into 'x' and into 'y'."),
        ({"a": None, "b": None, "c": None, "d": None}, "A label set needs at least one label name."),
    ],
)
def test_merge_refuses_what_it_cannot_merge(groups, sentence):
    with pytest.raises(MienError) as caught:
        ABCD.merge(groups)
    assert str(caught.value) == sentence


def test_the_known_sets_have_the_order_of_their_files():
    assert FER2013.names == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert FERPLUS.names[:7] == FER2013.names
    assert FERPLUS.names[7:] == ("contempt",)
