"""Hostile names, folders, archives and drawings: a row each, and the inputs after them are read."""

import io
import json
import os
import random
import socket
import struct
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.images import matching
from mien.inference import drawing, sources
from mien.inference.sources import read_paths
from reading import frames

GRAY = np.full((20, 30), 90, np.uint8)


def png():
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def changed(path, local, central, value):
    """Overwrite a field of the first member, at these offsets of its header and of the zip's index."""
    content = bytearray(path.read_bytes())
    for start, offset in ((content.index(b"PK\x03\x04"), local), (content.index(b"PK\x01\x02"), central)):
        content[start + offset : start + offset + len(value)] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bad_stream_of_any_compression_is_a_row_among_the_others(tmp_path, compression):
    path = zipped(tmp_path / "a.zip", {"1.png": random.Random(0).randbytes(5000), "2.png": png()}, compression)
    content = bytearray(path.read_bytes())
    content[content.index(b"1.png") + 17 : content.index(b"1.png") + 60] = b"\xff" * 43
    path.write_bytes(content)
    bad, good = frames(path)
    assert "1.png' cannot be unpacked" in bad.error
    assert not good.error


@pytest.mark.parametrize("method", [1, 6, 9, 97, 99, 12_345])
def test_an_unknown_compression_is_a_row_among_the_others(tmp_path, method):
    path = zipped(tmp_path / "a.zip", {"1.png": png(), "2.png": png()})
    bad, good = frames(changed(path, 8, 10, struct.pack("<H", method)))
    assert "cannot be unpacked" in bad.error
    assert not good.error


@pytest.mark.parametrize(("claim", "says"), [(0, "Bad CRC"), (1000, "Bad CRC"), (2**32 - 2, "would unpack to 4.0 GB")])
def test_a_member_of_an_untrue_size_is_unpacked_no_further(tmp_path, claim, says):
    path = zipped(tmp_path / "bomb.zip", {"1.png": bytes(10**8), "2.png": png()}, zipfile.ZIP_DEFLATED)
    bad, good = frames(changed(path, 22, 24, struct.pack("<I", claim)))
    assert says in bad.error
    assert not good.error


NAMES = ["../../evil.png", "/abs/evil.png", "C:\\evil.png", "a\x1b[31m\n\r.png", "\u202egpj.png", "1" * 5000 + ".png"]
NAMES += [
    "x" * 60_000 + ".png",
    "d/" * 5000 + "a.png",
    " .png",
    "%n{}.png",
    "<b>.png",
    "a?b#c.png",
    "http:a.png",
    "名" * 300 + ".png",
]


def test_members_of_any_name_are_read_and_drawn_inside_the_folder(tmp_path, model):
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in" / "a.zip", dict.fromkeys(NAMES, png()))
    rows = list(mien.predict(path, model, faces=True, draw=tmp_path / "out"))
    assert [(row.error, row.note) for row in rows] == [("", "")] * len(NAMES)
    assert len(list((tmp_path / "out").iterdir())) == len(NAMES)
    assert sorted(each.name for each in tmp_path.iterdir() if each.name != "model.onnx") == ["in", "out"]


@pytest.mark.parametrize("text", ["data:image/png;base64,A", "data:,", "data:image/png;base64,", "data:image/png,%zz"])
def test_damaged_data_on_the_command_line_is_a_row(text, model, capsys):
    assert main(["predict", text, "--model", str(model), "--faces", "--format", "jsonl"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]


def test_an_empty_name_of_a_member_is_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(zipfile.ZipInfo(""), png())
        file.writestr("b.png", png())
    assert [frame.error for frame in frames(tmp_path / "a.zip")] == [""]


def test_a_zip_in_a_zip_is_said(tmp_path, caplog):
    inner = zipped(tmp_path / "inner.zip", {"a.png": png()}).read_bytes()
    (row,) = frames(zipped(tmp_path / "a.zip", {"inner.zip": inner}))
    assert "but videos or zips, such as 'inner.zip'; unpack it" in row.error
    (row,) = frames(zipped(tmp_path / "b.zip", {"inner.png": inner}))
    assert "is a zip, which is not read here" in row.error
    (row,) = frames(zipped(tmp_path / "c.zip", {"inner.zip": inner, "a.png": png()}))
    assert not row.error
    assert "holds 1 of videos and zips, which are not read" in caplog.text


def test_hundreds_of_damaged_zips_are_rows(tmp_path):
    whole = zipped(tmp_path / "whole.zip", {"a.png": png(), "b/c.png": png()}, zipfile.ZIP_DEFLATED).read_bytes()
    chance = random.Random(1)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "mutant.zip").write_bytes(content)
        found = list(frames([tmp_path / "mutant.zip", GRAY]))
        assert len(found) >= 2
        assert all(frame.error or frame.image is not None for frame in found)
        assert found[-1].source == "image 1"


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
@pytest.mark.parametrize("suffix", [".jpg", ".mp4", ".zip", ""])
def test_what_is_no_file_is_a_row_at_once(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "socket":
            server.bind(f"it{suffix}")
        elif kind == "pipe":
            os.mkfifo(f"it{suffix}")
        else:
            Path(f"it{suffix}").symlink_to("/dev/zero")
        start = time.monotonic()
        row, after = frames([f"it{suffix}", GRAY])
        assert f"is a {'named ' if kind == 'pipe' else ''}{kind}, not a file" in row.error
        assert not after.error
        assert time.monotonic() - start < 2


def test_a_pipe_in_a_folder_or_manifest_is_a_bad_image(tmp_path, capsys):
    (tmp_path / "faces").mkdir()
    os.mkfifo(tmp_path / "faces" / "b.png")
    (tmp_path / "faces" / "a.png").write_bytes(png())
    (tmp_path / "faces" / "c.png").symlink_to("/dev/zero")
    found = list(frames(tmp_path / "faces"))
    assert [("not a file" in frame.error) for frame in found] == [False, True, True]
    (tmp_path / "faces" / "manifest.csv").write_text("path,label\na.png,happy\nb.png,sad\nc.png,sad\n")
    words = ["crop", str(tmp_path / "faces" / "manifest.csv"), "--out", str(tmp_path / "out"), "--detector", "none"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "named pipe" in said
    assert "a device" in said


def test_folders_that_link_to_each_other_are_read_in_bounded_time(tmp_path):
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "a.png").write_bytes(png())
        for other in range(10):
            (tmp_path / str(number) / f"to{other}").symlink_to(tmp_path / str(other))
    start = time.monotonic()
    for source in (tmp_path, f"{tmp_path}/**/*.png"):
        found = [frame.source for frame in frames(source)]
        assert {f"{tmp_path}/{number}/a.png" for number in range(10)} <= set(found)
    assert time.monotonic() - start < 10


@pytest.mark.slow
def test_folders_of_any_depth_are_read_or_said(tmp_path, model):
    place = os.open(tmp_path, os.O_RDONLY)
    for depth in range(2100):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
        if depth == 1200:
            file = os.open("a.png", os.O_WRONLY | os.O_CREAT, dir_fd=place)
            os.write(file, png())
            os.close(file)
    os.close(place)
    try:
        good, bad = mien.predict(tmp_path / "d", model, faces=True)
        assert good.label
        assert "too long" in bad.error
    finally:
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # shutil.rmtree is recursive


def test_a_folder_without_rights_is_a_row(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png())
    real = os.stat

    def stat(path, **options):
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    good, bad = frames(tmp_path)
    assert (good.source[-5:], good.error) == ("b.png", "")
    assert "a.png' cannot be read (Permission denied)" in bad.error


ODD = [
    "[a].png",
    "a?b.png",
    "a#b.png",
    "%03d.png",
    "-x.png",
    "*.png",
    "file:a.png",
    "http:a.png",
    "a|b.png",
    "data:,x",
    "**",
    "~",
    "12:30.png",
]


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_a_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for other in ("a.png", "ab.png"):
        Path(other).write_bytes(b"another file")
    Path(name).write_bytes(png())
    (row,) = frames(name)
    assert (row.source, row.error) == (name, "")


def test_the_parts_of_a_pattern_that_exist_are_names(tmp_path):
    (tmp_path / "[2024]" / "in").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "in/c.png", "in/[d].png"):
        (tmp_path / "[2024]" / name).write_bytes(b"")

    def found(pattern):
        return [path.removeprefix(f"{tmp_path}/[2024]/") for path in matching(f"{tmp_path}/{pattern}")]

    assert found("[2024]/*.png") == ["a.png"]
    assert found("[2024]/**/*.png") == ["a.png", "in/[d].png", "in/c.png"]
    assert found("[2024]/**") == ["a.png", "b.jpg", "in/[d].png", "in/c.png"]
    assert found("[2024]/**/[a-c].?[!p]g") == ["b.jpg"] or found("[2024]/**/[a-c].[!j]ng") == ["a.png", "in/c.png"]
    assert found("*/in/c.*") == ["in/c.png"]


def test_a_drawing_that_fails_is_a_note(tmp_path, model, monkeypatch):
    real = drawing.annotate

    def fail_once(image, *words, **options):
        if image.shape[0] == 21:
            raise RuntimeError("no room\nfor the label")
        return real(image, *words, **options)

    monkeypatch.setattr(drawing, "annotate", fail_once)
    rows = list(mien.predict([GRAY, np.full((21, 30), 90, np.uint8), GRAY], model, faces=True, draw=tmp_path / "out"))
    assert [row.note for row in rows] == ["", "not drawn (no room for the label)", ""]
    assert all(row.label for row in rows)
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_line_without_end_is_an_error_and_long_lines_are_read_quickly(monkeypatch):
    monkeypatch.setattr(sources, "LONGEST_LINE", 10**6)
    with io.FileIO("/dev/zero") as endless, pytest.raises(mien.MienError, match="a line on standard input has more than"):
        list(read_paths(endless))
    assert list(read_paths(io.BytesIO(b"a\r\n" + b"x" * 900_000 + b"\nb"))) == ["a", "x" * 900_000, "b"]


@pytest.fixture
def listener():
    """A server that counts connections: its port, and what was sent to it."""
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                sent.append(connection.recv(100))
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], sent


def test_no_name_and_no_playlist_opens_a_connection_or_another_file(tmp_path, write_video, listener, monkeypatch):
    monkeypatch.chdir(tmp_path)
    port, sent = listener
    video = write_video(tmp_path / "secret.mp4", count=3).read_bytes()
    address = f"http://127.0.0.1:{port}/x.ts"
    names = [f"http:127.0.0.1:{port}.mp4", f"tcp:127.0.0.1:{port}.mp4", "12:30.mp4", "concat:a|b.mp4", "-x.mp4", "%03d.mp4"]
    names += ["[a].mp4", "a?b#c.mp4", "file:x.mp4", "data:x.mp4", "pipe:0.mp4", "C:x.mp4", "subfile,,start,0,,:x.mp4"]
    for name in names:
        Path(name).write_bytes(video)
        assert [(frame.source, frame.error) for frame in frames(name)] == [(name, "")] * 3
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
    description = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    lists = [hls.format(address), hls.format("secret.mp4"), hls.format(f"file://{tmp_path}/secret.mp4"), description]
    lists += [f"ffconcat version 1.0\nfile '{place}'\n" for place in (address, "secret.mp4", f"{tmp_path}/secret.mp4")]
    lists += [f"[Reference]\nRef1={address}\n", f"rtsptext\nrtsp://127.0.0.1:{port}/x\n"]
    dash = "<MPD type='static'><Period><AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation></AdaptationSet>"
    lists.append(f"{dash.format(address)}</Period></MPD>")
    for number, content in enumerate(lists):
        for suffix in (".mp4", ".m3u8", ".sdp", ".ts", ".jpg"):
            Path(f"{number}{suffix}").write_text(content)
            (row,) = frames(f"{number}{suffix}")
            assert row.error
    assert sent == []


def test_no_socket_is_opened(tmp_path, model, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    (tmp_path / "http:a.png").write_bytes(png())
    assert main(["predict", str(tmp_path), "--model", str(model), "--faces", "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["face"] == 0
