import json
from dataclasses import replace

import numpy as np
import pytest

from mien.inference.prediction import Prediction
from mien.labels import FER2013

PROBABILITIES = np.array([0.05, 0, 0.1, 0.5, 0.05, 0.2, 0.1], np.float32)
ROW = Prediction("a.png", FER2013, 1, (1.25, 2, 30.04, 40), 0.87501, PROBABILITIES, threshold=0.6)


def test_a_row_as_a_dictionary_holds_plain_values_and_only_what_is_there():
    row = ROW.to_dict()
    assert list(row) == ["source", "face", "box", "score", "label", "confidence", "unsure", "probabilities"]
    assert json.loads(json.dumps(row)) == row
    assert list(row["probabilities"]) == list(FER2013)
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert Prediction("a.png", FER2013).to_dict() == {"source": "a.png", "no_face": True}
    assert Prediction("a.png", FER2013, error="It is damaged.").to_dict() == {"source": "a.png", "error": "It is damaged."}
    video = Prediction("a.mp4", FER2013, frame=50, time=2.0001, note="turned").to_dict()
    assert video == {"source": "a.mp4", "frame": 50, "time": 2.0, "no_face": True, "note": "turned"}


@pytest.mark.parametrize(("threshold", "unsure"), [(0.0, False), (0.5, False), (0.51, True)])
def test_an_answer_is_unsure_where_its_confidence_lies_under_the_threshold(threshold, unsure):
    row = Prediction("a.png", FER2013, 0, (0, 0, 9, 9), None, PROBABILITIES, threshold=threshold)
    assert row.unsure is unsure
    assert row.to_dict()["unsure"] is unsure
    assert Prediction("a.png", FER2013, threshold=threshold).unsure is None


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        Prediction("a.mp4", FER2013, 0, (0, 0, 9, 9), None, PROBABILITIES, frame=3, time=0.12, track=2, note="turned"),
        replace(ROW, landmarks=np.arange(10, dtype=np.float32).reshape(5, 2), angle=-179.5),
        Prediction("a.png", FER2013),
        Prediction("a.mp4", FER2013, error="It is damaged.", frame=9, time=1.5),
    ],
)
def test_a_row_comes_back_from_its_dictionary(row):
    again = Prediction.from_dict(json.loads(json.dumps(row.to_dict())), FER2013, row.threshold)
    assert again.to_dict() == row.to_dict()
    assert (again.landmarks is None) == (row.landmarks is None)
    assert row.landmarks is None or (again.landmarks.dtype == np.float32 and (again.landmarks == row.landmarks).all())
    assert again.angle == row.angle
    assert (again.frame, again.time, again.track, again.note) == (row.frame, row.time, row.track, row.note)
