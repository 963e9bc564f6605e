"""Photos from addresses: downloaded only where that is asked for, within bounds, and each failure is a row."""

import http.server
import io
import json
import shutil
import ssl
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.errors import MienError
from mien.inference import sources, video
from mien.inference.prediction import read
from mien.inference.sources import check_names, listed
from reading import frames

GRAY = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)


def encoded(form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, form)
    return buffer.getvalue()


class Site(http.server.BaseHTTPRequestHandler):
    """Photos, and every way in which a server does not give one."""

    requested = []  # noqa: RUF012 - emptied by the fixture

    def do_GET(self):
        self.requested.append(self.path)
        path = self.path.partition("?")[0]
        if path in ("/a.png", "/photo", "/photo.php", "/fa%C3%A7ade%20(1).png"):
            self.answer(encoded(), "image/png")
        elif path == "/text.jpg":
            self.answer(b"<html>no photo here</html>", "text/html")
        elif path == "/empty.jpg":
            self.answer(b"", "image/jpeg")
        elif path == "/half.jpg":
            self.answer(encoded("JPEG"), "image/jpeg", cut=200)
        elif path == "/large.jpg":
            self.answer(bytes(5000), "image/jpeg")
        elif path == "/live.jpg":
            self.answer(b"--part", "multipart/x-mixed-replace; boundary=part")
        elif path == "/moved.jpg":
            self.redirect("/a.png")
        elif path == "/round.jpg":
            self.redirect("/round.jpg")
        elif path == "/elsewhere.jpg":
            self.redirect("file:///etc/hostname")
        elif path == "/slow.jpg":
            self.send_response(200)
            self.end_headers()
            for _ in range(50):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif path == "/silent.jpg":
            time.sleep(1)
        elif path == "/broken.jpg":
            self.wfile.write(b"HTTP/1.1 nonsense\r\n\r\n")
        else:
            self.send_error(404)

    def answer(self, content, kind, cut=None):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])

    def redirect(self, to):
        self.send_response(302)
        self.send_header("Location", to)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch, serve):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Site.requested.clear()
    return serve(Site)


def fetched(*addresses):
    return [read(item) for item in listed(list(addresses), fetch=True)]


@pytest.mark.parametrize(
    "path", ["a.png", "a.png?size=large#top", "photo", "photo?id=7", "photo.php", "moved.jpg", "façade (1).png"]
)
def test_a_photo_is_downloaded_where_that_is_asked_for(site, path):
    (frame,) = fetched(f"{site}/{path}")
    assert (frame.source, frame.error) == (f"{site}/{path}", "")
    assert np.array_equal(frame.image, GRAY)


def test_without_asking_nothing_is_requested_and_the_row_says_how(site, model, capsys):
    for path in ("a.png", "a.JPG?size=large"):
        (frame,) = frames(f"{site}/{path}")
        assert "is an address, not a path; download it first" in frame.error
        assert "`mien predict --fetch` (in Python fetch=True)" in frame.error
        with pytest.raises(MienError, match="--fetch"):
            check_names([f"{site}/{path}"])
        check_names([f"{site}/{path}"], fetch=True)
    assert main(["predict", f"{site}/a.png", "--model", str(model), "--faces"]) == 2
    assert "--fetch" in capsys.readouterr().err
    assert Site.requested == []


def test_a_photo_whose_address_looks_like_a_stream_says_how_too(site, monkeypatch):
    monkeypatch.setattr(video.LIMITS, "wait_seconds", 0.0)
    (frame,) = frames(f"{site}/photo")
    assert "is a photo, not a stream" in frame.error
    assert "--fetch" in frame.error


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("gone.jpg", "cannot be downloaded (HTTP Error 404: Not Found)"),
        ("text.jpg", "is not in a format that can be read"),
        ("empty.jpg", "is empty"),
        ("half.jpg", "is damaged"),
        ("live.jpg", "is a stream; leave out --fetch"),
        ("large.jpg", "more than"),
        ("round.jpg", "cannot be downloaded (HTTP Error 302"),
        ("elsewhere.jpg", "cannot be downloaded (HTTP Error 302"),
        ("slow.jpg", "more than"),
        ("silent.jpg", "cannot be downloaded (timed out)"),
        ("broken.jpg", "cannot be downloaded"),
    ],
)
def test_what_cannot_be_downloaded_is_a_row_among_the_others(site, path, says, monkeypatch):
    monkeypatch.setattr(sources, "FETCH_SECONDS", 0.5)
    monkeypatch.setattr(sources, "LARGEST_DOWNLOAD", 4000)
    begin = time.monotonic()
    bad, good = fetched(f"{site}/{path}", f"{site}/a.png")
    assert says in bad.error
    assert repr(f"{site}/{path}") in bad.error
    assert good.error == ""
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:9/a.jpg", "Connection refused"),
        ("http://no-such-host.invalid/a.jpg", "check the address and the network"),
        ("https://127.0.0.1:9/a.jpg", "Connection refused"),
        ("http://127.0.0.1:port/a.jpg", "port"),
        ("http:///a.jpg", "no host"),
        ("http://[/a.jpg", "cannot be downloaded"),
        ("ftp://127.0.0.1/a.jpg", "is an address, not a path"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_row(address, says):
    (frame,) = fetched(address)
    assert says in frame.error


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_is_checked(tmp_path, serve):
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    (frame,) = fetched(f"{serve(Site, context)}/a.png")
    assert "certificate verify failed" in frame.error


def test_photos_are_fetched_by_both_ways_of_use_and_resumed(site, model, tmp_path, capsys):
    addresses = [f"{site}/a.png", f"{site}/gone.jpg", f"{site}/photo"]
    rows = list(mien.predict(addresses, model, faces=True, fetch=True))
    assert [(row.source, bool(row.error)) for row in rows] == list(zip(addresses, (False, True, False), strict=True))
    words = ["predict", *addresses, "--fetch", "--model", str(model), "--faces"]
    assert main([*words, "--format", "jsonl", "--draw", str(tmp_path / "drawn")]) == 1
    assert [json.loads(line)["source"] for line in capsys.readouterr().out.splitlines()] == addresses
    assert len(list((tmp_path / "drawn").iterdir())) == 2
    assert main([*words, "--out", str(tmp_path / "rows.jsonl")]) == 1
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


def test_explain_fetches_photos_too(site, tmp_path, capsys):
    words = ["explain", f"{site}/a.png", "--faces", "--out", str(tmp_path / "why.png")]
    assert main(words) == 2
    assert "--fetch" in capsys.readouterr().err
    assert main([*words, "--fetch"]) == 0
    assert capsys.readouterr().out.startswith(f"{site}/a.png  face 0  ")
    (explained,) = mien.explain(f"{site}/a.png", faces=True, fetch=True)
    assert explained.heat is not None


def test_a_stream_of_video_stays_a_stream_with_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr(video.LIMITS, "wait_seconds", 0.0)
    for address in ("http://127.0.0.1:9/clip.mp4", "http://127.0.0.1:9/live.m3u8", "rtsp://127.0.0.1:9/live"):
        assert all(frame.error.startswith(f"The stream {address!r} cannot be opened") for frame in fetched(address))


def test_a_photo_whose_address_is_long_is_drawn(site, model, tmp_path):
    rows = list(mien.predict([f"{site}/a.png?key={'k' * 600}"] * 2, model, faces=True, fetch=True, draw=tmp_path / "drawn"))
    assert [row.error for row in rows] == ["", ""]
    assert len(list((tmp_path / "drawn").iterdir())) == 2
