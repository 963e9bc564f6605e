"""Predict the images of requests: one model, a bounded number of threads, a bounded queue."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from mien.errors import MienError
from mien.inference.classifier import Classifier, open_classifier, usable_cores
from mien.inference.detection import detector_file, open_detector
from mien.inference.output import Tally, write
from mien.inference.pipeline import MOST_THREADS, predict
from mien.inference.prediction import Prediction
from mien.inputs import MOST_PIXELS
from mien.serving.browser_page import model_name

RETRY = {"Retry-After": "1"}  # seconds after which a client may try again


class Predictor:
    """Answers requests in threads; the parameters are those of `create_app`."""

    def __init__(
        self,
        model: str | Path | Classifier,
        detector: str,
        max_megapixels: float,
        max_images: int,
        max_faces: int,
        max_seconds: float,
        queue: int,
        threads: int | None,
    ) -> None:
        self.threads = min(usable_cores(), MOST_THREADS) if threads is None else threads
        self.classifier = open_classifier(model)
        self.max_images, self.pending = max_images, 0  # requests that wait or are processed
        self.count_pending: Callable[[float], None] = lambda _: None
        self._most_pixels, self._max_seconds, self._most_pending = max_megapixels * 1e6, max_seconds, self.threads + queue
        # a detector holds its least score; the latest ones are kept, since opening one takes as long as searching an image
        self._open = lru_cache(8)(lambda score: open_detector(detector, score, max_faces))
        self._open(None)
        file = detector_file(detector)
        self.detector = file.stem if file else "none"
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None  # from the first request to the end of the app's lifespan

    @property
    def is_full(self) -> bool:
        """Whether another request would be refused."""
        return self.pending >= self._most_pending

    async def answer(self, images: Iterable[Any], options: dict[str, Any], request: Request) -> tuple[str, Tally]:
        """Predict images in a thread, and return the JSON of the rows and their counts.

        Raises an HTTPException if the queue is full, the time is up or the images are too many; a MienError for wrong options;
        ClientDisconnect if the client has gone. Work that nobody waits for any more ends after its current image.
        """
        stop = threading.Event()
        with self._lock:
            if self.is_full:
                raise HTTPException(503, "There are too many requests; try again later.", RETRY)
            self.pending += 1
            self.count_pending(self.pending)
            self._pool = self._pool or ThreadPoolExecutor(self.threads, thread_name_prefix="mien-serve")
            # all threads, where it is the only request; its own one, where each thread has a request
            threads = 0 if self.pending >= self.threads else self.threads // self.pending
            work = self._pool.submit(self._rows, images, options, stop, threads)
        work.add_done_callback(self._count_done)
        answer, gone = asyncio.wrap_future(work), asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((answer, gone), timeout=self._max_seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientDisconnect
            advice = "send fewer or smaller images, or try again later"
            raise HTTPException(503, f"The answer took more than {self._max_seconds:g} seconds; {advice}.", RETRY)
        finally:
            stop.set()
            answer.cancel()  # if it still waits, it is not started
            gone.cancel()

    def _count_done(self, _: Future[Any]) -> None:
        with self._lock:
            self.pending -= 1
            self.count_pending(self.pending)

    def _rows(self, images: Iterable[Any], options: dict[str, Any], stop: threading.Event, threads: int) -> tuple[str, Tally]:
        MOST_PIXELS.set(self._most_pixels)  # the threads of the pool belong to the service, and the pipeline's take it over
        detector = "none" if options["faces"] else self._open(options["min_score"])
        text = io.StringIO()
        try:
            with closing(predict(images, self.classifier, detector, threads=threads, **options)) as rows:
                tally = write(self._bounded(rows, stop), self.classifier.labels, "json", text)
        except MienError as mistake:
            raise MienError(self._with_name(str(mistake))) from None
        return text.getvalue(), tally

    def _bounded(self, rows: Iterator[Prediction], stop: threading.Event) -> Iterator[Prediction]:
        found = 0
        for row in rows:
            if stop.is_set():
                raise TimeoutError
            found += not row.face  # the first row of an image
            if found > self.max_images:
                advice = "send fewer files, or of videos every N-th frame (every=N)"
                raise HTTPException(413, f"There are more than {self.max_images:,} images; {advice}.")
            yield replace(row, error=self._with_name(row.error)) if row.error else row

    def _with_name(self, text: str) -> str:
        """Put the model's name for its path in a message: the folder is none of a client's business."""
        path, name = str(self.classifier.path), model_name(self.classifier.path)
        return text.replace(repr(path), repr(name)).replace(path, name)

    def close(self) -> None:
        """Finish what was begun, and end the threads; another request starts new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
