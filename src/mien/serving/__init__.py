"""Serving: an ASGI app that answers as `mien.predict` does, with limits; the server that runs it; a page for the browser."""

import os
import shlex
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import KINDS, MienError, check_number, shortened
from mien.files import check_folder, written_folder
from mien.inference.classifier import DEFAULT_MODEL, Classifier

if TYPE_CHECKING:
    from fastapi import FastAPI

PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")  # of the extra `serve`
LEAST = {  # of the limits; whole numbers where it is one
    "max_megabytes": 1e-3,
    "max_megapixels": 1e-6,
    "max_images": 1,
    "max_faces": 1,
    "max_seconds": 1e-3,
    "send_seconds": 1e-3,
    "queue": 0,
    "threads": 1,
    "workers": 1,
}
TYPES: dict[str, tuple[str, tuple[type, ...]]] = {  # of the other parameters, and what messages call them
    "model": ("a name or a path", (str, Path)),
    "out": ("a path", (str, Path)),
    "detector": (KINDS["str"], (str,)),
    "token": (KINDS["str"], (str,)),
    "host": (KINDS["str"], (str,)),
    "page": (KINDS["bool"], (bool,)),
    "no_auth": (KINDS["bool"], (bool,)),
}
OPTIONAL = ("token", "threads")  # None is their default


def _check(parameters: Mapping[str, Any], dashes: str = "") -> None:
    """Raise a MienError if a parameter has another type, or a limit is too low; the command line calls them with dashes."""
    for name, value in parameters.items():
        if value is None and name in OPTIONAL:
            continue
        if name in LEAST:
            check_number(f"{dashes}{name}", value, LEAST[name], whole=isinstance(LEAST[name], int))
        elif name in TYPES and not isinstance(value, TYPES[name][1]):
            raise MienError(f"{dashes}{name} must be {TYPES[name][0]}, not {shortened(value, form=repr)}.")


def create_app(
    model: str | Path | Classifier = DEFAULT_MODEL,
    detector: str = "auto",
    token: str | None = None,
    page: bool = True,
    max_megabytes: float = 32.0,
    max_megapixels: float = 50.0,
    max_images: int = 300,
    max_faces: int = 100,
    max_seconds: float = 60.0,
    send_seconds: float = 30.0,
    queue: int = 64,
    threads: int | None = None,
) -> "FastAPI":
    """Make an ASGI app that answers HTTP requests with the predictions of one model.

    Any ASGI server runs it, and it can be mounted in another app. The images of a request stay in memory, and nothing of them
    is kept or logged. Limits on connections and on the head of a request are the server's; those of `mien serve` are set.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, hf:owner/name, or an open classifier.
        detector: auto, yunet, none, or a YuNet .onnx file.
        token: a secret that every request needs as `Authorization: Bearer TOKEN`, except those of /health and /ready.
        page: serve the page that predicts in the browser at /; with a token there is none, since browsers do not send it.
        max_megabytes: largest body of a request in megabytes.
        max_megapixels: most pixels of an image, in millions; a quarter of it for a frame of a video.
        max_images: most images of a request: files, members of zips and frames of videos.
        max_faces: most faces of an image; the row of one with more has an error.
        max_seconds: most seconds from the last byte of a request to its answer.
        send_seconds: most seconds in which a client may send a request, and in which it may take the answer.
        queue: most requests that wait for a thread; further ones get 503 and Retry-After.
        threads: requests that are processed at the same time; by default as many as this process may use cores, at most 8.

    Returns:
        The app; its `state.predictor` has the classifier.

    Raises:
        MienError: if the extra `serve` is not installed, the model or the detector cannot be opened, or a parameter has another
            type or is out of range.
    """
    options: dict[str, Any] = locals()
    _check({name: value for name, value in options.items() if not isinstance(value, Classifier)})
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise MienError(f"The service needs {', '.join(missing)}, not installed here; run: pip install 'mien[serve]'")
    from mien.serving.app import build

    return build(**options)


def serve(
    *,
    model: str = DEFAULT_MODEL,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    no_auth: bool = False,
    workers: int = 1,
    **options: Any,
) -> None:
    """Answer HTTP requests: predictions for programs, and a page that predicts in the browser.

    It ends on Ctrl-C or SIGTERM, when the requests in progress are answered.

    Args:
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name.
        host: address to listen on; by default it is reached from this machine only.
        port: port to listen on; 0 is any free one.
        token: a secret that every request needs as `Authorization: Bearer TOKEN`, except those of /health and /ready; by
            default that in MIEN_TOKEN, which other users of the machine do not see. Where other machines reach the service,
            it has at least 16 characters.
        no_auth: listen without a token on an address that other machines reach; not together with a token.
        workers: processes that share the requests, each with its own model, queue and threads; several answer more requests,
            since Python runs one thread of a process at a time.
        **options: see `create_app`.

    Raises:
        MienError: as `create_app` does, or if it cannot listen there.
    """
    _check({"model": model, "host": host, "token": token, "no_auth": no_auth, "workers": workers, **options}, "--")
    origin = "MIEN_TOKEN is set" if token is None else "--token is given"
    token = os.environ.get("MIEN_TOKEN") or None if token is None else token
    if no_auth and token is not None:
        raise MienError(f"--no-auth lets everyone in, but {origin}, which asks for a token; leave out one of them.")
    app = create_app(model, token=token, **options)  # first, since it says which packages are missing
    from mien.serving.server import run

    threads = max(1, app.state.predictor.threads // workers) if options.get("threads") is None else options["threads"]
    make_app = partial(create_app, model, token=token, **{**options, "threads": threads})
    run(app, host, port, token, no_auth, workers, make_app)


def page(*, out: str | Path, model: str | Path | None = None) -> str:
    """Write a page that finds and classifies faces in the browser, as a folder for any web server; no picture leaves it.

    Args:
        out: the folder to make; an earlier page there is replaced.
        model: a model file, a run folder, a name that `mien models` lists, or hf:owner/name; by default mien-s-int8.

    Raises:
        MienError: if the model cannot be opened, or the folder holds anything else.
    """
    _check({"out": out} if model is None else {"out": out, "model": model})
    from mien.serving.browser_page import PAGE, write_page

    with written_folder(Path(out), "the page", partial(check_folder, kind=PAGE, inputs=[model])) as folder:
        write_page(folder, model)
    return f"{out}: to look at it, run: python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(out))}"
