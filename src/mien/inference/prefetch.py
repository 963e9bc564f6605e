"""Work on items in several threads at once, in groups, with the order kept and memory bounded."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

LONGEST_WAIT = 1.0
"""Seconds after which a group is finished although it is not full, so that answers come as the work goes on."""

AHEAD = 256
"""Items that may be worked on, or be done and wait for those before them; and the most of a group, however little they hold."""

HELD_BYTES = 256 * 2**20
"""Memory that items and results may hold on to; no more items are read until there is less."""

GRACE, LOOK = 0.5, 0.5
"""Seconds that closing waits for the reading thread, which may wait for input itself; and after which a wait looks up, for
on Windows no signal ends it."""


class Held(Protocol):
    """What knows its own size."""

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that it holds on to."""
        ...


Item = TypeVar("Item", bound=Held)
Result = TypeVar("Result", bound=Held)
Answer = TypeVar("Answer")


def overlapped(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    finish: Callable[[list[Result]], Answer],
    size: Callable[[Result], int],
    full: int,
    threads: int,
) -> Generator[Answer, None, None]:
    """Read items ahead, work on each, and finish the results in groups, all at the same time.

    One thread reads the items; a pool of threads works on them and finishes groups. Answers come in the order of the items.
    When the generator is closed, fails or is interrupted, its threads end. Only an iterable that hangs can hold up the thread
    that reads it, and then Python exits all the same.

    Args:
        items: is read in a thread of its own.
        work: what is done with each item.
        finish: what is done with each group of results, at least one.
        size: what a result counts for in its group.
        full: the size from which on a group is finished.
        threads: threads of the pool.

    Raises:
        BaseException: what `items`, `work` or `finish` raise; where it is `items`, the answers to those before come first.
    """
    ahead = _Ahead(items, work, threads)
    group: list[Result] = []
    groups: deque[tuple[int, Future[Answer]]] = deque()
    group_size, closes = 0, 0.0

    def something_to_do() -> bool:
        if groups and groups[0][1].done():
            return True
        if len(groups) <= threads and ahead.next_is_done():
            return True
        return ahead.gives_no_more() and (bool(group) or not groups)

    try:
        ahead.start()
        while True:
            with ahead.changed:
                until_close = closes - time.monotonic() if group else LOOK
                ahead.changed.wait_for(something_to_do, max(0.0, min(LOOK, until_close)))
                while len(groups) <= threads and ahead.next_is_done() and group_size < full and len(group) < AHEAD:
                    closes = closes if group else time.monotonic() + LONGEST_WAIT
                    group.append(ahead.take())
                    group_size += size(group[-1])
                last = ahead.gives_no_more()
            if group and (last or group_size >= full or len(group) >= AHEAD or time.monotonic() >= closes):
                groups.append((sum(result.held_bytes for result in group), ahead.submit(finish, group)))
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


class _Ahead(Generic[Item, Result]):
    """The reading thread, the pool, and the results that wait, in order. All of it is looked at under `changed`."""

    def __init__(self, items: Iterable[Item], work: Callable[[Item], Result], threads: int) -> None:
        self.changed = threading.Condition()
        self.ended = False
        self.failure: BaseException | None = None
        self._items, self._work, self._most_unfinished = items, work, 2 * threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mien")
        self._reader = threading.Thread(target=self._read, name="mien-reader", daemon=True)
        self._futures: deque[Future[Result]] = deque()
        self._unfinished = self._held = 0
        self._held_up = self._stopped = False

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    def stop(self) -> None:
        """End the threads: what was begun is done to its end, nothing else is begun."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._reader.is_alive():
            self._reader.join(GRACE)

    def next_is_done(self) -> bool:
        """Tell whether the next result is there."""
        return bool(self._futures) and self._futures[0].done()

    def gives_no_more(self) -> bool:
        """Tell whether no more results come: there are no more items, or memory is full, and something must be let go first."""
        return not self._futures and (self.ended or self._held_up)

    def take(self) -> Result:
        """Take the next result, which is there."""
        future = self._futures.popleft()
        self.changed.notify_all()
        return future.result()

    def submit(self, finish: Callable[[list[Result]], Answer], group: list[Result]) -> "Future[Answer]":
        """Have a group finished."""
        future = self._pool.submit(finish, group)
        future.add_done_callback(self._wake)
        return future

    def release(self, held: int) -> None:
        """Count memory as let go."""
        with self.changed:
            self._held -= held
            self._held_up = False
            self.changed.notify_all()

    def _read(self) -> None:
        try:
            for item in self._items:
                with self.changed:
                    while not (self._stopped or self._has_room()):
                        self._held_up = self._held >= HELD_BYTES
                        self.changed.notify_all()
                        self.changed.wait()
                    self._held_up = False
                    if self._stopped:
                        break
                    self._add(item)
        except BaseException as failure:  # raised again where the answers are asked for
            self.failure = failure
        finally:
            with self.changed:
                self.ended = True
                self.changed.notify_all()
            if isinstance(self._items, Generator):
                self._items.close()  # files and cameras are let go at once

    def _has_room(self) -> bool:
        few = self._unfinished < self._most_unfinished and len(self._futures) < AHEAD
        return few and (self._held < HELD_BYTES or not self._held)

    def _add(self, item: Item) -> None:
        held = item.held_bytes
        self._held += held
        self._unfinished += 1
        future = self._pool.submit(self._work, item)
        self._futures.append(future)

        def done(future: "Future[Result]") -> None:
            with self.changed:
                self._unfinished -= 1
                failed = future.cancelled() or future.exception() is not None
                self._held += (0 if failed else future.result().held_bytes) - held
                self.changed.notify_all()

        future.add_done_callback(done)

    def _wake(self, _: object) -> None:
        with self.changed:
            self.changed.notify_all()
