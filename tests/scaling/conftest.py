import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from mien.drawn import draw_photo


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Twelve inputs in natural order: photos with one or two faces, one without, one damaged, one in a hidden folder."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number in range(10):
        photo = draw_photo(["happy"] if number % 3 else ["sad", "angry"], number, 320, 240)[0]
        Image.fromarray(photo).save(folder / ("sub" if number % 2 else ".") / f"{number}.png")
    (folder / "bad.jpg").write_text("Dear me")
    Image.new("RGB", (60, 60), "green").save(folder / "meadow.png")
    Image.new("RGB", (60, 60), "green").save(folder / ".hidden" / "meadow.png")
    return folder


def processes(mark):
    """The living processes whose environment has this text: title by number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if title and (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(folder.name)] = title
        except (OSError, ValueError):
            continue
    return found


class Runner:
    """Runs `mien` in child processes, and ends what they leave behind."""

    def __init__(self, folder, monkeypatch):
        if find_spec("ray") is None:
            pytest.skip("Ray is not installed: pip install 'mien[scale]'")
        self.folder, self.mark, self.children = folder, f"MIEN_TEST_MARK={folder}", []
        monkeypatch.setenv("MIEN_TEST_MARK", str(folder))
        monkeypatch.setenv("RAY_AUTH_MODE", "token")  # without one, Ray writes a token into the user's home
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef0123456789abcdef")
        monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # sockets have short names
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def start(self, *words, before=()):
        command = [*before, sys.executable, "-m", "mien.cli", *map(str, words)]
        child = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def run(self, *words, before=(), seconds=300):
        child = self.start(*words, before=before)
        out, err = child.communicate(timeout=seconds)
        return child.returncode, out, err

    def processes(self, mark=None):
        return processes(mark or self.mark)

    def workers(self):
        return [number for number, title in self.processes().items() if "PartPredictor" in title]

    def left(self, seconds=20):
        """What still runs after this time."""
        until = time.monotonic() + seconds
        while (found := processes(self.mark)) and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def close(self):
        for number in processes(self.mark):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        for child in self.children:
            child.wait()
            child.stdout.close()
            child.stderr.close()


@pytest.fixture
def mien(tmp_path, monkeypatch):
    runner = Runner(tmp_path, monkeypatch)
    yield runner
    runner.close()
