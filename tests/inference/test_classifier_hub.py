"""Models on the hub: fetched by name, taken from the cache without a network, and refused in a sentence. No network is used."""

import http.server
import logging
import os
import subprocess
import sys
import threading

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mien.errors import MienError
from mien.inference.classifier import Classifier, find_model
from mien.inference.model_file import fetch_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Response:
    """What the errors of the hub's client are made with."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None
    status_code = 404


def of_http(kind):
    return kind("404 Client Error", response=Response())


@pytest.fixture
def hub_answers(monkeypatch):
    """Let the hub answer the first question with an error, or well."""

    def answer(error=None):
        def metadata(*_, **__):
            if error is not None:
                raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)

    return answer


@pytest.fixture
def fetched_before(tmp_path, monkeypatch, model):
    """A cache of the hub's client in which owner/name lies, as it lays it out."""
    folder = tmp_path / "hub" / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "model.onnx").write_bytes(model.read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder / "snapshots" / COMMIT / "model.onnx"


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:owner/name/file", "hf:owner/na me", "hf:owner/name@", "hf:/name"])
def test_a_name_that_is_none_is_told(name):
    with pytest.raises(MienError, match=r"write hf:owner/name, or hf:owner/name@revision"):
        find_model(name)


def test_without_the_hubs_client_the_command_that_brings_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MienError, match=r"pip install 'mien\[hub\]'"):
        find_model("hf:owner/name")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (of_http(RepositoryNotFoundError), "The hub does not have the model 'owner/name', or it is private"),
        (of_http(GatedRepoError), "Access to the model 'owner/name' is restricted"),
        (of_http(RevisionNotFoundError), "has no revision 'v2'"),
        (EntryNotFoundError("404"), "has no model.onnx"),
        (of_http(HfHubHTTPError), "could not be reached"),
        (ConnectionError("[Errno 111] Connection refused"), r"could not be reached \(\[Errno 111\] Connection refused\)"),
        (OfflineModeIsEnabled("offline mode is enabled.\nmore"), r"could not be reached \(offline mode is enabled\)"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(error, says, hub_answers, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub_answers(error)
    with pytest.raises(MienError, match=says) as told:
        Classifier("hf:owner/name@v2")
    assert "\n" not in str(told.value)


def test_without_a_network_the_model_fetched_before_is_taken_and_a_line_says_so(fetched_before, hub_answers, caplog):
    hub_answers(ConnectionError("no route"))
    with caplog.at_level(logging.WARNING, "mien"):
        classifier = Classifier("hf:owner/name")
    assert classifier.path == fetched_before
    assert "no route" in caplog.text
    assert classifier.predict_proba(np.zeros((1, 48, 48), np.uint8)).shape == (1, 7)


def test_a_repository_that_is_gone_is_not_answered_out_of_the_cache(fetched_before, hub_answers):
    hub_answers(of_http(RepositoryNotFoundError))
    with pytest.raises(MienError, match="does not have the model"):
        fetch_model("hf:owner/name")


def test_a_download_that_breaks_is_told_and_a_full_disk_is_not_taken_for_that(hub_answers, monkeypatch):
    hub_answers()
    broken = [RuntimeError("the connection broke\nTraceback"), OSError(28, "No space left on device", "x")]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda **_: (_ for _ in ()).throw(broken[0]))
    with pytest.raises(MienError, match=r"could not be fetched \(the connection broke\); try again"):
        fetch_model("hf:owner/name")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda **_: (_ for _ in ()).throw(broken[1]))
    with pytest.raises(OSError, match="No space"):
        fetch_model("hf:owner/name")


def test_a_model_is_fetched_from_a_hub_at_the_wanted_revision(model, tmp_path):
    content, asked = model.read_bytes(), []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(200)
            for name, value in {"ETag": '"a1b2"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self):
            if "/resolve/" not in self.path:  # some versions of the client ask for the list of files first
                self.send_error(404)
                return
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "*"}
        code = "from mien import Classifier; c = Classifier('hf:owner/name@v2', threads=1); print(c.path, len(c.labels))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | here, check=False, timeout=60
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    path, labels = done.stdout.split()
    assert path.startswith(str(tmp_path / "home"))
    assert labels == "7"
    assert "/owner/name/resolve/v2/model.onnx" in asked
