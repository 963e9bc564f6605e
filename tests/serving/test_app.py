"""`POST /predict` answers as `mien predict --format json` does; what is wrong is told as problem+json."""

import base64
import inspect
import io
import json
import zipfile

import numpy as np
import pytest
from fastapi import FastAPI, UploadFile
from starlette.testclient import TestClient

import mien
from mien.cli import main
from mien.serving.options import Options


def data_uri(content, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="session")
def inputs(photo, crowd, tmp_path_factory):
    """A folder with every kind of input."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "photo.png").write_bytes(photo)
    (folder / "drei Gesichter ü.png").write_bytes(crowd)
    (folder / "cut.png").write_bytes(photo[: len(photo) // 2])
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.jpg").touch()
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("inner/a.png", photo)
        archive.writestr("b.png", b"damaged")
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A drawn video of six frames."""
    import av

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    image = mien.drawn.draw_photo(["happy"], seed=3)[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        for shift in range(6):
            frame = av.VideoFrame.from_ndarray(np.roll(image, 4 * shift, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cli(capsys, *words):
    """What `mien predict --format json` prints."""
    capsys.readouterr()
    main(["predict", *map(str, words), "--format", "json"])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        (
            {"prior": "balanced", "threshold": "0.99", "head": "label"},
            ["--prior", "balanced", "--threshold", "0.99", "--head", "label"],
        ),
        ({"prior": "0.5", "margin": "0.1", "min_size": "150"}, ["--prior", "0.5", "--margin", "0.1", "--min_size", "150"]),
        ({"faces": "true"}, ["--faces"]),
        ({"min_score": "0.92"}, ["--min_score", "0.92"]),
        (
            {"labels": '{"negative": ["angry", "sad"], "neutral": "calm", "disgust": null}'},
            ["--labels", '{"negative": ["angry", "sad"], "neutral": "calm", "disgust": null}'],
        ),
    ],
)
def test_a_form_of_files_is_answered_with_the_bytes_of_the_command(client, inputs, monkeypatch, capsys, options, flags):
    monkeypatch.chdir(inputs)
    names = sorted(path.name for path in inputs.iterdir())
    answer = client.post("/predict", params=options, files=[("files", (name, (inputs / name).read_bytes())) for name in names])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == cli(capsys, *names, *flags)
    rows = answer.json()
    assert {row["source"] for row in rows} == {*names, "two.zip/inner/a.png", "two.zip/b.png"} - {"two.zip"}
    assert sum("error" in row for row in rows) == 4  # cut, empty, text, and the damaged member


@pytest.mark.parametrize("options", [{}, {"every": "2", "smoothing": "0"}, {"track": "false"}])
def test_a_video_is_answered_with_the_bytes_of_the_command(client, clip, monkeypatch, capsys, options):
    monkeypatch.chdir(clip.parent)
    answer = client.post("/predict", params=options, files={"video": ("clip.mp4", clip.read_bytes())})
    assert answer.text == cli(capsys, "clip.mp4", *(f"--{name}={value}" for name, value in options.items()))
    assert answer.json()[-1]["frame"] == (4 if "every" in options else 5)


def test_data_uris_are_answered_with_the_bytes_of_the_command(client, photo, crowd, capsys):
    uris = [data_uri(photo), "data:,", data_uri(crowd)]
    answer = client.post("/predict", json={"images": uris})
    assert answer.text == cli(capsys, *uris)
    assert [row["source"] for row in answer.json()] == ["image 0", "image 1"] + 3 * ["image 2"]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", None])
def test_a_raw_body_is_answered_as_bytes_are(client, photo, kind):
    answer = client.post("/predict", content=photo, headers={"content-type": kind} if kind else {})
    assert answer.json() == [row.to_dict() for row in mien.predict(photo)]


def test_prior_shares(client, photo):
    shares = {"happy": 0, **dict.fromkeys(("angry", "disgust", "fear", "sad", "surprise", "neutral"), 1)}
    row = client.post("/predict", content=photo, params={"prior": json.dumps(shares)}).json()[0]
    assert row["probabilities"]["happy"] == 0


def test_the_options_are_those_of_predict_with_its_defaults():
    parameters = inspect.signature(mien.predict).parameters
    fields = {name: field.default for name, field in Options.model_fields.items()}
    assert fields == {name: parameters[name].default for name in fields}
    left_out = {"source", "model", "detector", "draw", "batch_size", "threads", "font", "fetch"}
    assert {*parameters} - {*fields} == left_out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"prior": "usual"},
            "There is no prior 'usual'; give training, balanced, a number from 0 to 1, or a share for each label.",
        ),
        ({"prior": "2"}, "There is no prior 2.0; give training, balanced, a number from 0 to 1, or a share for each label."),
        ({"prior": "x" * 300}, "There is no prior 'xxxxx"),
        ({"prior": '{"happy": 1}'}, "The prior has no share for angry"),
        ({"prior": "nan"}, "There is no prior nan"),
        ({"prior": "{"}, "There is no prior '{'"),
        ({"prior": "null"}, "There is no prior 'null'"),
        ({"head": "x"}, "The model 'mien-s' has no head 'x'; choose label or crowd."),
        ({"threshold": "1.5"}, "The threshold, a confidence, must be at most 1, not 1.5."),
        ({"threshold": "x"}, "threshold must be a number, not 'x'."),
        ({"min_score": "0.09"}, "The least score of a face must be at least 0.1, not 0.09."),
        ({"margin": "nan"}, "must be a number, not nan."),
        ({"margin": "inf"}, "must be at most 2, not inf."),
        ({"smoothing": "-1"}, "The smoothing in seconds must be at least 0, not -1.0."),
        ({"every": "0"}, "`every` must be at least 1, not 0."),
        ({"every": "1001"}, "`every` must be at most 1,000, not 1001."),
        ({"every": "x" * 300}, "every must be a whole number, not 'xxxxx"),
        ({"track": "maybe"}, "track must be true or false, not 'maybe'."),
        ({"labels": '{"glad": "calm"}'}, "There is no label 'glad'"),
        ({"labels": '{"joy": 1}'}, "The label 'joy' cannot become 1; give the name of a label, a list of labels, or null."),
        ({"labels": "{"}, """labels must be JSON such as {"happy": "glad", "disgust": null}, not '{'."""),
        ({"labels": "[" * 2000}, "labels must be JSON such as"),
        ({"faces": "1", "margin": "1"}, "Without face detection there is no margin"),
        ({"priro": "1"}, "priro is no option; did you mean prior?"),
        ({"detector": "none"}, "detector is no option; there are head, prior, labels, faces, margin"),
        ({"y" * 300: "1"}, "yyyyyyy... is no option; there are head"),
    ],
)
def test_a_wrong_option_is_a_problem(client, photo, told, options, words):
    answer = client.post("/predict", content=photo, params=options)
    assert words in told(answer, 422)
    assert not any(50 * letter in answer.text for letter in "xy[")
    assert "nput" not in answer.text, "a message of pydantic"


def test_the_sentence_about_an_option_is_that_of_python(client, photo, told):
    for name, given in (("prior", 2.0), ("threshold", 1.5), ("labels", {"joy": 1}), ("min_size", -1.0), ("head", "x")):
        with pytest.raises(mien.MienError) as mistake:
            mien.predict(photo, **{name: given})
        text = json.dumps(given) if isinstance(given, dict) else str(given)
        said = told(client.post("/predict", content=photo, params={name: text}), 422)
        path = str(mien.Classifier().path)
        assert said == str(mistake.value).replace(path, "mien-s")


def test_several_mistakes_are_listed_once_each(client, photo):
    answer = client.post("/predict", content=photo, params={"every": "x", "faces": "maybe", "a": "1"}).json()
    assert [each["name"] for each in answer["errors"]] == ["a", "faces", "every"]
    assert answer["detail"] == answer["errors"][0]["message"]


@pytest.mark.parametrize(
    ("status", "words", "request_"),
    [
        (422, "There is no image in the request", {"content": b""}),
        (422, "There is no image", {"content": b"--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
        (422, "The field 'a' is not a file", {"data": {"a": "text"}, "files": {"b": ("b.png", b"x")}}),
        (422, 'images[0] must be a data URI, which begins with "data:"', {"json": {"images": ["photo.png"]}}),
        (422, "images[1] must be a data URI", {"json": {"images": ["data:,", "0"]}}),
        (422, "images[1] must be a data URI", {"json": {"images": ["data:,", 5]}}),
        (422, 'images is empty; send {"images": ["data:..."]}.', {"json": {"images": []}}),
        (422, "images must be a list of data URIs", {"json": {"images": 5}}),
        (422, "images is missing", {"json": {}}),
        (422, "image is no key of the body; did you mean images?", {"json": {"image": "x"}}),
        (422, "paths is no key of the body; there is only images.", {"json": {"images": ["data:,"], "paths": ["a"]}}),
        (422, "The body must be an object with the key images", {"json": ["data:,"]}),
        (422, "The body is no valid JSON", {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}),
        (400, "boundary", {"content": b"abc", "headers": {"content-type": "multipart/form-data"}}),
        (400, "Invalid multipart", {"content": b"abc", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
        (415, "'text/html' is no type of images", {"content": b"abc", "headers": {"content-type": "text/html"}}),
    ],
)
def test_a_wrong_body_is_a_problem(client, told, status, words, request_):
    assert words in told(client.post("/predict", **request_), status)


def test_a_path_in_json_is_never_opened(client, told, tmp_path, photo):
    (tmp_path / "photo.png").write_bytes(photo)
    for name in (str(tmp_path / "photo.png"), "0", "http://127.0.0.1:9/", base64.b64encode(photo).decode()):
        told(client.post("/predict", json={"images": [name]}), 422)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/health", 405), ("GET", "/nothing", 404), ("PUT", "/docs", 405)],
)
def test_other_paths_and_methods_are_problems(client, new_client, told, method, path, status):
    for each in (client, new_client(page=False)):
        answer = each.request(method, path)
        begin = {404: "There is nothing at this path; ", 405: f"This path takes only {answer.headers.get('allow')}; "}[status]
        assert told(answer, status) == f"{begin}/docs lists the paths and their methods."
        assert ("allow" in answer.headers) == (status == 405)


def test_a_bug_is_a_problem_without_its_text(new_client, told, photo, monkeypatch):
    monkeypatch.setattr("mien.serving.predictor.predict", lambda *_, **__: 1 / 0)
    answer = new_client().post("/predict", content=photo)
    assert "bug in mien" in told(answer, 500)
    assert "zero" not in answer.text


def test_the_service_says_what_it_is(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    about = client.get("/model").json()
    assert about["name"] == "mien-s"
    assert about["labels"] == list(mien.FER2013)
    assert (about["head"], about["prior"], about["detector"]) == ("crowd", 0.25, "yunet")
    assert "/" not in json.dumps(about)


def test_a_model_of_ones_own(new_client, run, photo, told):
    own = new_client(model=run)
    assert own.get("/model").json()["name"] == run.name
    assert own.get("/models/model.json").json()["name"] == run.name
    assert own.get("/model").json()["labels"] == list(mien.Classifier(run).labels)
    answer = own.post("/predict", content=photo)
    assert answer.json() == [row.to_dict() for row in mien.predict(photo, model=run)]
    assert told(own.post("/predict", content=photo, params={"head": "x"}), 422).startswith(
        f"The model {run.name!r} has no head 'x'"
    )


def test_requests_are_counted(new_client, crowd):
    client = new_client()
    client.post("/predict", files=[("files", ("a.png", crowd)), ("files", ("secret-name.png", b"x"))])
    client.post("/predict", content=b"")
    client.get("/some/path")
    counts = client.get("/metrics").text
    lines = ["mien_faces_total 3.0", "mien_images_total 2.0", "mien_failed_total 1.0", "mien_pending 0.0"]
    lines += ['mien_requests_total{path="/predict",status="200"} 1.0', 'mien_requests_total{path="/predict",status="422"} 1.0']
    lines += ['mien_requests_total{path="other",status="404"} 1.0', "mien_predict_seconds_count 2.0"]
    assert not set(lines).difference(counts.splitlines())
    assert "secret" not in counts


def test_upload_files_go_directly_into_predict(photo, crowd):
    """The recipe of docs/serving.md."""
    app = FastAPI()
    classifier = mien.Classifier()

    @app.post("/faces")
    def faces(files: list[UploadFile]) -> list[dict]:
        return [row.to_dict() for row in mien.predict(files, model=classifier)]

    @app.post("/face")
    def face(file: UploadFile) -> list[dict]:
        return [row.to_dict() for row in mien.predict(file, model=classifier)]

    with TestClient(app) as client:
        rows = client.post("/faces", files=[("files", ("a.png", photo)), ("files", ("b.png", crowd))]).json()
        assert [row["source"] for row in rows] == ["a.png"] + 3 * ["b.png"]
        assert client.post("/face", files={"file": ("a.png", photo)}).json() == rows[:1]


def test_an_app_can_be_mounted_in_another(photo):
    own = FastAPI()
    own.mount("/mien", mien.serving.create_app(page=False))
    with TestClient(own) as client:
        assert client.post("/mien/predict", content=photo).json()[0]["label"] == "happy"
        counts = client.get("/mien/metrics").text
        assert 'mien_requests_total{path="/predict",status="200"} 1.0' in counts
        assert "http://testserver/mien/predict" in client.get("/mien/docs").text


def test_an_open_file_with_a_file_attribute_is_read(photo):
    class Wrapper:
        filename = "a.png"

        def __init__(self):
            self.file = io.BytesIO(photo)

        async def read(self):
            raise AssertionError

    assert next(mien.predict(Wrapper())).source == "a.png"
