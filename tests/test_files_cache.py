import hashlib
import http.server
import os
import threading
import time
from pathlib import Path

import pytest

from mien import files as cache
from mien.errors import MienError
from mien.files import cache_folder, fetch

CONTENT = b"a small file" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def publisher():
    """A web server on this machine: its address, and the list of what it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path == "/file" else 404)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_folder_is_the_one_named_by_the_environment_and_is_made(folder):
    assert cache_folder() == folder
    assert folder.is_dir()


def test_without_the_variable_it_is_the_systems_place(monkeypatch, tmp_path):
    monkeypatch.delenv("MIEN_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "system" / name)
    assert cache_folder() == tmp_path / "system" / "mien"


def test_a_folder_that_cannot_be_made_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MienError, match="MIEN_CACHE"):
        cache_folder()


def test_a_file_is_fetched_once(publisher, folder):
    address, asked = publisher
    for _ in range(3):
        assert fetch(f"{address}/file", "kept.bin", DIGEST).read_bytes() == CONTENT
    assert asked == ["/file"]
    assert [path.name for path in folder.iterdir()] == ["kept.bin"]


def test_a_spoiled_file_is_fetched_again(publisher, folder):
    address, _ = publisher
    fetch(f"{address}/file", "kept.bin", DIGEST).write_bytes(CONTENT[:50])
    assert fetch(f"{address}/file", "kept.bin", DIGEST).read_bytes() == CONTENT


def test_a_file_with_another_digest_is_not_kept(publisher, folder):
    address, _ = publisher
    with pytest.raises(MienError, match="not the expected file"):
        fetch(f"{address}/file", "kept.bin", "0" * 64)
    assert not (folder / "kept.bin").exists()


def test_a_failure_is_remembered_for_an_hour_and_not_longer(publisher, folder):
    address, asked = publisher
    for _ in range(3):
        with pytest.raises(MienError, match=r"/gone could not be fetched \(its server answered 404\)"):
            fetch(f"{address}/gone", "kept.bin", DIGEST)
    assert asked == ["/gone"]
    long_ago = time.time() - cache.REMEMBER_FAILURE - 1
    os.utime(folder / "kept.bin.failed", (long_ago, long_ago))
    assert fetch(f"{address}/file", "kept.bin", DIGEST).is_file()
    assert [path.name for path in folder.iterdir()] == ["kept.bin"]


def test_a_server_that_is_not_there_is_said_in_one_line():
    with pytest.raises(MienError) as caught:
        fetch("http://127.0.0.1:9/file", "kept.bin", DIGEST)
    assert str(caught.value) == "http://127.0.0.1:9/file could not be fetched (no connection)."


def test_a_server_that_does_not_answer_is_left_after_the_timeout(monkeypatch):
    monkeypatch.setattr(cache, "READ_TIMEOUT", 0.2)
    silent = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)  # accepts, and is never served
    start = time.perf_counter()
    with pytest.raises(MienError, match="did not answer in time"):
        fetch(f"http://127.0.0.1:{silent.server_port}/file", "kept.bin", DIGEST)
    silent.server_close()
    assert time.perf_counter() - start < 2


def test_a_cache_that_cannot_be_written_does_not_hide_the_reason(folder, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(MienError, match="no connection"):
        fetch("http://127.0.0.1:9/file", "kept.bin", DIGEST)
    assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said_in_words_and_not_remembered(folder, monkeypatch):
    def refuse(url, path, sha256):
        raise PermissionError("Cannot write to data cache folder.")  # as pooch does: without errno

    monkeypatch.setattr(cache, "_download", refuse)
    with pytest.raises(MienError, match="cannot be written; set MIEN_CACHE") as caught:
        fetch("http://127.0.0.1:9/file", "kept.bin", DIGEST)
    assert str(folder) in str(caught.value)
    assert "PermissionError" not in str(caught.value)
    assert list(folder.iterdir()) == []
