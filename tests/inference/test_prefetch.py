import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from mien.inference import prefetch
from mien.inference.prefetch import prefetched


@dataclass(frozen=True)
class Number:
    value: int
    content: object = None


def numbers(count):
    return (Number(value) for value in range(count))


def same(number):
    return number


def values(group):
    return [number.value for number in group]


def run(items, work=same, finish=values, full=4, threads=3):
    return prefetched(items, work, finish, lambda _: 1, full, threads)


def threads_of_mien():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mien")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads_of_mien() == []


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_answers_come_in_order_whatever_finishes_first(threads):
    def work(number):
        time.sleep(0.004 * (number.value % 3 == 0))
        return number

    groups = list(run(numbers(50), work, threads=threads))
    assert [value for group in groups for value in group] == list(range(50))
    assert all(len(group) <= 4 for group in groups)


def test_nothing_gives_nothing():
    assert list(run([])) == []


def test_work_runs_in_as_many_threads_as_there_are_and_no_more():
    together, most, lock = [0], [0], threading.Lock()

    def work(number):
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.01)
        with lock:
            together[0] -= 1
        return number

    list(run(numbers(30), work, threads=3))
    assert most == [3]


def test_items_are_read_only_a_little_ahead():
    read = []
    with closing(run((read.append(1) or Number(0) for _ in range(10**9)), full=2, threads=2)) as answers:
        next(answers)
        time.sleep(0.2)
        assert len(read) <= prefetch.AHEAD + 20


def test_an_error_of_the_items_comes_after_the_answers_before_it():
    def broken():
        yield from numbers(6)
        raise ValueError("the disk is gone")

    answers = run(broken())
    seen = []
    with pytest.raises(ValueError, match="the disk is gone"):
        seen.extend(value for group in answers for value in group)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("where", ["work", "finish"])
def test_an_error_of_the_work_is_raised_where_answers_are_asked_for(where):
    def broken(_):
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(run(numbers(100), **{where: broken}))


def test_closing_early_ends_the_threads_and_closes_the_items():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield Number(1)
        finally:
            closed.set()

    answers = run(items())
    next(answers)
    assert threads_of_mien()
    answers.close()
    assert closed.wait(5)


def test_an_item_that_does_not_come_holds_up_neither_its_answers_nor_the_end(monkeypatch):
    monkeypatch.setattr(prefetch, "LONGEST_WAIT", 0.05)
    release = threading.Event()

    def items():
        yield from numbers(3)
        release.wait(30)

    answers = run(items(), full=100)
    assert next(answers) == [0, 1, 2]
    start = time.monotonic()
    answers.close()
    assert time.monotonic() - start < 5
    release.set()
    while threads_of_mien():
        time.sleep(0.01)


def test_memory_bounds_what_is_read_and_a_group_need_not_be_full(monkeypatch):
    monkeypatch.setattr(prefetch, "HELD_BYTES", 100)
    monkeypatch.setattr(prefetch, "LONGEST_WAIT", 1000)
    read = []

    def items():
        for value in range(40):
            read.append(value)
            yield Number(value, SimpleNamespace(nbytes=45))

    answers = run(items(), full=1000, threads=4)
    first = next(answers)
    assert len(first) <= 3
    assert len(read) <= 8
    assert first + [value for group in answers for value in group] == list(range(40))


def test_a_single_item_over_the_bound_goes_through(monkeypatch):
    monkeypatch.setattr(prefetch, "HELD_BYTES", 10)
    items = (Number(value, SimpleNamespace(nbytes=500)) for value in range(5))
    assert [value for group in run(items) for value in group] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("items", ["endless()", "hanging()"])
def test_python_exits_although_the_answers_were_not_closed(items):
    code = f"""
import itertools, threading, time
from mien.inference import prefetch
from mien.inference.prediction import Frame
def endless():
    return (Frame(str(n)) for n in itertools.count())
def hanging():
    yield Frame("0")
    threading.Event().wait()
prefetch.LONGEST_WAIT = 0.05
answers = prefetch.prefetched({items}, lambda f: (time.sleep(0.01), f)[1], len, lambda _: 1, 1, 2)
print(next(answers), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "Fatal" not in done.stderr


STOPPED_OFTEN = """
import random, signal
from mien.inference.prediction import Frame
from mien.inference.prefetch import prefetched
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
random.seed(0)
def endless():
    while True:
        yield Frame("")
stopped = 0
for _ in range(200):
    answers = prefetched(endless(), lambda frame: frame, len, lambda _: 1, 4, 3)
    # again after half a second: Python ignores an interrupt that comes while it calls a weak reference's callback
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.002, 0.008), 0.5)
    try:
        for _ in answers: pass
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        stopped += 1
    answers.close()
print(stopped)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_an_interrupt_at_any_moment_is_raised_and_leaves_no_lock():
    done = subprocess.run([sys.executable, "-c", STOPPED_OFTEN], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr


def test_a_deferred_interrupt_comes_at_the_end_and_a_second_one_at_once():
    steps = []

    def press(times):
        with prefetch.deferred_interrupts(), prefetch.deferred_interrupts():
            for number in range(times):
                signal.raise_signal(signal.SIGINT)
                steps.append(number)

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            press(times)
    assert steps == [0, 0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
