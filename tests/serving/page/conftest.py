import http.server
import io
import threading
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mien.drawn import draw_photo
from mien.serving.browser_page import write_page

CAMERA = (("happy", 12), ("surprise", 12))  # expressions that the fake camera shows, and for how many frames


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *_):
        pass


class Site:
    """A folder, served on the loopback interface until it is closed."""

    def __init__(self, folder):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "page"
    write_page(folder)
    return folder


@pytest.fixture
def serve():
    """Serves folders until the test ends, or the site is closed."""
    sites = []

    def start(folder):
        sites.append(Site(folder))
        return sites[-1]

    yield start
    for site in sites:
        site.close()


@pytest.fixture(scope="session")
def site(page_folder):
    site = Site(page_folder)
    yield site
    site.close()


def encoded(image, format="PNG", **options):
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")  # playwright's event loop runs until the end; other tests of this process start their own
def browser(chromium, tmp_path_factory):
    """Debian's Chromium, whose camera shows a drawn person."""
    camera = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    frames = [np.roll(draw_photo([name], seed=7)[0], 3 * (n % 4), axis=1) for name, count in CAMERA for n in range(count)]
    camera.write_bytes(b"".join(encoded(frame, "JPEG", quality=90) for frame in frames))
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    with chromium(*flags) as browser:
        yield browser


class Visits:
    """Pages in contexts of their own, and what was wrong with them: errors, and requests to other hosts."""

    def __init__(self, browser):
        self._browser, self._contexts, self.problems = browser, [], []

    def __call__(self, url):
        context = self._browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
        context.set_default_timeout(60_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        context.on("request", lambda request: self._check(request.url, url))
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        return page

    def _check(self, asked, url):
        if not asked.startswith((url, f"blob:{url}", "data:")):
            self.problems.append(f"request to {asked}")

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture(scope="module")
def visited(browser, site):
    """The page, open during all tests, since it takes a second or more to load."""
    visits = Visits(browser)
    page = visits(site.url)
    yield page, visits.problems
    visits.close()


@pytest.fixture
def page(visited):
    """The open page as it was when it opened; it has had no error after the test."""
    page, problems = visited
    problems.clear()
    yield page
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    if page.is_enabled("#clear"):
        page.click("#clear")
    page.click("#reset")
    assert page.is_visible("#empty")
    assert problems == []


@pytest.fixture
def visit(browser):
    """Opens other pages, which have had no error after the test."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.problems == []
