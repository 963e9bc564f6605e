"""`mien predict --labels`: labels of the model merged, renamed and left out."""

import json

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_photo

GROUPS = {"negative": ["angry", "disgust", "fear", "sad"], "happiness": "glad", "surprise": None}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(draw_photo(["happy", "sad"], seed=5)[0]).save(path)
    return path


def test_probabilities_are_added_up_and_shared(photo):
    plain, merged = (list(mien.predict(photo, labels=labels)) for labels in (None, GROUPS))
    assert merged[0].labels.names == ("negative", "glad", "neutral")
    for before, after in zip(plain, merged, strict=True):
        angry, disgust, fear, happy, sad, surprise, neutral = before.probabilities
        expected = np.array([angry + disgust + fear + sad, happy, neutral]) / (1 - surprise)
        np.testing.assert_allclose(after.probabilities, expected, atol=1e-5)
        assert after.label == merged[0].labels[int(expected.argmax())]


def test_the_file_has_the_merged_labels(photo, tmp_path):
    words = ["predict", str(photo), "--labels", json.dumps(GROUPS), "--out", str(tmp_path / "out.csv")]
    assert main(words) == 0
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert ",unsure,negative,glad,neutral,no_face," in header


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            '{"hapy": null}',
            "There is no label 'hapy' among angry, disgust, fear, happy, sad, surprise, neutral. Did you mean 'happy'?",
        ),
        ('{"happy": 3}', "'happy' cannot become 3"),
        ("happy", "expected pairs such as"),
        ('{"1": "happy"}', "There is no label '1'"),
        ("{1: happy}", "There is no label '1'"),
    ],
)
def test_a_mistake_is_one_sentence(labels, sentence, photo, capsys):
    assert main(["predict", str(photo), "--labels", labels]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.out == ""
    assert printed.err.count("\n") == 1
