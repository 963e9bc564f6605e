"""The app of the service: predictions for programs, the page for people, and what the service says about itself."""

import asyncio
import math
import shutil
import tempfile
import weakref
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from mien import __version__
from mien.errors import MienError, load_table
from mien.inference.classifier import MODELS, Classifier
from mien.inference.prediction import Frame
from mien.inference.sources import inline_bytes
from mien.serving.browser_page import model_name, write_page
from mien.serving.docs import docs_page
from mien.serving.guard import PATHS, Guard, Metrics, problem
from mien.serving.options import DataURIs, Options, mistakes
from mien.serving.predictor import RETRY, Predictor

TEXTS = load_table(__file__, "schema")
RAW = ("image/", "video/", "application/octet-stream", "application/zip", "application/x-www-form-urlencoded")  # last: curl's
LONGEST_FIELD = 1000  # characters of a text in a form, which is no file and refused
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with the next one, WebAssembly may use several threads
    "Cross-Origin-Opener-Policy": "same-origin",
}


def build(
    model: str | Path | Classifier,
    token: str | None,
    page: bool,
    max_megabytes: float,
    max_seconds: float,
    send_seconds: float,
    **limits: Any,
) -> FastAPI:
    """Make the app; the parameters are those of `create_app`."""
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise MienError("The token must consist of printable ASCII characters, without spaces around them; make another.")
    predictor = Predictor(model, max_seconds=max_seconds, **limits)
    metrics = Metrics(predictor)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(predictor.close)

    app = FastAPI(title="mien", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.predictor, app.state.send_seconds, app.state.max_seconds = predictor, send_seconds, max_seconds
    app.add_middleware(Guard, metrics, token, max_megabytes, send_seconds)
    _add_problems(app)
    problems = {status: _described(text, "problem", "problem+json") for status, text in TEXTS["problems"].items()}
    _add_predict(app, predictor, metrics, problems)
    _add_about(app, predictor, metrics, problems)
    if page and token is None:
        _add_page(app, predictor.classifier.path)
    return app


def _described(text: str, schema: str, kind: str = "json") -> dict[str, Any]:
    return {"description": text, "content": {f"application/{kind}": {"schema": TEXTS[schema]}}}


def _add_problems(app: FastAPI) -> None:
    """Answer every error as problem+json, without paths, traces or what was sent."""

    def invalid(errors: Iterable[Any]) -> Response:
        found = mistakes(errors)
        return problem(422, found[0]["message"], errors=found)

    def refused(error: AnyHTTPException) -> Response:
        allowed = (error.headers or {}).get("Allow", "GET")
        known = {404: "There is nothing at this path", 405: f"This path takes only {allowed}"}.get(error.status_code)
        detail = f"{known}; /docs lists the paths and their methods." if known else error.detail
        return problem(error.status_code, detail, error.headers)

    def damaged(error: MultiPartException) -> Response:
        words = error.message.rstrip(".")
        return problem(413 if words.startswith("Too many") else 400, f"The form cannot be read: {words}.")

    handlers: dict[Any, Any] = {
        AnyHTTPException: refused,
        RequestValidationError: lambda error: invalid(error.errors()),
        ValidationError: lambda error: invalid(error.errors(include_url=False, include_context=False)),
        MienError: lambda error: problem(422, str(error)),
        FormParserError: lambda _: damaged(MultiPartException("Invalid multipart data.")),  # as Starlette 1 answers it
        MultiPartException: damaged,
        ClientDisconnect: lambda _: problem(400, "The client has gone."),
        Exception: lambda _: problem(500, "This is a bug in mien; please report it where you got mien."),
    }
    for kind, answer in handlers.items():
        app.add_exception_handler(kind, lambda _, error, answer=answer: answer(error))


def _add_predict(app: FastAPI, predictor: Predictor, metrics: Metrics, problems: dict[int | str, Any]) -> None:
    answers = {200: _described("The predictions.", "rows"), **problems}

    @app.post("/predict", responses=answers, openapi_extra={"requestBody": TEXTS["body"]}, response_class=Response)
    async def predict(request: Request, options: Annotated[Options, Query()]) -> Response:
        """Find the faces of images and videos, and classify their expressions."""
        checked = options.checked()
        async with AsyncExitStack() as files:
            images = await _images(request, predictor.max_images, files)
            text, tally = await predictor.answer(images, checked, request)
        for name, counter in metrics.tally.items():
            counter.inc(tally[name])
        return Response(text, media_type="application/json")


async def _images(request: Request, most: int, opened: AsyncExitStack) -> Iterable[Any]:
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=most, max_fields=most, max_part_size=LONGEST_FIELD
        )
        parser.spool_max_size = math.inf  # type: ignore[assignment]  # in memory, never on the disk
        form = await parser.parse()
        opened.push_async_callback(form.close)
        for name, part in form.multi_items():
            if isinstance(part, str):
                raise HTTPException(422, f"The field {name[:40]!r} is not a file; send it with a file name.")
        files: list[Any] = [part for _, part in form.multi_items()]
    elif kind == "application/json":
        found = DataURIs.model_validate_json(await request.body())
        if len(found.images) > most:
            raise HTTPException(413, f"There are more than {most:,} images; send fewer.")
        return (_decoded(number, text) for number, text in enumerate(found.images))  # decoded in another thread
    elif kind.startswith(RAW):
        files = list(filter(None, [await request.body()]))
    else:
        raise HTTPException(
            415, f"{kind[:40]!r} is no type of images; send a form with files, an image, or JSON with data URIs."
        )
    if not files:
        raise HTTPException(422, "There is no image in the request; send at least one.")
    return files


def _decoded(number: int, uri: str) -> bytes | Frame:
    with suppress(ValueError):
        if content := inline_bytes(uri):
            return content
    return Frame(f"image {number}", error="The data URI is empty, or no valid base64; encode the photo again.")


def _add_about(app: FastAPI, predictor: Predictor, metrics: Metrics, problems: dict[int | str, Any]) -> None:
    busy: dict[int | str, Any] = {503: problems[503]}
    denied: dict[int | str, Any] = {401: problems[401]}

    @app.get("/health", description=TEXTS["answers"]["health"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", description=TEXTS["answers"]["ready"], responses=busy)
    async def ready() -> dict[str, str]:
        if predictor.is_full:
            raise HTTPException(503, "The queue is full.", RETRY)
        return {"status": "ready"}

    @app.get("/model", description=TEXTS["answers"]["model"], responses=denied)
    async def model() -> dict[str, Any]:
        classifier = predictor.classifier
        keys = ("heads", "head", "prior", "size", "channels", "parameters")
        about = {"name": model_name(classifier.path), "labels": list(classifier.labels), "detector": predictor.detector}
        return about | {key: getattr(classifier, key) for key in keys} | {"mien": __version__}

    @app.get("/metrics", description=TEXTS["answers"]["metrics"], responses=denied, response_class=Response)
    async def counts() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def documentation(request: Request) -> HTMLResponse:
        text, policy = docs_page(app.openapi(), str(request.url).partition("?")[0].removesuffix("/docs"))
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})


class _Page(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        if f"/{path}" in PATHS:
            raise AnyHTTPException(405, headers={"Allow": "POST" if path == "predict" else "GET"})
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        return response


def _add_page(app: FastAPI, model: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="mien-page-"))
    weakref.finalize(app, shutil.rmtree, folder, ignore_errors=True)  # removed with the app
    write_page(folder, None if model.parent == MODELS else model)
    app.mount("/", _Page(directory=folder, html=True))
