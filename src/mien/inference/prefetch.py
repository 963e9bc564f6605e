"""Process items in several threads at once and in batches, in their order and in bounded memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

LONGEST_WAIT = 1.0  # seconds after which a group is finished although it is not full, so that results keep coming
AHEAD = 256  # most items in progress or waiting for earlier ones, and most items of a group, however small
HELD_BYTES = 256 * 2**20  # memory that items and results may keep alive; no more items are read while it is exceeded

GRACE, POLL = 0.5, 0.5
"""Seconds that closing waits for the reading thread, which may be blocked; and between two looks at the state while waiting,
since no signal interrupts a wait on Windows."""


class Held(Protocol):
    """Anything that knows how many bytes of memory it keeps alive."""

    @property
    def held_bytes(self) -> int: ...  # noqa: D102 - see above


Item = TypeVar("Item", bound=Held)
Result = TypeVar("Result", bound=Held)
Answer = TypeVar("Answer")


def prefetched(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    finish: Callable[[list[Result]], Answer],
    size: Callable[[Result], int],
    full: int,
    threads: int,
) -> Generator[Answer, None, None]:
    """Read `items` ahead, `work` on each, and `finish` the results in groups of the `size` `full`, all at the same time.

    One thread reads the items; a pool of threads works on them and finishes the groups. The answers keep the order of the
    items; errors are raised here, one of `items` after the answers to earlier items. The threads end when the generator is
    closed, fails or is interrupted. If the iterable hangs, its thread does too, but Python exits all the same.
    """
    ahead = _ReadAhead(items, work, threads)
    group: list[Result] = []
    groups: deque[tuple[int, Future[Answer]]] = deque()  # memory and answer of each group in progress
    deadline = 0.0

    def is_full() -> bool:
        return len(group) >= AHEAD or sum(map(size, group)) >= full

    try:
        while True:
            with ahead.changed:
                while len(groups) <= threads and ahead.futures and ahead.futures[0].done() and not is_full():
                    deadline = deadline if group else time.monotonic() + LONGEST_WAIT
                    group.append(ahead.futures.popleft().result())
                    ahead.changed.notify_all()
                remaining = deadline - time.monotonic() if group else POLL
                if group and (is_full() or remaining <= 0 or ahead.exhausted()):
                    future = ahead.pool.submit(finish, group)
                    future.add_done_callback(ahead.wake)
                    groups.append((sum(result.held_bytes for result in group), future))
                    group = []
                    continue
                if not groups and ahead.exhausted():
                    break
                if not groups or not groups[0][1].done():
                    ahead.changed.wait(min(POLL, remaining))
                    continue
            held, answer = groups.popleft()
            yield answer.result()
            ahead.release(held)
        if ahead.failure is not None:
            raise ahead.failure
    finally:
        ahead.stop()


class _ReadAhead(Generic[Item, Result]):
    """The reading thread, the pool, and the results in order; `changed` guards the state."""

    def __init__(self, items: Iterable[Item], work: Callable[[Item], Result], threads: int) -> None:
        self.changed = threading.Condition()
        self.failure: BaseException | None = None
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="mien")
        self._items, self._work, self._most_unfinished = items, work, 2 * threads
        self.futures: deque[Future[Result]] = deque()
        self._unfinished = self._held = 0
        self._ended = self._stopped = False
        self._reader = threading.Thread(target=self._read, name="mien-reader", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """End the threads: work in progress is finished, nothing else is started."""
        self._stopped = True
        self.wake()
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._reader.join(GRACE)

    def exhausted(self) -> bool:
        """Tell whether no more results come: the items have ended, or memory is full until a group is released."""
        return not self.futures and (self._ended or self._held >= HELD_BYTES)

    def release(self, held: int) -> None:
        """Count this much memory as released."""
        with self.changed:
            self._held -= held
        self.wake()

    def wake(self, *_: object) -> None:
        """Wake the threads that wait for a change."""
        with self.changed:
            self.changed.notify_all()

    def _read(self) -> None:
        try:
            for item in self._items:
                with self.changed:
                    self.changed.wait_for(lambda: self._stopped or self._has_room())
                    if self._stopped:
                        break
                    self._held += item.held_bytes
                    self._unfinished += 1
                    future = self.pool.submit(self._process, item)
                    self.futures.append(future)
                    future.add_done_callback(self.wake)
        except BaseException as failure:  # raised again in the consumer's thread
            self.failure = failure
        finally:
            self._ended = True
            self.wake()
            if isinstance(self._items, Generator):
                self._items.close()  # releases files and cameras at once

    def _has_room(self) -> bool:
        return self._unfinished < self._most_unfinished and len(self.futures) < AHEAD and self._held < HELD_BYTES

    def _process(self, item: Item) -> Result:
        """Work on an item, and count the memory of its result in place of the item's."""
        try:
            result = self._work(item)
            with self.changed:
                self._held += result.held_bytes - item.held_bytes
            return result
        finally:
            with self.changed:
                self._unfinished -= 1
