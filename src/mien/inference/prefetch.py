"""Process items in several threads at once and in batches, in their order and in bounded memory."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Generic, TypeVar

LONGEST_WAIT = 1.0  # seconds after which a group is finished although it is not full, so that results keep coming
AHEAD = 256  # most items in progress or waiting for earlier ones, and most items of a group, however small
HELD_BYTES = 256 * 2**20  # memory that items and results may keep alive; no more items are read while it is exceeded
POLL = 0.1  # seconds between two looks at the state while waiting, since no signal interrupts a wait on Windows
_INTERRUPTS: list[int] = []  # signals noted by `deferred_interrupts`
Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")


def prefetched(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    finish: Callable[[list[Result]], Answer],
    size: Callable[[Result], int],
    full: int,
    threads: int,
) -> Generator[Answer, None, None]:
    """Read `items` ahead, `work` on each, and `finish` them in groups of the `size` `full`, in order; errors rise here."""
    run = _Run[Result, Answer](threads, finish, lambda group: len(group) >= AHEAD or sum(map(size, group)) >= full)
    reader = threading.Thread(target=copy_context().run, args=(run.read, items, work), name="mien-reader", daemon=True)
    try:
        with deferred_interrupts():
            reader.start()
        while answer := run.next_answer():
            yield answer.result()
        if run.failure is not None:
            raise run.failure
    finally:
        with deferred_interrupts():
            run.stop()
            if reader.ident:
                reader.join(0.5)  # seconds, for it may be blocked


def held_bytes(item: object) -> int:
    """Count the bytes that an item keeps alive: those of its arrays and bytes, also in lists; a path has none."""
    held = [each for value in vars(item).values() for each in (value if isinstance(value, list) else [value])]
    return sum(len(each) if isinstance(each, bytes) else getattr(each, "nbytes", 0) for each in held)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt where `prefetched` waits, or else at the end; pressed again it raises at once."""
    # elsewhere it could leave a lock that other threads need, or a row half written
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _INTERRUPTS.clear()
    signal.signal(signal.SIGINT, _note_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _raise_interrupt()


def _note_interrupt(number: int, _: object) -> None:
    _raise_interrupt()
    _INTERRUPTS.append(number)


def _raise_interrupt() -> None:
    if _INTERRUPTS:
        _INTERRUPTS.clear()
        raise KeyboardInterrupt


class _Run(Generic[Result, Answer]):
    def __init__(self, threads: int, finish: Callable[[list[Result]], Answer], is_full: Callable[[list[Result]], bool]) -> None:
        self.failure: BaseException | None = None
        self._threads, self._finish, self._is_full = threads, finish, is_full
        self._changed = threading.Condition()
        self._results: deque[Future[Result]] = deque()
        self._group: list[Result] = []
        self._deadline = 0.0  # of the group
        self._groups: deque[tuple[int, Future[Answer]]] = deque()  # memory and answer of each group in progress
        self._held = self._given = 0  # memory in all, and of the last answer
        self._ended = self._stopped = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mien")

    @deferred_interrupts()
    def next_answer(self) -> Future[Answer] | None:
        """Wait for the answer to the next group, while others are made; None after the last one."""
        with self._changed:
            self._held -= self._given
            self._given = 0
            self._changed.notify_all()
            while True:
                _raise_interrupt()
                while len(self._groups) <= self._threads and self._results and self._results[0].done():
                    if self._is_full(self._group):
                        break
                    self._deadline = self._deadline if self._group else time.monotonic() + LONGEST_WAIT
                    self._group.append(self._results.popleft().result())
                    self._changed.notify_all()
                # no more results come: the items have ended, or memory is full until an answer is given
                is_last = not self._results and (self._ended or self._held >= HELD_BYTES)
                remaining = self._deadline - time.monotonic() if self._group else POLL
                if self._group and (is_last or remaining <= 0 or self._is_full(self._group)):
                    future = self._submit(self._finish, self._group)
                    self._groups.append((sum(map(held_bytes, self._group)), future))
                    self._group = []
                elif self._groups and self._groups[0][1].done():
                    self._given, future = self._groups.popleft()
                    return future
                elif is_last and not self._groups:
                    return None
                else:
                    self._changed.wait(min(POLL, remaining))

    def stop(self) -> None:
        self._stopped = True
        self._wake()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, items: Iterable[Item], work: Callable[[Item], Result]) -> None:
        """Read the items in a thread of their own, and have the others work on them."""

        def process(item: Item) -> Result:
            result = work(item)
            with self._changed:  # the memory of the result in place of the item's
                self._held += held_bytes(result) - held_bytes(item)
            return result

        def may_go_on() -> bool:
            in_progress = sum(not future.done() for future in self._results)
            has_room = in_progress < 2 * self._threads and len(self._results) < AHEAD and self._held < HELD_BYTES
            return has_room or self._stopped

        try:
            for item in items:
                with self._changed:
                    self._changed.wait_for(may_go_on)
                    if self._stopped:
                        break
                    self._held += held_bytes(item)
                    self._results.append(self._submit(process, item))
        except BaseException as failure:  # raised again in the consumer's thread
            self.failure = failure
        finally:
            self._ended = True
            self._wake()
            if isinstance(items, Generator):
                items.close()  # releases files and cameras at once

    def _submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        future = self._pool.submit(copy_context().run, function, argument)  # with the limits of the caller
        future.add_done_callback(self._wake)
        return future

    def _wake(self, *_: object) -> None:
        with self._changed:
            self._changed.notify_all()
