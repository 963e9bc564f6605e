"""Load `mien serve` on this machine, and send it bad requests: python tests/serving/load.py [--seconds 60] [--workers 2]

Prints the answers by status, the throughput beside that of prediction in one process, the growth of memory over the second
half, and the answers to bad requests. Sends to 127.0.0.1 only, and stops by itself.
"""

import argparse
import asyncio
import io
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

import mien
from mien.drawn import draw_photo
from mien.inference.classifier import usable_cores

HOST = "127.0.0.1"
WAIT = 120.0  # seconds for an answer


def photos(count=16):
    """Drawn photos with one to three faces, as JPEG of 640 x 480 pixels."""
    found = []
    for number in range(count):
        labels = [mien.FER2013[(number + face) % 7] for face in range(1 + number % 3)]
        file = io.BytesIO()
        Image.fromarray(draw_photo(labels, seed=number)[0]).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


@contextmanager
def server(*flags, environment=()):
    """Run `mien serve` on a free port; yields the process and its port."""
    words = [sys.executable, "-m", "mien.cli", "serve", "--port", "0", *map(str, flags)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | dict(environment))
    try:
        line = process.stderr.readline()
        if not (found := re.search(r"http://[^/]*:(\d+);", line)):
            raise RuntimeError(line + process.stderr.read())
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.stderr.close()


def request(body, kind="image/jpeg", path="/predict", method="POST", headers=""):
    """The bytes of a request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


async def read_answer(reader):
    """Read an answer: its status and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    body = await (reader.readexactly(int(size[1])) if size else reader.read())
    return int(head.split()[1]), body


async def ask(port, content):
    """Send the bytes of a request on a connection of its own, and read the answer: its status and its body."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(content)
        return await asyncio.wait_for(read_answer(reader), WAIT)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def workers_of(pid):
    """A server's process and those that it started."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def cpu_seconds(pid):
    """CPU time of a server, which depends little on what else runs on the machine."""
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in workers_of(pid)]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    """Resident memory of a server in MB."""
    texts = [Path(f"/proc/{each}/status").read_text() for each in workers_of(pid)]
    return sum(int(re.search(r"VmRSS:\s+(\d+)", each)[1]) for each in texts) / 1024


async def load(port, pid, bodies, seconds, connections=64):
    """Send photos over so many connections at the same time, and return statuses, answers a second and memory each second."""
    statuses, samples, start = Counter(), [], time.perf_counter()
    contents, turn = [request(body) for body in bodies], itertools.count()

    async def client():
        reader, writer = await asyncio.open_connection(HOST, port)
        while time.perf_counter() - start < seconds:
            writer.write(contents[next(turn) % len(contents)])
            status, body = await asyncio.wait_for(read_answer(reader), WAIT)
            assert status != 200 or json.loads(body)[0]["face"] == 0
            statuses[status] += 1
        writer.close()

    async def sample():
        while time.perf_counter() - start < seconds:
            samples.append(memory(pid))
            await asyncio.sleep(seconds / 60)

    await asyncio.gather(sample(), *(client() for _ in range(connections)))
    return statuses, statuses[200] / (time.perf_counter() - start), samples


def in_process(bodies, seconds):
    """Photos a second, and CPU seconds a photo, of `mien.predict` in this process with the threads that the service uses."""
    classifier, done = mien.Classifier(threads=1), 0
    list(mien.predict(bodies, model=classifier))
    start, cpu = time.perf_counter(), cpu_seconds(os.getpid())

    def endless():
        while time.perf_counter() - start < seconds:
            yield from bodies

    for row in mien.predict(endless(), model=classifier):
        done += not row.face
    return done / (time.perf_counter() - start), (cpu_seconds(os.getpid()) - cpu) / max(1, done)


def growth(samples):
    """Growth of memory over the second half: its last tenth compared with its first tenth."""
    half = samples[len(samples) // 2 :]
    tenth = max(1, len(half) // 10)
    return float(np.mean(half[-tenth:]) / np.mean(half[:tenth]) - 1)


def bad_requests(photo, seed=0):
    """Endless bad requests: pieces of bytes, with seconds to wait between them."""
    rng = random.Random(seed)
    form = "multipart/form-data; boundary=edge"
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'

    def mutant():
        changed = bytearray(photo)
        for _ in range(rng.randint(1, 40)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.5 else changed)

    def noise(most):
        return rng.randbytes(rng.randrange(most))

    def head(*words):
        return b"POST /predict HTTP/1.1\r\nHost: a\r\n" + rng.choice(words)

    json_bodies = [b"{", b"[" * 5000, b'{"images": [1]}', b'{"images": ["data:;base64,x"]}']
    odd_types = ["text/html", "", "/", "image", "application/xml; charset=\xff"]
    odd_forms = [form, "multipart/form-data", form + "x" * 300]
    odd_paths = ["/../../etc/passwd", "/%2e%2e/a", "/predict/", "/%00", "/" + "a" * 5000]
    odd_options = ["prior=x", "labels={", "every=-1", "margin=nan", "x=%ff", "threshold=" + "9" * 400]
    no_http = [b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    sizes = [b"Content-Length: %s\r\n\r\nx" % size for size in (b"-1", b"9" * 30, b"1e3", b"10, 20", b"40000000")]
    chunks = [b"Transfer-Encoding: chunked\r\n\r\n" + chunk for chunk in (b"zz\r\n", b"ffffffffff\r\nx", b"5\r\nab")]
    kinds = [
        lambda: [request(mutant())],
        lambda: [request(noise(5000), "application/octet-stream")],
        lambda: [request(part + mutant() + b"\r\n--edge--\r\n", form)],
        lambda: [request(part + noise(3000), form)],  # without an end
        lambda: [request(noise(3000), form)],
        lambda: [request(part[: rng.randrange(len(part))], rng.choice(odd_forms))],
        lambda: [request(rng.choice([*json_bodies, noise(900)]), "application/json")],
        lambda: [request(b"x", rng.choice(odd_types))],
        lambda: [request(photo)[: rng.randrange(len(photo))]],  # cut off
        lambda: [request(b"", headers=f"X-Odd: {'x' * rng.randrange(8000, 200_000)}\r\n")],
        lambda: [request(b"", headers="".join(f"X-{n}: y\r\n" for n in range(rng.randrange(100, 5000))))],
        lambda: [noise(2000) + b"\r\n\r\n"],
        lambda: [rng.choice(no_http)],
        lambda: [head(*sizes)],
        lambda: [head(*chunks)],
        lambda: [request(photo, path=f"/predict?{rng.choice(odd_options)}")],
        lambda: [request(b"", path=rng.choice(odd_paths), method=rng.choice(["GET", "PUT", "X"]))],
        lambda: [request(photo)[:60], 0.2, request(photo)[60:300], 0.2],  # slow, and then nothing
    ]
    while True:
        yield rng.choice(kinds)()


async def abuse(port, photo, count, at_once=64):
    """Send so many bad requests, and count the statuses of the answers, 0 where the connection was closed without one."""
    statuses, requests = Counter(), itertools.islice(bad_requests(photo), count)

    async def client():
        for pieces in requests:
            status = 0
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    for piece in pieces:
                        if isinstance(piece, float):
                            await asyncio.sleep(piece)
                        else:
                            writer.write(piece)
                    status, _ = await asyncio.wait_for(read_answer(reader), WAIT)
                finally:
                    writer.close()
            statuses[status] += 1

    await asyncio.gather(*(client() for _ in range(at_once)))
    return statuses


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bad", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    given, bodies = parser.parse_args(), photos()
    before, own_cpu = in_process(bodies, given.seconds / 6)
    with server("--workers", given.workers) as (process, port):
        asyncio.run(ask(port, request(bodies[0])))
        cpu = cpu_seconds(process.pid)
        statuses, throughput, samples = asyncio.run(load(port, process.pid, bodies, given.seconds))
        cpu = (cpu_seconds(process.pid) - cpu) / max(1, statuses[200])
    after, _ = in_process(bodies, given.seconds / 6)
    own = (before + after) / 2
    print(f"CPU time of a photo {1000 * cpu:.1f} ms, in process {1000 * own_cpu:.1f} ms: {own_cpu / cpu:.0%}")
    print(f"{usable_cores()} cores, {given.workers} workers; 64 connections for {given.seconds:g} s: {dict(statuses)}")
    print(f"{throughput:.1f} photos/s, in process {before:.1f} before and {after:.1f} after: {throughput / own:.0%}")
    print(
        f"memory {samples[0]:.0f} MB at first, {samples[-1]:.0f} MB at last, growth over the second half {growth(samples):.1%}"
    )
    with server("--send_seconds", 2, "--workers", given.workers) as (process, port):
        start = time.perf_counter()
        statuses = asyncio.run(abuse(port, bodies[0], given.bad))
        seconds = time.perf_counter() - start
        status, _ = asyncio.run(ask(port, request(bodies[0])))
        print(
            f"{given.bad:,} bad requests in {seconds:.0f} s: {dict(sorted(statuses.items()))}; afterwards a photo gets {status}"
        )


if __name__ == "__main__":
    main()
