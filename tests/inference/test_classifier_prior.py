import json
import pickle
import re

import numpy as np
import pytest

from mien.cli import main
from mien.errors import MienError
from mien.inference.classifier import PRIORS, Classifier, embedded_models, reweighted
from mien.inference.explanation import explain
from mien.inference.pipeline import predict
from mien.labels import FER2013

SHARES = {"angry": 0.1, "disgust": 0.01, "fear": 0.04, "happy": 0.25, "sad": 0.15, "surprise": 0.1, "neutral": 0.35}
OTHER = dict.fromkeys(FER2013, 1 / 7) | {"angry": 2 / 7, "neutral": 0.0}
TRAINED = {"label": OTHER, "crowd": SHARES}
FACES = np.random.default_rng(0).integers(0, 256, (30, 1, 1)).repeat(48, 1).repeat(48, 2).astype(np.uint8)


@pytest.fixture
def one_head(make_model):
    return make_model("one.onnx", prior=json.dumps({"label": SHARES}))


@pytest.fixture
def both(make_model):
    return make_model("both.onnx", crowd=True, prior=json.dumps(TRAINED))


def times(probabilities, factors):
    weighted = probabilities * np.array(factors)
    return weighted / weighted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("prior", "power"), [("training", 0), ("balanced", 1), (0, 0), (0.25, 0.25), (0.7, 0.7), (1, 1)])
def test_the_prior_is_divided_out_by_its_power(one_head, expected, prior, power):
    classifier = Classifier(one_head, prior=prior)
    found = classifier.predict_proba(FACES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, times(expected(FACES), np.array(list(SHARES.values())) ** -power), atol=1e-4)
    np.testing.assert_allclose(classifier.classify(list(FACES)), found, atol=1e-6)
    assert classifier.prior == prior


def test_shares_of_ones_own_replace_those_of_the_training(one_head, expected):
    clinic = {"neutral": 40, "sad": 30, "angry": 10, "happy": 10, "fear": 5, "surprise": 5, "disgust": 0}
    classifier = Classifier(one_head, prior=clinic)
    found = classifier.predict_proba(FACES)
    np.testing.assert_allclose(found, times(expected(FACES), [clinic[name] / SHARES[name] for name in SHARES]), atol=1e-4)
    assert not found[:, FER2013.index("disgust")].any()
    assert classifier.prior == pytest.approx({name: clinic[name] / 100 for name in FER2013})
    same = Classifier(one_head, prior=SHARES).predict_proba(FACES)
    np.testing.assert_allclose(same, expected(FACES), atol=1e-4)


def test_each_head_has_its_own_prior_and_default(both, expected):
    assert {head: Classifier(both, head=head).prior for head in TRAINED} == PRIORS == {"label": "training", "crowd": 0.25}
    crowd = Classifier(both)
    wanted = times(expected(FACES)[:, ::-1], np.array(list(SHARES.values())) ** -0.25)
    np.testing.assert_allclose(crowd.predict_proba(FACES), wanted, atol=1e-4)
    np.testing.assert_allclose(crowd.with_head("label").predict_proba(FACES), expected(FACES), atol=1e-4)
    # a prior that was asked for stays when the head is changed, and is divided by that head's own shares;
    # a label that never occurred counts like the rarest
    label = Classifier(both, prior="balanced").with_head("label")
    factors = [7 / 2, *[7] * 6]
    np.testing.assert_allclose(label.predict_proba(FACES), times(expected(FACES), factors), atol=1e-4)
    assert (label.head, label.prior, label.with_prior(None).prior) == ("label", "balanced", "training")
    assert label.training_priors["label"] == pytest.approx(list(OTHER.values()))


def test_a_model_that_does_not_state_its_prior_keeps_it(two_heads, expected, tmp_path, capsys):
    for prior in (None, "training", 0):
        np.testing.assert_allclose(Classifier(two_heads, prior=prior).predict_proba(FACES), expected(FACES)[:, ::-1], atol=1e-4)
    assert (Classifier(two_heads).prior, Classifier(two_heads).training_priors) == ("training", {})
    for prior in ("balanced", 0.5, SHARES):
        with pytest.raises(MienError, match=r"does not state its training prior; train it again .*leave out the prior"):
            Classifier(two_heads, prior=prior)
    assert main(["predict", str(tmp_path), "--model", str(two_heads), "--prior", "0.5"]) == 2
    assert "train it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prior", "says"),
    [
        ("blanced", "no prior 'blanced'; give training, balanced, a number from 0 to 1, or a share for each label."),
        ("", "no prior ''"),
        (-0.1, "no prior -0.1"),
        (1.5, "no prior 1.5"),
        (float("nan"), "no prior nan"),
        (float("inf"), "no prior inf"),
        ([0.5], r"no prior [0.5]"),
        (
            SHARES | {"hapy": 0.1},
            "no label 'hapy' among angry, disgust, fear, happy, sad, surprise, neutral. Did you mean 'happy'?",
        ),
        (SHARES | {1: 0.1}, "no label '1'"),
        ({"happy": 0.5, "sad": 0.5}, "no share for angry, disgust, fear, surprise, neutral; give one for each label, 0 if it"),
        ({}, "no share for angry"),
        (dict.fromkeys(SHARES, 0), "numbers of 0 or more and not all 0"),
        (SHARES | {"sad": -0.1}, "numbers of 0 or more"),
        (SHARES | {"sad": float("nan")}, "numbers of 0 or more"),
        (SHARES | {"sad": float("inf")}, "numbers of 0 or more"),
        (SHARES | {"sad": "much"}, "numbers of 0 or more"),
    ],
)
def test_any_other_prior_is_an_error(one_head, prior, says):
    with pytest.raises(MienError, match=re.escape(says)):
        Classifier(one_head, prior=prior)


@pytest.mark.parametrize(
    "text",
    [
        "often",
        "[0.5]",
        '{"crowd": {}}',
        json.dumps({"label": list(SHARES.values())}),
        json.dumps({"label": SHARES | {"sad": float("nan")}}),
        json.dumps({"label": dict.fromkeys(SHARES, 0)}),
        json.dumps({"label": {"happy": 1}}),
    ],
)
def test_a_damaged_prior_of_a_file_is_said_to_be_damaged(make_model, text):
    with pytest.raises(MienError, match=r"metadata of .* are damaged"):
        Classifier(make_model(prior=text))


def test_probabilities_of_nought_remain_valid_when_the_others_are_excluded():
    certain = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    found = reweighted(certain, np.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, [[0, 0.25, 0.75], [0, 1, 0]], atol=1e-6)


def test_numbers_of_numpy_are_numbers_and_the_choice_can_be_pickled(both):
    classifier = Classifier(both, prior=np.float32(0.5))
    assert json.dumps(classifier.prior) == "0.5"
    state = {name: value for name, value in vars(classifier).items() if name != "_session"}
    again = pickle.loads(pickle.dumps(state))
    np.testing.assert_array_equal(again["prior_factors"], classifier.prior_factors)


def test_predict_and_explain_take_it_by_name_or_with_an_open_classifier(both, large, corners):
    def answers(model, **options):
        return [row.probabilities for row in predict(large, model, corners, **options)]

    balanced = answers(both, prior="balanced")
    np.testing.assert_array_equal(answers(Classifier(both, prior="balanced")), balanced)
    np.testing.assert_array_equal(answers(Classifier(both), prior="balanced"), balanced)
    np.testing.assert_array_equal(answers(both), answers(Classifier(both, prior=0.25)))
    assert np.abs(np.array(balanced) - np.array(answers(both, prior="training"))).max() > 0.05
    explained = explain(large, None, both, corners, prior="balanced")
    np.testing.assert_array_equal([each.prediction.probabilities for each in explained], balanced)
    with pytest.raises(MienError, match="no prior 2"):
        predict(large, both, corners, prior=2)


@pytest.mark.parametrize("given", ["balanced", "0.5", "1", json.dumps(OTHER)])
def test_the_command_line_takes_each_kind(both, tmp_path, capsys, given):
    from PIL import Image

    Image.fromarray(FACES[0]).save(tmp_path / "face.png")
    words = [str(tmp_path / "face.png"), "--faces", "--model", str(both)]
    assert main(["predict", *words, "--format", "json", "--prior", given]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    prior = given if given == "balanced" else json.loads(given)
    wanted = Classifier(both, prior=prior).predict_proba(FACES[:1])[0]
    np.testing.assert_allclose(list(row["probabilities"].values()), wanted, atol=1e-4)
    assert main(["explain", *words, "--out", str(tmp_path / "why.png"), "--prior", given]) == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nan", "no prior"),
        ("-1", "no prior -1"),
        ("blanced", "no prior 'blanced'"),
        ('{"hapy": 1}', "Did you mean 'happy'?"),
        ('{"happy": 1}', "no share for angry"),
        ("[1, 2]", "no prior"),
        ("", "no prior ''"),
        (json.dumps(dict.fromkeys(SHARES, 0)), "not all 0"),
    ],
)
def test_a_wrong_one_ends_the_command_with_a_sentence(both, tmp_path, capsys, given, says):
    (tmp_path / "photo.png").touch()
    out = tmp_path / "out.json"
    assert main(["predict", str(tmp_path / "photo.png"), "--model", str(both), "--out", str(out), "--prior", given]) == 2
    found = capsys.readouterr().err
    assert found.startswith("mien: ")
    assert found.count("\n") == 1
    assert says in found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.onnx", "photo.png"]


def test_another_prior_is_another_run(both, tmp_path, capsys):
    from mien.inference.output import ResumeLog

    settings = {"prior": SHARES}
    log = ResumeLog(tmp_path / "out.csv", FER2013, settings, ["a"], resume=False)
    log.write([])
    ResumeLog(tmp_path / "out.csv", FER2013, settings, ["a"], resume=True)
    with pytest.raises(MienError, match=r"has prior .* not balanced"):
        ResumeLog(tmp_path / "out.csv", FER2013, {"prior": "balanced"}, ["a"], resume=True)


def test_the_embedded_models_state_their_prior():
    for name in embedded_models():
        classifier = Classifier(name, threads=1)
        crowd = dict(zip(classifier.labels, classifier.training_priors["crowd"].round(2).tolist(), strict=True))
        assert (crowd["neutral"], crowd["disgust"]) == (0.34, 0.01)
        assert classifier.training_priors["label"].round(3).tolist() == [0.139, 0.015, 0.143, 0.251, 0.168, 0.11, 0.173]
        assert classifier.prior == 0.25
