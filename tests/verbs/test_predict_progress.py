import json
import os
import pty
import subprocess
import sys
import termios

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.drawn import draw_photo
from mien.errors import progress
from mien.inference.sources import count_images


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Six photos in a folder, a text beside them, and a video of 30 frames."""
    import av

    folder = tmp_path_factory.mktemp("places")
    (folder / "photos").mkdir()
    photo, _ = draw_photo(["happy"], seed=3)
    for number in range(6):
        Image.fromarray(photo).save(folder / "photos" / f"{number}.png")
    (folder / "photos" / "notes.txt").write_text("no photo")
    for name, codec in (("clip.mp4", "mpeg4"), ("clip.mkv", "mpeg4")):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for _ in range(30):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
            container.mux(stream.encode(None))
    return folder


def test_images_are_counted_in_folders_and_videos(places):
    assert count_images(str(places / "photos")) == 6
    assert count_images(str(places / "clip.mp4")) == 30
    assert count_images(str(places / "clip.mp4"), every=7) == 5
    assert count_images(str(places / "clip.mkv")) in (29, 30)  # by its duration


@pytest.mark.parametrize("name", ["none.png", "0", "rtsp://camera/1", "photos/notes.txt"])
def test_what_has_no_known_number_of_images_is_not_guessed(name, places, monkeypatch):
    monkeypatch.chdir(places)
    assert count_images(name) == 0


def test_a_bar_shows_on_a_terminal_only(capsys):
    with progress("faces", 5) as bar:
        bar.update(3)
    assert bar.disable
    assert capsys.readouterr().err == ""


def run_on_terminal(words, folder):
    """What a command prints to a terminal as stderr; its stdout goes to a file."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    with (folder / "stdout.txt").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "mien", *words], cwd=folder, stdout=out, stderr=follower, stdin=follower
        )
        os.close(follower)
        said = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
            said += piece
    os.close(leader)
    assert process.wait() == 0, said
    return said.decode()


def test_predict_shows_how_far_it_is_and_quiet_nothing(places):
    said = run_on_terminal(["predict", "clip.mp4", "--out", "a.jsonl"], places)
    assert "/30 [00:0" in said
    assert "30 frames: 0 faces" in said
    assert len((places / "a.jsonl").read_text().splitlines()) == 30
    assert run_on_terminal(["predict", "clip.mp4", "--out", "b.jsonl", "--quiet"], places) == ""
    assert json.loads((places / "b.jsonl").read_text().splitlines()[0])["no_face"]
    assert "0 images [00:00" in run_on_terminal(["predict", "photos", "--format", "csv"], places)  # the rows go into a file


def test_quiet_still_tells_of_failures_by_the_exit_status(places, capsys):
    (places / "bad.png").write_text("no photo")
    assert main(["predict", str(places / "photos" / "0.png"), str(places / "bad.png"), "--quiet", "--format", "csv"]) == 1
    assert capsys.readouterr().err == ""
