import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.cli import main
from mien.drawn import write_folder
from mien.drawn.face import Canvas, Person, draw_person, express
from mien.images import prepare


@pytest.fixture(scope="session", autouse=True)
def interrupts():
    """Shells start background jobs with SIGINT ignored, and the tests that send it would wait for ever."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    """What fixtures of the whole session read is cached here, and never in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_CACHE", str(tmp_path_factory.mktemp("session-cache")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Every test has a cache of its own, and never the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MIEN_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_fer2013():
    """The folder with the real FER-2013 (training.parquet, public_test.parquet, fer2013new.csv)."""
    if not (folder := os.environ.get("MIEN_FER2013")):
        pytest.skip("MIEN_FER2013 does not name the folder with the real FER-2013")
    return Path(folder)


@pytest.fixture(scope="session")
def take():
    """Photograph a drawn person in a studio: one light and background; the head moves by `head`, in radians and head widths."""

    def photograph(person, expression, shot, head=0.0):
        random = np.random.default_rng([person, shot, *expression.encode()])
        turned, place = random.normal(0, head, 3).tolist(), 128 + 102 * random.normal(0, head, 2) - (0, 20)
        image = Image.new("RGB", (256, 256), (110, 112, 118))
        draw_person(Canvas(image, place, 102, turned), Person(np.random.default_rng(person)), express(expression, random))
        pixels = np.asarray(image.resize((128, 128), Image.Resampling.BOX)) + random.normal(0, 2, (128, 128, 1))
        return prepare(pixels.clip(0, 255).astype(np.uint8), 48, 1)

    return photograph


QUICK = ("--recipe.epochs", "1", "--recipe.batch_size", "16", "--threads", "1", "--quiet")


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """Drawn faces as a folder per label, divided into splits: 28 for training, 14 each for validation and test."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    write_folder(8, folder, size=48, validation=0.25, test=0.25)
    return folder


@pytest.fixture(scope="session")
def run(faces, tmp_path_factory):
    """The folder of a run of one epoch on them."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "mien-s", "--data", str(faces), "--out", str(out), *QUICK]) == 0
    return out


@pytest.fixture(scope="session")
def quick():
    """Flags that make a training short."""
    return QUICK


@pytest.fixture(scope="session")
def chromium():
    """Open Debian's Chromium with some flags: a context manager that gives the browser."""
    if (program := shutil.which("chromium")) is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

    @contextmanager
    def opened(*flags):
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *flags])
            yield browser
            browser.close()

    return opened


@pytest.fixture(scope="module")  # playwright's event loop runs until the end; other tests of this process start their own
def open_page(chromium):
    """Open a file in Chromium at a width in pixels: its page, which no script has changed."""
    with chromium() as browser:

        def open_file(path, width, scheme="light"):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(path.resolve().as_uri())
            return page

        yield open_file
