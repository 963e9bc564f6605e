"""Process items in several threads at once and in batches, in their order and in bounded memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

LONGEST_WAIT = 1.0
"""Seconds after which a group is finished although it is not full, so that results keep coming."""

AHEAD = 256
"""Most items in progress or waiting for earlier ones, and most items of a group, however small."""

HELD_BYTES = 256 * 2**20
"""Memory that items and results may keep alive; no more items are read while it is exceeded."""

GRACE, POLL = 0.5, 0.5
"""Seconds that closing waits for the reading thread, which may be blocked; and between two looks at the state while waiting,
since no signal interrupts a wait on Windows."""


class Held(Protocol):
    """Anything that knows its own size."""

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that it keeps alive."""
        ...


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
    groups: deque[tuple[int, Future[Answer]]] = deque()
    group_size, deadline = 0, 0.0

    def something_to_do() -> bool:
        if groups and groups[0][1].done():
            return True
        if len(groups) <= threads and ahead.next_is_done():
            return True
        return ahead.exhausted() and (bool(group) or not groups)

    try:
        ahead.reader.start()
        while True:
            with ahead.changed:
                remaining = deadline - time.monotonic() if group else POLL
                ahead.changed.wait_for(something_to_do, max(0.0, min(POLL, remaining)))
                while len(groups) <= threads and ahead.next_is_done() and group_size < full and len(group) < AHEAD:
                    deadline = deadline if group else time.monotonic() + LONGEST_WAIT
                    group.append(ahead.take())
                    group_size += size(group[-1])
                last = ahead.exhausted()
            if group and (last or group_size >= full or len(group) >= AHEAD or time.monotonic() >= deadline):
                future = ahead.pool.submit(finish, group)
                future.add_done_callback(ahead.wake)
                groups.append((sum(result.held_bytes for result in group), future))
                group, group_size = [], 0
            if groups and groups[0][1].done():
                held, answer = groups.popleft()
                yield answer.result()
                ahead.release(held)
            elif last and not groups and not group:
                if ahead.failure is not None:
                    raise ahead.failure
                if ahead.ended:
                    return
    finally:
        ahead.stop()


class _ReadAhead(Generic[Item, Result]):
    """The reading thread, the pool, and the results in order; `changed` guards the state."""

    def __init__(self, items: Iterable[Item], work: Callable[[Item], Result], threads: int) -> None:
        self.changed = threading.Condition()
        self.ended = False
        self.failure: BaseException | None = None
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="mien")
        self.reader = threading.Thread(target=self._read, name="mien-reader", daemon=True)
        self._items, self._work, self._most_unfinished = items, work, 2 * threads
        self._futures: deque[Future[Result]] = deque()
        self._unfinished = self._held = 0
        self._memory_full = self._stopped = False

    def stop(self) -> None:
        """End the threads: work in progress is finished, nothing else is started."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        self.pool.shutdown(wait=True, cancel_futures=True)
        if self.reader.is_alive():
            self.reader.join(GRACE)

    def next_is_done(self) -> bool:
        """Tell whether the next result is ready."""
        return bool(self._futures) and self._futures[0].done()

    def exhausted(self) -> bool:
        """Tell whether no more results come: the items have ended, or memory is full until a group is released."""
        return not self._futures and (self.ended or self._memory_full)

    def take(self) -> Result:
        """Take the next result, which must be ready."""
        future = self._futures.popleft()
        self.changed.notify_all()
        return future.result()

    def release(self, held: int) -> None:
        """Count this much memory as released."""
        with self.changed:
            self._held -= held
            self._memory_full = False
            self.changed.notify_all()

    def wake(self, _: object) -> None:
        """Wake up whoever waits for a change."""
        with self.changed:
            self.changed.notify_all()

    def _read(self) -> None:
        try:
            for item in self._items:
                with self.changed:
                    while not (self._stopped or self._has_room()):
                        self._memory_full = self._held >= HELD_BYTES
                        self.changed.notify_all()
                        self.changed.wait()
                    self._memory_full = False
                    if self._stopped:
                        break
                    self._submit(item)
        except BaseException as failure:  # raised again in the consumer's thread
            self.failure = failure
        finally:
            with self.changed:
                self.ended = True
                self.changed.notify_all()
            if isinstance(self._items, Generator):
                self._items.close()  # releases files and cameras at once

    def _has_room(self) -> bool:
        few = self._unfinished < self._most_unfinished and len(self._futures) < AHEAD
        return few and (self._held < HELD_BYTES or not self._held)

    def _submit(self, item: Item) -> None:
        held = item.held_bytes
        self._held += held
        self._unfinished += 1
        future = self.pool.submit(self._work, item)
        self._futures.append(future)

        def done(future: "Future[Result]") -> None:
            with self.changed:
                self._unfinished -= 1
                failed = future.cancelled() or future.exception() is not None
                self._held += (0 if failed else future.result().held_bytes) - held
                self.changed.notify_all()

        future.add_done_callback(done)
