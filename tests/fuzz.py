"""Fuzz harness: seeded mutants of files in eight formats, each read in a child process with limits of time and memory.

    python tests/fuzz.py --mutants 5000                  # of all formats together
    python tests/fuzz.py --formats onnx yaml --seconds 600 --seed 7

A mutant passes if it is answered, or refused in one sentence, within 10 s of CPU time and 2 GB, with nothing on stdout. Others
are kept in --keep, and the exit status is 1. One that takes a minute without computing hangs.
"""

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuzz_files import SOURCES, helpers

MOST_SECONDS, MOST_MEGABYTES = 10, 2048  # of CPU time, of a process
HANGS = 60  # seconds without an answer, for other programs may have the cores
NUMBERS = [b"nan", b"-inf", b"1e999", b"-1", b"0", b"9" * 400, b"0x7f", b"1.5", b"true", b"null", b"''", b"[]", b"{}", b"1_0"]
TEXTS = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"'",
    b"\r",
    b"\n\n",
    b"\t",
    b"\x1b[31m",
    b"=cmd()",
    b"../../etc/passwd",
    b"&a [*a]",
]
TEXTS += [
    b"/dev/zero",
    b"http://127.0.0.1:9/x.jpg",
    b"," * 3000,
    b"[" * 3000,
    b"{a: " * 500,
    b"- " * 500,
    b"!!python/object:os.x {}",
    b"x" * 200_000,
]
WORDS = {"csv", "yaml", "json"}


# ---- mutation


def mutate(content, others, random, words):
    """Change a file in one of the ways in which files break, or in which somebody breaks them."""
    data = bytearray(content)
    size = len(data)
    start = int(random.integers(size))
    way = int(random.integers(12 if words else 9))
    if way == 0:  # bits flip
        for place in random.integers(size, size=random.integers(1, 12)):
            data[place] ^= 1 << int(random.integers(8))
    elif way == 1:  # bits flip in the header
        for place in random.integers(min(size, 128), size=random.integers(1, 6)):
            data[place] ^= 1 << int(random.integers(8))
    elif way == 2:  # truncated
        del data[start:]
    elif way == 3:  # a block is missing
        del data[start : start + int(random.integers(1, 64))]
    elif way == 4:  # a block of zeros
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    elif way == 5:  # a block of something else
        data[start : start + 64] = random.bytes(64)
    elif way == 6:  # continued by another file
        other = others[int(random.integers(len(others)))]
        data[start:] = other[int(random.integers(len(other))) :]
    elif way == 7:  # largest or odd numbers in the header, or in the directory at the end
        place = int(random.integers(min(size, 64))) if random.integers(2) else size - 1 - int(random.integers(min(size, 128)))
        data[place : place + 4] = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f")[
            random.integers(4)
        ]
    elif way == 8:  # a part twice
        data[start:start] = data[: int(random.integers(1, 512))]
    elif way == 9:  # a line twice, moved, or missing
        lines = bytes(data).split(b"\n")
        line = int(random.integers(len(lines)))
        lines[line : line + int(random.integers(2))] = [lines[int(random.integers(len(lines)))]] * int(random.integers(3))
        return b"\n".join(lines)
    else:  # a value or a piece of text is replaced
        values = NUMBERS if way == 10 else TEXTS
        ends = [place for place in range(size) if data[place] in b' ,:\n"[]'] or [0, size]
        first = int(random.integers(len(ends)))
        last = ends[min(len(ends) - 1, first + 1)]
        data[ends[first] + 1 : last] = values[int(random.integers(len(values)))]
    return bytes(data) or b"\0"


# ---- reading a mutant, in the child


def read_mutant(kind, path, model):
    """Read a mutant as a user would: True if it was answered, False if refused in a row or by MienError."""
    import mien
    from mien.errors import MienError

    try:
        if kind in ("pictures", "videos", "archives"):
            rows = list(mien.predict([path] if kind == "videos" else [path, path.read_bytes()], model, faces=True))
            if not rows or not all(row.error or row.label for row in rows):
                raise AssertionError(f"rows without an answer: {rows}")
            for row in rows:
                check_sentence(row.error or None)
                json.loads(json.dumps(row.to_dict(), allow_nan=False))
            if kind == "archives":
                mien.read_faces(path, size=48)
                return True
            return any(row.label for row in rows)
        if kind in ("csv", "parquet"):
            faces = mien.read_faces(path, size=48)
            if not np.isfinite(faces.targets).all() or not np.allclose(faces.targets.sum(1), 1, atol=1e-3):
                raise AssertionError("targets are no distributions")
        elif kind == "onnx":
            classifier = mien.Classifier(path, threads=1)
            side = (classifier.size, classifier.size)
            faces = np.random.default_rng(0).integers(0, 256, (3, *side, *[3] * (classifier.channels == 3)), np.uint8)
            answer = classifier.predict_proba(faces)
            if not np.isfinite(answer).all() or (answer < 0).any() or not np.allclose(answer.sum(1), 1, atol=1e-3):
                raise AssertionError(f"no probabilities: {answer}")
        elif kind == "yaml":
            mien.load_recipe(path).to_yaml()
        elif kind == "json":
            mien.compare([path if path.name != "metrics.json" else path.parent])
    except MienError as error:
        check_sentence(str(error))
        return False
    return True


def check_sentence(text):
    """Check that an error is one line, and of a length that people read."""
    if text is not None and (not text.strip() or "Traceback" in text or "\n" in text or len(text) > 1_000):
        raise AssertionError(f"not a sentence: {text[:300]!r}")


def peak_megabytes():
    """Return the peak memory since the last call, where Linux tells it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def work(model):
    """Read mutants that are named on stdin, and answer on what was stdout; what else is written there is a fault."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    stray = tempfile.TemporaryFile()  # noqa: SIM115
    os.dup2(stray.fileno(), 1)
    import mien

    mien.Classifier(model, threads=1)
    peak_megabytes()
    print("ready", file=answers)
    for line in sys.stdin:
        kind, path = json.loads(line)
        started, fault, answered = time.process_time(), None, False
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)  # ends the process
        try:
            answered = read_mutant(kind, Path(path), model)
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.flush()
        if stray.seek(0, 2):
            fault = fault or "something was written to stdout"
            stray.truncate(0)
        print(json.dumps([answered, fault, time.process_time() - started, peak_megabytes()]), file=answers)


# ---- the parent


@dataclass
class Child:
    """The process that reads mutants; it is replaced when it dies or hangs."""

    model: Path
    process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        command = [sys.executable, str(Path(__file__).resolve()), "--work", str(self.model)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.answers = queue.SimpleQueue()
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        self.is_new = True
        if self.answers.get(timeout=300) != "ready\n":
            raise RuntimeError("The child did not start.")

    def listen(self):
        """Pass on the child's answers, and an empty line at its end."""
        answers = self.answers
        for line in self.process.stdout:
            answers.put(line)
        answers.put("")

    def read(self, kind, path, seconds):
        """Return whether it was answered, the fault or None, the seconds and the peak of memory."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([kind, str(path)]), file=self.process.stdin, flush=True)
        try:
            answer = self.answers.get(timeout=300 if self.is_new else seconds)  # the first time takes imports
        except queue.Empty:
            answer = "hang"
        self.is_new = False
        if answer in ("", "hang"):
            self.stop()
            status = self.process.returncode
            slow = f"more than {MOST_SECONDS} s of CPU time" if status == -signal.SIGPROF else f"the process died with {status}"
            self.__post_init__()
            return False, f"no answer within {seconds} s" if answer else slow, float(MOST_SECONDS), 0.0
        return json.loads(answer)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.listener.join()
        self.process.stdin.close()
        self.process.stdout.close()


def place(folder, name):
    """Return where a file lies: metrics.json in the folder of its report, the others in the folder itself."""
    return folder / ("report" if name == "metrics.json" else "") / name


def fuzz(kind, folder, count, seconds, seed, keep):
    """Read mutants of one format until `count` are read or the time is over: how many, a row of the table, the faults."""
    files = list(SOURCES[kind](folder))
    others = [content for _, content in files]
    child = Child(helpers().build_model(folder / "judge.onnx"))
    number, answered, slowest, peak, faults = 0, 0, 0.0, 0.0, []
    for name, content in files:
        path = place(folder, name)
        path.write_bytes(content)
        is_answered, fault, _, _ = child.read(kind, path, HANGS)
        if not is_answered:
            faults.append(f"unchanged {name}: {fault or 'refused'}")
    started = time.monotonic()
    while number < count and time.monotonic() - started < seconds:
        random = np.random.default_rng((seed, list(SOURCES).index(kind), number))
        name, content = files[number % len(files)]
        path = place(folder, name)
        path.write_bytes(mutate(content, others, random, kind in WORDS))
        is_answered, fault, taken, megabytes = child.read(kind, path, HANGS)
        if fault is None and megabytes > MOST_MEGABYTES:
            fault = f"{megabytes:,.0f} MB of memory"
        if fault is not None:
            kept = keep / f"{kind}-{seed}-{number}{path.suffix}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(path.read_bytes())
            faults.append(f"{kept}: {fault}")
        number, answered, slowest, peak = number + 1, answered + is_answered, max(slowest, taken), max(peak, megabytes)
    child.stop()
    row = f"{kind:9} {number:7,} {answered:9,} {number - answered - len(faults):8,} {len(faults):6} {slowest:9.1f} {peak:8,.0f}"
    return number, row, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--mutants", type=int, default=10**9, help="of all formats together")
    parser.add_argument("--seconds", type=float, default=60, help="for all formats together (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for mutants that fail")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(given.work)
    print(f"{'format':9} {'mutants':>7} {'answered':>9} {'refused':>8} {'faults':>6} {'slowest s':>9} {'peak MB':>8}")
    count, seconds, failed = -(-given.mutants // len(given.formats)), given.seconds / len(given.formats), 0
    for kind in given.formats:
        with tempfile.TemporaryDirectory() as folder:
            _, row, faults = fuzz(kind, Path(folder), count, seconds, given.seed, given.keep.resolve())
        print(row, *faults, sep="\n  ", flush=True)
        failed += len(faults)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
