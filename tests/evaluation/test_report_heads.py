"""Models with two heads, measured by their label and by their crowd."""

import json
from dataclasses import replace

import numpy as np
import pytest

import mien
from mien.cli import main
from mien.data.source import DataSource
from mien.evaluation.report import evaluate
from mien.labels import FER2013

pytestmark = pytest.mark.usefixtures("blank_pictures")

ROWS = (
    # FER-2013's label; votes for neutral, happy, surprise, sad, angry, disgust, fear, contempt, unknown, no face;
    # what the model's label head answers, and its crowd head
    ("happy", (0, 10, 0, 0, 0, 0, 0, 0, 0, 0), "happy", "happy"),
    ("sad", (8, 0, 0, 2, 0, 0, 0, 0, 0, 0), "sad", "neutral"),
    ("angry", (0, 0, 0, 4, 6, 0, 0, 0, 0, 0), "sad", "angry"),
    ("fear", (0, 0, 0, 0, 0, 0, 0, 10, 0, 0), "fear", "fear"),
    ("surprise", (0, 0, 0, 0, 0, 0, 0, 0, 10, 0), "surprise", "happy"),
)
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.fixture
def fer2013(tmp_path):
    """fer2013.csv of `ROWS`, all in the test split: the first pixels are what the label head answers, below them the crowd."""
    lines = ["emotion,pixels,Usage"]
    for label, _, *answers in ROWS:
        face = np.full((48, 48), 128)
        for number, answer in enumerate(answers):
            face[number, :7] = 10
            face[number, FER2013.index(answer)] = 40
        lines.append(f"{FER2013.index(label)},{' '.join(map(str, face.ravel()))},PrivateTest")
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def votes(tmp_path):
    """FER+'s votes for them."""
    lines = [f"PrivateTest,fer{number:07}.png,{','.join(map(str, votes))}" for number, (_, votes, *_) in enumerate(ROWS)]
    path = tmp_path / "fer2013new.csv"
    path.write_text("\n".join([VOTES_HEADER, *lines]) + "\n")
    return path


@pytest.fixture
def two_heads(make_model):
    return make_model("two.onnx", heads=2, labels=FER2013, size=48).path


@pytest.mark.parametrize(
    ("head", "votes_as", "measured", "right", "of"),
    [
        (None, None, "label", 4, 5),
        ("label", None, "label", 4, 5),
        ("crowd", None, "crowd", 3, 5),
        (None, "distribution", "crowd", 3, 3),
        (None, "majority", "crowd", 3, 3),
        ("label", "distribution", "label", 1, 3),
        (None, "beside", "label", 4, 5),
        ("label", "beside", "label", 4, 5),
        ("crowd", "beside", "crowd", 3, 3),
    ],
)
def test_a_head_is_judged_by_labels_or_by_votes(
    two_heads, fer2013, votes, tmp_path, capsys, head, votes_as, measured, right, of
):
    words = ["evaluate", str(two_heads), "--data", str(fer2013), "--out", str(tmp_path / "report")]
    words += ["--head", head] if head else []
    words += ["--data.votes", str(votes), "--data.votes_as", votes_as] if votes_as else []
    assert main(words) == 0
    out, err = capsys.readouterr()
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert (found["model"]["head"], found["model"]["heads"]) == (measured, ["label", "crowd"])
    accuracy = found["all_rows"]["accuracy"]
    assert (accuracy["count"], accuracy["of"]) == (right, of)
    assert out.splitlines()[0] == f"test split of fer2013.csv: {of} faces, predicted by the {measured} head"
    by_votes = head == "crowd" and votes_as == "beside"
    assert ("judged by crowd votes: 2 rows without clear votes left out" in err) == by_votes
    assert ("judged by the votes" in found["data"]["kind"]) == by_votes
    assert ("neutral: 1 rows of other labels left out" in err) == (votes_as in ("distribution", "majority"))
    assert (found["all_rows"]["cross_entropy"] is None) == (of == 5 or votes_as == "majority")


def test_a_model_with_one_head_is_measured_on_votes_without_contempt(make_model, fer2013, votes, tmp_path, capsys):
    model = make_model("one.onnx", labels=FER2013, size=48).path
    report = mien.evaluate(model, DataSource(fer2013, votes=votes), tmp_path / "report")
    assert (report.record.model["head"], report.record.model["heads"]) == ("label", ("label",))
    assert (report.metrics.accuracy.count, report.metrics.n) == (1, 3)
    assert report.table().splitlines()[0] == "test split of fer2013.csv: 3 faces"
    assert f"the model knows {', '.join(FER2013)}: 1 rows of other labels left out" in capsys.readouterr().err


def test_an_unknown_head_is_an_error_before_the_data_are_read(make_model, two_heads, tmp_path, capsys):
    one = make_model("one.onnx", labels=FER2013, size=48).path
    for model, head, choice in ((one, "crowd", "label"), (two_heads, "votes", "label or crowd")):
        words = ["evaluate", str(model), "--data", "/nowhere/faces", "--out", str(tmp_path / "report"), "--head", head]
        assert main(words) == 2
        assert f"has no head '{head}'; choose {choice}." in capsys.readouterr().err


def test_the_report_measures_the_head_of_the_classifier_it_is_given(make_model, eight, tmp_path):
    label = make_model("two.onnx", {"mien.temperature": "1.5", "mien.crowd_temperature": "0.75"}, heads=2).with_head("label")
    eight.images[:, 1, :3] = np.eye(3, dtype=np.uint8)[eight.classes] * 100  # the crowd head is always right
    by_label = evaluate(label, eight, tmp_path / "label").record
    by_crowd = evaluate(label.with_head("crowd"), eight, tmp_path / "crowd").record
    assert (by_label.all_rows.accuracy.count, by_crowd.all_rows.accuracy.count) == (5, 8)
    assert (by_label.model["temperature"], by_crowd.model["temperature"]) == (1.5, 0.75)
    assert by_label.model | {"head": "crowd", "temperature": 0.75} == by_crowd.model
    first = (tmp_path / "crowd" / "predictions.csv").read_text().splitlines()[1]
    assert first == "face 0,happy,happy,1.000000,0.000000,0.000000"


def test_votes_beside_the_labels_change_neither_the_figures_nor_which_rows_they_are(model, eight, tmp_path):
    voted = replace(eight, votes=np.zeros_like(eight.targets))
    plain = evaluate(model, eight, tmp_path / "report").record
    beside = evaluate(model, voted, tmp_path / "report").record
    assert beside.all_rows == plain.all_rows
    assert beside.data["fingerprint"] == plain.data["fingerprint"]


def test_rows_learned_with_their_votes_are_known_again(model_trained_on, eight, tmp_path):
    voted = replace(eight, votes=np.zeros_like(eight.targets))
    model = model_trained_on(voted.fingerprint())
    assert evaluate(model, voted, tmp_path / "report").record.data["same_as_training"]
    assert evaluate(model, eight.take(np.arange(3)), tmp_path / "report").record.data["same_as_training"] is False


PRIOR = {"angry": 0.1, "disgust": 0.01, "fear": 0.04, "happy": 0.25, "sad": 0.15, "surprise": 0.1, "neutral": 0.35}


@pytest.mark.parametrize(
    ("words", "prior", "told"),
    [
        (["--head", "label"], "training", ""),
        (["--head", "crowd"], 0.25, ", prior: 0.25"),
        (["--head", "label", "--prior", "balanced"], "balanced", ", prior: balanced"),
        (["--head", "label", "--prior", "0.5"], 0.5, ", prior: 0.5"),
        (
            ["--head", "crowd", "--prior", json.dumps(dict.fromkeys(PRIOR, 1))],
            dict.fromkeys(PRIOR, 1 / 7),
            ", prior: {'angry': 0.142857, ",
        ),
    ],
)
def test_a_report_is_measured_under_a_prior_and_says_so(make_model, fer2013, tmp_path, capsys, words, prior, told):
    notes = {"mien.prior": json.dumps({"label": PRIOR, "crowd": PRIOR}), "mien.temperature": "2", "mien.crowd_temperature": "2"}
    model = make_model("two.onnx", notes, heads=2, labels=FER2013, size=48).path
    assert main(["evaluate", str(model), "--data", str(fer2013), "--out", str(tmp_path / "report"), *words]) == 0
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert found["model"]["prior"] == (pytest.approx(prior, abs=1e-6) if isinstance(prior, dict) else prior)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.partition(" head")[2].startswith(told)
    assert first.endswith(" head") == (not told)
    page = (tmp_path / "report" / "index.html").read_text()
    shown = f"training, divided out by the power {prior}</dd>" if isinstance(prior, float) else told[9:12] or "training</dd>"
    assert f"<dt>prior</dt><dd>{shown}" in page.replace("&#39;", "'")
    # the first face: 40 for happy, 10 for the six others
    probabilities = np.array([10.0] * 3 + [40] + [10] * 3)
    power = {"training": 0, "balanced": 1}.get(prior, prior) if not isinstance(prior, dict) else 1
    probabilities *= np.array(list(PRIOR.values())) ** -power
    row = (tmp_path / "report" / "predictions.csv").read_text().splitlines()[1].split(",")
    np.testing.assert_allclose([float(cell) for cell in row[3:10]], probabilities / probabilities.sum(), atol=1e-5)


def test_a_wrong_prior_is_an_error_before_the_data_are_read(two_heads, tmp_path, capsys):
    for prior, says in (("2", "no prior 2.0"), ("0.5", "train it again"), ('{"hapy": 1}', "Did you mean 'happy'?")):
        words = ["evaluate", str(two_heads), "--data", "/nowhere/faces", "--out", str(tmp_path / "report"), "--prior", prior]
        assert main(words) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
