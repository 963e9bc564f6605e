"""Run the app by uvicorn, with limits on connections and on the heads of requests, which an app does not see."""

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess

from mien.errors import MienError, check_number, say
from mien.serving.browser_page import model_name
from mien.serving.guard import COUNTS, MOST_HEAD

SHORTEST_TOKEN = 16  # characters, where other machines may guess it
MOST_CONNECTIONS = 500  # below 1,024, the usual limit of open files
GRACE = 5.0  # seconds beyond the limits of a request in which a stopping server finishes what it began


class _Protocol(H11Protocol):
    """HTTP/1.1 on a connection that is closed if no head of a request is complete in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _awaits_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if not self._awaits_head and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._awaits_head and self._timer is None:
            self._timer = self.loop.call_later(self.app.state.send_seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._awaits_head:  # also where a client goes on sending a body that was refused
            self.transport.close()


def check_host(host: str, port: int, token: str | None, no_auth: bool = False) -> tuple[socket.AddressFamily, Any]:
    """Return the address to listen on; MienError if other machines reach it without a token, or with one that is too short."""
    check_number("--port", port, 0, 65_535)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise MienError(f"There is no address {host!r} on this machine; use 127.0.0.1 for this machine only.") from None
    if no_auth or ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        return family, address
    if token is None:
        raise MienError(f"Other machines reach {host}; set a token in MIEN_TOKEN, or add --no-auth to let everyone in.")
    if len(token) < SHORTEST_TOKEN:
        few = f"a token needs at least {SHORTEST_TOKEN} characters, not {len(token)}"
        raise MienError(f"Other machines reach {host}, so {few}; make one: export MIEN_TOKEN=$(openssl rand -hex 32)")
    return family, address


def run(
    app: FastAPI,
    host: str,
    port: int,
    token: str | None = None,
    no_auth: bool = False,
    workers: int = 1,
    make_app: Callable[[], FastAPI] | None = None,  # in every worker, if there are several
) -> None:
    """Serve an app of `create_app` until Ctrl-C or SIGTERM, then finish the requests in progress."""
    family, address = check_host(host, port, token, no_auth)
    try:
        listener = socket.create_server(address, family=family, backlog=MOST_CONNECTIONS)
    except OSError as problem:
        raise MienError(f"Cannot listen on {host} port {port}: {problem.strerror}; choose another --port or --host.") from None
    state = app.state
    config = uvicorn.Config(
        app if workers == 1 or make_app is None else partial(_in_worker, make_app),
        factory=workers > 1,
        workers=workers,
        backlog=MOST_CONNECTIONS if workers == 1 else 1,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MOST_HEAD,
        timeout_graceful_shutdown=int(state.max_seconds + state.send_seconds + GRACE),
    )
    _quiet()
    before = {each: handler for each in SIGNALS if (handler := signal.getsignal(each)) is not None}  # uvicorn sets its own
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which uvicorn calls after it has stopped
    try:
        address, model = listener.getsockname(), model_name(state.predictor.classifier.path)
        place = f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"
        say(f"mien: {model} answers at {place}; {'' if token else '/docs says how, and '}Ctrl-C stops it")
        if token:  # which a browser does not send, so that it cannot open /docs
            say(f'mien: ask it: curl -H "Authorization: Bearer $MIEN_TOKEN" -F files=@photo.jpg {place}/predict')
        with listener, suppress(KeyboardInterrupt):
            if workers == 1:
                uvicorn.Server(config).run(sockets=[listener])
            else:
                with tempfile.TemporaryDirectory() as counts:
                    os.environ[COUNTS] = counts
                    try:
                        _Workers(config, [listener]).run()
                    finally:
                        del os.environ[COUNTS]
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    say("mien: stopped")


class _Workers(Multiprocess):
    """Processes that accept one connection at a time (`backlog` of asyncio), so that none takes all of them."""

    def keep_subprocess_alive(self) -> None:
        self.sockets[0].listen(MOST_CONNECTIONS)  # which wait; a starting worker sets this to its own backlog
        super().keep_subprocess_alive()


def _in_worker(make_app: Callable[[], FastAPI]) -> FastAPI:
    """Make the app of one of several processes, and leave out of the counts what a killed one held."""
    _quiet()
    for file in Path(os.environ[COUNTS]).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        try:
            os.kill(int(pid), 0)
        except OSError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
    return make_app()


def _quiet() -> None:
    for name in ("mien", "python_multipart"):  # their warnings are about what is sent
        logging.getLogger(name).setLevel(logging.ERROR)
