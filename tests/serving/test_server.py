"""`mien serve` as a process: it starts, bounds what clients may do to it, and finishes what it began."""

import asyncio
import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_face
from mien.serving import server as room

specification = importlib.util.spec_from_file_location("serving_load", Path(__file__).with_name("load.py"))
load = importlib.util.module_from_spec(specification)
specification.loader.exec_module(load)

PARTIAL = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def hasty():
    """A server that waits a second for what clients send."""
    with load.server("--send_seconds", 1, "--threads", 1) as running:
        yield running


def ask(port, content):
    return asyncio.run(load.ask(port, content))


def read_until_closed(connection):
    start, answer = time.monotonic(), b""
    connection.settimeout(20)
    while piece := connection.recv(4096):
        answer += piece
    return answer, time.monotonic() - start


def stays_open_for(connection, piece, pause):
    """Seconds until a connection, over which pieces are sent all the time, is closed."""
    start = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() - start < 20:
            connection.sendall(piece)
            time.sleep(pause)
    return time.monotonic() - start


def test_64_connections_are_answered():
    buffer = io.BytesIO()
    Image.fromarray(draw_face("happy", seed=1)).save(buffer, "PNG")
    face = buffer.getvalue()
    expected = [row.to_dict() for row in mien.predict(face, faces=True)]

    async def client(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = []
        for _ in range(2):
            writer.write(load.request(face, "image/png", "/predict?faces=true"))
            answers.append(await asyncio.wait_for(load.read_answer(reader), 60))
        writer.close()
        return answers

    async def all_clients(port):
        return await asyncio.gather(*(client(port) for _ in range(64)))

    with load.server() as (_, port):
        answers = [answer for each in asyncio.run(all_clients(port)) for answer in each]
    assert {status for status, _ in answers} <= {200, 503}
    rows = [json.loads(body) for status, body in answers if status == 200]
    assert len(rows) >= 64
    assert all(row == expected for row in rows)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_finishes_what_it_began(crowd, number):
    part = b'--edge\r\nContent-Disposition: form-data; name="f"; filename="secret.png"\r\n\r\n'
    body = b"".join(part + crowd + b"\r\n" for _ in range(12)) + b"--edge--\r\n"

    async def main(process, port):
        answer = asyncio.create_task(load.ask(port, load.request(body, "multipart/form-data; boundary=edge")))
        metrics = load.request(b"", path="/metrics", method="GET")
        while b"mien_pending 1.0" not in (await load.ask(port, metrics))[1]:
            assert not answer.done()
        process.send_signal(number)
        await asyncio.sleep(0.2)
        assert not answer.done(), "too quick for this test"
        with suppress(ConnectionError):  # refused, or reset if it waited while the socket was closed
            assert not await load.ask(port, metrics)
        with pytest.raises(ConnectionRefusedError):
            await load.ask(port, metrics)
        return await answer

    with load.server("--threads", 1) as (process, port):
        status, text = asyncio.run(main(process, port))
        assert process.wait(20) == 0
        said = process.stderr.read()
    assert status == 200
    assert len(json.loads(text)) == 36
    assert said == "mien: stopped\n", "nothing else is logged"


def test_slow_heads_and_idle_connections_are_closed(hasty, photo):
    _, port = hasty
    with socket.create_connection(("127.0.0.1", port)) as idle, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(PARTIAL)
        for connection in (idle, slow):
            answer, seconds = read_until_closed(connection)
            assert (answer, seconds < 10) == (b"", True)


def test_a_head_that_never_ends_is_closed_although_bytes_come(hasty):
    _, port = hasty
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(PARTIAL)
        assert stays_open_for(slow, b"X: y\r\n", 0.2) < 8


def test_a_second_head_on_a_connection_is_timed_too(hasty):
    _, port = hasty
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        slow.sendall(PARTIAL)
        answer, seconds = read_until_closed(slow)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b"HTTP/1.1") == 1
        assert seconds < 10


def test_a_slow_body_gets_408(hasty):
    _, port = hasty
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(PARTIAL + b"Content-Length: 100\r\n\r\nabc")
        answer, _ = read_until_closed(slow)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


def test_a_refused_body_is_taken_for_a_while_so_that_the_client_reads_the_answer(hasty):
    _, port = hasty
    with socket.create_connection(("127.0.0.1", port)) as big:
        big.sendall(PARTIAL + b"Content-Length: 900000000\r\n\r\n")
        assert stays_open_for(big, b"x" * 10_000, 0.02) < 8
    with socket.create_connection(("127.0.0.1", port)) as big:
        big.sendall(PARTIAL + b"Content-Length: 900000000\r\n\r\n" + b"x" * 100_000)
        assert big.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("head", [b"X: " + b"y" * 50_000, b"".join(b"X-%d: y\r\n" % number for number in range(9000))])
def test_a_huge_head_is_refused(hasty, head):
    _, port = hasty
    status, _ = ask(port, PARTIAL + head + b"\r\n\r\n")
    assert status in (400, 431)


def test_connections_are_bounded(hasty, photo):
    _, port = hasty
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(room.MOST_CONNECTIONS + 20)]
    try:
        closed = 0
        for connection in opened[-20:]:
            connection.settimeout(10)
            try:
                closed += connection.recv(1) == b""
            except ConnectionError:
                closed += 1
        assert closed == 20
    finally:
        for connection in opened:
            connection.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            status, _ = ask(port, load.request(photo))
            break
        except (ConnectionError, asyncio.IncompleteReadError):
            time.sleep(0.1)
    assert status == 200


def test_bad_requests_get_no_server_error(photo):
    with load.server("--send_seconds", 2) as (process, port):
        statuses = asyncio.run(load.abuse(port, photo, 300))
        status, text = ask(port, load.request(photo))
        process.terminate()
        said = process.stderr.read()
    assert [each for each in statuses if each >= 500 and each != 503] == []
    assert {200, 400, 422} <= {*statuses}
    assert (status, json.loads(text)[0]["label"]) == (200, "happy")
    assert said == "mien: stopped\n"


def test_workers_share_requests_and_counts_and_a_killed_one_is_replaced(photo):
    def count(text, name):
        return float(re.search(rf"^{name} (.*)$", text.decode(), re.MULTILINE)[1])

    async def photos(port, number):
        return await asyncio.gather(*(load.ask(port, load.request(photo)) for _ in range(number)))

    def workers(pid):
        return [each for each in load.workers_of(pid)[1:] if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]

    with load.server("--workers", 2, "--threads", 1) as (process, port):
        assert {status for status, _ in asyncio.run(photos(port, 24))} == {200}
        first = workers(process.pid)
        busy = sum(load.cpu_seconds(each) > 0.5 for each in first)
        metrics = load.request(b"", path="/metrics", method="GET")
        _, counts = ask(port, metrics)
        os.kill(first[0], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(workers(process.pid)) < 2 or first[0] in workers(process.pid):
            assert time.monotonic() < deadline, "no new worker"
            time.sleep(0.1)
        statuses = {status for status, _ in asyncio.run(photos(port, 8))}
        _, later = ask(port, metrics)
        process.terminate()
        assert process.wait(30) == 0
        said = process.stderr.read()
    assert (len(first), busy, statuses, said) == (2, 2, {200}, "mien: stopped\n")
    assert (count(counts, "mien_images_total"), count(later, "mien_images_total")) == (24, 32)
    assert count(later, "mien_pending") == 0


@pytest.mark.slow
def test_the_service_keeps_its_promises_under_load():
    """Lower bars than the figures in docs/serving.md, which are measured on a machine that does nothing else."""
    bodies = load.photos()
    own, _ = load.in_process(bodies, 5)
    with load.server() as (process, port):
        statuses, throughput, samples = asyncio.run(load.load(port, process.pid, bodies, 20))
        assert {*statuses} <= {200, 503}
        assert throughput > 0.5 * own
        assert load.growth(samples) < 0.1
        assert not [each for each in asyncio.run(load.abuse(port, bodies[0], 2000)) if each >= 500 and each != 503]
        assert ask(port, load.request(bodies[0]))[0] == 200


@pytest.fixture
def never_run(monkeypatch):
    """Fail if the server starts."""
    monkeypatch.delenv("MIEN_TOKEN", raising=False)
    monkeypatch.setattr(room.uvicorn.Server, "run", lambda *_, **__: pytest.fail("it started"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.5.5.5", "::1"])
@pytest.mark.parametrize("token", [None, "short"])
def test_loopback_needs_no_token_or_any(host, token):
    room.check_host(host, 0, token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_addresses_need_a_token_that_is_long(host):
    with pytest.raises(mien.MienError, match="set a token in MIEN_TOKEN, or add --no-auth"):
        room.check_host(host, 0, None)
    with pytest.raises(mien.MienError, match="at least 16 characters, not 15; make one: export MIEN_TOKEN="):
        room.check_host(host, 0, 15 * "x")
    room.check_host(host, 0, 16 * "x")
    room.check_host(host, 0, None, no_auth=True)


@pytest.mark.parametrize(
    ("variable", "flags", "words"),
    [
        ("sesame", ["--no-auth"], "--no-auth lets everyone in, but MIEN_TOKEN is set"),
        (None, ["--token", "a", "--no-auth"], "--no-auth lets everyone in, but --token is given"),
        ("sesame", ["--host", "0.0.0.0"], "Other machines reach 0.0.0.0, so a token needs at least 16 characters, not 6"),
        ("", ["--host", "0.0.0.0"], "set a token in MIEN_TOKEN"),
        ("sesame", ["--token", ""], "The token must"),  # a variable of the shell may be unset
    ],
)
def test_a_token_that_would_protect_nothing_is_refused(never_run, monkeypatch, capsys, variable, flags, words):
    if variable is not None:
        monkeypatch.setenv("MIEN_TOKEN", variable)
    assert main(["serve", "--port", "0", *flags]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_with_a_token_the_server_prints_a_request_without_the_token(photo):
    token = "correct-horse-battery-staple"
    with load.server("--threads", 1, environment={"MIEN_TOKEN": token}) as (process, port):
        hint = process.stderr.readline()
        status, _ = ask(port, load.request(photo, headers=f"Authorization: Bearer {token}\r\n"))
        process.terminate()
        rest = process.stderr.read()
    command = f'curl -H "Authorization: Bearer $MIEN_TOKEN" -F files=@photo.jpg http://127.0.0.1:{port}/predict'
    assert hint == f"mien: ask it: {command}\n"
    assert (status, rest) == (200, "mien: stopped\n")


def test_the_server_says_the_name_of_the_run(run):
    words = [sys.executable, "-m", "mien.cli", "serve", "--port", "0", "--model", str(run)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        process.terminate()
    assert line.startswith(f"mien: {run.name} answers at http://127.0.0.1:")


def test_the_health_check_of_the_container_asks_the_port_of_the_command(tmp_path):
    text = (Path(mien.__file__).parents[2] / "Dockerfile").read_text()
    _, _, code = json.loads(re.search(r"^HEALTHCHECK .*\\\n +CMD (.*)$", text, re.MULTILINE)[1])
    assert code.count("/proc/1/cmdline") == 1

    def check(*words):
        line = tmp_path / "cmdline"
        line.write_text("".join(f"{word}\0" for word in ("python", "mien", "serve", "--host", "0.0.0.0", *words)))
        command = [sys.executable, "-c", code.replace("/proc/1/cmdline", str(line))]
        return subprocess.run(command, capture_output=True, check=False).returncode

    with load.server("--threads", 1) as (_, port):
        assert (check("--port", port), check(f"--port={port}")) == (0, 0)
    assert (check("--port", port), check(f"--port={port}")) == (1, 1)
    assert "or [8000])" in code


def test_a_port_in_use_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["serve", "--port", str(other.getsockname()[1])]) == 2
    assert "Cannot listen on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.slow
def test_the_load_can_be_measured():
    words = [sys.executable, load.__file__, "--seconds", "2", "--bad", "20", "--workers", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    assert "photos/s, in process" in done.stdout
    assert "afterwards a photo gets 200" in done.stdout
