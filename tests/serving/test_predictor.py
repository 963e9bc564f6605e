"""Limits on images, faces, time and the queue."""

import asyncio
import inspect
import io
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.inference.detection import YuNet
from mien.inference.prediction import Prediction
from mien.serving import LEAST, TYPES, create_app, page, serve


@pytest.fixture
def slow(monkeypatch):
    """Make every prediction wait for an event, and list the threads in which one began."""
    release, began = threading.Event(), []
    real = mien.predict

    def predict(images, *arguments, **options):
        began.append(threading.current_thread().name)
        assert release.wait(30)
        return real(images, *arguments, **options)

    monkeypatch.setattr("mien.serving.predictor.predict", predict)
    yield release, began
    release.set()


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def zipped(photo, count):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", photo)
    return file.getvalue()


def test_an_image_of_too_many_pixels_is_not_decoded(new_client, photo):
    client = new_client()
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")  # 400 megapixels in 49 KB
    answer = client.post("/predict", files=[("files", ("bomb.png", file.getvalue())), ("files", ("photo.png", photo))])
    rows = answer.json()
    assert rows[0] == {
        "source": "bomb.png",
        "error": "The image 'bomb.png' has 400 megapixels and the limit is 50; make it smaller.",
    }
    assert rows[1]["label"] == "happy"


def test_the_limit_of_pixels_is_that_of_the_service_only(new_client, photo):
    row = new_client(max_megapixels=0.1).post("/predict", content=photo).json()[0]
    assert row["error"] == "The image 'image 0' has 0.307 megapixels and the limit is 0.1; make it smaller."
    assert next(mien.predict(photo)).error == ""


def test_the_limit_of_the_environment_remains(new_client, photo, monkeypatch):
    monkeypatch.setenv("MIEN_MAX_MEGAPIXELS", "0.2")
    assert "the limit is 0.2" in new_client().post("/predict", content=photo).json()[0]["error"]


def test_more_images_than_the_limit_are_refused(new_client, photo, told):
    client = new_client(max_images=2)
    files = [("files", (f"{number}.png", photo)) for number in range(3)]
    assert client.post("/predict", files=files[:2]).status_code == 200
    assert "Too many files" in told(client.post("/predict", files=files), 413)
    assert "more than 2 images" in told(client.post("/predict", json={"images": 3 * ["data:,"]}), 413)
    assert client.post("/predict", content=zipped(photo, 2)).status_code == 200
    assert "more than 2 images" in told(client.post("/predict", content=zipped(photo, 3)), 413)
    assert client.get("/health").status_code == 200


def test_an_image_with_more_faces_than_the_limit_has_an_error(new_client, crowd, photo):
    client = new_client(max_faces=2)
    rows = client.post("/predict", files=[("files", ("a.png", crowd)), ("files", ("b.png", photo))]).json()
    assert rows[0]["error"] == "Face detection failed on 'a.png' (it has 3 faces, and the limit is 2)."
    assert [row.get("label") for row in rows] == [None, "happy"]


def test_one_detector_is_opened_for_each_least_score(new_client, photo, monkeypatch):
    client = new_client()
    opened = []
    real = YuNet.__init__
    monkeypatch.setattr(YuNet, "__init__", lambda self, *words: (opened.append(words), real(self, *words))[1])
    for score in (None, None, 0.5, 0.5, 0.6):
        assert client.post("/predict", content=photo, params={"min_score": score} if score else {}).status_code == 200
    assert [score for _, score, _ in opened] == [0.5, 0.6]


def test_requests_beyond_the_queue_get_503_and_the_others_are_answered(new_client, photo, told, slow):
    release, began = slow
    with new_client(threads=2, queue=3) as client, ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(client.post, "/predict", content=photo) for _ in range(5)]
        predictor = client.app.state.predictor
        wait_until(lambda: predictor.pending == 5 and len(began) == 2)
        refused = client.post("/predict", content=photo)
        assert "too many requests" in told(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        release.set()
        assert [answer.result().json()[0]["label"] for answer in waiting] == 5 * ["happy"]
        assert {name.rpartition("_")[0] for name in began} == {"mien-serve"}
        wait_until(lambda: predictor.pending == 0)
        assert client.get("/ready").status_code == 200


def test_a_request_over_its_time_gets_503_and_its_work_ends(new_client, photo, told, monkeypatch):
    started, ended = [], threading.Event()

    def predict(images, classifier, *_, **__):
        try:
            for number in range(10**6):
                started.append(number)
                time.sleep(0.01)
                yield Prediction(f"image {number}", classifier.labels)
        finally:
            ended.set()

    monkeypatch.setattr("mien.serving.predictor.predict", predict)
    client = new_client(max_seconds=0.3, max_images=10**6)
    begin = time.perf_counter()
    answer = client.post("/predict", content=photo)
    assert "more than 0.3 seconds" in told(answer, 503)
    assert "retry-after" in answer.headers
    assert time.perf_counter() - begin < 5
    assert ended.wait(5), "the work went on"
    wait_until(lambda: client.app.state.predictor.pending == 0)


def test_what_waits_in_the_queue_ends_with_its_time_and_never_starts(new_client, photo, told, slow):
    release, began = slow
    with new_client(threads=1, max_seconds=0.3) as client, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.post, "/predict", content=photo) for _ in range(2)]
        for answer in answers:
            told(answer.result(), 503)
        assert client.app.state.predictor.pending == 1  # the one in the thread
        release.set()
        wait_until(lambda: client.app.state.predictor.pending == 0)
        assert len(began) == 1


def test_the_work_for_a_client_that_has_gone_ends(new_client, photo, slow):
    release, began = slow
    app = new_client(threads=1).app

    async def leave():
        gone = asyncio.Event()
        messages = [{"type": "http.request", "body": photo, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "headers": [],
            "query_string": b"",
            "http_version": "1.1",
        }
        first, second = (asyncio.create_task(app(dict(scope), receive, send)) for _ in range(2))
        await asyncio.sleep(0.2)
        gone.set()
        await asyncio.wait_for(asyncio.gather(first, second), 5)

    sent = []
    asyncio.run(leave())
    assert {message["status"] for message in sent if "status" in message} == {400}
    release.set()
    wait_until(lambda: app.state.predictor.pending == 0)
    assert len(began) == 1


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_megabytes": 0}, "^max_megabytes must be at least 0.001, not 0"),
        ({"max_megapixels": float("nan")}, "^max_megapixels must be a number"),
        ({"max_images": 0}, "^max_images must be at least 1"),
        ({"max_faces": 1.5}, "^max_faces must be a whole number"),
        ({"max_seconds": -1}, "^max_seconds must be at least"),
        ({"send_seconds": 0}, "^send_seconds must be at least"),
        ({"queue": -1}, "^queue must be at least 0"),
        ({"queue": True}, "^queue must be a whole number, not True"),
        ({"threads": 0}, "^threads must be at least 1"),
        ({"threads": "2"}, "^threads must be a whole number, not '2'"),
        ({"max_images": None}, "^max_images must be a whole number, not None"),
        ({"token": 5}, "^token must be a text, not 5"),
        ({"token": b"correct-horse-battery"}, "^token must be a text"),
        ({"page": "no"}, "^page must be true or false, not 'no'"),
        ({"detector": None}, "^detector must be a text, not None"),
        ({"model": 5}, "^model must be a name or a path, not 5"),
        ({"model": None}, "^model must be a name or a path, not None"),
        ({"token": ""}, "The token must"),
        ({"token": "ä"}, "The token must"),
        ({"model": "none-such"}, "There is no model"),
        ({"detector": "none-such"}, "There is no detector"),
    ],
)
def test_limits_out_of_range_are_told_at_once(new_client, limit, words):
    with pytest.raises(mien.MienError, match=words):
        new_client(**limit)


def test_every_parameter_is_checked():
    for function in (create_app, serve, page):
        names = {name for name, each in inspect.signature(function).parameters.items() if each.kind is not each.VAR_KEYWORD}
        assert names <= {*LEAST, *TYPES, "port"}  # the port by the server


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (serve, {"host": True}, "host must be a text, not True"),
        (serve, {"port": "80"}, "port must be a whole number, not '80'"),
        (serve, {"port": True}, "port must be a whole number, not True"),
        (serve, {"token": 5}, "token must be a text, not 5"),
        (serve, {"no_auth": "no"}, "no_auth must be true or false, not 'no'"),
        (serve, {"model": 5}, "model must be a name or a path, not 5"),
        (page, {"out": 5}, "^out must be a path, not 5"),
        (page, {"out": True}, "^out must be a path, not True"),
        (page, {"out": "page", "model": 5}, "^model must be a name or a path, not 5"),
    ],
)
def test_parameters_of_another_type_are_told_at_once(function, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIEN_TOKEN", raising=False)
    with pytest.raises(mien.MienError, match=words):
        function(**options)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("flag", "words"),
    [("--max_megabytes", "--max_megabytes must be at least 0.001, not -1"), ("--queue", "--queue must be at least 0, not -1")],
)
def test_the_command_names_the_flag(capsys, flag, words):
    assert main(["serve", flag, "-1"]) == 2
    assert words in capsys.readouterr().err


def test_an_app_can_be_started_again(new_client, photo):
    client, before = new_client(threads=1), {*threading.enumerate()}
    for _ in range(2):
        with client:
            assert client.post("/predict", content=photo).json()[0]["label"] == "happy"
            assert [thread for thread in threading.enumerate() if thread not in before and "mien-serve" in thread.name]
        assert not [thread for thread in threading.enumerate() if thread not in before and "mien-serve" in thread.name]


def test_a_member_of_a_zip_is_unpacked_up_to_four_bytes_a_pixel(new_client, photo):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", photo + bytes(2**21))
        archive.writestr("b.png", photo)
    rows = new_client(max_megapixels=0.5).post("/predict", content=file.getvalue()).json()
    assert "would unpack to" in rows[0]["error"]
    assert rows[1]["label"] == "happy"
