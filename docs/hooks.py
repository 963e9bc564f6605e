"""Pages of the site that are made from other files of the repository, and the links between all of them."""

import base64
import contextlib
import hashlib
import html
import io
import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import mien
from mien.cli import VERBS, main

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
EXECUTE = "MIEN_TUTORIALS"  # the variable that has the tutorials run, so that their pages show what comes out
PAGES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
    "reference/mien-s.md": "src/mien/models/mien-s.md",
    "reference/mien-s-int8.md": "src/mien/models/mien-s-int8.md",
}
"""The file of the repository that is each of these pages of the site."""

BESIDE = ("mien.serving.create_app", "mien.scaling.predict_dataset")
"""Public names that are not in `mien.__all__`."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no file in docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    files.append(File.generated(config, "reference/python.md", content=python_names()))
    for path in TUTORIALS:
        for name, content in tutorial_files(path):
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between files of the repository lead to pages of the site; one to a file without a page becomes its text."""
    here = posixpath.dirname(PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def replaced(found: re.Match[str]) -> str:
        text, target, fragment = found["text"], found["target"], found["fragment"] or ""
        source = posixpath.normpath(posixpath.join(here, target))
        site = {made_from: name for name, made_from in PAGES.items()}.get(source, source.removeprefix("docs/"))
        if source.startswith("..") or not (ROOT / source).exists() or site not in files.src_uris:
            return text if (ROOT / source).exists() else found[0]
        return f"{found['before']}({posixpath.relpath(site, posixpath.dirname(page.file.src_uri) or '.')}{fragment})"

    pattern = r"(?P<before>!?\[(?P<text>[^\]]*)\])\((?P<target>[^)#:\s]+)(?P<fragment>#[^)\s]*)?\)"
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)  # code stays as it is
    texts = (part if part.startswith("```") else _with_bars(re.sub(pattern, replaced, part)) for part in parts)
    return "".join(texts)


def _with_bars(text: str) -> str:
    r"""Write code with bars, such as `a \| b`, as HTML in tables, since Python-Markdown would show the backslash."""

    def as_html(code: re.Match[str]) -> str:
        return f"<code>{html.escape(code[1]).replace(chr(92) + '|', '&#124;')}</code>"

    def row(line: re.Match[str]) -> str:
        return re.sub(r"`([^`]*)`", lambda code: as_html(code) if r"\|" in code[1] else code[0], line[0])

    return re.sub(r"^\|.*$", row, text, flags=re.MULTILINE)


def command_line() -> str:
    """Write the page of the command line from what `mien --help` and `mien VERB --help` print."""
    lines = ["# Command line", "", "What `mien --help` and the `--help` of every verb print.", "", *_block(_help([]))]
    for verb in VERBS:
        lines += ["", f"## mien {verb}", "", *_block(_help([verb]))]
    return "\n".join(lines)


def _help(words: list[str]) -> str:
    output = io.StringIO()
    with patch.dict(os.environ, COLUMNS="88"), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return output.getvalue().rstrip()


def _block(text: str, language: str = "text") -> list[str]:
    return [f"```{language}", *text.splitlines(), "```"]


def python_names() -> str:
    """Write the page of the public names, for mkdocstrings to fill in."""
    names = [f"mien.{name}" for name in mien.__all__ if not name.startswith("__")] + [*BESIDE]
    lines = ["# Python", "", "Every public name. `import mien` loads each when it is first used.", ""]
    for name in names:
        lines += [f"::: {name}", ""]
    return "\n".join(lines)


def tutorial_files(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the page of a tutorial, its pictures, and the notebook to download."""
    import jupytext

    notebook = executed(path) if os.environ.get(EXECUTE) else jupytext.read(path)
    yield f"{path.stem}.ipynb", jupytext.writes(jupytext.read(path), fmt="ipynb")
    parts: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append("\n".join(_block(cell.source, "python")))
        outputs = cell.get("outputs", ())
        if printed := "".join(output.text for output in outputs if output.output_type == "stream"):
            parts.append("\n".join(_block(printed)))
        for number, data in enumerate(output.get("data", {}) for output in outputs):
            if "image/png" in data:
                name = f"{path.stem}-{len(parts)}-{number}.png"
                yield name, base64.b64decode(data["image/png"])
                parts.append(f'<div class="output" markdown>\n![What the cell above draws]({name})\n</div>')
            elif "text/markdown" in data:
                parts.append(data["text/markdown"])
            elif "text/html" in data:
                table = re.sub(r"<style.*?</style>|(?<=<table)[^>]*|\n\s*", "", data["text/html"], flags=re.DOTALL)
                parts.append(f'<div class="output">{table}</div>')
    title, *rest = parts
    download = f"[Download this tutorial as a notebook]({path.stem}.ipynb){{ download }}"
    yield f"{path.stem}.md", "\n\n".join([title, download, *rest])


def executed(path: Path, folder: Path = ROOT / "build" / "tutorials") -> Any:
    """Run a tutorial and return its notebook with what came out; one that has not changed, nor mien, is read again instead."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    sources = [path, *sorted(each for each in (ROOT / "src").rglob("*") if each.is_file() and each.suffix != ".pyc")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    kept = folder.resolve() / f"{path.stem}-{digest}.ipynb"
    if kept.is_file():
        return nbformat.read(kept, as_version=4)
    work = kept.with_suffix("")
    shutil.rmtree(work, ignore_errors=True)  # of a run that failed
    work.mkdir(parents=True)
    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(work)}}).execute()
    for earlier in kept.parent.glob(f"{path.stem}-*.ipynb"):
        earlier.unlink()
    nbformat.write(notebook, kept)
    shutil.rmtree(work)
    return notebook
