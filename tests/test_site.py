"""The site: it builds without a warning, asks no other host, finds what is searched for, and its tutorials run."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(path.stem for path in (ROOT / "docs" / "tutorials").glob("*.py"))
LOADED = re.compile(r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?(?:src|href)=[\"']?(https?:|//)[^>]*>")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def hooks():
    """The module docs/hooks.py."""
    specification = util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; the tutorials are not run."""
    folder = tmp_path_factory.mktemp("site") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    variables = {name: value for name, value in os.environ.items() if name != "MIEN_TUTORIALS"}
    variables |= {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_of_the_navigation_and_of_the_docs_folder_exists(site):
    named = set(re.findall(r"(\S+)\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    written = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")} - {"404"}
    assert written <= named == built
    assert len(named) > 25


def test_the_pages_of_other_files_are_on_the_site(site):
    text = re.sub(r"<[^>]+>", "", (site / "reference/python.html").read_text(encoding="utf-8"))
    for name in ("mien.predict", "mien.FaceSet", "mien.serving.create_app", "mien.scaling.predict_dataset"):
        assert name in text
    assert "--recipe.epochs" in (site / "reference/command-line.html").read_text(encoding="utf-8")
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="predict.html#prior"' in home  # the README's link to docs/predict.md#prior
    assert "CITATION.cff" in home  # no page: its link is plain text
    assert 'href="CITATION.cff' not in home
    for name in TUTORIALS:
        assert f"{name}.ipynb" in (site / "tutorials" / f"{name}.html").read_text(encoding="utf-8")
        assert (site / "tutorials" / f"{name}.ipynb").is_file()


def test_code_with_a_bar_keeps_it_in_tables_and_loses_the_backslash(site):
    page = (site / "predict.html").read_text(encoding="utf-8")
    assert "| mien predict -</code>" in page.replace("&#124;", "|")
    assert r"\|" not in page


def test_no_page_names_a_source_of_another_host(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 25
    for path in pages:
        assert LOADED.search(path.read_text(encoding="utf-8")) is None, path
    for path in site.rglob("*.css"):
        assert re.search(r"@import|url\([\"']?(https?:|//)", path.read_text(encoding="utf-8")) is None, path


@pytest.fixture
def visited(chromium):
    """A page in Chromium, 400 pixels wide, and the addresses it asks for."""
    with chromium("--disable-dev-shm-usage") as browser:
        page, asked = browser.new_page(viewport={"width": 400, "height": 800}), []
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        yield page, asked


def search(page, words):
    page.click("label[for=__search] >> nth=0")
    page.click("input[name=query]")
    page.keyboard.type(words)
    page.wait_for_selector(".md-search-result__item a")
    return page.locator(".md-search-result__item a").evaluate_all("links => links.map(link => link.href)")


@pytest.mark.parametrize("opened", ["from the disk", "from a server"])
def test_a_browser_asks_no_other_host_and_finds_what_is_searched_for(opened, site, visited):
    page, asked = visited
    handler = functools.partial(Quiet, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"{site.as_uri()}/" if opened == "from the disk" else f"http://127.0.0.1:{server.server_port}/"
    try:
        for path in ("index", "reference/python", f"tutorials/{TUTORIALS[0]}", "predict"):
            page.goto(f"{address}{path}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, path  # tables scroll in boxes of their own
        assert any("predict.html" in link for link in search(page, "smoothing"))
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_from_beginning_to_end(name, hooks, tmp_path):
    notebook = hooks.executed(ROOT / "docs" / "tutorials" / f"{name}.py", tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    assert all(cell.execution_count for cell in code)
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
