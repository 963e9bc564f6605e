"""What every request passes: the token, limits on the size and the time of its body, security headers, and counts."""

import asyncio
import hmac
import os
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.inference.prefetch import HELD_BYTES
from mien.serving.predictor import RETRY, Predictor

OPEN_PATHS = ("/health", "/ready")  # need no token: they say only whether the service works
PATHS = (*OPEN_PATHS, "/predict", "/model", "/metrics", "/docs", "/openapi.json")  # each has its own counts
SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)  # upper ends of the classes of times in /metrics
COUNTS = "PROMETHEUS_MULTIPROC_DIR"  # where several processes write their counts, as prometheus_client names it
MOST_HEAD = 2**14  # bytes of the headers and the query of a request
BUSY = "There are too many requests; try again later."
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}  # of every response that has no others; there are none that let pages of other sites read it (CORS)


def problem(status: int, detail: str, headers: Any = None, **more: Any) -> JSONResponse:
    """Make the response that describes an error (RFC 9457)."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, headers, "application/problem+json")


class Metrics:
    """Counts for Prometheus, of one app, or of those of several processes together."""

    def __init__(self, predictor: Predictor) -> None:
        self.registry = CollectorRegistry()
        together = COUNTS in os.environ
        (MultiProcessCollector if together else ProcessCollector)(registry=self.registry)
        new: dict[str, Any] = {"registry": None if together else self.registry}
        self.requests = Counter("mien_requests", "Requests.", ("path", "status"), **new)
        self.seconds = Histogram("mien_predict_seconds", "Times of requests to /predict.", buckets=SECONDS, **new)
        kinds = {
            "images": "Images.",
            "faces": "Faces.",
            "without_face": "Images without a face.",
            "failed": "Rows with an error.",
        }
        self.tally = {name: Counter(f"mien_{name}", text, **new) for name, text in kinds.items()}
        pending = Gauge("mien_pending", "Requests that wait or are processed.", multiprocess_mode="livesum", **new)
        predictor.count_pending = pending.set
        pending.set(0)


class Guard:
    """The outermost layer of the app; the parameters are those of `create_app`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, max_megabytes: float, send_seconds: float) -> None:
        self._app, self._metrics, self._seconds = app, metrics, send_seconds
        self._token = None if token is None else token.encode()
        self._megabytes, self._held = max_megabytes, 0  # bytes of the bodies of all requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it is refused."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        path, start = scope["path"].removeprefix(scope.get("root_path", "")), time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._seconds
        received, is_complete, status = 0, False, 500

        async def receive_bounded() -> Message:
            nonlocal received, is_complete
            if is_complete:
                return await receive()  # when the client has gone
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                words = f"The request was not sent within {self._seconds:g} seconds."
                raise HTTPException(408, words, {"Connection": "close"}) from None
            size = len(message.get("body", b""))
            received, self._held = received + size, self._held + size
            is_complete = not message.get("more_body", False)
            self._check_size(received)
            if self._held > max(HELD_BYTES, 2 * self._megabytes * 1e6):
                raise HTTPException(503, BUSY, RETRY)
            return message

        async def send_bounded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            async with asyncio.timeout(self._seconds):
                await send(message)

        try:
            await (self._refusal(path, scope) or self._app)(scope, receive_bounded, send_bounded)
        except TimeoutError:
            pass  # the client does not take the answer, and the server closes the connection
        finally:
            self._held -= received
            self._metrics.requests.labels(path if path in PATHS else "other", str(status)).inc()
            if path == "/predict":
                self._metrics.seconds.observe(time.perf_counter() - start)

    def _check_size(self, size: int) -> None:
        if size > self._megabytes * 1e6:
            raise HTTPException(413, f"The request is larger than {self._megabytes:g} megabytes; send fewer or smaller images.")

    def _refusal(self, path: str, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        size = sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope["query_string"])
        if size > MOST_HEAD:
            return problem(431, f"The head of the request is larger than {MOST_HEAD:,} bytes.")
        if self._token is not None and path not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
            if scheme.lower() != "bearer" or not is_right:
                return problem(401, "This needs the header Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})
        origin = headers.get("origin")  # of a page; any site may let its visitors' browsers send photos here
        if origin is not None and scope["method"] != "GET" and urlsplit(origin).netloc != headers.get("host"):
            return problem(403, "Pages of other sites may not use this service.")
        try:
            self._check_size(int(length) if (length := headers.get("content-length", "0")).isdecimal() else 0)
        except HTTPException as refusal:
            return problem(refusal.status_code, refusal.detail)
        return None
